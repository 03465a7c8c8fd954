//! `knn`: search, vote, score, and show what was found.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};

use super::args::{DataArgs, DeviceArgs, KnnArgs, name_of};
use super::output::{self, Format};
use super::save::SaveArgs;
use super::summary::{DataFacts, DeviceFacts, KnnSummary, Seconds, peak_memory_bytes};
use super::{cv, merge, shard};
use crate::classify::knn::{KNearestNeighbor, correct, elect};
use crate::data::{self, Dataset};
use crate::device::auto::Work;
use crate::device::{Device, Opened};
use crate::error::{Error, Result};
use crate::ops::nearest::{Certificate, Index, Neighbors};
use crate::report::confusion::Confusion;
use crate::report::{distances, gallery};
use crate::rows::{RowsRef, ValuesRef};

/// Classify by the k nearest neighbours, exactly.
///
/// The answer is that of a 64-bit brute force ordered by (distance, training row), whatever the device, the memory
/// limit or the number of threads.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Knn {
    #[command(subcommand)]
    merge: Option<Sub>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    knn: KnnArgs,
    /// Take all training rows, with a warning, where there are fewer than k.
    #[arg(long)]
    allow_fewer: bool,
    #[command(flatten)]
    cv: cv::CvArgs,
    /// Search only part I of N of the training rows and write it to --out, for `knn merge`.
    #[arg(long, value_name = "I/N", requires = "out", conflicts_with_all = ["cv", "gallery", "distance_image"])]
    shard: Option<shard::Shard>,
    #[command(flatten)]
    save: SaveArgs,
    /// Draw the first test images, each with its neighbours, as PNG; wrong ones are framed in red.
    #[arg(long, value_name = "PNG")]
    gallery: Option<PathBuf>,
    /// Test images in the gallery.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "gallery")]
    gallery_rows: usize,
    /// Draw the matrix of all distances as PNG: a row for each test row, dark is near.
    #[arg(long, value_name = "PNG")]
    distance_image: Option<PathBuf>,
    /// Write the matrix of all distances, test × training rows, as .npy (f64).
    #[arg(long, value_name = "NPY")]
    save_distances: Option<PathBuf>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Put the answers of all shards together: the answer of one search over all training rows, bit for bit.
    Merge(merge::Merge),
}

impl Knn {
    pub(super) fn run(self) -> Result<()> {
        if let Some(Sub::Merge(merge)) = &self.merge {
            return merge.run();
        }
        let start = Instant::now();
        let opening = self.device.begin()?;
        let dataset = self.data.load()?;
        let load = start.elapsed().as_secs_f64();
        let opened = opening.finish(&self.work(&dataset))?;
        let seconds = Seconds { load, open: start.elapsed().as_secs_f64() - load, ..Seconds::default() };
        if self.cv.cv.is_some() {
            return self.cv.run(
                &dataset,
                &opened,
                &self.knn,
                self.device.memory_limit,
                self.data.seed,
                self.format,
            );
        }
        self.classify(&dataset, &opened, start, seconds)
    }

    fn classify(
        &self,
        dataset: &Dataset,
        opened: &Opened,
        start: Instant,
        mut seconds: Seconds,
    ) -> Result<()> {
        let part = self.shard.map_or(Ok(0..dataset.train.len()), |shard| shard.rows(dataset.train.len()))?;
        let k = self.k(dataset.train.len(), part.len())?;
        let train = dataset.train.view().range(part.clone());
        let labels = &dataset.train_labels[part.clone()];
        let options = self.knn.options(self.device.memory_limit);

        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let knn = KNearestNeighbor::fit(&opened.device, train, labels, dataset.classes.len(), options)?;
        seconds.upload = lap();
        let (neighbors, certificate) = knn.search(dataset.test.view(), k)?;
        seconds.search = lap();
        seconds.first_result = start.elapsed().as_secs_f64();
        let predicted = elect(&neighbors, labels, dataset.classes.len(), options.weights);
        seconds.vote = lap();
        drop(knn);

        let mut shown = &predicted;
        let nothing = Vec::new();
        if let Some(shard) = self.shard {
            let neighbors = neighbors.clone().shifted(part.start as u32);
            self.save.neighbors(&neighbors)?;
            let out = self.save.out.as_deref().unwrap_or(Path::new("part.safetensors"));
            shard::write(out, shard, dataset, &self.knn, self.knn.k.min(dataset.train.len()), &neighbors)?;
            // A part of the neighbours elects nobody.
            shown = &nothing;
        } else {
            self.save.neighbors(&neighbors)?;
            self.save.predictions(&predicted, &dataset.classes)?;
        }
        self.pictures(dataset, &neighbors, &predicted)?;
        seconds.total = start.elapsed().as_secs_f64();
        let run = Run { k, certificate, seconds, predicted: shown };
        let summary = summarise(dataset, opened, &self.knn, run);
        match self.format {
            Format::Text => output::print(&summary.text()),
            Format::Json => output::print_json(&summary),
        }
    }

    /// What the search asks of a device: the distances of all pairs, for which all rows must be there.
    fn work(&self, dataset: &Dataset) -> Work {
        let (train, test) = (dataset.train.view(), dataset.test.view());
        let (train_rows, features) = (train.len() as f64, train.features() as f64);
        // Cross-validation searches each of N folds in the others: all pairs but those within a fold.
        let pairs = match self.cv.cv {
            Some(folds) => train_rows * train_rows * (1.0 - 1.0 / folds.max(2) as f64),
            None => train_rows * test.len() as f64,
        };
        let each = if matches!(train.values(), ValuesRef::U8(_)) { 1.0 } else { 4.0 };
        let bytes = each * features * (train.len() + test.len()) as f64;
        Work { flops: 2.0 * pairs * features, bytes, launches: 16.0 }
    }

    /// The k to use: at most all rows of the training set, by leave, and at most the rows of the shard.
    fn k(&self, rows: usize, part: usize) -> Result<usize> {
        let k = self.knn.k;
        if k == 0 {
            return Err(Error::usage("--k is 0", "at least one neighbour must vote"));
        }
        if k > rows {
            let problem = format!("--k is {k}, the training set has {rows} rows");
            if !self.allow_fewer {
                return Err(Error::usage(
                    problem,
                    "choose a smaller k, or pass --allow-fewer to take all rows",
                ));
            }
            output::note(&format!("warning: {problem}; taking all of them"));
        }
        Ok(k.min(part))
    }

    fn pictures(&self, dataset: &Dataset, neighbors: &Neighbors, predicted: &[u32]) -> Result<()> {
        if let Some(path) = &self.gallery {
            let picture = gallery::gallery(&gallery::Gallery {
                test: dataset.test.view(),
                train: dataset.train.view(),
                image: dataset.image.map(|image| [image.channels, image.height, image.width]),
                neighbors: neighbors.rows(),
                k: neighbors.k(),
                train_labels: &dataset.train_labels,
                test_labels: dataset.test_labels.as_deref(),
                predicted,
                rows: self.gallery_rows,
            })?;
            data::write::bytes(path, &picture)?;
        }
        if self.distance_image.is_none() && self.save_distances.is_none() {
            return Ok(());
        }
        let (test, train) = (dataset.test.view(), dataset.train.view());
        let index = Index::new(&Device::Cpu, self.knn.metric.into(), train, None)?;
        if let Some(path) = &self.save_distances {
            let mut file = data::write::NpyWriter::<f64>::create(path, &[test.len(), train.len()])?;
            each_block(test, train, |block| file.push(&index.distances(block)?))?;
            file.finish()?;
        }
        if let Some(path) = &self.distance_image {
            let pixels = test.len() * train.len();
            if pixels > distances::MOST_PIXELS {
                return Err(Error::usage(
                    format!("an image of {} × {} distances is too large to look at", train.len(), test.len()),
                    format!(
                        "use --test-limit and --train-limit to stay below {} pixels",
                        distances::MOST_PIXELS
                    ),
                ));
            }
            let mut all = Vec::with_capacity(pixels);
            each_block(test, train, |block| {
                all.extend(index.distances(block)?);
                Ok(())
            })?;
            data::write::bytes(path, &distances::image(&all, test.len(), train.len())?)?;
        }
        Ok(())
    }
}

/// Calls `with` for blocks of test rows whose distances to all training rows take about 64 MiB.
fn each_block(
    test: RowsRef<'_>,
    train: RowsRef<'_>,
    mut with: impl FnMut(RowsRef<'_>) -> Result<()>,
) -> Result<()> {
    let block = ((64 << 20) / (8 * train.len())).max(1);
    for start in (0..test.len()).step_by(block) {
        with(test.range(start..(start + block).min(test.len())))?;
    }
    Ok(())
}

struct Run<'a> {
    k: usize,
    certificate: Certificate,
    seconds: Seconds,
    predicted: &'a [u32],
}

fn summarise(dataset: &Dataset, opened: &Opened, knn: &KnnArgs, run: Run<'_>) -> KnnSummary {
    let scored = dataset
        .test_labels
        .as_deref()
        .filter(|truth| !truth.is_empty() && truth.len() == run.predicted.len());
    let right = scored.map(|truth| correct(run.predicted, truth));
    let counters = match &opened.device {
        Device::Gpu(gpu) => gpu.counters(),
        Device::Reference | Device::Cpu => Default::default(),
    };
    KnnSummary {
        command: "knn",
        version: env!("CARGO_PKG_VERSION"),
        device: DeviceFacts::new(opened),
        data: DataFacts::new(dataset),
        k: run.k,
        metric: name_of(knn.metric),
        weights: name_of(knn.weights),
        correct: right,
        total: dataset.test.len(),
        accuracy: right.map(|right| right as f64 / dataset.test.len() as f64),
        certificate: run.certificate,
        seconds: run.seconds,
        peak_memory_bytes: peak_memory_bytes(),
        device_memory_bytes: counters.peak_bytes,
        submissions: counters.submissions,
        dispatches: counters.dispatches,
        confusion: scored.map(|truth| Confusion::new(truth, run.predicted, &dataset.classes)),
    }
}
