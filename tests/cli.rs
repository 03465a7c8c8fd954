//! The command as a user meets it: results, exit codes, messages, files.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("cs231n-gpu").expect("the binary");
    command.args(arguments).env_remove("CS231N_GPU_DEVICE").env_remove("RUST_LOG");
    // What is measured on this machine changes what auto chooses.
    command.env("CS231N_GPU_CACHE", "off");
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = command(arguments).args(["--format", "json"]).assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON document on standard output")
}

/// Runs and returns the exit code and standard error; standard output must stay empty.
fn refusal(arguments: &[&str]) -> (i32, String) {
    let output = command(arguments).assert().failure().get_output().clone();
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (output.status.code().unwrap_or(-1), text)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn gpu_is_there() -> bool {
    let mode = std::env::var("CS231N_GPU").unwrap_or_default();
    let there = mode != "off" && !cs231n_gpu::gpu::adapters().is_empty();
    assert!(there || mode != "require", "CS231N_GPU=require, but there is no adapter");
    if !there {
        eprintln!("skipped: the GPU part of this test");
    }
    there
}

/// Counts of an independent 64-bit integer brute force (numpy) on the bundled subset.
#[test]
fn the_bundled_images_are_classified_as_a_brute_force_does() {
    for (arguments, correct) in [
        (&["--k", "10"][..], 412),
        (&["--k", "5"], 409),
        (&["--k", "1"], 407),
        (&["--k", "10", "--metric", "sqeuclidean"], 412),
        (&["--k", "10", "--weights", "distance"], 414),
        (&["--k", "10", "--metric", "l1"], 415),
        (&["--k", "10", "--metric", "cosine"], 414),
        (&["--k", "10", "--metric", "dot"], 174),
    ] {
        let devices: &[&str] = if gpu_is_there() { &["cpu", "gpu"] } else { &["cpu"] };
        for device in devices {
            let all = [&["knn", "--device", device][..], arguments].concat();
            let summary = json(&all);
            assert_eq!(summary["correct"], correct, "{all:?}");
            assert_eq!(summary["total"], 500);
            assert_eq!(summary["device"]["kind"], *device);
            let proof = &summary["certificate"];
            assert_eq!(
                proof["at_once"].as_u64().zip(proof["redone"].as_u64()).map(|(a, b)| a + b),
                Some(500)
            );
        }
    }
}

#[test]
fn the_summary_has_every_documented_key() {
    let summary = json(&["knn", "--device", "cpu", "--test-limit", "20"]);
    for key in [
        "command",
        "version",
        "device",
        "data",
        "k",
        "metric",
        "weights",
        "correct",
        "total",
        "accuracy",
        "certificate",
        "seconds",
        "peak_memory_bytes",
        "device_memory_bytes",
        "submissions",
        "dispatches",
    ] {
        assert!(summary.get(key).is_some(), "{key}");
    }
    for (object, keys) in [
        ("device", &["kind", "name", "backend", "driver", "why"][..]),
        ("data", &["name", "train", "test", "features", "dtype"]),
        ("seconds", &["load", "upload", "search", "vote", "total"]),
    ] {
        for key in keys {
            assert!(summary[object].get(key).is_some(), "{object}.{key}");
        }
    }
    command(&["knn", "--device", "cpu", "--test-limit", "20"])
        .assert()
        .success()
        .stdout(contains("accuracy").and(contains("certificate")).and(contains("true \\ predicted")));
}

#[test]
fn cross_validation_is_that_of_a_brute_force() {
    let right: [(u64, [u32; 5]); 10] = [
        (1, [795, 792, 807, 802, 819]),
        (3, [806, 807, 801, 811, 821]),
        (5, [813, 802, 792, 822, 833]),
        (8, [813, 799, 791, 818, 829]),
        (10, [813, 803, 785, 805, 830]),
        (12, [811, 807, 788, 801, 827]),
        (15, [798, 803, 784, 794, 830]),
        (20, [799, 801, 779, 781, 817]),
        (50, [794, 774, 763, 766, 794]),
        (100, [779, 753, 750, 757, 780]),
    ];
    let folder = folder();
    let plot = folder.path().join("cv.svg");
    let summary = json(&["knn", "--device", "cpu", "--cv", "5", "--plot", text(&plot)]);
    for (result, (k, folds)) in summary["results"].as_array().expect("results").iter().zip(right) {
        assert_eq!(result["k"], k);
        let found: Vec<u32> = result["accuracies"]
            .as_array()
            .expect("folds")
            .iter()
            .map(|accuracy| (accuracy.as_f64().expect("a number") * 1000.0).round() as u32)
            .collect();
        assert_eq!(found, folds, "k = {k}");
    }
    assert_eq!(summary["best_k"], 5);
    assert!(std::fs::read_to_string(plot).expect("the plot").starts_with("<svg"));
    let shuffled = |seed| {
        json(&["knn", "--device", "cpu", "--cv", "4", "--ks", "3", "--shuffle", "--seed", seed])["results"]
            .clone()
    };
    assert_eq!(shuffled("7"), shuffled("7"));
    assert_ne!(shuffled("7"), shuffled("8"));
}

/// Every way to search gives the same bytes.
#[test]
fn files_are_identical_whatever_the_device_limit_threads_and_shards() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let neighbors = path("n.npy");
    let distances = path("d.npy");
    let run = |more: &[&str]| -> (Vec<u8>, Vec<u8>) {
        let common = ["--k", "12", "--test-limit", "60", "--train-limit", "3000"];
        let save = ["--save-neighbors", text(&neighbors), "--save-neighbor-distances", text(&distances)];
        command(&[&["knn"][..], &common, &save, more].concat()).assert().success();
        let read = |path: &PathBuf| std::fs::read(path).expect("the file");
        (read(&neighbors), read(&distances))
    };
    for metric in ["l2", "l1", "cosine"] {
        let with = |more: &[&str]| run(&[&["--metric", metric][..], more].concat());
        let want = with(&["--device", "reference"]);
        for more in [
            &["--device", "cpu"][..],
            &["--device", "cpu", "--threads", "1"],
            &["--device", "cpu", "--threads", "2"],
            &["--device", "cpu", "--memory-limit", "1MiB"],
        ] {
            assert_eq!(with(more), want, "{metric} {more:?}");
        }
        if gpu_is_there() {
            for more in [&["--device", "gpu"][..], &["--device", "gpu", "--memory-limit", "4MiB"]] {
                assert_eq!(with(more), want, "{metric} {more:?}");
            }
        }
        let parts: Vec<PathBuf> = (1..=4).map(|i| path(&format!("part{i}.safetensors"))).collect();
        for (i, part) in (1..=4).zip(&parts) {
            with(&["--device", "cpu", "--shard", &format!("{i}/4"), "--out", text(part)]);
        }
        let mut merge = vec!["knn", "merge"];
        merge.extend(parts.iter().rev().map(|part| text(part)));
        merge.extend(["--save-neighbors", text(&neighbors), "--save-neighbor-distances", text(&distances)]);
        let merged = json(&merge);
        let read = |path: &PathBuf| std::fs::read(path).expect("the file");
        assert_eq!((read(&neighbors), read(&distances)), want, "{metric} merged shards");
        let whole = json(&[
            "knn",
            "--device",
            "cpu",
            "--k",
            "12",
            "--test-limit",
            "60",
            "--train-limit",
            "3000",
            "--metric",
            metric,
        ]);
        assert_eq!(merged["correct"], whole["correct"]);
    }
}

#[test]
fn merging_asks_for_all_parts_of_one_search() {
    let folder = folder();
    let part = |name: &str, shard: &str, k: &str| {
        let path = folder.path().join(name);
        let limits = ["--device", "cpu", "--test-limit", "5", "--train-limit", "100"];
        command(&[&["knn", "--shard", shard, "--k", k, "--out", text(&path)][..], &limits].concat())
            .assert()
            .success();
        path
    };
    let (one, two, other) = (part("1", "1/2", "3"), part("2", "2/2", "3"), part("3", "2/2", "4"));
    command(&["knn", "merge", text(&two), text(&one)]).assert().success();
    for (parts, code, problem) in [
        (&[&one][..], 2, "shard 2/2 is missing"),
        (&[&one, &two, &two], 3, "given twice"),
        (&[&one, &other], 3, "another search"),
    ] {
        let parts: Vec<&str> = parts.iter().map(|path| text(path)).collect();
        let (found, message) = refusal(&[&["knn", "merge"][..], &parts].concat());
        assert_eq!(found, code, "{message}");
        assert!(message.contains(problem), "{message}");
    }
    let bytes = std::fs::read(&two).expect("the part");
    for cut in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&other, &bytes[..cut]).expect("a truncated part");
        assert_eq!(refusal(&["knn", "merge", text(&one), text(&other)]).0, 3, "cut at {cut}");
    }
}

#[test]
fn predictions_are_written_as_classes_or_names() {
    let folder = folder();
    let (npy, names) = (folder.path().join("p.npy"), folder.path().join("p.txt"));
    for path in [&npy, &names] {
        command(&["knn", "--device", "cpu", "--test-limit", "7", "--out", text(path)]).assert().success();
    }
    let bytes = std::fs::read(&npy).expect("the array");
    assert!(bytes.starts_with(b"\x93NUMPY"));
    assert_eq!(bytes.len() % 64, 7 * 8, "a padded header, then seven 64-bit ids");
    assert_eq!(std::fs::read_to_string(&names).expect("the names").lines().count(), 7);
}

#[test]
fn pictures_and_the_matrix_are_written() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let (gallery, image, matrix) = (path("g.png"), path("d.png"), path("d.npy"));
    command(&[
        "knn",
        "--device",
        "cpu",
        "--test-limit",
        "20",
        "--train-limit",
        "300",
        "--gallery",
        text(&gallery),
    ])
    .args(["--distance-image", text(&image), "--save-distances", text(&matrix)])
    .assert()
    .success();
    let size = |path: &Path| {
        let file = std::io::BufReader::new(std::fs::File::open(path).expect("the picture"));
        let reader = png::Decoder::new(file).read_info().expect("a PNG");
        (reader.info().width, reader.info().height)
    };
    assert_eq!(size(&image), (300, 20));
    assert!(size(&gallery).0 > 300);
    assert_eq!(std::fs::metadata(&matrix).expect("the matrix").len(), 128 + 8 * 20 * 300);
}

#[test]
fn usage_errors_exit_with_2_and_write_nothing() {
    let folder = folder();
    let out = folder.path().join("n.npy");
    for (arguments, problem) in [
        (&["knn", "--k", "0"][..], "--k is 0"),
        (&["knn", "--k", "5001"], "--k is 5001, the training set has 5000 rows"),
        (&["knn", "--metric", "euclid"], "invalid value"),
        (&["knn", "--device", "cuda"], "names no device"),
        (&["knn", "--instruction-set", "mmx"], "no instruction set \"mmx\""),
        (&["knn", "--memory-limit", "many"], "no number of bytes"),
        (&["knn", "--shard", "5/4", "--out", "x"], "no shard"),
        (&["knn", "--cv", "1"], "folds"),
        (&["knn", "--cv", "5", "--ks", "4001"], "4001"),
        (&["check", "nothing"], "no operation is called"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        let with = if arguments[0] == "knn" {
            [arguments, &["--save-neighbors", text(&out)]].concat()
        } else {
            arguments.to_vec()
        };
        let (code, message) = refusal(&with);
        assert_eq!(code, 2, "{arguments:?}: {message}");
        assert!(message.contains(problem), "{arguments:?}: {message}");
        assert!(!out.exists());
    }
    command(&["knn", "--device", "cpu", "--k", "6", "--train-limit", "4", "--allow-fewer"])
        .assert()
        .success()
        .stderr(contains("taking all of them"));
}

#[test]
fn a_missing_adapter_exits_with_4_and_says_what_was_found() {
    for arguments in [["knn", "--device", "gpu:99"], ["check", "--device", "gpu:no such adapter"]] {
        let (code, message) = refusal(&arguments);
        assert_eq!(code, 4, "{message}");
        assert!(message.contains("found"), "{message}");
        assert!(message.contains("hint:"), "{message}");
    }
}

#[test]
fn files_that_cannot_be_written_exit_with_3_and_leave_nothing() {
    let folder = folder();
    let (code, message) = refusal(&[
        "knn",
        "--device",
        "cpu",
        "--test-limit",
        "2",
        "--out",
        text(&folder.path().join("no/p.npy")),
    ]);
    assert_eq!(code, 3, "{message}");
    let (code, _) = refusal(&["knn", "--device", "cpu", "--test-limit", "2", "--out", text(folder.path())]);
    assert_eq!(code, 3);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut shell = std::process::Command::new("sh");
    let program = assert_cmd::cargo::cargo_bin("cs231n-gpu");
    let pipe = format!("'{}' completions bash | head -n 1; echo ${{PIPESTATUS:-ok}}", program.display());
    let output = shell.args(["-c", &pipe]).output().expect("a shell");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn devices_completions_and_data_info_answer() {
    let listing = json(&["devices"]);
    assert!(listing["cpu"]["threads"].as_u64().is_some_and(|n| n > 0));
    assert!(listing["adapters"].is_array());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        command(&["completions", shell]).assert().success().stdout(contains("cs231n-gpu"));
    }
    let info = json(&["data", "info"]);
    assert!(info.to_string().contains("5000"), "{info}");
    command(&["data", "info"]).assert().success().stdout(contains("Fashion-MNIST"));
}

#[test]
fn check_proves_the_table_on_the_cpu() {
    let report = json(&["check", "--quick", "--device", "cpu"]);
    assert_eq!(report["failed"], 0);
    assert!(report["worst_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0 && ratio <= 1.0));
    let one = json(&["check", "matmul", "--quick", "--device", "cpu"]);
    assert!(one["results"].as_array().is_some_and(|lines| lines.iter().all(|line| line["op"] == "matmul")));
}

#[test]
fn compare_shows_that_no_loop_in_32_bit_fails_the_notebooks_check() {
    let report = json(&["compare", "knn", "--device", "cpu", "--test-limit", "20", "--train-limit", "500"]);
    let forms = report["forms"].as_array().expect("forms");
    assert_eq!(forms[0]["notebook_accepts"], true);
    assert_eq!(forms[2]["notebook_accepts"], false);
    let exact =
        forms.iter().filter(|form| form["form"].as_str().is_some_and(|name| name.starts_with("exact")));
    assert!(exact.clone().count() >= 1);
    assert!(exact.into_iter().all(|form| form["same_neighbors"] == 20));
}

#[test]
fn shaders_are_written_for_other_compilers() {
    let folder = folder();
    command(&["check", "--dump-wgsl", text(folder.path())])
        .assert()
        .success()
        .stdout(contains("shaders written"));
    let files = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert!(files > 5, "{files} files");
}
