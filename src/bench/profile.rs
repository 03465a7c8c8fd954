//! Where the time of a search or of training steps goes: on the host by the spans of [`crate::profile`], on an adapter by timestamps.

use std::f64::consts::TAU;

use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;

use crate::classify::knn::{KNearestNeighbor, Options};
use crate::data::preprocess::Columns;
use crate::device::Device;
use crate::error::Result;
use crate::gpu::{Counters, DeviceTime};
use crate::nn::feed::Feed;
use crate::nn::model::{Architecture, FullyConnectedNet, Init};
use crate::nn::optim::Rule;
use crate::nn::schedule::Schedule;
use crate::nn::solver::{Solver, Training};
use crate::profile::{self, Timeline};
use crate::rng;
use crate::rng::numpy::RandomState;
use crate::rows::{Rows, Values};

/// Features of CIFAR-10's images: 3 planes of 32 × 32.
const FEATURES: usize = 3 * SIDE * SIDE;
const SIDE: usize = 32;
const CLASSES: usize = 10;
const SEED: u64 = 231;

/// Training rows and queries of the notebook's search, its k, and how often it is made.
const SEARCH: [usize; 2] = [5_000, 500];
const NEIGHBORS: usize = 10;
const SEARCHES: u64 = 5;

/// Hidden neurons, rows of a batch, steps.
const HIDDEN: usize = 512;
const BATCH: usize = 256;
const STEPS: u64 = 32;

/// What can be profiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Making ready, searching and voting as the notebook does: 5,000 training rows, 500 queries, 3,072 features.
    Knn,
    /// Steps of the 3,072-512-10 net with Adam at batch 256, and the evaluation after them.
    Train,
}

/// What a profile found.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// The work, in words.
    pub work: String,
    /// How often it was done.
    pub rounds: u64,
    /// What a round is called.
    #[serde(skip)]
    pub round: &'static str,
    /// The first round, in which kernels are compiled and memory is taken; not among the others.
    pub first: Timeline,
    /// The thread that drives the device, over all rounds.
    pub host: Timeline,
    /// The launches of all rounds, where there are timestamps.
    pub device: Option<DeviceTime>,
    /// What the device did in all rounds; nothing on the host.
    pub counters: Counters,
}

impl Profile {
    /// Profiles `work` on `device`, an adapter opened with [`crate::gpu::Options::profile`].
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails.
    pub fn measure(device: &Device, work: Work) -> Result<Self> {
        match work {
            Work::Knn => knn(device),
            Work::Train => train(device),
        }
    }

    /// Seconds of the device between the launches of a submission: barriers, and what a pass of its own costs each of them. Launches may
    /// overlap; then there are none.
    pub fn between(&self) -> Option<f64> {
        let device = self.device.as_ref()?;
        let launches: f64 = device.kernels.iter().map(|kernel| kernel.seconds).sum();
        Some((device.busy - launches).max(0.0))
    }

    /// Seconds of the rounds in which no submission's launches ran: copies, and waiting for the host.
    pub fn idle(&self) -> Option<f64> {
        self.device.as_ref().map(|device| (self.host.wall - device.busy).max(0.0))
    }
}

/// Does one round, and then the others together.
fn measure(
    device: &Device,
    work: String,
    round: &'static str,
    rounds: u64,
    mut run: impl FnMut(u64) -> Result<()>,
) -> Result<Profile> {
    let gpu = if let Device::Gpu(gpu) = device { Some(gpu) } else { None };
    let mut account = |rounds| {
        let before = gpu.map(|gpu| gpu.counters()).unwrap_or_default();
        let (done, timeline) = profile::record(|| {
            run(rounds)?;
            gpu.map_or(Ok(()), |gpu| gpu.wait())
        });
        done?;
        let counters = gpu.map(|gpu| gpu.counters().since(&before)).unwrap_or_default();
        let time = gpu.map(|gpu| gpu.take_timestamps()).transpose()?.flatten();
        Ok::<_, crate::Error>((timeline, time, counters))
    };
    let (first, ..) = account(1)?;
    let (host, device, counters) = account(rounds)?;
    Ok(Profile { work, rounds, round, first, host, device, counters })
}

fn knn(device: &Device) -> Result<Profile> {
    let [train, queries] = [images(SEARCH[0], 0)?, images(SEARCH[1], 1)?];
    let labels = labels(train.len());
    let work = format!(
        "k nearest neighbours, k = {NEIGHBORS}: {} × {} images of {FEATURES} pixels",
        queries.len(),
        train.len()
    );
    measure(device, work, "search", SEARCHES, |rounds| {
        for _ in 0..rounds {
            let knn = KNearestNeighbor::fit(device, train.view(), &labels, CLASSES, Options::default())?;
            knn.predict(queries.view(), NEIGHBORS)?;
        }
        Ok(())
    })
}

fn train(device: &Device) -> Result<Profile> {
    let rows = images(STEPS as usize * BATCH, 0)?;
    let labels = labels(rows.len());
    let columns = Columns { shift: vec![128.0; FEATURES], scale: vec![1.0 / 64.0; FEATURES] };
    let mut feed = Feed::new(device, rows.view(), Some(&labels), &columns, None)?;
    let mut watched = Feed::new(device, rows.view().range(0..BATCH), Some(&labels[..BATCH]), &columns, None)?;
    let architecture = Architecture::new(FEATURES, &[HIDDEN], CLASSES);
    let net = FullyConnectedNet::new(device, architecture, Init::He, &mut RandomState::new(SEED as u32))?;
    let training = Training {
        rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true },
        learning_rate: 1e-3,
        schedule: Schedule::Constant,
        warmup: 0,
        batch_size: BATCH,
        // The first step, and an epoch.
        epochs: 2,
        max_steps: Some(0),
        patience: None,
        seed: SEED,
        augment: None,
    };
    let mut solver = Solver::new(net, training.clone())?;
    let work = format!(
        "training of a {FEATURES}-{HIDDEN}-{CLASSES} net, batch {BATCH}, Adam, an evaluation of {BATCH} rows at the end"
    );
    let mut steps = 0;
    measure(device, work, "step", STEPS, |rounds| {
        steps += rounds;
        solver.go_on_with(Training { max_steps: Some(steps), ..training.clone() })?;
        solver.run(&mut feed, &mut watched, None, &mut |_, _| Ok(())).map(drop)
    })
}

fn labels(rows: usize) -> Vec<u32> {
    rng::integers(&mut rng::stream(SEED, [9, 0, 0]), rows, CLASSES as u32)
}

/// Pictures as smooth as photographs: a few waves, and a little noise. Searches tell images from noise by what lies beside a pixel.
fn images(rows: usize, set: u64) -> Result<Rows> {
    let image = |row: usize| {
        let mut rng = rng::stream(SEED, [set, row as u64, 0]);
        let waves: Vec<[f64; 4]> = (0..4)
            .map(|_| {
                let [x, y] = [0; 2].map(|_: i32| rng.random_range(-3.0..3.0) * TAU / SIDE as f64);
                [x, y, rng.random_range(0.0..TAU), rng.random_range(8.0..40.0)]
            })
            .collect();
        let pixel = move |i: usize| {
            let [x, y] = [i % SIDE, i / SIDE % SIDE].map(|at| at as f64);
            let light: f64 =
                waves.iter().map(|[a, b, phase, height]| height * (a * x + b * y + phase).cos()).sum();
            (128.0 + light + rng.random_range(-4.0..4.0)) as u8
        };
        (0..FEATURES).map(pixel).collect::<Vec<_>>()
    };
    let pixels: Vec<Vec<u8>> = (0..rows).into_par_iter().map(image).collect();
    Rows::new(Values::U8(pixels.concat()), FEATURES)
}
