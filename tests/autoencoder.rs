//! `train autoencoder`, what starts from it, and what `--dry-run` and `--verify-cpu` say of a run.

mod common;
mod program;

use std::collections::BTreeSet;
use std::path::Path;

use cs231n_gpu::Device;
use cs231n_gpu::data::{self, Limits, Source, write};
use cs231n_gpu::nn::checkpoint::Model;
use cs231n_gpu::rows::ValuesRef;
use program::{command, devices, folder, history, json, refused};
use serde_json::Value;

/// A small one on few rows: a second at most.
const SMALL: &[&str] = &[
    "train",
    "autoencoder",
    "--train-limit",
    "700",
    "--test-limit",
    "100",
    "--hidden",
    "32,8",
    "--batch-size",
    "50",
];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [SMALL, more].concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, not {value}"))
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    let row = |row: &Value| row.as_array().expect("a row").iter().map(number).collect();
    value.as_array().expect("rows").iter().map(row).collect()
}

fn model(run: &Path) -> Model {
    Model::load(&Device::Reference, run.join("model.safetensors")).expect("a model")
}

fn values(model: &Model, name: &str) -> Vec<f64> {
    model.net.parameters.get(name).and_then(|tensor| tensor.to_f64()).expect("a parameter")
}

fn bytes(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("model.safetensors")).expect("a model")
}

/// The bundled images: training rows, test rows.
fn images(train: usize, test: usize) -> [Vec<u8>; 2] {
    let limits = Limits { train: Some(train), test: Some(test) };
    let data = data::load(&Source::Bundled, limits).expect("bundled images");
    [&data.train, &data.test].map(|rows| match rows.view().values() {
        ValuesRef::U8(values) => values.to_vec(),
        ValuesRef::F32(_) => panic!("pixels"),
    })
}

#[test]
fn errors_codes_and_reconstructions_are_of_one_model() {
    let dir = folder();
    let at = dir.path();
    let summary = json(at, &small(&["--epochs", "8", "--device", "cpu"]));
    let found = &summary["reconstruction"];
    assert_eq!((found["code"].as_u64(), found["train"]["rows"].as_u64()), (Some(8), Some(630)));
    for part in ["train", "validation", "test"] {
        let (mse, mean) = (number(&found[part]["mse"]), number(&found[part]["baseline_mse"]));
        // Eight numbers leave at most a linear code's share; the variance of all pixels is 1.
        assert!(mse < 0.6 * mean && (mean - 1.0).abs() < 0.15, "{part}: {mse} of {mean}");
    }
    assert!(summary["test_accuracy"].is_null() && summary["confusion"].is_null());
    let run = at.join("runs/autoencoder-1");
    let epochs = &history(&run)["epochs"];
    assert!(epochs.as_array().is_some_and(|all| all.iter().all(|epoch| epoch["train_accuracy"].is_null())));
    let of =
        ["--model", "runs/autoencoder-1", "--test-limit", "100", "--train-limit", "700", "--device", "cpu"];
    let scored = json(at, &[&["eval", "--mistakes", "3"], &of[..]].concat());
    assert_eq!(
        [&scored["mse"], &scored["baseline_mse"]],
        [&found["test"]["mse"], &found["test"]["baseline_mse"]]
    );
    assert_eq!(scored["worst"].as_array().map(Vec::len), Some(3));

    // The error by hand, from rows in the units of the data.
    let again = rows(&json(at, &[&["predict", "--reconstruct"], &of[..]].concat())["reconstructions"]);
    let (model, [_, test]) = (model(&run), images(1, 100));
    let mut sum = 0.0;
    for (row, original) in again.iter().zip(test.chunks_exact(784)) {
        for ((x, &pixel), &scale) in row.iter().zip(original).zip(&model.columns.scale) {
            sum += ((x - f64::from(pixel)) * f64::from(scale)).powi(2);
        }
    }
    let (mse, by_hand) = (number(&scored["mse"]), sum / (100.0 * 784.0));
    assert!((mse - by_hand).abs() < 1e-4 * mse, "{mse} {by_hand}");

    // Codes are the default, and alike in every form.
    let codes = rows(&json(at, &[&["predict"], &of[..]].concat())["codes"]);
    assert_eq!((codes.len(), codes[0].len()), (100, 8));
    assert!(codes.iter().flatten().any(|&code| code > 0.0));
    for (file, magic) in [("codes.npy", b"\x93NUMPY".as_slice()), ("codes.csv", b"code0,code1,")] {
        let output = command(at, &[&["predict", "--codes", "--out", file], &of[..]].concat()).output();
        assert!(output.is_ok_and(|output| output.status.success()));
        let written = std::fs::read(at.join(file)).expect("a file");
        assert!(written.starts_with(magic), "{file}");
        if file == "codes.npy" {
            let numbers = written[written.len() - 100 * 8 * 4..].as_chunks().0.iter();
            let read: Vec<f32> = numbers.map(|&word| f32::from_le_bytes(word)).collect();
            assert!(
                read.iter().eq(codes.iter().flatten().map(|&code| code as f32).collect::<Vec<_>>().iter())
            );
        }
    }
    let page = std::fs::read_to_string(run.join("report.html")).expect("a page");
    assert!(page.contains(">Reconstructions</h2>") && page.contains(">First-layer weights</h2>"));
    assert_eq!(page.matches(" given back\"").count(), 32);
    // What means nothing to it is refused.
    let (code, message) = refused(at, &[&["predict", "--proba"], &of[..]].concat());
    assert!(code == 2 && message.contains("an autoencoder knows no classes"), "{message}");
}

#[test]
fn a_run_that_goes_on_has_the_bits_of_a_whole_one() {
    for device in devices() {
        let dir = folder();
        let options = ["--batchnorm", "--dropout", "0.1", "--activation", "leaky-relu", "--device", device];
        let run = |more: &[&str]| json(dir.path(), &small(&[&options[..], more].concat()));
        run(&["--epochs", "3", "--run-dir", "whole"]);
        run(&["--epochs", "3", "--run-dir", "again"]);
        run(&["--epochs", "1", "--run-dir", "parts"]);
        let on = ["train", "autoencoder", "--resume", "parts", "--epochs", "3", "--device", device];
        json(dir.path(), &on);
        let [whole, again, parts] = ["whole", "again", "parts"].map(|run| dir.path().join(run));
        for other in [again, parts] {
            assert_eq!(history(&whole), history(&other), "{device}");
            assert!(bytes(&whole) == bytes(&other), "{device}: other bits");
        }
        let (code, message) = refused(dir.path(), &["train", "mlp", "--resume", "parts", "--device", device]);
        assert!(code == 2 && message.contains("the interrupted run trains autoencoder"), "{message}");
    }
}

#[test]
fn the_epoch_with_the_least_error_is_kept() {
    let dir = folder();
    // A high rate over few rows: the error rises again.
    let options = [
        "--epochs",
        "30",
        "--early-stopping",
        "2",
        "--lr",
        "0.03",
        "--train-limit",
        "300",
        "--device",
        "cpu",
    ];
    let summary = json(dir.path(), &[&["train", "autoencoder", "--hidden", "32,8"], &options[..]].concat());
    let run = history(&dir.path().join("runs/autoencoder-1"));
    let losses: Vec<f64> =
        run["epochs"].as_array().expect("epochs").iter().map(|epoch| number(&epoch["val_loss"])).collect();
    let least = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).map(|at| at as u64 + 1);
    assert_eq!(summary["best_epoch"].as_u64(), least);
    let mse = number(&summary["reconstruction"]["validation"]["mse"]);
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min) / 784.0;
    assert!((mse - best).abs() < 1e-6 * best, "{mse} {best}");
    assert_eq!(summary["ended"], "early_stopping");
    assert_eq!(Some(losses.len() as u64), least.map(|least| least + 2));
}

#[test]
fn rows_need_no_labels_in_any_form() {
    let dir = folder();
    let at = dir.path();
    let [train, test] = images(700, 100);
    write::npy(at.join("x.npy"), &[700, 28, 28], &train).expect("a file");
    write::npy(at.join("t.npy"), &[100, 28, 28], &test).expect("a file");
    let of_width = |hidden: &str, name: &str, data: &[&str]| {
        let options = ["train", "autoencoder", "--batch-size", "50", "--epochs", "2", "--device", "cpu"];
        json(at, &[&options[..], &["--run-dir", name, "--hidden", hidden], data].concat());
        history(&at.join(name))
    };
    let from = |name: &str, data: &[&str]| of_width("32,8", name, data);
    let labelled = from("bundled", &["--train-limit", "700", "--test-limit", "100"]);
    assert_eq!(labelled, from("arrays", &["--train-x", "x.npy", "--test-x", "t.npy"]));
    assert_eq!(labelled, from("alone", &["--train-x", "x.npy"]), "without test rows");

    // Idx files without those of the labels.
    let idx = |rows: u32, pixels: &[u8]| {
        let sizes = [rows, 28, 28].map(u32::to_be_bytes).concat();
        [&[0, 0, 8, 3][..], &sizes, pixels].concat()
    };
    std::fs::create_dir(at.join("idx")).expect("a folder");
    std::fs::write(at.join("idx/train-images-idx3-ubyte"), idx(700, &train)).expect("a file");
    std::fs::write(at.join("idx/t10k-images-idx3-ubyte"), idx(100, &test)).expect("a file");
    assert_eq!(labelled, from("idx", &["--data", "idx"]));
    let (code, message) = refused(at, &["train", "mlp", "--data", "idx", "--device", "cpu"]);
    assert!(code == 3 && message.contains("train-labels"), "{message}");

    // A table with a label column, whose cells may be empty, and the same without it.
    let line = |i: u32, label: &str| {
        format!("{label}{},{},{}\n", f64::from(i % 7), f64::from(i % 5), f64::from(i % 3))
    };
    let table = |head: &str, label: &dyn Fn(u32) -> &'static str| {
        (0..60).fold(format!("{head}a,b,c\n"), |table, i| table + &line(i, label(i)))
    };
    std::fs::write(at.join("with.csv"), table("label,", &|i| if i % 2 == 0 { "," } else { "x," }))
        .expect("a file");
    std::fs::write(at.join("without.csv"), table("", &|_| "")).expect("a file");
    let from = |name: &str, file: &str| of_width("2", name, &["--data", file]);
    let with = from("with", "with.csv");
    assert_eq!(with, from("without", "without.csv"));
    let sparse =
        (0..60).fold(String::new(), |text, i| text + &format!("1:{} 2:{} 3:{}\n", i % 7, i % 5, i % 3));
    std::fs::write(at.join("rows.svm"), &sparse).expect("a file");
    assert_eq!(with, from("sparse", "rows.svm"));
}

#[test]
fn a_net_starts_from_an_encoder_or_from_another_net() {
    let dir = folder();
    let at = dir.path();
    json(
        at,
        &small(&[
            "--epochs",
            "2",
            "--batchnorm",
            "--activation",
            "tanh",
            "--device",
            "cpu",
            "--run-dir",
            "encoder",
        ]),
    );
    // Steps too small to move a weight show what training starts from.
    let still = ["--optimizer", "sgd", "--lr", "1e-30", "--l2", "0", "--epochs", "1", "--train-limit", "300"];
    let train = |from: &str, more: &[&str]| {
        let start = ["train", "mlp", "--init-from", from];
        json(at, &[&start[..], &still, more].concat())
    };
    for device in devices() {
        let summary = train("encoder", &["--run-dir", "net", "--device", device]);
        assert_eq!(
            (summary["init_from"]["layers"].as_u64(), summary["parameters"].as_u64()),
            (Some(2), Some(25_554))
        );
        let (net, encoder) = (model(&at.join("net")), model(&at.join("encoder")));
        assert_eq!(net.net.architecture().hidden, [32, 8]);
        for name in ["W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2"] {
            assert_eq!(values(&net, name), values(&encoder, name), "{device} {name}");
        }
        assert_eq!(net.columns, encoder.columns, "{device}");
    }
    // Its configuration names the start, and gives the same net again.
    let toml = std::fs::read_to_string(at.join("net/config.toml")).expect("a configuration");
    assert!(toml.contains("init-from = \"encoder\"") && toml.contains("preprocess = \"inherit\""), "{toml}");
    // One layer more on top, then all three in another net; fewer layers take what they have.
    train("encoder", &["--hidden", "32,8,5", "--device", "cpu", "--run-dir", "deeper"]);
    let summary =
        train("deeper/model.safetensors", &["--hidden", "32,8,5", "--device", "cpu", "--run-dir", "third"]);
    assert_eq!(summary["init_from"]["layers"].as_u64(), Some(3));
    assert_eq!(values(&model(&at.join("third")), "W3"), values(&model(&at.join("deeper")), "W3"));
    let short = train("encoder", &["--hidden", "32", "--device", "cpu"]);
    assert_eq!(short["init_from"]["layers"].as_u64(), Some(1));
    // A run that is gone on with needs the file no more.
    std::fs::rename(at.join("encoder"), at.join("moved")).expect("a folder");
    json(at, &["train", "mlp", "--resume", "net", "--epochs", "2", "--device", "cpu"]);
    std::fs::rename(at.join("moved"), at.join("encoder")).expect("a folder");

    json(
        at,
        &[
            "train",
            "softmax",
            "--epochs",
            "1",
            "--train-limit",
            "300",
            "--device",
            "cpu",
            "--run-dir",
            "linear",
        ],
    );
    for (from, more, part) in [
        ("encoder", &["--hidden", "32,9"][..], "hidden layer 2 has 9 neurons, that of the trained net 8"),
        ("encoder", &["--activation", "relu"], "hidden layers with relu, those of the trained net have tanh"),
        ("encoder", &["--batchnorm", "false"], "no normalisation"),
        ("encoder", &["--preprocess", "unit"], "of 784 columns otherwise than the net in encoder"),
        ("linear", &["--hidden", "32"], "no features to take over"),
        ("nowhere", &[], "nowhere"),
        ("encoder", &["--resume", "net"], "cannot be used with"),
    ] {
        let start = ["train", "mlp", "--device", "cpu", "--init-from", from, "--run-dir", "refused"];
        let start = if more.contains(&"--resume") { &start[..6] } else { &start[..] };
        let (code, message) = refused(at, &[start, more].concat());
        assert!(
            (code == 2 || from == "nowhere" && code == 3) && message.contains(part),
            "{from} {more:?}: {message}"
        );
        assert!(!at.join("refused").exists(), "nothing is written");
    }
}

#[test]
fn a_dry_run_says_what_the_run_then_does() {
    let dir = folder();
    let at = dir.path();
    let entries = |path: &Path| -> BTreeSet<String> {
        let names = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for model in ["autoencoder", "mlp", "svm"] {
        let options = ["--train-limit", "700", "--epochs", "2", "--batch-size", "40", "--device", "cpu"];
        let run = [&["train", model], &options[..]].concat();
        let before = entries(&at.join("runs"));
        let plan = json(at, &[&run[..], &["--dry-run"]].concat());
        assert_eq!(entries(&at.join("runs")), before, "{model}: nothing is written");
        let done = json(at, &run);
        for key in ["model", "objective", "parameters", "steps", "data"] {
            assert_eq!(plan[key], done[key], "{model}: {key}");
        }
        let layers = plan["layers"].as_array().expect("layers");
        let parameters: u64 = layers.iter().filter_map(|layer| layer["parameters"].as_u64()).sum();
        assert_eq!(Some(parameters), plan["parameters"].as_u64());
        let planned = plan["writes"].as_array().expect("files").iter().filter_map(Value::as_str);
        let planned: BTreeSet<String> =
            planned.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect();
        assert_eq!(entries(&at.join(format!("runs/{model}-1"))), planned, "{model}");
        let memory = &plan["memory"];
        let parts = ["parameters", "gradients", "optimizer", "best_epoch", "rows", "batch"];
        assert_eq!(number(&memory["total"]), parts.map(|part| number(&memory[part])).iter().sum::<f64>());
        assert_eq!(memory["optimizer"].as_u64(), Some(2 * 4 * parameters), "Adam keeps two numbers for each");
        assert_eq!(number(&memory["rows"]), 700.0 * 784.0);
    }
    let plan = json(
        at,
        &["train", "mlp", "--resume", "runs/mlp-1", "--epochs", "5", "--dry-run", "--device", "cpu"],
    );
    assert_eq!((plan["steps"].as_u64(), plan["steps_done"].as_u64()), (Some(80), Some(32)));
    // What the run would refuse is refused.
    let (code, message) = refused(at, &["train", "mlp", "--lr", "0", "--dry-run", "--device", "cpu"]);
    assert!(code == 2 && message.contains("learning rate is 0"), "{message}");
}

#[test]
fn steps_are_verified_without_changing_them() {
    for device in devices() {
        for (model, options) in [
            ("autoencoder", &["--hidden", "24,6", "--augment", "flip,shift:2"][..]),
            ("mlp", &["--hidden", "24,12", "--batchnorm", "--dropout", "0.2", "--class-weight", "balanced"]),
            ("mlp", &["--hidden", "24", "--layernorm", "--activation", "tanh", "--optimizer", "nesterov"]),
            ("svm", &["--optimizer", "rmsprop"]),
        ] {
            let dir = folder();
            let run = |more: &[&str]| {
                let start = ["train", model, "--train-limit", "400", "--epochs", "2", "--device", device];
                json(dir.path(), &[&start[..], options, more].concat())
            };
            run(&["--run-dir", "plain"]);
            let found = run(&["--run-dir", "verified", "--verify-cpu", "3"]);
            let found = &found["verification"];
            assert_eq!(
                (found["steps"].as_u64(), found["failed"].as_u64()),
                (Some(3), Some(0)),
                "{device} {model}"
            );
            let (worst, gradients) = (number(&found["worst_ratio"]), number(&found["gradient_error"]));
            // 32 bit leaves a trace, and a small one.
            assert!(
                worst > 0.0 && worst <= 1.0 && gradients > 0.0 && gradients < 1e-4,
                "{device} {model}: {found}"
            );
            let [plain, verified] = ["plain", "verified"].map(|run| dir.path().join(run));
            assert_eq!(history(&plain), history(&verified), "{device} {model}");
            assert!(bytes(&plain) == bytes(&verified), "{device} {model}: other bits");
        }
    }
}

#[test]
fn other_commands_take_it_too() {
    let dir = folder();
    let at = dir.path();
    let options = ["autoencoder", "--hidden", "32,8", "--train-limit", "400", "--device", "cpu"];
    let sane = json(at, &[&["sanity"], &options[..]].concat());
    assert_eq!((sane["checks"].as_u64(), sane["failed"].as_u64()), (Some(6), Some(0)), "{sane}");
    let folds = json(at, &[&["cv"], &options[..], &["--epochs", "2", "--folds", "3"]].concat());
    let losses: Vec<f64> =
        folds["results"].as_array().expect("folds").iter().map(|fold| number(&fold["loss"])).collect();
    assert!((number(&folds["mean"]) - losses.iter().sum::<f64>() / 3.0).abs() < 1e-9);
    let search = ["--epochs", "4", "--grid", "lr=1e-5,1e-3", "--halving"];
    let found = json(at, &[&["search"], &options[..], &search].concat());
    // The smaller rate hardly moves.
    assert_eq!(number(&found["best"]["params"]["lr"]), 1e-3, "{found}");
    assert!(found["best"]["val_accuracy"].is_null() && number(&found["best"]["val_loss"]) > 0.0);
    let kept = found["model_path"].as_str().expect("a model");
    let scored = json(at, &["eval", "--model", kept, "--train-limit", "400", "--device", "cpu"]);
    assert!(number(&scored["explained"]) > 0.0);
}
