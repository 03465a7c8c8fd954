//! Parts of a search: `--shard I/N` writes one, `knn merge` reads all of them.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::args::{KnnArgs, MetricName, WeightsName};
use crate::data::{self, Dataset, split};
use crate::error::{Error, Result};
use crate::ops::nearest::Neighbors;

/// Part `index` (from 1) of `count` parts of the training rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) count: usize,
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(Error::usage(format!("\"{text}\" is no shard"), "write I/N with I from 1 to N, like 2/4")),
        }
    }
}

impl Shard {
    /// The training rows of this part: contiguous, as equal as possible.
    pub(super) fn rows(self, rows: usize) -> Result<Range<usize>> {
        if self.count > rows {
            return Err(Error::usage(
                format!("{} shards of {rows} training rows", self.count),
                "use at most one shard a row",
            ));
        }
        Ok(split::folds(rows, self.count)[self.index - 1].clone())
    }
}

/// What a part says of the search it belongs to: parts of one search agree in all but `shard`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) shard: Shard,
    pub(super) data: String,
    pub(super) train: usize,
    pub(super) features: usize,
    pub(super) dtype: String,
    pub(super) k: usize,
    pub(super) metric: MetricName,
    pub(super) weights: WeightsName,
    pub(super) classes: Vec<String>,
    pub(super) scored: bool,
}

/// A part as it was read.
pub(super) struct Part {
    pub(super) header: Header,
    pub(super) neighbors: Neighbors,
    /// Classes of the neighbours, queries × k of the part.
    pub(super) voters: Vec<u32>,
    /// True classes of the queries, empty where unknown.
    pub(super) truth: Vec<u32>,
}

/// Writes a part as .npz: `rows`, `ranks`, `voters`, `truth` and a JSON `header`.
pub(super) fn write(
    path: &Path,
    shard: Shard,
    dataset: &Dataset,
    knn: &KnnArgs,
    k: usize,
    neighbors: &Neighbors,
) -> Result<()> {
    let header = Header {
        shard,
        data: dataset.name.clone(),
        train: dataset.train.len(),
        features: dataset.train.features(),
        dtype: dataset.train.view().dtype().to_owned(),
        k,
        metric: knn.metric,
        weights: knn.weights,
        classes: dataset.classes.clone(),
        scored: dataset.test_labels.is_some(),
    };
    let header = serde_json::to_vec(&header)
        .map_err(|error| Error::usage(format!("the part's header does not fit JSON: {error}"), ""))?;
    let voters: Vec<u32> = neighbors.rows().iter().map(|&row| dataset.train_labels[row as usize]).collect();
    let shape = [neighbors.queries(), neighbors.k()];
    let truth = dataset.test_labels.clone().unwrap_or_default();
    let mut file = data::write::NpzWriter::create(path)?;
    file.array("rows", &shape, neighbors.rows())?;
    file.array("ranks", &shape, neighbors.ranks())?;
    file.array("voters", &shape, &voters)?;
    file.array("truth", &[truth.len()], &truth)?;
    file.array("header", &[header.len()], &header)?;
    file.finish()
}

/// Reads a part and checks that it is whole.
pub(super) fn read(path: &Path) -> Result<Part> {
    let hint = "pass the files that knn --shard I/N --out wrote";
    let mut file = data::NpzReader::open(path)?;
    let (shape, rows) = file.array::<u32>("rows")?;
    let (_, ranks) = file.array::<f64>("ranks")?;
    let (_, voters) = file.array::<u32>("voters")?;
    let (_, truth) = file.array::<u32>("truth")?;
    let (_, header) = file.array::<u8>("header")?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|error| Error::data(path, format!("the header of the part does not parse: {error}"), hint))?;
    let &[queries, k] = shape.as_slice() else {
        return Err(Error::data(path, format!("neighbours of shape {shape:?}"), hint));
    };
    let classes = header.classes.len();
    let wrong = match () {
        () if voters.len() != rows.len() => Some("not every neighbour has a class"),
        () if voters.iter().any(|&class| class as usize >= classes) => Some("a neighbour's class has no name"),
        () if rows.iter().any(|&row| row as usize >= header.train) => Some("a neighbour is no training row"),
        () if header.scored && truth.len() != queries => Some("not every query has a true class"),
        () if truth.iter().any(|&class| class as usize >= classes) => Some("a query's class has no name"),
        () => None,
    };
    if let Some(problem) = wrong {
        return Err(Error::data(path, problem, hint));
    }
    let neighbors = Neighbors::from_parts(header.metric.into(), k, rows, ranks)
        .map_err(|error| Error::data(path, error.to_string(), hint))?;
    Ok(Part { header, neighbors, voters, truth })
}
