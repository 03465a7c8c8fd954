//! Model files in the eyes of Python: numpy and the `safetensors` package, which know nothing of this program, read a model by PyTorch's
//! names and come to the same probabilities.
//!
//! The interpreter is that of `CS231N_PYTHON`, which must then have the packages of `tests/python/requirements.txt`; else it is `python3`, and
//! where that lacks them the test is skipped, visibly.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use cs231n_gpu::data::write;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/model.py");

/// An interpreter that has the packages.
fn python() -> Option<String> {
    let named = std::env::var("CS231N_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import numpy, safetensors"]).output();
    if imported.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(named.is_none(), "CS231N_PYTHON={python} does not import numpy and safetensors: {imported:?}");
    // Past the test harness, which hides what passing tests print.
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {python} has no numpy or no safetensors");
    None
}

fn run(dir: &Path, arguments: &[&str]) {
    let mut command = Command::new(cargo_bin("cs231n-gpu"));
    let output = command.current_dir(dir).args(arguments).env_remove("CS231N_GPU_DEVICE").output();
    let output = output.expect("the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Rows of 3 classes in 7 features: each class has a mean of its own.
fn data(dir: &Path) {
    for (name, rows) in [("train", 240usize), ("test", 60)] {
        let value =
            |i: usize, j: usize| ((i * 37 + j * 11 + i * j * 5) % 29) as f32 / 7.0 + ((i % 3) * j) as f32;
        let x: Vec<f32> = (0..rows * 7).map(|at| value(at / 7, at % 7)).collect();
        let y: Vec<i64> = (0..rows).map(|i| (i % 3) as i64).collect();
        write::npy(dir.join(format!("{name}_x.npy")), &[rows, 7], &x).expect("rows");
        write::npy(dir.join(format!("{name}_y.npy")), &[rows], &y).expect("labels");
    }
}

const DATA: [&str; 6] = ["--train-x", "train_x.npy", "--train-y", "train_y.npy", "--test-x", "test_x.npy"];

#[test]
fn models_are_what_they_say() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    data(dir);
    let compare = |model: &str, probabilities: &str| -> Output {
        let files = [&format!("{model}/model.safetensors"), "test_x.npy", probabilities];
        Command::new(&python).current_dir(dir).arg(SCRIPT).args(files).output().expect("python")
    };
    let mlp = ["train", "mlp", "--hidden", "12,9"];
    let models: [(&str, &[&str]); 7] = [
        ("softmax", &["train", "softmax"]),
        ("relu", &mlp),
        ("batchnorm", &[&mlp[..], &["--batchnorm"]].concat()),
        ("layernorm", &[&mlp[..], &["--layernorm", "--activation", "leaky-relu"]].concat()),
        ("sigmoid", &[&mlp[..], &["--activation", "sigmoid"]].concat()),
        ("tanh", &[&mlp[..], &["--activation", "tanh", "--batchnorm"]].concat()),
        // 64-bit numbers in the file.
        ("wide", &[&mlp[..], &["--batchnorm", "--device", "reference"]].concat()),
    ];
    for (name, train) in models {
        let device: &[&str] = if train.contains(&"--device") { &[] } else { &["--device", "cpu"] };
        let options = ["--epochs", "3", "--batch-size", "20", "--run-dir", name];
        run(dir, &[train, &options, &DATA, device].concat());
        let out = format!("{name}.npy");
        let predict = ["predict", "--proba", "--model", name, "--out", &out, "--device", "reference"];
        run(dir, &[&predict[..], &DATA].concat());
        let output = compare(name, &out);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with("60 rows x 3 classes"), "{said}");
        println!("{name}: {}", said.trim_end());
    }
    // The comparison sees a difference: the probabilities of another model.
    let output = compare("relu", "tanh.npy");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("by numpy"), "{said}");
}
