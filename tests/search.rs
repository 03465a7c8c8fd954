//! `sanity`, `cv` and `search` from the command line: what they find, that it repeats, and that an interrupted search goes on.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin("cs231n-gpu"));
    command.current_dir(dir).args(arguments).args(["--device", "cpu"]).env_remove("CS231N_GPU_DEVICE");
    command.output().expect("the program")
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs and returns the JSON on standard output.
fn json(dir: &Path, arguments: &[&str]) -> Value {
    let output = run(dir, &[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    serde_json::from_slice(&output.stdout).expect("a JSON document")
}

/// Runs what must be refused with exit code 2, a message that has `part`, and a remedy.
fn refused(dir: &Path, arguments: &[&str], part: &str) {
    let output = run(dir, arguments);
    let message = message(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(message.contains(part) && message.contains("hint: "), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A document without the seconds, which are no result.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove("seconds");
            map.values_mut().for_each(|inner| *inner = timeless(inner.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| *inner = timeless(inner.take())),
        _ => {}
    }
    value
}

const FEW: &[&str] = &["--train-limit", "600", "--test-limit", "100", "--batch-size", "50"];

fn few<'a>(start: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [start, FEW, more].concat()
}

/// The findings of `sanity` by name.
fn findings(output: &Output) -> std::collections::BTreeMap<String, Value> {
    let report: Value = serde_json::from_slice(&output.stdout).expect("a JSON document");
    let results = report["results"].as_array().expect("results").clone();
    assert_eq!(report["checks"], results.len());
    results
        .into_iter()
        .map(|finding| (finding["check"].as_str().expect("a name").to_owned(), finding))
        .collect()
}

#[test]
fn every_default_is_sane() {
    let dir = folder();
    for arguments in [
        vec!["sanity", "svm"],
        vec!["sanity", "softmax"],
        vec!["sanity", "--batchnorm", "--dropout", "0.3", "--hidden", "64,32"],
        vec!["sanity", "mlp", "--layernorm", "--activation", "tanh", "--init", "xavier"],
        vec!["sanity", "mlp", "--optimizer", "nesterov", "--lr", "1e-2", "--reg-form", "full"],
    ] {
        let output = run(dir.path(), &few(&arguments, &["--format", "json"]));
        let found = findings(&output);
        assert!(output.status.success(), "{arguments:?}: {found:#?}");
        assert_eq!(found.len(), 6);
        let chance = if arguments[1] == "svm" { 9.0 } else { 10f64.ln() };
        assert!(found["chance"]["measured"].as_f64().is_some_and(|loss| (loss - chance).abs() < 1e-3));
        assert!(found["overfit"]["measured"] == 1.0);
        assert!(found.values().all(|finding| finding["look_at"].is_null()));
    }
}

#[test]
fn what_is_not_sane_is_named_with_what_to_look_at() {
    let dir = folder();
    for (options, check, advice) in [
        (vec!["--lr", "1e-9"], "curve", "too low"),
        (vec!["--lr", "1e-9"], "overfit", "learning rate first"),
        (vec!["--lr", "1e3", "--optimizer", "sgd"], "curve", "too high"),
        (vec!["--init", "normal:1"], "start", "--init he"),
        (vec!["--preprocess", "none"], "start", "--preprocess center"),
    ] {
        let output =
            run(dir.path(), &few(&["sanity", "mlp"], &[&options[..], &["--format", "json"]].concat()));
        let found = findings(&output);
        assert_eq!(output.status.code(), Some(1), "{options:?}: {found:#?}");
        assert_eq!(found[check]["ok"], false, "{options:?}: {found:#?}");
        assert!(found[check]["look_at"].as_str().is_some_and(|text| text.contains(advice)), "{found:#?}");
        assert!(found["gradient"]["ok"] == true && found["chance"]["ok"] == true, "{found:#?}");
    }
    let output = run(dir.path(), &few(&["sanity", "mlp"], &["--lr", "1e-9"]));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("FAILED") && text.contains("look at"), "{text}");
    refused(dir.path(), &["sanity", "svm", "--hidden", "5"], "--hidden means nothing to svm");
}

#[test]
fn folds_are_scored_and_summed_up() {
    let dir = folder();
    let arguments = few(&["cv", "softmax", "--folds", "4"], &["--epochs", "3"]);
    let found = json(dir.path(), &arguments);
    let results = found["results"].as_array().expect("folds");
    assert_eq!(results.len(), 4);
    let accuracies: Vec<f64> = results.iter().filter_map(|fold| fold["accuracy"].as_f64()).collect();
    assert!(
        results.iter().all(|fold| fold["rows"] == 150 && fold["train_rows"] == 450 && fold["epochs"] == 3)
    );
    let mean = accuracies.iter().sum::<f64>() / 4.0;
    let variance = accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum::<f64>() / 4.0;
    assert!((found["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12 && mean > 0.6);
    assert!((found["deviation"].as_f64().expect("a deviation") - variance.sqrt()).abs() < 1e-12);
    assert_eq!(timeless(json(dir.path(), &arguments)), timeless(found.clone()));
    let shuffled = json(dir.path(), &[&arguments[..], &["--shuffle"]].concat());
    assert!(
        shuffled["shuffled"] == true && shuffled["results"][0]["accuracy"] != found["results"][0]["accuracy"]
    );
    let csv = run(dir.path(), &[&arguments[..], &["--format", "csv"]].concat());
    let csv = String::from_utf8_lossy(&csv.stdout).into_owned();
    assert!(csv.starts_with("fold,") && csv.lines().count() == 5, "{csv}");
    let text = run(dir.path(), &arguments);
    assert!(String::from_utf8_lossy(&text.stdout).contains("mean ± deviation"));
    assert_eq!(message(&text).lines().filter(|line| line.starts_with("fold ")).count(), 4);
    assert!(std::fs::read_dir(dir.path()).expect("a folder").next().is_none(), "cv leaves no files");
}

#[test]
fn a_fold_that_diverges_is_a_result() {
    let dir = folder();
    let options = ["--lr", "1e30", "--optimizer", "sgd", "--folds", "2"];
    let found = json(dir.path(), &few(&["cv", "mlp"], &options));
    assert!(found["results"][0]["diverged"] == true && found["mean"].is_null(), "{found}");
}

#[test]
fn cross_validations_that_mean_nothing_are_refused() {
    let dir = folder();
    refused(dir.path(), &["cv", "svm", "--folds", "1"], "no row is left");
    refused(dir.path(), &["cv", "svm", "--train-limit", "3", "--folds", "5"], "3 rows do not make 5 folds");
    refused(dir.path(), &["cv", "svm", "--val-fraction", "0.2"], "--val-fraction means nothing");
    refused(dir.path(), &["cv", "svm", "--early-stopping", "2"], "--early-stopping would choose");
}
