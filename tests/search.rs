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
        vec!["sanity", "mlp", "--class-weight", "balanced", "--augment", "flip,shift:2"],
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

fn search<'a>(more: &[&'a str]) -> Vec<&'a str> {
    few(&["search", "mlp", "--epochs", "2"], more)
}

const DRAWN: &[&str] = &[
    "--param",
    "lr=log:1e-4..1e-2",
    "--param",
    "hidden=8|16|12,8",
    "--param",
    "dropout=0..0.4",
    "--n-iter",
    "5",
];

#[test]
fn a_search_ranks_its_trials_and_keeps_the_best_model() {
    let dir = folder();
    let found = json(dir.path(), &search(DRAWN));
    let trials = found["trials"].as_array().expect("trials");
    assert_eq!(trials.len(), 5);
    let accuracies: Vec<f64> = trials.iter().filter_map(|trial| trial["val_accuracy"].as_f64()).collect();
    assert!(accuracies.len() == 5 && accuracies.is_sorted_by(|a, b| a >= b), "{accuracies:?}");
    assert_eq!(found["best"], trials[0]);
    for trial in trials {
        let lr = trial["params"]["lr"].as_f64().expect("a rate");
        assert!((1e-4..=1e-2).contains(&lr) && trial["params"]["hidden"].is_array());
    }
    // Neither a longer search nor another parameter behind it changes a draw.
    let run = dir.path().join("runs/search-mlp-1");
    let longer =
        json(dir.path(), &search(&[&DRAWN[..7], &["6", "--param", "batchnorm=true|false"]].concat()));
    for trial in trials {
        let same = longer["trials"]
            .as_array()
            .expect("trials")
            .iter()
            .find(|other| other["trial"] == trial["trial"]);
        for name in ["lr", "hidden", "dropout"] {
            assert_eq!(same.expect("the trial")["params"][name], trial["params"][name]);
        }
    }
    // The same again, to the bit.
    let again = json(dir.path(), &search(DRAWN));
    assert_eq!(timeless(again["trials"].clone()), timeless(found["trials"].clone()));
    let model = |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).expect("a model");
    assert!(model("runs/search-mlp-1") == model("runs/search-mlp-3"));
    // What was kept is what train makes of the configuration, and scores what the summary says.
    let csv = std::fs::read_to_string(run.join("results.csv")).expect("a table");
    assert!(csv.starts_with("rank,trial,") && csv.lines().count() == 6, "{csv}");
    let config = ["--config", "runs/search-mlp-1/config.toml", "--run-dir", "same"];
    let trained = json(dir.path(), &few(&["train", "mlp"], &config));
    assert_eq!(trained["val_accuracy"], found["best"]["val_accuracy"]);
    assert_eq!(trained["test_accuracy"], found["test_accuracy"]);
    assert!(model("same") == model("runs/search-mlp-1"));
}

/// Interrupts a search by cutting its results back to the first `kept` trials, and goes on with it.
fn goes_on(options: &[&str], kept: usize) {
    let dir = folder();
    let whole = json(dir.path(), &search(&[options, &["--run-dir", "whole"]].concat()));
    let path = dir.path().join("whole/results.json");
    let mut results: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("results")).expect("JSON");
    let first: Vec<Value> = results["trials"].as_array().expect("trials")[..kept].to_vec();
    results["trials"] = first.clone().into();
    std::fs::write(&path, results.to_string()).expect("a file");
    let output = run(dir.path(), &["search", "mlp", "--resume", "whole", "--format", "json"]);
    let on: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(timeless(on["trials"].clone()), timeless(whole["trials"].clone()));
    assert_eq!(on["test_accuracy"], whole["test_accuracy"]);
    // Finished trials are not run again: their seconds are those of the first time.
    for trial in &first {
        let same =
            on["trials"].as_array().expect("trials").iter().find(|other| other["trial"] == trial["trial"]);
        assert_eq!(same.expect("the trial")["seconds"], trial["seconds"]);
    }
    let trained = message(&output).lines().filter(|line| line.starts_with("trial ")).count();
    assert_eq!(trained, whole["trials"].as_array().expect("trials").len() - kept);
}

#[test]
fn an_interrupted_search_goes_on() {
    goes_on(DRAWN, 2);
    goes_on(&["--grid", "lr=1e-3,1e-2", "--grid", "hidden=8|12,8"], 3);
    goes_on(&["--param", "lr=log:1e-5..1e-1", "--n-iter", "3", "--coarse-to-fine", "2"], 4);
}

#[test]
fn trials_reach_together_what_they_reach_alone() {
    let dir = folder();
    let options = [
        "--hidden",
        "16",
        "--param",
        "lr=log:1e-4..1e-1",
        "--param",
        "l2=log:1e-5..1e-1",
        "--param",
        "dropout=0..0.5",
        "--batchnorm",
        "--n-iter",
        "9",
        "--early-stopping",
        "1",
        "--epochs",
        "6",
    ];
    let search =
        |more: &[&str]| json(dir.path(), &few(&[&["search", "mlp"][..], &options[..], more].concat(), &[]));
    let (together, alone) =
        (search(&["--together", "4", "--run-dir", "a"]), search(&["--together", "1", "--run-dir", "b"]));
    assert!(together["together"] == 4 && alone["together"] == 1);
    assert_eq!(timeless(together["trials"].clone()), timeless(alone["trials"].clone()));
    let model = |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).expect("a model");
    assert!(model("a") == model("b"), "other bits");
    let halved = |together| search(&["--halving", "--together", together])["trials"].clone();
    assert_eq!(timeless(halved("16")), timeless(halved("1")));
}

#[test]
fn a_grid_has_every_point_once() {
    let dir = folder();
    let arguments =
        ["--grid", "augment=none|flip,shift:2", "--grid", "hidden=8|12,8", "--grid", "batchnorm=true,false"];
    let found = json(dir.path(), &search(&arguments));
    let mut points: Vec<String> =
        found["trials"].as_array().expect("trials").iter().map(|trial| trial["params"].to_string()).collect();
    points.sort();
    points.dedup();
    assert_eq!(points.len(), 8, "{points:?}");
}

#[test]
fn rounds_search_around_the_best_before() {
    let dir = folder();
    let options = ["--param", "lr=log:1e-6..1e0", "--n-iter", "4", "--coarse-to-fine", "3"];
    let found = json(dir.path(), &search(&options));
    let mut trials = found["trials"].as_array().expect("trials").clone();
    trials.sort_by_key(|trial| trial["trial"].as_u64());
    for round in 1..3 {
        let better = |a: &&Value, b: &&Value| {
            let key = |trial: &Value| {
                (trial["val_accuracy"].as_f64(), trial["val_loss"].as_f64().map(|loss| -loss))
            };
            key(a).partial_cmp(&key(b)).expect("numbers")
        };
        let best = trials[..4 * round].iter().max_by(better).expect("a trial");
        let lr = |trial: &Value| trial["params"]["lr"].as_f64().expect("a rate").log10();
        // The ranges are 2 and 2/3 decades long; four digits are kept.
        let half = 3.0 / 3f64.powi(round as i32) + 1e-3;
        for trial in &trials[4 * round..4 * round + 4] {
            assert!((lr(trial) - lr(best)).abs() <= half, "round {round}: {trial} {best}");
            assert_eq!(trial["round"], round + 1);
        }
    }
}

#[test]
fn halving_trains_the_better_half_on_to_where_train_gets() {
    let dir = folder();
    let options = ["--param", "lr=log:1e-5..1e-1", "--n-iter", "6", "--halving", "--epochs", "5"];
    let arguments = few(&["search", "softmax"], &options);
    let found = json(dir.path(), &arguments);
    let epochs = |found: &Value| {
        let mut epochs: Vec<_> = found["trials"]
            .as_array()
            .expect("trials")
            .iter()
            .filter_map(|trial| trial["epochs"].as_u64())
            .collect();
        epochs.sort_unstable();
        epochs
    };
    // One epoch for six, two for three, all five for two.
    assert_eq!(epochs(&found), [1, 1, 1, 2, 5, 5]);
    assert!(!dir.path().join("runs/search-softmax-1/trials").exists());
    let config = ["--config", "runs/search-softmax-1/config.toml", "--run-dir", "same"];
    let trained = json(dir.path(), &few(&["train", "softmax"], &config));
    assert_eq!(trained["test_accuracy"], found["test_accuracy"]);
    let model = |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).expect("a model");
    assert!(model("same") == model("runs/search-softmax-1"), "parts make the same as a whole");
}

#[test]
fn a_killed_halving_goes_on_to_the_same() {
    let dir = folder();
    let options = ["--param", "lr=log:1e-4..1e-1", "--n-iter", "8", "--halving", "--epochs", "8"];
    let start = [&few(&["search", "mlp", "--hidden", "64"], &options)[..], &["--run-dir"]].concat();
    let whole = json(dir.path(), &[&start[..], &["whole"]].concat());
    for attempt in 0..6u64 {
        let name = format!("killed-{attempt}");
        let mut child = Command::new(cargo_bin("cs231n-gpu"))
            .current_dir(dir.path())
            .args([&start[..], &[name.as_str(), "--device", "cpu"]].concat())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program");
        std::thread::sleep(std::time::Duration::from_millis(80 + 60 * attempt));
        child.kill().expect("a signal");
        child.wait().expect("a child");
        // Killed before the first trial, there is nothing to go on with.
        if dir.path().join(&name).join("results.json").is_file() {
            let on = json(dir.path(), &["search", "mlp", "--resume", &name]);
            assert_eq!(
                timeless(on["trials"].clone()),
                timeless(whole["trials"].clone()),
                "attempt {attempt}"
            );
            let model =
                |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).expect("a model");
            assert!(model("whole") == model(&name), "attempt {attempt}: other bits");
        }
    }
}

#[test]
fn a_trial_that_diverges_is_a_result() {
    let dir = folder();
    let found = json(dir.path(), &search(&["--grid", "lr=1e-3,1e30", "--optimizer", "sgd"]));
    assert!(found["diverged"] == 1 && found["trials"][1]["status"] == "diverged", "{found}");
    assert!(found["best"]["params"]["lr"] == 1e-3 && found["trials"][1]["val_accuracy"].is_null());
    let none = json(dir.path(), &search(&["--grid", "lr=1e30", "--optimizer", "sgd"]));
    assert!(none["best"].is_null() && none["model_path"].is_null(), "{none}");
}

#[test]
fn searches_that_mean_nothing_are_refused() {
    let dir = folder();
    for (arguments, part) in [
        (vec![], "nothing is searched"),
        (vec!["--param", "speed=1..2"], "no training option is called"),
        (vec!["--param", "lr=2..1"], "2 is not below 1"),
        (vec!["--param", "lr=log:0..1"], "cannot start at 0"),
        (vec!["--param", "optimizer=adam|fast"], "invalid value 'fast'"),
        (vec!["--param", "lr"], "names no values"),
        (vec!["--param", "dropout=0..2", "--n-iter", "50"], "--dropout is 1."),
        (vec!["--param", "delta=1|2"], "--delta means nothing to mlp"),
        (vec!["--param", "lr=0..1", "--param", "lr=1|2"], "given twice"),
        (vec!["--param", "lr=0..1", "--n-iter", "0"], "no trials"),
        (vec!["--grid", "lr=0..1"], "a grid has no ranges"),
        (vec!["--param", "lr=1e-3|1e-2", "--coarse-to-fine", "2"], "no range to narrow"),
        (vec!["--param", "lr=0..1", "--val-fraction", "0"], "without validation rows"),
        (vec!["--param", "epochs=1..5", "--halving"], "--halving chooses the epochs"),
        (vec!["--resume", "nowhere"], "holds no search"),
    ] {
        refused(dir.path(), &[&["search", "mlp"], &arguments[..]].concat(), part);
    }
    json(dir.path(), &search(&["--grid", "lr=1e-3", "--run-dir", "one"]));
    refused(dir.path(), &search(&["--grid", "lr=1e-3", "--run-dir", "one"]), "holds a search already");
    refused(dir.path(), &["search", "svm", "--resume", "one"], "its own model and options");
}
