//! `train`, `predict` and `eval` from the command line: what they write, that it repeats to the bit, and that an interrupted run goes
//! on as if it had not been.

mod common;

mod program;

use std::process::Stdio;
use std::time::Instant;

use program::{command, devices, folder, history, json, refused};
use serde_json::Value;

/// A small net on few rows: a second at most.
const SMALL: &[&str] =
    &["--train-limit", "700", "--test-limit", "100", "--hidden", "24,12", "--batch-size", "50"];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "mlp"], SMALL, more].concat()
}

#[test]
fn a_run_leaves_a_model_that_scores_what_the_summary_says() {
    let dir = folder();
    let summary =
        json(dir.path(), &small(&["--epochs", "3", "--batchnorm", "--dropout", "0.1", "--device", "cpu"]));
    let run = dir.path().join("runs/mlp-1");
    for file in [
        "config.toml",
        "history.csv",
        "history.json",
        "model.safetensors",
        "checkpoint.safetensors",
        "report.html",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert_eq!(summary["epochs"], 3);
    assert_eq!(summary["steps"], 3 * 630usize.div_ceil(50));
    let accuracy = summary["test_accuracy"].as_f64().expect("an accuracy");
    assert!(accuracy > 0.4, "{accuracy}");
    let scored =
        json(dir.path(), &["eval", "--model", "runs/mlp-1", "--test-limit", "100", "--device", "cpu"]);
    assert_eq!(scored["accuracy"].as_f64(), Some(accuracy));
    let predict = [
        "predict",
        "--model",
        "runs/mlp-1/model.safetensors",
        "--test-limit",
        "100",
        "--device",
        "reference",
    ];
    let predicted = json(dir.path(), &predict);
    let probabilities = json(dir.path(), &[&predict[..], &["--proba"]].concat());
    for (class, row) in predicted["predicted"]
        .as_array()
        .expect("classes")
        .iter()
        .zip(probabilities["probabilities"].as_array().expect("rows"))
    {
        let row: Vec<f64> = row.as_array().expect("a row").iter().filter_map(Value::as_f64).collect();
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let best = (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        assert_eq!(best.map(|best| best as u64), class.as_u64());
    }
    // The configuration that was written gives the same run.
    let config = run.join("config.toml");
    let again =
        ["train", "mlp", "--train-limit", "700", "--test-limit", "100", "--device", "cpu", "--config"];
    json(dir.path(), &[&again[..], &[config.to_str().expect("a path")]].concat());
    assert_eq!(history(&run), history(&dir.path().join("runs/mlp-2")));
}

#[test]
fn linear_classifiers_train_too() {
    let dir = folder();
    for model in ["svm", "softmax"] {
        let arguments = ["train", model, "--train-limit", "1000", "--epochs", "3", "--device", "cpu"];
        let summary = json(dir.path(), &arguments);
        assert!(
            summary["test_accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.6),
            "{model}: {summary}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_on_each_device() {
    for device in devices() {
        let dir = folder();
        for _ in 0..2 {
            json(dir.path(), &small(&["--epochs", "2", "--dropout", "0.2", "--device", device]));
        }
        let [one, two] = ["mlp-1", "mlp-2"].map(|run| dir.path().join("runs").join(run));
        assert_eq!(history(&one), history(&two), "{device}");
        let [one, two] = [one, two].map(|run| std::fs::read(run.join("model.safetensors")).expect("a model"));
        assert!(one == two, "{device}");
        json(dir.path(), &small(&["--epochs", "2", "--dropout", "0.2", "--device", device, "--seed", "1"]));
        let other = std::fs::read(dir.path().join("runs/mlp-3/model.safetensors")).expect("a model");
        assert!(one != other, "{device}: another seed");
    }
}

#[test]
fn devices_agree_on_the_losses_of_the_first_steps_and_on_the_accuracy() {
    let dir = folder();
    let runs: Vec<_> = devices()
        .into_iter()
        .map(|device| {
            let summary =
                json(dir.path(), &["train", "mlp", "--epochs", "3", "--device", device, "--run-dir", device]);
            let losses = history(&dir.path().join(device))["losses"].clone();
            let losses: Vec<f64> =
                losses.as_array().expect("losses").iter().filter_map(Value::as_f64).collect();
            (summary["test_accuracy"].as_f64().expect("an accuracy"), losses)
        })
        .collect();
    let (accuracy, losses) = &runs[0];
    assert_eq!(losses.len(), 3 * 45);
    for (other, others) in &runs[1..] {
        for (step, (a, b)) in losses.iter().zip(others).take(10).enumerate() {
            assert!((a - b).abs() <= 1e-4 * a, "step {step}: {a} and {b}");
        }
        assert!((accuracy - other).abs() <= 0.01, "{accuracy} and {other}");
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let options = [
        "--epochs",
        "8",
        "--batchnorm",
        "--dropout",
        "0.2",
        "--optimizer",
        "adam",
        "--lr-schedule",
        "cosine",
    ];
    for device in devices() {
        let dir = folder();
        let started = Instant::now();
        json(dir.path(), &small(&[&options[..], &["--device", device, "--run-dir", "whole"]].concat()));
        let uninterrupted = started.elapsed();
        let whole = std::fs::read(dir.path().join("whole/model.safetensors")).expect("a model");
        let tries = if device == "cpu" { 20 } else { 3 };
        for attempt in 0..tries {
            let name = format!("killed-{attempt}");
            let run = dir.path().join(&name);
            // Later each time: in the first epoch, between epochs, while a checkpoint is written, after the end.
            let mut patience = uninterrupted * (attempt + 1) / (tries + 1);
            let start = [&options[..], &["--device", device, "--run-dir", &name]].concat();
            let mut arguments: Vec<String> = small(&start).into_iter().map(str::to_owned).collect();
            for round in 0.. {
                assert!(round < 100, "the run does not end");
                let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let mut child = command(dir.path(), &borrowed)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("the program");
                std::thread::sleep(patience);
                let ended = child.try_wait().expect("a child");
                child.kill().expect("a signal");
                let status = child.wait().expect("a child");
                if ended.is_some() {
                    assert!(status.success(), "attempt {attempt}, round {round}");
                    break;
                }
                if run.join("checkpoint.safetensors").is_file() {
                    arguments =
                        ["train", "mlp", "--resume", &name, "--device", device].map(str::to_owned).to_vec();
                }
                // A machine under load may need longer to its first checkpoint than the whole run took before.
                patience += patience / 4;
            }
            let model = std::fs::read(run.join("model.safetensors")).expect("a model");
            assert!(model == whole, "{device}, attempt {attempt}: other bits");
            assert_eq!(history(&run), history(&dir.path().join("whole")));
        }
    }
}

#[test]
fn images_are_augmented_alike_after_an_interruption_and_rows_are_refused() {
    let options = ["--augment", "flip,shift:2", "--dropout", "0.1"];
    for device in devices() {
        let dir = folder();
        let run =
            |more: &[&str]| json(dir.path(), &small(&[&options[..], &["--device", device], more].concat()));
        let whole = run(&["--epochs", "2", "--run-dir", "whole"]);
        run(&["--epochs", "1", "--run-dir", "halves"]);
        let on = ["train", "mlp", "--resume", "halves", "--epochs", "2", "--device", device];
        json(dir.path(), &on);
        let [one, two] = ["whole", "halves"].map(|run| dir.path().join(run));
        assert_eq!(history(&one), history(&two), "{device}");
        let plain = json(dir.path(), &small(&["--epochs", "2", "--dropout", "0.1", "--device", device]));
        assert_ne!(whole["train_loss"], plain["train_loss"]);
        if device == "gpu" {
            // One launch more; an epoch has 13 steps, and losses are read and epochs evaluated alike.
            let launches = |run: &Value| run["dispatches_per_step"].as_f64().expect("a number");
            assert!((launches(&whole) - launches(&plain) - 1.0).abs() < 1e-9);
        }
    }
    let dir = folder();
    std::fs::write(dir.path().join("rows.csv"), "a,label\n1,0\n2,1\n3,0\n4,1\n5,0\n").expect("a file");
    let (code, message) =
        refused(dir.path(), &["train", "softmax", "--data", "rows.csv", "--augment", "flip"]);
    assert!(code == 2 && message.contains("no images"), "{message}");
}

#[test]
fn balanced_weights_find_more_of_a_rare_class() {
    let dir = folder();
    // Of the rows where the two classes overlap, 7 in 40 are of the rare one.
    let mut rows = "x,label\n".to_owned();
    for i in 0..400 {
        rows += &format!("{},{}\n", f64::from(i % 40) / 4.0, u8::from(i % 40 >= 30 && i % 3 == 0));
    }
    std::fs::write(dir.path().join("rows.csv"), rows).expect("a file");
    let data = ["--data", "rows.csv", "--test-data", "rows.csv", "--device", "cpu"];
    for model in ["svm", "softmax"] {
        let found = |weight: &[&str]| {
            let options = ["train", model, "--epochs", "60", "--lr", "0.05", "--run-dir", "run"];
            let summary = json(dir.path(), &[&options[..], &data, weight].concat());
            let run = history(&dir.path().join("run"));
            let predicted = json(dir.path(), &[&["predict", "--model", "run"], &data[..]].concat());
            let classes = predicted["predicted"].as_array().expect("classes");
            let rare = classes.iter().filter(|class| class.as_u64() == Some(1)).count();
            (rare, run, summary["objective"].as_str().expect("a formula").to_owned())
        };
        let (plain, balanced) = (found(&[]), found(&["--class-weight", "balanced"]));
        assert!(balanced.0 > plain.0 + 20, "{model}: {} of 400, balanced {}", plain.0, balanced.0);
        assert!(balanced.2.contains("weighted by class") && !plain.2.contains("weighted"), "{}", balanced.2);
        assert_eq!(plain.1, found(&["--class-weight", "none"]).1, "{model}");
    }
}

#[test]
fn early_stopping_keeps_the_best_epoch() {
    let dir = folder();
    let options = ["--epochs", "40", "--early-stopping", "2", "--lr", "0.01", "--device", "cpu"];
    let summary = json(dir.path(), &small(&options));
    assert_eq!(summary["ended"], "early_stopping");
    let epochs = summary["epochs"].as_u64().expect("epochs");
    assert_eq!(summary["best_epoch"].as_u64(), Some(epochs - 2));
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let dir = folder();
    for (arguments, part) in [
        (vec!["train", "svm", "--hidden", "5"], "--hidden means nothing to svm"),
        (vec!["train", "mlp", "--delta", "2"], "--delta means nothing to mlp"),
        (vec!["train", "mlp", "--hidden", "0"], "hidden layer of 0"),
        (vec!["train", "mlp", "--dropout", "1"], "--dropout is 1"),
        (vec!["train", "mlp", "--lr", "0"], "learning rate is 0"),
        (vec!["train", "mlp", "--lr", "-1"], "learning rate is -1"),
        (vec!["train", "mlp", "--batch-size", "0"], "batch size is 0"),
        (vec!["train", "mlp", "--val-fraction", "1"], "--val-fraction is 1"),
        (vec!["train", "mlp", "--init", "zeros"], "no way to start weights"),
        (vec!["train", "mlp", "--augment", "twirl"], "\"twirl\" is no change of images"),
        (vec!["train", "mlp", "--augment", "flip,shift:-1"], "\"shift:-1\" is no change"),
        (vec!["train", "softmax", "--augment", "shift:28"], "28 × 28 pixels by 28"),
        (vec!["train", "mlp", "--resume", "nowhere"], "holds no checkpoint"),
        (vec!["train", "mlp", "--early-stopping", "2", "--val-fraction", "0"], "without validation rows"),
        (vec!["train", "autoencoder", "--delta", "1"], "--delta means nothing to autoencoder"),
        (
            vec!["train", "autoencoder", "--class-weight", "balanced"],
            "--class-weight means nothing to autoencoder",
        ),
        (vec!["train", "autoencoder", "--init-from", "x"], "--init-from means nothing to autoencoder"),
        (vec!["train", "svm", "--init-from", "x"], "--init-from means nothing to svm"),
        (vec!["train", "mlp", "--preprocess", "inherit"], "without a net to inherit from"),
        (vec!["train", "mlp", "--verify-cpu", "0"], "--verify-cpu"),
        (vec!["train", "mlp", "--train-x", "x.npy"], "needs --train-y and --test-x"),
    ] {
        let (code, message) = refused(dir.path(), &arguments);
        assert_eq!(code, 2, "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    let (code, message) =
        refused(dir.path(), &small(&["--lr", "1e30", "--optimizer", "sgd", "--device", "cpu"]));
    assert!(code == 2 && message.contains("diverged") && message.contains("lower --lr"), "{message}");
}

#[test]
fn damaged_models_and_configurations_are_refused() {
    let dir = folder();
    json(dir.path(), &small(&["--epochs", "1", "--device", "cpu"]));
    let model = std::fs::read(dir.path().join("runs/mlp-1/model.safetensors")).expect("a model");
    let predict = ["predict", "--model", "damaged", "--device", "cpu"];
    let mut nan = model.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    for (bytes, part) in [
        (b"".to_vec(), "no safetensors file"),
        (b"not a model at all".to_vec(), "no safetensors file"),
        (model[..model.len() / 2].to_vec(), "no safetensors file"),
        (nan, "NaN"),
    ] {
        std::fs::write(dir.path().join("damaged"), bytes).expect("a file");
        let (code, message) = refused(dir.path(), &predict);
        assert!(code == 3 && message.contains(part), "{part}: {message}");
    }
    std::fs::write(dir.path().join("bad.toml"), "hiden = [3]\n").expect("a file");
    let (code, message) = refused(dir.path(), &["train", "mlp", "--config", "bad.toml"]);
    assert!(code == 3 && message.contains("hiden"), "{message}");
    let (code, message) = refused(dir.path(), &["train", "mlp", "--resume", "runs/mlp-1", "--epochs", "0"]);
    assert!(code == 0 || message.contains("epochs"), "{message}");
}
