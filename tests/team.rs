//! Nets trained together become what they become alone.

mod common;

use cs231n_gpu::data::preprocess::Columns;
use cs231n_gpu::gpu::Options;
use cs231n_gpu::nn::feed::Feed;
use cs231n_gpu::nn::model::{Architecture, FullyConnectedNet, HiddenDropout, Init, Normalization, Objective};
use cs231n_gpu::nn::optim::Rule;
use cs231n_gpu::nn::schedule::Schedule;
use cs231n_gpu::nn::solver::{Ended, Solver, Training};
use cs231n_gpu::nn::team::{Outcome, Team};
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::rows::{Rows, Values};
use cs231n_gpu::{Device, Error, Result};

const FEATURES: usize = 20;

/// Rows with labels that can be learned, and how they are brought into range.
fn rows(count: usize) -> Result<(Rows, Vec<u32>, Columns)> {
    let pixels: Vec<u8> = (0..count * FEATURES).map(|i| (i * 7919 % 251) as u8).collect();
    let label = |row: &[u8]| u32::from(row[0] > 120) + u32::from(row[1] > 120);
    let labels = pixels.chunks_exact(FEATURES).map(label).collect();
    let columns = Columns { shift: vec![125.0; FEATURES], scale: vec![0.01; FEATURES] };
    Ok((Rows::new(Values::U8(pixels), FEATURES)?, labels, columns))
}

/// A run of a net with this rate, penalty and probability to drop.
fn solver(device: &Device, plain: &Architecture, rule: Rule, [rate, reg, drop]: [f64; 3]) -> Result<Solver> {
    let dropout = (drop > 0.0).then_some(HiddenDropout { drop, seed: 5 });
    let architecture = Architecture { reg, dropout, ..plain.clone() };
    let net = FullyConnectedNet::new(device, architecture, Init::He, &mut RandomState::new(1))?;
    let training = Training {
        rule,
        learning_rate: rate,
        schedule: Schedule::Cosine,
        warmup: 3,
        batch_size: 32,
        epochs: 4,
        max_steps: None,
        patience: None,
        seed: 3,
        augment: None,
    };
    Solver::new(net, training)
}

/// What runs come to together, or each alone, in two parts with a pause between.
fn trained(
    device: &Device,
    make: &dyn Fn() -> Result<Vec<Solver>>,
    together: bool,
) -> Result<Vec<(Solver, Outcome)>> {
    let (rows, labels, columns) = rows(150)?;
    let feed = |from: usize, to: usize| {
        Feed::new(device, rows.view().range(from..to), Some(&labels[from..to]), &columns, None)
    };
    let (mut train, mut watched, mut validation) = (feed(0, 110)?, feed(0, 50)?, feed(110, 150)?);
    if !together {
        let alone = |mut solver: Solver| {
            let outcome = solver.run_until(&mut train, &mut watched, Some(&mut validation), &mut |_| false);
            Ok((solver, outcome))
        };
        return make()?.into_iter().map(alone).collect();
    }
    let mut team = Team::join(make()?)?;
    team.run_until(&mut train, &mut watched, Some(&mut validation), &mut |epoch| epoch == 2)?;
    let (going, over): (Vec<_>, Vec<_>) =
        team.split()?.into_iter().partition(|(_, outcome)| matches!(outcome, Ok(None)));
    assert!(
        over.iter()
            .all(|(solver, _)| solver.history.epochs.len() < 2 || solver.training().patience.is_some())
    );
    let mut team = Team::join(going.into_iter().map(|(solver, _)| solver).collect())?;
    team.run_until(&mut train, &mut watched, Some(&mut validation), &mut |_| false)?;
    let mut all = team.split()?;
    all.extend(over);
    Ok(all)
}

/// The numbers of a run that do not depend on the clock.
fn numbers(solver: &Solver) -> Result<Vec<f64>> {
    let mut all: Vec<f64> = solver.net.parameters.to_f64()?;
    all.extend(solver.history.losses.iter().copied().map(f64::from));
    for epoch in &solver.history.epochs {
        all.extend([epoch.learning_rate, epoch.train_loss]);
        all.extend([epoch.train_accuracy, epoch.val_loss, epoch.val_accuracy].into_iter().flatten());
    }
    for net in [Some(&solver.net), solver.best.as_ref()].into_iter().flatten() {
        all.extend(net.parameters.to_f64()?);
        for norm in &net.norms {
            all.extend(norm.moments.as_ref().map_or(Ok(Vec::new()), |moments| moments.to_f64())?);
        }
    }
    for state in solver.optimizer.states() {
        all.extend(state.to_f64()?);
    }
    Ok(all)
}

fn agree(device: &Device, name: &str, make: &dyn Fn() -> Result<Vec<Solver>>) -> Result<()> {
    let (together, alone) = (trained(device, make, true)?, trained(device, make, false)?);
    assert_eq!(together.len(), alone.len());
    for (solver, outcome) in &together {
        // A team that was joined anew may stand in another order; rates tell the runs apart.
        let same = |(other, _): &&(Solver, Outcome)| other.training() == solver.training();
        let Some((other, expected)) = alone.iter().find(same) else { panic!("{name}: no such run alone") };
        assert_eq!(solver.history.best_epoch, other.history.best_epoch, "{name}");
        match (outcome, expected) {
            (Ok(outcome), Ok(expected)) => assert_eq!(outcome, expected, "{name}"),
            (Err(Error::Diverged { step, .. }), Err(Error::Diverged { step: expected, .. })) => {
                assert_eq!(step, expected, "{name}");
                continue;
            }
            (outcome, expected) => panic!("{name}: {outcome:?}, alone {expected:?}"),
        }
        let (got, want) = (numbers(solver)?, numbers(other)?);
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            match device {
                // Kernels may differ, and with them the order of additions.
                Device::Gpu(_) => {
                    assert!(
                        (got - want).abs() <= 2e-4 * (1.0 + want.abs()),
                        "{name}: number {i} is {got}, alone {want}"
                    )
                }
                _ => assert!(got == want, "{name}: number {i} is {got}, alone {want}"),
            }
        }
    }
    Ok(())
}

fn devices() -> Vec<Device> {
    let gpu = common::open(Options::default()).map(Device::Gpu);
    [Some(Device::Reference), Some(Device::Cpu), gpu].into_iter().flatten().collect()
}

const ADAM: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true };

#[test]
fn nets_become_what_they_become_alone() -> Result<()> {
    let deep = Architecture::new(FEATURES, &[13, 8], 3);
    let normal = Architecture { normalization: Normalization::Batch, ..deep.clone() };
    let momentum = Rule::Momentum { momentum: 0.9 };
    let svm = Architecture { objective: Objective::Hinge(1.0), ..Architecture::new(FEATURES, &[], 3) };
    let weighted =
        Architecture { class_weights: Some(vec![1.0, 0.5, 2.0]), ..Architecture::new(FEATURES, &[16], 3) };
    for device in devices() {
        for (name, architecture, rule) in [
            ("deep", &deep, ADAM),
            ("normalised", &normal, momentum),
            ("svm", &svm, Rule::Sgd),
            (
                "weighted",
                &weighted,
                Rule::AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 },
            ),
        ] {
            agree(&device, name, &|| {
                [[1e-3, 0.0, 0.0], [1e-2, 0.1, 0.3], [3e-2, 1e-3, 0.0], [1e-4, 1.0, 0.5], [2e-3, 0.0, 0.1]]
                    .map(|numbers| solver(&device, architecture, rule, numbers))
                    .into_iter()
                    .collect()
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_run_that_ends_leaves_the_others_as_they_are() -> Result<()> {
    let plain = Architecture::new(FEATURES, &[8], 3);
    for device in devices() {
        agree(&device, "endings", &|| {
            let mut all = [[1e-3, 0.0, 0.0], [1e30, 0.0, 0.0], [1e-2, 0.0, 0.0], [1e-12, 0.0, 0.0]]
                .map(|numbers| solver(&device, &plain, Rule::Sgd, numbers))
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            // Nothing is learned at such a rate.
            let patient = Training { patience: Some(1), ..all[3].training().clone() };
            all[3].go_on_with(patient)?;
            Ok(all)
        })?;
    }
    Ok(())
}

#[test]
fn only_what_is_alike_is_trained_together() -> Result<()> {
    let device = Device::Cpu;
    let plain = Architecture::new(FEATURES, &[8], 3);
    let make = |architecture: &Architecture, rule| solver(&device, architecture, rule, [1e-3, 0.0, 0.0]);
    let first = make(&plain, ADAM)?;
    let layer = Architecture { normalization: Normalization::Layer, ..plain.clone() };
    for other in [
        make(&Architecture::new(FEATURES, &[9], 3), ADAM)?,
        make(&plain, Rule::Sgd)?,
        make(&layer, ADAM)?,
        make(&Architecture { objective: Objective::Hinge(1.0), ..plain.clone() }, ADAM)?,
    ] {
        assert!(!Team::meet(&first, &other));
    }
    let mut longer = make(&plain, ADAM)?;
    longer.go_on_with(Training { epochs: 9, ..first.training().clone() })?;
    assert!(!Team::meet(&first, &longer));
    let error = Team::join(vec![first, longer]).err().expect("a refusal");
    assert!(error.to_string().contains("2 runs that cannot be trained together"), "{error}");
    assert!(Team::join(Vec::new()).is_err());
    assert!(matches!(
        trained(&device, &|| Ok(vec![make(&plain, ADAM)?, make(&plain, ADAM)?]), true)?[0].1,
        Ok(Some(Ended::Epochs))
    ));
    Ok(())
}
