//! `knn merge`: the answer of one search from the answers of its shards.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::args::name_of;
use super::output::{self, Format};
use super::save::SaveArgs;
use super::shard::{self, Header, Part};
use super::summary::thousands;
use crate::classify::knn::{correct, elect_labels};
use crate::error::{Error, Result};
use crate::ops::nearest::Neighbors;
use crate::report::confusion::Confusion;

/// Put the answers of all shards together: the answer of one search over all training rows, bit for bit.
#[derive(Debug, Args)]
pub(super) struct Merge {
    /// The files that `knn --shard I/N --out` wrote, in any order.
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    save: SaveArgs,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What the command found. Keys are stable: see the README.
#[derive(Serialize)]
struct Summary {
    command: &'static str,
    version: &'static str,
    shards: usize,
    data: String,
    train: usize,
    k: usize,
    metric: String,
    weights: String,
    correct: Option<usize>,
    total: usize,
    accuracy: Option<f64>,
    confusion: Option<Confusion>,
}

impl Merge {
    pub(super) fn run(&self) -> Result<()> {
        let mut parts = self.parts.iter().map(|path| shard::read(path)).collect::<Result<Vec<_>>>()?;
        let header = self.one_search(&parts)?;
        let truth = std::mem::take(&mut parts[0].truth);
        let found: Vec<(Neighbors, u32)> = parts.iter().map(|part| (part.neighbors.clone(), 0)).collect();
        let neighbors = Neighbors::merge(&found, header.k)?;
        // A row's class travels with it: the parts hold the classes of their own neighbours only.
        let mut class_of = HashMap::new();
        for part in &parts {
            class_of.extend(part.neighbors.rows().iter().copied().zip(part.voters.iter().copied()));
        }
        let voters: Vec<u32> = neighbors.rows().iter().map(|row| class_of[row]).collect();
        let predicted = elect_labels(&neighbors, &voters, header.classes.len(), header.weights.into());
        self.save.neighbors(&neighbors)?;
        self.save.predictions(&predicted, &header.classes)?;
        let right = (header.scored && !truth.is_empty()).then(|| correct(&predicted, &truth));
        let summary = Summary {
            command: "knn merge",
            version: env!("CARGO_PKG_VERSION"),
            shards: parts.len(),
            data: header.data,
            train: header.train,
            k: header.k,
            metric: name_of(header.metric),
            weights: name_of(header.weights),
            correct: right,
            total: predicted.len(),
            accuracy: right.map(|right| right as f64 / predicted.len() as f64),
            confusion: right.map(|_| Confusion::new(&truth, &predicted, &header.classes)),
        };
        match self.format {
            Format::Text => output::print(&text(&summary)),
            Format::Json => output::print_json(&summary),
        }
    }

    /// Refuses parts of different searches, a part twice, and a part missing; returns the header they share.
    fn one_search(&self, parts: &[Part]) -> Result<Header> {
        let first = &parts[0];
        let count = first.header.shard.count;
        let hint = format!("pass the {count} files of one search, each once");
        let mut seen = HashMap::new();
        for (path, part) in self.parts.iter().zip(parts) {
            let same = Header { shard: part.header.shard, ..first.header.clone() } == part.header
                && part.header.shard.count == count
                && (1..=count).contains(&part.header.shard.index)
                && part.neighbors.queries() == first.neighbors.queries()
                && part.truth == first.truth;
            if !same {
                return Err(Error::data(
                    path,
                    format!("belongs to another search than {}", self.parts[0].display()),
                    hint,
                ));
            }
            let index = part.header.shard.index;
            if seen.insert(index, path).is_some() {
                return Err(Error::data(path, format!("shard {index}/{count} was given twice"), hint));
            }
        }
        if let Some(missing) = (1..=count).find(|index| !seen.contains_key(index)) {
            return Err(Error::usage(format!("shard {missing}/{count} is missing"), hint));
        }
        Ok(first.header.clone())
    }
}

fn text(summary: &Summary) -> String {
    let mut text = format!(
        "data         {}: {} training and {} test rows\nsearch       k = {}, metric {}, weights {}, {} shards\n",
        summary.data,
        thousands(summary.train),
        thousands(summary.total),
        summary.k,
        summary.metric,
        summary.weights,
        summary.shards,
    );
    if let (Some(correct), Some(accuracy)) = (summary.correct, summary.accuracy) {
        text += &format!("accuracy     {:.2} %  ({correct} of {} right)\n", 100.0 * accuracy, summary.total);
    }
    if let Some(confusion) = &summary.confusion {
        text += &format!("\n{}\n{}", confusion.per_class_table(), confusion.matrix_table());
    }
    text
}
