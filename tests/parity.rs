//! Every operation × variant × device against its definition: the grid of the op table and random shapes.
//!
//! `CS231N_GPU=require` makes a missing adapter a failure, `CS231N_GPU=off` leaves the GPU out; what is left out is
//! listed as ignored. `cargo test --test parity -- cpu/matmul` runs a part.

use std::process::ExitCode;

use cs231n_gpu::Device;
use cs231n_gpu::gpu::{Choice, Gpu, LimitsMode, Options};
use cs231n_gpu::ops::{Case, Effort, OPS, Op};
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for device in [Device::Reference, Device::Cpu] {
        trials.extend(trials_on(device.kind(), &device));
    }
    // Recycled buffers are poisoned, so that a kernel which leaves an output unwritten cannot pass.
    let adapter = Options { poison: true, ..Options::default() };
    let defaults = Options { limits: LimitsMode::WebGpuDefault, ..adapter };
    let checked = Options { checked: true, ..adapter };
    let mut comparisons = 0;
    for (name, options) in [("gpu", adapter), ("gpu-default-limits", defaults), ("gpu-checked", checked)] {
        match open(&options) {
            Ok(gpu) => {
                if comparisons == 0 {
                    println!("gpu: {}", gpu.info());
                }
                let on_gpu = trials_on(name, &Device::Gpu(gpu));
                comparisons += on_gpu.len();
                trials.extend(on_gpu);
            }
            Err(reason) => {
                let required = std::env::var("CS231N_GPU").is_ok_and(|mode| mode == "require");
                let failure = Failed::from(reason.clone());
                let trial = Trial::test(format!("{name} ({reason})"), move || Err(failure));
                trials.push(trial.with_ignored_flag(!required));
            }
        }
    }
    println!("gpu comparisons: {comparisons} operation variants");
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn open(options: &Options) -> Result<Gpu, String> {
    if std::env::var("CS231N_GPU").is_ok_and(|mode| mode == "off") {
        return Err("CS231N_GPU=off".into());
    }
    Gpu::open(&Choice::Any, options).map_err(|error| error.to_string())
}

fn trials_on(name: &str, device: &Device) -> Vec<Trial> {
    let mut trials = Vec::new();
    for op in OPS.iter().copied() {
        for variant in (op.variants)(device) {
            let (grid, random) = (device.clone(), device.clone());
            let same = variant.clone();
            trials.push(Trial::test(format!("{name}/{}/{variant}/grid", op.name), move || {
                on_grid(op, &grid, &variant)
            }));
            let title = format!("{name}/{}/{same}/random", op.name);
            trials.push(Trial::test(title, move || on_random_shapes(op, &random, &same)));
        }
    }
    trials
}

fn on_grid(op: &Op, device: &Device, variant: &str) -> Result<(), Failed> {
    for (seed, shape) in (1..).zip((op.shapes)(Effort::Full)) {
        compare(op, device, Case { variant: variant.into(), shape, seed })?;
    }
    Ok(())
}

fn on_random_shapes(op: &Op, device: &Device, variant: &str) -> Result<(), Failed> {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let shapes = proptest::collection::vec(0usize..140, op.dimensions.len());
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&(shapes, any::<u64>()), |(mut shape, seed)| {
        // Four large dimensions make the definition slow and show nothing that three do not.
        if let [batch, _, _, _] = shape.as_mut_slice() {
            *batch %= 8;
        }
        (op.fit)(&mut shape);
        compare(op, device, Case { variant: variant.into(), shape, seed })
            .map_err(|failed| TestCaseError::fail(failed.message().unwrap_or_default().to_owned()))
    });
    outcome.map_err(|error| Failed::from(error.to_string()))
}

fn compare(op: &Op, device: &Device, case: Case) -> Result<(), Failed> {
    let worst = (op.check)(device, &case).map_err(|error| format!("{} {case:?}: {error}", op.name))?;
    if worst.ok() { Ok(()) } else { Err(format!("{} {case:?}: {worst}", op.name).into()) }
}
