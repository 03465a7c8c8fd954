//! What a training step costs: launches, submissions, and that nothing is made or kept after the first epoch.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use cs231n_gpu::data::preprocess::Columns;
use cs231n_gpu::gpu::{Counters, Options};
use cs231n_gpu::nn::feed::Feed;
use cs231n_gpu::nn::model::{Architecture, FullyConnectedNet, HiddenDropout, Init, Normalization};
use cs231n_gpu::nn::optim::Rule;
use cs231n_gpu::nn::rehearsal::rehearse;
use cs231n_gpu::nn::schedule::Schedule;
use cs231n_gpu::nn::solver::{Cost, Event, Solver, Training};
use cs231n_gpu::nn::team::Team;
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::rows::{Rows, Values};
use cs231n_gpu::{Device, Result};

/// One test at a time: they watch the memory of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const ADAM: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true };

/// Pixel rows with labels for a net, and how they are brought into range.
fn data(architecture: &Architecture, rows: usize) -> Result<(Rows, Vec<u32>, Columns)> {
    let features = architecture.inputs;
    let pixels: Vec<u8> = (0..rows * features).map(|i| (i * 7919 % 251) as u8).collect();
    let labels: Vec<u32> = (0..rows as u32).map(|i| i * 31 % architecture.outputs as u32).collect();
    let columns = Columns { shift: vec![125.0; features], scale: vec![0.01; features] };
    Ok((Rows::new(Values::U8(pixels), features)?, labels, columns))
}

/// A run before its first step.
fn solver(
    device: &Device,
    architecture: Architecture,
    [batch_size, epochs]: [usize; 2],
    learning_rate: f64,
) -> Result<Solver> {
    let net = FullyConnectedNet::new(device, architecture, Init::He, &mut RandomState::new(1))?;
    let training = Training {
        rule: ADAM,
        learning_rate,
        schedule: Schedule::Constant,
        warmup: 0,
        batch_size,
        epochs: epochs as u64,
        max_steps: None,
        patience: None,
        seed: 3,
        augment: None,
    };
    Solver::new(net, training)
}

/// Trains on `rows` pixel rows, with validation, and calls `after` at the end of each epoch.
fn train(
    device: &Device,
    architecture: Architecture,
    [rows, batch_size, epochs]: [usize; 3],
    mut after: impl FnMut(u64),
) -> Result<Solver> {
    let (rows, labels, columns) = data(&architecture, rows)?;
    let feed = || Feed::new(device, rows.view(), Some(&labels), &columns, None);
    let mut solver = solver(device, architecture, [batch_size, epochs], 1e-3)?;
    solver.run(&mut feed()?, &mut feed()?, Some(&mut feed()?), &mut |_, event| {
        if let Event::Epoch(epoch) = event {
            after(epoch.epoch);
        }
        Ok(())
    })?;
    Ok(solver)
}

fn gpu() -> Option<cs231n_gpu::gpu::Gpu> {
    common::open(Options { poison: false, ..Options::default() })
}

#[test]
fn a_step_of_a_two_layer_net_is_eight_launches() -> Result<()> {
    let _alone = alone();
    let Some(gpu) = gpu() else { return Ok(()) };
    let device = Device::Gpu(gpu);
    let large = train(&device, Architecture::new(3072, &[512], 10), [512, 256, 1], |_| ())?;
    assert_eq!((large.cost().steps, large.cost().dispatches), (2, 2 * 8));
    // The work of these steps fits into one submission by far, so that its launches bound it.
    let small = train(&device, Architecture::new(64, &[32], 10), [64 * 16, 16, 1], |_| ())?;
    assert_eq!((small.cost().steps, small.cost().dispatches), (64, 64 * 8));
    assert!(small.cost().steps_per_submission() >= 16.0, "{:?}", small.cost());
    Ok(())
}

/// Trains 16 nets together, as [`train`] trains one; returns what their steps have cost.
fn train_together(
    device: &Device,
    architecture: &Architecture,
    [rows, batch_size, epochs]: [usize; 3],
    mut after: impl FnMut(u64),
) -> Result<Cost> {
    let (rows, labels, columns) = data(architecture, rows)?;
    let feed = || Feed::new(device, rows.view(), Some(&labels), &columns, None);
    let solvers =
        (1..17).map(|i| solver(device, architecture.clone(), [batch_size, epochs], 1e-4 * f64::from(i)));
    let mut team = Team::join(solvers.collect::<Result<_>>()?)?;
    team.run_until(&mut feed()?, &mut feed()?, Some(&mut feed()?), &mut |epoch| {
        after(epoch);
        false
    })?;
    Ok(team.cost())
}

#[test]
fn sixteen_nets_cost_the_launches_of_one() -> Result<()> {
    let _alone = alone();
    let Some(gpu) = gpu() else { return Ok(()) };
    let cost =
        train_together(&Device::Gpu(gpu), &Architecture::new(64, &[32], 10), [64 * 16, 16, 1], |_| ())?;
    assert_eq!((cost.steps, cost.dispatches), (64, 64 * 8));
    assert!(cost.steps_per_submission() >= 16.0, "{cost:?}");
    Ok(())
}

#[test]
fn nothing_is_made_after_the_first_epoch() -> Result<()> {
    let _alone = alone();
    let plain = Architecture::new(64, &[32], 10);
    let rich = Architecture {
        normalization: Normalization::Batch,
        dropout: Some(HiddenDropout { drop: 0.2, seed: 1 }),
        ..Architecture::new(64, &[33, 32], 10)
    };
    for (architecture, together) in [(&plain, false), (&rich, false), (&plain, true), (&rich, true)] {
        let Some(gpu) = gpu() else { return Ok(()) };
        let mut seen = Vec::new();
        // The last batch is a short one.
        let (device, size) = (Device::Gpu(gpu.clone()), [300, 32, 4]);
        if together {
            train_together(&device, architecture, size, |_| seen.push(gpu.counters()))?;
        } else {
            train(&device, architecture.clone(), size, |_| seen.push(gpu.counters()))?;
        }
        let made = |counters: &Counters| {
            (counters.pipelines, counters.bind_groups, counters.buffers, counters.allocated_bytes)
        };
        assert_eq!(seen.len(), 4);
        assert!(seen[1].dispatches < seen[3].dispatches);
        assert_eq!(made(&seen[1]), made(&seen[3]), "{seen:?}");
    }
    Ok(())
}

#[test]
fn every_kernel_that_is_rehearsed_is_one_of_the_step() -> Result<()> {
    let _alone = alone();
    let plain = Architecture::new(192, &[96], 10);
    let deep = Architecture { hidden: vec![96, 128], ..plain.clone() };
    let dropped = Architecture {
        normalization: Normalization::Batch,
        dropout: Some(HiddenDropout { drop: 0.2, seed: 1 }),
        ..deep.clone()
    };
    let linear = Architecture { hidden: vec![], ..plain.clone() };
    for architecture in [plain, deep, dropped, linear] {
        let pipelines = |rehearsal: bool| -> Result<Option<[u64; 2]>> {
            let Some(gpu) = gpu() else { return Ok(None) };
            let device = Device::Gpu(gpu.clone());
            let before = gpu.counters();
            if rehearsal {
                let new = solver(&device, architecture.clone(), [128, 1], 1e-3)?;
                rehearse(&device, &architecture, new.training(), new.net.parameters.flat().len())?;
            }
            let first = gpu.counters().since(&before).pipelines;
            train(&device, architecture.clone(), [128, 128, 1], |_| ())?;
            Ok(Some([first, gpu.counters().since(&before).pipelines]))
        };
        let (Some([_, of_step]), Some([first, with])) = (pipelines(false)?, pipelines(true)?) else {
            return Ok(());
        };
        // At least a product and the update.
        assert!(first >= 2 && with == of_step, "{first} of {with}, {of_step}: {architecture:?}");
    }
    Ok(())
}

/// Bytes of the process in memory.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the system's count");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn memory_stays_flat_from_the_second_epoch_on() -> Result<()> {
    let _alone = alone();
    for device in [Some(Device::Cpu), gpu().map(Device::Gpu)].into_iter().flatten() {
        let mut seen = Vec::new();
        let (rows, batch, epochs) = (512, 32, 12);
        train(&device, Architecture::new(784, &[64], 10), [rows, batch, epochs], |_| seen.push(resident()))?;
        let grown = seen[epochs - 1].saturating_sub(seen[1]);
        // A batch alone is 98 KiB: what forgot one in each of the 160 steps would keep 15 MiB. The allocator may move its end by a tenth of that.
        let steps = (epochs - 2) * rows / batch;
        let forgotten = (steps * batch * 784 * 4) as u64;
        assert!(grown < forgotten / 10, "{}: {grown} of {forgotten} bytes, {seen:?}", device.kind());
    }
    Ok(())
}
