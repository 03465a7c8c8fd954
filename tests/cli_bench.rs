//! `bench` and `tune` as a user meets them, and what `auto` makes of it.

mod common;
mod program;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use program::{command, devices, folder, json, refused};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

#[test]
fn ceilings_are_named_and_an_earlier_run_is_compared() {
    let folder = folder();
    let earlier = folder.path().join("bench.json");
    let quick = ["bench", "take", "vote", "--device", "cpu", "--samples", "3", "--sample-time", "1"];
    let report = json(folder.path(), &quick);
    assert!(number(&report["ceilings"]["flops"]) > 1e6);
    let results = list(&report["results"]);
    assert_eq!(results.len(), 3, "take, and vote in two variants");
    for line in results {
        assert!(number(&line["seconds"]) > 0.0 && number(&line["share"]) > 0.0, "{line}");
        assert_eq!(line["change"], Value::Null);
    }
    std::fs::write(&earlier, report.to_string()).expect("a file");
    let comparing = [&quick[..], &["--compare", "bench.json"]].concat();
    for line in list(&json(folder.path(), &comparing)["results"]) {
        assert!(number(&line["change"]) > 0.0, "{line}");
    }
    std::fs::write(&earlier, "[1, 2").expect("a file");
    let (code, message) = refused(folder.path(), &comparing);
    assert!(code == 3 && message.contains("no result of bench"), "{message}");
}

#[test]
fn the_shapes_that_are_asked_for_are_timed() {
    let folder = folder();
    let asked =
        ["bench", "matmul", "--device", "cpu", "--samples", "1", "--sample-time", "1", "--variant", "nn"];
    let report = json(folder.path(), &[&asked[..], &["--shape", "1,3,5,7", "--shape", "2,4,4,4"]].concat());
    let shapes: Vec<&Value> = list(&report["results"]).iter().map(|line| &line["shape"]).collect();
    assert_eq!(shapes, [&serde_json::json!([1, 3, 5, 7]), &serde_json::json!([2, 4, 4, 4])]);
    for (shape, part) in [("3,5,7", "batch × m × n × k"), ("1,2,3,x", "invalid digit")] {
        let (code, message) = refused(folder.path(), &[&asked[..], &["--shape", shape]].concat());
        assert!(code == 2 && message.contains(part), "{message}");
    }
    let (code, message) = refused(folder.path(), &["bench", "take", "--device", "cpu", "--shape", "0,3"]);
    assert!(code == 2 && message.contains("[1, 3]"), "{message}");
    let chosen = json(folder.path(), &[&asked[..], &["--shape", "1,3,5,7", "--chosen"]].concat());
    assert_eq!(list(&chosen["results"]).len(), 1);
}

/// Seconds of all rows, and the calls of one.
fn sum(rows: &[Value]) -> f64 {
    rows.iter().map(|row| number(&row["seconds"])).sum()
}

fn calls(host: &Value, name: &str) -> u64 {
    list(&host["rows"])
        .iter()
        .find(|row| row["name"] == name)
        .map_or(0, |row| row["calls"].as_u64().unwrap_or(0))
}

#[test]
fn a_profile_accounts_for_all_of_the_wall_time() {
    let folder = folder();
    for device in devices() {
        for job in ["knn", "train"] {
            let report = json(folder.path(), &["bench", "--profile", job, "--device", device]);
            let profile = &report["profile"];
            for host in [&profile["host"], &profile["first"]] {
                let wall = number(&host["wall"]);
                assert!(
                    wall > 0.0 && (sum(list(&host["rows"])) - wall).abs() < 1e-6 * wall,
                    "{device} {job}: {host}"
                );
            }
            let rounds = profile["rounds"].as_u64().expect("rounds");
            match job {
                "train" => {
                    assert_eq!(calls(&profile["host"], "optimizer"), rounds);
                    // A hidden layer and the scores; and the evaluation.
                    assert_eq!(calls(&profile["host"], "affine"), 2 * rounds + 2);
                }
                _ => assert_eq!(calls(&profile["host"], "nearest search"), rounds),
            }
            let kernels = &profile["device"]["kernels"];
            if device == "cpu" {
                assert_eq!(kernels, &Value::Null);
                continue;
            }
            if kernels.is_null() {
                eprintln!("skipped: the adapter has no timestamps");
                continue;
            }
            let wall = number(&profile["host"]["wall"]);
            let kernels = list(kernels);
            let launched: u64 = kernels.iter().filter_map(|kernel| kernel["launches"].as_u64()).sum();
            let counted = |what: &str| profile["counters"][what].as_u64();
            let all = counted("dispatches")
                .zip(counted("image_copies"))
                .map(|(launches, copies)| launches + copies);
            assert_eq!(Some(launched), all, "{kernels:?}");
            assert!(kernels.iter().all(|kernel| number(&kernel["seconds"]) > 0.0), "{kernels:?}");
            // Launches that overlap, or a device busy before the host looked at its clock, may only add to it.
            let all = sum(kernels) + number(&report["between"]) + number(&report["idle"]);
            assert!(all >= 0.999 * wall && all < 1.1 * wall, "{all} of {wall}: {report}");
            if job == "train" {
                let update =
                    kernels.iter().find(|kernel| kernel["caller"] == "optimizer").expect("an update");
                assert_eq!(
                    (&update["kernel"], update["launches"].as_u64()),
                    (&"optimizer::adam".into(), Some(rounds))
                );
            }
        }
    }
}

#[test]
fn a_profile_for_people_ends_each_table_with_the_wall_time() {
    let folder = folder();
    let output = program::command(folder.path(), &["bench", "--profile", "knn", "--device", "cpu"]).output();
    let text = String::from_utf8(output.expect("the program").stdout).expect("text");
    assert!(text.contains("5 searches in ") && text.contains("nearest search"), "{text}");
    assert!(
        text.lines().last().is_some_and(|line| line.starts_with("wall time") && line.ends_with("100.0 %")),
        "{text}"
    );
    let (code, message) = refused(folder.path(), &["bench", "matmul", "--profile", "knn"]);
    assert!(code == 2 && message.contains("cannot be used with"), "{message}");
}

#[test]
fn timestamps_are_taken_only_for_a_profile() {
    use cs231n_gpu::gpu::Options;
    let Some(plain) = common::open(Options::default()) else { return };
    assert!(!plain.info().features.timestamps);
    assert_eq!(plain.take_timestamps().expect("a device"), None);
}

/// Runs with this folder for what is kept.
fn keeping(cache: &Path, arguments: &[&str]) -> Output {
    command(cache, arguments).env("CS231N_GPU_CACHE", cache).output().expect("the program")
}

fn kept(cache: &Path, arguments: &[&str]) -> Value {
    let output = keeping(cache, &[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a JSON document")
}

#[test]
fn tune_keeps_what_it_measures_until_it_is_forgotten() {
    let folder = folder();
    let (cache, file) = (folder.path(), folder.path().join("speeds.json"));
    assert_eq!(kept(cache, &["tune", "--show"])["devices"], serde_json::json!([]));
    let report = kept(cache, &["tune", "--device", "cpu"]);
    assert_eq!(list(&report["devices"]).len(), 1);
    assert!(number(&report["devices"][0]["speed"]["flops"]) > 1e8, "{report}");
    assert_eq!(Path::new(report["path"].as_str().expect("a path")), file);
    assert_eq!(kept(cache, &["tune", "--show"])["devices"], report["devices"]);
    if devices().contains(&"gpu") {
        let report = kept(cache, &["tune", "--device", "gpu"]);
        // The processor is measured anew, not twice.
        let [adapter, _] = list(&report["devices"]) else { panic!("{report}") };
        for figure in ["start", "launch", "upload", "flops"] {
            assert!(number(&adapter["speed"][figure]) > 0.0, "{figure}: {report}");
        }
        let found = list(&report["found"]);
        assert_eq!(found.len(), 4);
        for class in found {
            assert!(number(&class["usual"]) > 0.0, "{class}");
            // Only what is quicker and correct is kept.
            let name = class["class"].as_str().expect("a name");
            let taken = &report["kernels"][adapter["name"].as_str().expect("a name")]["matmul"][name];
            assert_eq!(taken, if class["correct"] == true { &class["family"] } else { &Value::Null });
            assert!(taken.is_null() || number(&class["seconds"]) < number(&class["usual"]), "{class}");
        }
        assert_eq!(kept(cache, &["tune", "--show"])["kernels"], report["kernels"]);
    }
    // A file that is broken, or of another version, is none; it breaks nothing.
    let text = std::fs::read_to_string(&file).expect("the file");
    let other = text.replacen(env!("CARGO_PKG_VERSION"), "0.0.0", 1);
    for damaged in [&text[..text.len() / 2], "", "{\"version\": 1}", other.as_str()] {
        std::fs::write(&file, damaged).expect("a file");
        assert_eq!(kept(cache, &["tune", "--show"])["devices"], serde_json::json!([]), "{damaged}");
        assert_eq!(kept(cache, &["knn", "--test-limit", "5"])["device"]["kind"], "cpu");
    }
    assert!(keeping(cache, &["tune", "--clear"]).status.success() && !file.exists());
    assert!(!cache.join("kernels.json").exists());
    assert!(keeping(cache, &["tune", "--clear"]).status.success());
    let (code, message) = refused(cache, &["tune", "--device", "cpu"]);
    assert!(code == 2 && message.contains("CS231N_GPU_CACHE"), "{message}");
}

#[test]
fn kernels_that_tune_chose_are_used_and_a_foreign_choice_is_not() {
    let Some(gpu) = common::open(cs231n_gpu::gpu::Options::default()) else { return };
    let folder = folder();
    let (cache, file) = (folder.path(), folder.path().join("kernels.json"));
    // Another family adds in another order, so the bits of a model tell which ran.
    let train = |run| {
        let data = ["--train-limit", "300", "--test-limit", "10", "--epochs", "1", "--hidden", "64"];
        kept(cache, &[&["train", "mlp", "--device", "gpu", "--run-dir", run][..], &data].concat());
        std::fs::read(cache.join(run).join("model.safetensors")).expect("a model")
    };
    let usual = train("usual");
    let choose = |version: &str, device: &str, family: &str| {
        let classes: BTreeMap<_, _> = ["small", "long", "wide", "square"].map(|class| (class, family)).into();
        let content = serde_json::json!({device: {"matmul": classes}});
        let text = serde_json::json!({"version": version, "content": content}).to_string();
        std::fs::write(&file, &text).expect("a file");
        text
    };
    // One that is not taken without measuring.
    let family = if gpu.info().software() { "tiles" } else { "registers" };
    let (version, device) = (env!("CARGO_PKG_VERSION"), gpu.info().to_string());
    let whole = choose(version, &device, family);
    let other = train("other");
    assert_ne!(other, usual);
    assert_eq!(train("again"), other, "no bits change between runs");
    assert_eq!(kept(cache, &["tune", "--show"])["kernels"][&device]["matmul"]["long"], family);

    choose("0.0.0", &device, family);
    assert_eq!(train("another version"), usual);
    choose(version, "another device", family);
    assert_eq!(train("another device"), usual);
    choose(version, &device, "no family");
    assert_eq!(train("no family"), usual);
    for (run, damaged) in [("half", &whole[..whole.len() / 2]), ("list", "[]"), ("empty", "")] {
        std::fs::write(&file, damaged).expect("a file");
        assert_eq!(train(run), usual, "{damaged}");
    }
    std::fs::write(&file, &whole).expect("a file");
    let off = command(cache, &["tune", "--show", "--format", "json"]).output().expect("the program");
    let off: Value = serde_json::from_slice(&off.stdout).expect("a JSON document");
    assert_eq!(off["kernels"], serde_json::json!({}));
}

/// A file of measurements: what the processor and a hardware GPU of no machine can do.
fn measured(cache: &Path, processor: f64, start: f64) {
    let cpu = cs231n_gpu::Device::Cpu.describe();
    let speed = |start: f64, flops: f64| serde_json::json!({"start": start, "launch": 1e-5, "upload": 1e10, "flops": flops});
    let devices = serde_json::json!([
        {"name": cpu, "kind": null, "speed": speed(0.0, processor)},
        {"name": "a GPU", "kind": "discrete", "speed": speed(start, 1e13)},
    ]);
    let file = serde_json::json!({"version": env!("CARGO_PKG_VERSION"), "content": {"devices": devices}});
    std::fs::write(cache.join("speeds.json"), file.to_string()).expect("a file");
}

#[test]
fn auto_goes_by_the_size_of_the_job_and_says_so() {
    let folder = folder();
    let cache = folder.path();
    let why = |report: &Value| report["device"]["why"].as_str().expect("a reason").to_owned();
    // 78 million operations: little for any processor.
    let small = ["knn", "--test-limit", "10"];
    let report = kept(cache, &small);
    assert_eq!(report["device"]["kind"], "cpu");
    assert!(why(&report).ends_with("of work, under the 60 ms that opening a GPU takes"), "{}", why(&report));
    // A processor that takes hours for it: whatever GPU there is, is looked for.
    measured(cache, 1e4, 0.1);
    let report = kept(cache, &small);
    assert!(
        why(&report).starts_with("auto: no hardware GPU") || report["device"]["kind"] == "gpu",
        "{}",
        why(&report)
    );
    // A GPU that is open only in a minute, for seconds of work.
    measured(cache, 1e8, 60.0);
    let report = kept(cache, &small);
    assert_eq!(
        (report["device"]["kind"].as_str(), why(&report)),
        (Some("cpu"), "auto: about 1.6 s of work, under the 60 s that opening a GPU takes here".to_owned())
    );
    // A run goes on where it began, whatever auto has learned since.
    let train = ["train", "softmax", "--epochs", "1", "--train-limit", "200", "--run-dir", "run"];
    assert_eq!(kept(cache, &train)["device"]["kind"], "cpu");
    measured(cache, 1e4, 0.1);
    let report = kept(cache, &["train", "softmax", "--epochs", "2", "--resume", "run"]);
    assert_eq!(why(&report), "auto: as the run began");
}

#[test]
fn the_first_result_is_timed_from_the_start_of_the_program() {
    let folder = folder();
    for device in devices() {
        let seconds = &json(folder.path(), &["knn", "--test-limit", "5", "--device", device])["seconds"];
        let parts = ["load", "open", "upload", "search"].map(|part| number(&seconds[part]));
        let (first, total) = (number(&seconds["first_result"]), number(&seconds["total"]));
        assert!(first <= total && (first - parts.iter().sum::<f64>()).abs() < 0.05, "{device}: {seconds}");
    }
}

#[test]
fn compiled_kernels_are_kept_and_a_damaged_file_is_none() {
    use cs231n_gpu::gpu::Options;
    if !devices().contains(&"gpu") {
        return;
    }
    let folder = folder();
    let cache = folder.path();
    let search = ["knn", "--test-limit", "20", "--device", "gpu"];
    let files = || -> Vec<_> {
        let entries =
            std::fs::read_dir(cache).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.collect()
    };
    // Peaks of memory and seconds are no result.
    let found = || {
        let report = kept(cache, &search);
        ["accuracy", "confusion", "certificate"].map(|key| report[key].clone())
    };
    let first = found();
    assert!(number(&first[0]) > 0.0, "{first:?}");
    if common::open(Options::default()).is_some_and(|gpu| gpu.info().backend != "vulkan") {
        assert!(files().is_empty(), "{:?}", files());
        return;
    }
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    let whole = std::fs::read(file).expect("a file");
    assert_eq!(found(), first);
    let mut foreign = whole.clone();
    foreign[whole.len() / 2] ^= 1;
    for damaged in [&b"no kernels"[..], b"", &whole[..whole.len() - 1], &foreign] {
        std::fs::write(file, damaged).expect("a file");
        assert_eq!(found(), first);
        assert_ne!(std::fs::read(file).expect("a file"), damaged, "a damaged file is replaced");
    }
    // Something that cannot be written stays as it is, and is no error.
    std::fs::remove_file(file).expect("a file");
    std::fs::create_dir(file).expect("a folder");
    assert_eq!(found(), first);
    let off = command(cache, &search).output().expect("the program");
    assert!(off.status.success() && files() == [file.clone()]);
}
