//! Nets that stand side by side in the columns are each as if alone: grouped operations equal separate calls, bit for bit on the host.

mod common;

use cs231n_gpu::gpu::Options;
use cs231n_gpu::ops::cross_entropy::{cross_entropy, cross_entropy_grouped, cross_entropy_weighted};
use cs231n_gpu::ops::dropout::{Dropout, Drops, MaskKey, dropout, dropout_grouped};
use cs231n_gpu::ops::hinge_loss::{hinge_loss, hinge_loss_grouped, hinge_loss_weighted};
use cs231n_gpu::ops::losses::Losses;
use cs231n_gpu::ops::optimizer::{Owners, Rule, Step, update, update_grouped};
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::{Device, Result, Tensor};
use proptest::prelude::*;

const HOSTS: [Device; 2] = [Device::Reference, Device::Cpu];

fn gpu() -> Option<Device> {
    common::open(Options::default()).map(Device::Gpu)
}

fn randoms(seed: u32, n: usize) -> Vec<f32> {
    RandomState::new(seed).randn(n).into_iter().map(|x| x as f32).collect()
}

/// Net g of matrices side by side: its columns of every row.
fn columns_of(all: &[f64], nets: usize, columns: usize, net: usize) -> Vec<f64> {
    all.chunks_exact(nets * columns).flat_map(|row| &row[net * columns..][..columns]).copied().collect()
}

/// The same bits, so that NaN equals NaN.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn losses_of(hinge: bool, scores: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Result<Losses> {
    match (hinge, weights) {
        (false, None) => cross_entropy(scores, labels),
        (false, Some(weights)) => cross_entropy_weighted(scores, labels, weights),
        (true, None) => hinge_loss(scores, labels, 1.0),
        (true, Some(weights)) => hinge_loss_weighted(scores, labels, weights, 1.0),
    }
}

fn each_net_has_its_own_loss([rows, nets, classes]: [usize; 3], hinge: bool, weighted: bool) -> Result<()> {
    let mut scores = randoms(1, rows * nets * classes);
    if let Some(score) = scores.last_mut() {
        *score = f32::NAN;
    }
    let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
    let weights: Vec<f32> = (0..classes).map(|class| class as f32 / 3.0).collect();
    for device in HOSTS {
        let all = Tensor::from_f32(&device, &[rows, nets * classes], &scores)?;
        let labels = Tensor::from_u32(&device, &[rows], &labels)?;
        let weights = weighted.then(|| Tensor::from_f32(&device, &[classes], &weights)).transpose()?;
        let grouped = match hinge {
            false => cross_entropy_grouped(&all, &labels, weights.as_ref(), nets)?,
            true => hinge_loss_grouped(&all, &labels, weights.as_ref(), 1.0, nets)?,
        };
        assert_eq!(grouped.losses.shape(), [rows, nets]);
        assert_eq!(grouped.gradient.shape(), [rows, nets * classes]);
        for net in 0..nets {
            let own = columns_of(&all.to_f64()?, nets, classes, net);
            let own = Tensor::from_f64(&device, &[rows, classes], &own)?;
            let alone = losses_of(hinge, &own, &labels, weights.as_ref())?;
            let of_net = |tensor: &Tensor, columns| Ok(columns_of(&tensor.to_f64()?, nets, columns, net));
            assert_eq!(bits(&alone.losses.to_f64()?), bits(&of_net(&grouped.losses, 1)?));
            assert_eq!(bits(&alone.gradient.to_f64()?), bits(&of_net(&grouped.gradient, classes)?));
        }
    }
    Ok(())
}

fn each_net_has_its_own_mask(
    [rows, nets, columns]: [usize; 3],
    inverted: bool,
    key: MaskKey,
    device: &Device,
) -> Result<()> {
    let x = Tensor::from_f32(device, &[rows, nets * columns], &randoms(2, rows * nets * columns))?;
    // The first net drops nothing.
    let drops: Vec<f64> = (0..nets).map(|net| (net % 4) as f64 * 0.3).collect();
    let y = dropout_grouped(&x, &Drops::new(device, &drops, inverted)?, key)?.to_f64()?;
    for (net, &drop) in drops.iter().enumerate() {
        let own = columns_of(&x.to_f64()?, nets, columns, net);
        let own = Tensor::from_f64(device, &[rows, columns], &own)?;
        let alone = dropout(&own, &Dropout { drop, inverted, key })?.to_f64()?;
        assert_eq!(bits(&alone), bits(&columns_of(&y, nets, columns, net)), "net {net} of {nets}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses(
        rows in 0usize..40, nets in 1usize..6, classes in 1usize..40, hinge: bool, weighted: bool,
    ) {
        each_net_has_its_own_loss([rows, nets, classes], hinge, weighted).expect("losses");
    }

    #[test]
    fn masks(
        rows in 0usize..40, nets in 1usize..6, columns in 1usize..70, inverted: bool, seed: u64, step: u32,
    ) {
        let key = MaskKey { seed, step, layer: 3 };
        for device in HOSTS {
            each_net_has_its_own_mask([rows, nets, columns], inverted, key, &device).expect("masks");
        }
    }
}

#[test]
fn losses_and_masks_of_more_than_a_task() -> Result<()> {
    for hinge in [false, true] {
        each_net_has_its_own_loss([3000, 5, 10], hinge, true)?;
    }
    let key = MaskKey { seed: 1 << 40, step: 5, layer: 1 };
    for device in HOSTS.into_iter().chain(gpu()) {
        for shape in [[500, 16, 50], [300, 3, 33], [64, 8, 64], [1, 1, 7]] {
            each_net_has_its_own_mask(shape, true, key, &device)?;
        }
    }
    Ok(())
}

/// A rule of each kind for net `net`, with numbers of its own.
fn rules(net: usize) -> [Rule; 7] {
    let share = 0.9 - net as f64 / 10.0;
    let (beta1, beta2, epsilon) = (share, 0.999 - net as f64 / 1000.0, 1e-8);
    [
        Rule::Sgd,
        Rule::Momentum { momentum: share },
        Rule::Nesterov { momentum: share },
        Rule::Adagrad { epsilon },
        Rule::RmsProp { decay: share, epsilon },
        Rule::Adam { beta1, beta2, epsilon, corrected: net != 1 },
        Rule::AdamW { beta1, beta2, epsilon, weight_decay: share / 10.0 },
    ]
}

fn step(net: usize, regularized: usize, count: u32) -> Step {
    let learning_rate = 0.1 / (net + 1) as f64 / f64::from(count);
    Step { learning_rate, l2: net as f64 * 0.2, regularized, count: count + net as u32 }
}

/// Steps of all nets together and of each alone, the last net with a gradient that is not finite.
fn each_net_moves_alone([rows, nets, columns]: [usize; 3], kind: usize) -> Result<()> {
    let n = rows * nets * columns;
    let owners: Vec<u32> = (0..n).map(|i| (i / columns % nets) as u32).collect();
    let (start, mut gradient) = (randoms(3, n), randoms(4, n));
    for row in gradient.chunks_exact_mut(nets * columns) {
        row[nets * columns - 1] = [f32::NAN, f32::INFINITY][columns % 2];
    }
    // The biases of the nets are the last row.
    let decayed = rows.saturating_sub(1);
    for device in HOSTS {
        let tensor = |values: &[f64]| Tensor::from_f64(&device, &[values.len()], values);
        let mut w = Tensor::from_f32(&device, &[n], &start)?;
        let gradient = Tensor::from_f32(&device, &[n], &gradient)?;
        let rules: Vec<_> = (0..nets).map(|net| rules(net)[kind]).collect();
        let states = rules[0].states();
        let mut state = vec![tensor(&vec![0.0; n])?; states];
        let mut owners = Owners::new(&device, &owners, nets)?;
        let mut alone = Vec::new();
        for net in 0..nets {
            let own = |all: &Tensor| tensor(&columns_of(&all.to_f64()?, nets, columns, net));
            alone.push((own(&w)?, own(&gradient)?, vec![tensor(&vec![0.0; rows * columns])?; states]));
        }
        for count in 1..=3 {
            let steps: Vec<_> = (0..nets).map(|net| step(net, decayed * nets * columns, count)).collect();
            let mut places: Vec<_> = state.iter_mut().collect();
            update_grouped(&rules, &steps, &mut owners, &mut w, &gradient, &mut places)?;
            for (net, (w, gradient, state)) in alone.iter_mut().enumerate() {
                update(&rules[net], &step(net, decayed * columns, count), w, gradient, state)?;
            }
        }
        for (net, (own, _, own_state)) in alone.iter().enumerate() {
            for (own, all) in [own].into_iter().chain(own_state).zip([&w].into_iter().chain(&state)) {
                let got = columns_of(&all.to_f64()?, nets, columns, net);
                assert_eq!(bits(&own.to_f64()?), bits(&got), "{:?}, net {net} of {nets}", rules[net]);
                assert!(net == nets - 1 || got.iter().all(|value| value.is_finite()));
            }
        }
    }
    Ok(())
}

#[test]
fn a_step_moves_each_net_as_if_it_were_alone() -> Result<()> {
    for kind in 0..7 {
        for shape in [[9, 3, 10], [4, 5, 1], [3, 2, 129], [70, 4, 100], [2, 1, 20_000], [1, 2, 9]] {
            each_net_moves_alone(shape, kind)?;
        }
    }
    Ok(())
}

/// The table of a step that waits for its launch must not be overwritten by a later step's.
#[test]
fn recorded_steps_keep_their_numbers_and_make_nothing() -> Result<()> {
    let Some(device) = gpu() else { return Ok(()) };
    let Device::Gpu(gpu) = &device else { return Ok(()) };
    let (nets, columns, n) = (3, 10, 300);
    let owners: Vec<u32> = (0..n).map(|i| (i / columns % nets) as u32).collect();
    let rules: Vec<_> = (0..nets).map(|net| rules(net)[1]).collect();
    let walk = |device: &Device, first: u32, ends: &[u32], seen: &mut Vec<_>| -> Result<Vec<f64>> {
        let mut owners = Owners::new(device, &owners, nets)?;
        let mut w = Tensor::from_f32(device, &[n], &randoms(5, n))?;
        let gradient = Tensor::from_f32(device, &[n], &randoms(6, n))?;
        let mut state = Tensor::from_f32(device, &[n], &vec![0.0; n])?;
        let mut count = first;
        for end in ends {
            while count <= *end {
                let steps: Vec<_> = (0..nets).map(|net| step(net, n / 2, count)).collect();
                update_grouped(&rules, &steps, &mut owners, &mut w, &gradient, &mut [&mut state])?;
                count += 1;
            }
            let made = gpu.counters();
            seen.push((made.pipelines, made.bind_groups, made.buffers, made.allocated_bytes));
        }
        w.to_f64()
    };
    let mut seen = Vec::new();
    let got = walk(&device, 1, &[40, 100], &mut seen)?;
    let want = walk(&Device::Cpu, 1, &[100], &mut Vec::new())?;
    assert_eq!(seen[0], seen[1]);
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{got}, not {want}");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_with_a_remedy() -> Result<()> {
    for device in HOSTS.into_iter().chain(gpu()) {
        let zeros = |shape: &[usize]| Tensor::from_f32(&device, shape, &vec![0.0; shape.iter().product()]);
        let message = |error: Option<cs231n_gpu::Error>| error.map_or(String::new(), |e| e.to_string());
        let labels = Tensor::from_u32(&device, &[4], &[0, 1, 2, 0])?;
        let scores = zeros(&[4, 10])?;
        for groups in [0, 3] {
            let text = message(cross_entropy_grouped(&scores, &labels, None, groups).err());
            assert!(text.contains("[4, 10]") && text.contains(&format!("{groups} groups")), "{text}");
            assert!(hinge_loss_grouped(&scores, &labels, None, 1.0, groups).is_err());
        }
        if !matches!(device, Device::Gpu(_)) {
            // Label 2 is a class of the columns, but of no net.
            assert!(cross_entropy_grouped(&scores, &labels, None, 5).is_err());
        }
        let key = MaskKey { seed: 1, step: 1, layer: 1 };
        let drops = Drops::new(&device, &[0.1, 0.0, 0.5], true)?;
        assert!(message(dropout_grouped(&scores, &drops, key).err()).contains("3 nets"));
        assert!(Drops::new(&device, &[], true).is_err() && Drops::new(&device, &[0.1, 1.0], true).is_err());

        assert!(Owners::new(&device, &[0, 2], 2).is_err() && Owners::new(&device, &[], 0).is_err());
        let mut owners = Owners::new(&device, &[0, 0, 1, 1], 2)?;
        let (mut w, g, mut v) = (zeros(&[4])?, zeros(&[4])?, zeros(&[4])?);
        let (sgd, momentum) = (Rule::Sgd, Rule::Momentum { momentum: 0.9 });
        let mut refused = |rules: &[Rule], steps: &[Step], owners: &mut Owners| {
            message(update_grouped(rules, steps, owners, &mut w, &g, &mut [&mut v]).err())
        };
        let steps = [step(0, 4, 1), step(1, 4, 1)];
        assert!(refused(&[momentum], &steps, &mut owners).contains("2 groups"));
        assert!(refused(&[momentum, sgd], &steps, &mut owners).contains("Sgd"));
        assert!(refused(&[momentum; 2], &[steps[0], step(1, 2, 1)], &mut owners).contains("regularized"));
        let zeroth = Step { count: 0, ..steps[1] };
        assert!(refused(&[momentum; 2], &[steps[0], zeroth], &mut owners).contains("step number 0"));
        let mut short = Owners::new(&device, &[0, 1], 2)?;
        assert!(refused(&[momentum; 2], &steps, &mut short).contains("2 elements"));
        let elsewhere = if matches!(device, Device::Cpu) { Device::Reference } else { Device::Cpu };
        let mut strange = Owners::new(&elsewhere, &[0, 0, 1, 1], 2)?;
        assert!(refused(&[momentum; 2], &steps, &mut strange).contains("another device"));
    }
    Ok(())
}
