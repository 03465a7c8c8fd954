//! What the tests that need a device share.

use std::io::Write;

use cs231n_gpu::gpu::{Choice, Gpu, Options};

/// Opens the best adapter, a software one included. Without one the test is skipped, visibly: `CS231N_GPU=require` makes that a failure,
/// `CS231N_GPU=off` skips on purpose.
pub fn open(options: Options) -> Option<Gpu> {
    let mode = std::env::var("CS231N_GPU").unwrap_or_default();
    if mode == "off" {
        return skip("CS231N_GPU=off");
    }
    match Gpu::open(&Choice::Any, &options) {
        Ok(gpu) => Some(gpu),
        Err(error) if mode == "require" => panic!("CS231N_GPU=require, but {error}"),
        Err(error) => skip(&format!("no adapter ({error})")),
    }
}

/// Says so past the test harness, which hides what passing tests print.
fn skip(why: &str) -> Option<Gpu> {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    None
}
