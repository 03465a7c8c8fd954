//! `gradcheck` and the comparisons of gradients, as a user meets them.

use assert_cmd::Command;
use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("cs231n-gpu").expect("the binary");
    command.args(arguments).env_remove("CS231N_GPU_DEVICE").env_remove("RUST_LOG");
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = command(arguments).args(["--format", "json"]).assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON document on standard output")
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

#[test]
fn every_gradient_is_right_and_every_device_has_the_same() {
    let devices: &[&str] =
        if gpu_is_there() { &["auto", "reference", "cpu", "gpu"] } else { &["auto", "reference", "cpu"] };
    for device in devices {
        let report = json(&["gradcheck", "--device", device]);
        assert_eq!(report["failed"], 0, "{report}");
        let results = report["results"].as_array().expect("results");
        assert_eq!(report["checks"], results.len());
        assert!(
            results.iter().any(|line| line["name"] == "fully_connected_net" && line["input"] == "gamma3")
        );
        for line in results {
            assert!(line["error"].as_f64() <= Some(1e-7) && line["ok"] == true, "{line}");
            assert_eq!(line["device_error"].is_null(), ["auto", "reference"].contains(device), "{line}");
        }
    }
}

#[test]
fn a_failed_check_a_wrong_name_and_a_wrong_step_have_their_exit_codes() {
    // With such a step the difference is no derivative.
    let failed = command(&["gradcheck", "sigmoid", "relu", "--h", "2"]).assert().code(1);
    let text = String::from_utf8_lossy(&failed.get_output().stdout).into_owned();
    assert!(text.contains("FAILED") && text.contains("not judged, at a kink: x["), "{text}");
    command(&["gradcheck", "dropuot"]).assert().code(2).stderr(predicates::str::contains("dropout"));
    command(&["gradcheck", "--h", "0"]).assert().code(2);
    command(&["gradcheck", "relu", "--trace", "batchnorm"]).assert().code(2);
}

#[test]
fn the_trace_has_every_node_and_both_forms_agree() {
    let report = json(&["gradcheck", "--trace", "batchnorm", "--device", "cpu"]);
    let names: Vec<_> = report["nodes"].as_array().expect("nodes").iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["x", "μ", "σ²", "x̂", "γ", "β", "out"]);
    for form in report["forms"].as_array().expect("forms") {
        assert!(form["apart"].as_f64() < Some(1e-12) && form["device_error"].as_f64() < Some(1e-5), "{form}");
    }
    // The graph's gradient of x is the layer's.
    assert_eq!(report["nodes"][0]["gradient"].as_array().map(Vec::len), Some(20));
    let text = command(&["gradcheck", "--trace", "batchnorm"]).assert().success();
    let text = String::from_utf8_lossy(&text.get_output().stdout).into_owned();
    assert!(text.contains("dσ² = ") && text.contains("dx[3,4]"), "{text}");
}

#[test]
fn the_forms_of_an_exercise_agree() {
    for exercise in ["svm", "softmax", "batchnorm"] {
        let report = json(&["compare", exercise, "--train-limit", "500", "--device", "cpu"]);
        let forms = report["forms"].as_array().expect("forms");
        assert!(forms.len() >= 3, "{report}");
        for form in forms {
            assert_eq!(form["agrees"], true, "{form}");
        }
    }
}
