//! `bench` as a user meets it.

mod common;
mod program;

use program::{devices, folder, json, refused};
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
            assert_eq!(Some(launched), profile["counters"]["dispatches"].as_u64(), "{kernels:?}");
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
