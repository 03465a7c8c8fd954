//! The program as tests start it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

use crate::common;

pub fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("cs231n-gpu"));
    command.current_dir(dir).args(arguments).env_remove("CS231N_GPU_DEVICE");
    // What is measured on this machine changes what auto chooses.
    command.env("CS231N_GPU_CACHE", "off");
    command
}

/// Runs and returns the JSON on standard output.
pub fn json(dir: &Path, arguments: &[&str]) -> Value {
    let output = command(dir, arguments).args(["--format", "json"]).output().expect("the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a JSON document")
}

/// Runs what must be refused; returns exit code and message.
pub fn refused(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = command(dir, arguments).output().expect("the program");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A history without the seconds, which are no result.
pub fn history(run: &Path) -> Value {
    let text = std::fs::read_to_string(run.join("history.json")).expect("a history");
    let mut history: Value = serde_json::from_str(&text).expect("JSON");
    for epoch in history["epochs"].as_array_mut().expect("epochs") {
        epoch.as_object_mut().expect("an epoch").remove("seconds");
    }
    history
}

/// Devices of this machine, as `--device` names them.
pub fn devices() -> Vec<&'static str> {
    let gpu = common::open(cs231n_gpu::gpu::Options::default()).map(|_| "gpu");
    ["cpu"].into_iter().chain(gpu).collect()
}
