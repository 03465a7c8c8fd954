//! Parts of a search: `--shard I/N` writes one, `knn merge` reads all of them.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::args::{KnnArgs, MetricName, WeightsName};
use crate::data::{self, Dataset, split};
use crate::error::{Error, Result};
use crate::ops::nearest::Neighbors;

/// The metadata key of a part's header.
const HEADER: &str = "cs231n-gpu knn shard";

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
            _ => {
                Err(Error::usage(format!("\"{text}\" is no shard"), "write I/N with I from 1 to N, like 2/4"))
            }
        }
    }
}

impl Shard {
    /// The training rows of this part: contiguous, as equal as possible.
    pub(super) fn rows(self, rows: usize) -> Result<Range<usize>> {
        if self.count == 1 {
            return Ok(0..rows);
        }
        Ok(split::folds(rows, self.count)?[self.index - 1].clone())
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

/// Writes a part as safetensors: `rows`, `ranks` and `voters` (queries × k), `truth`, and the header as metadata.
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
    let voters: Vec<u32> = neighbors.rows().iter().map(|&row| dataset.train_labels[row as usize]).collect();
    let truth = dataset.test_labels.clone().unwrap_or_default();
    let shape = vec![neighbors.queries(), neighbors.k()];
    let little_endian = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let ranks: Vec<u8> = neighbors.ranks().iter().flat_map(|v| v.to_le_bytes()).collect();
    let (rows, voters, truth_bytes) =
        (little_endian(neighbors.rows()), little_endian(&voters), little_endian(&truth));
    let unfit =
        |error: &dyn std::fmt::Display| Error::usage(format!("the part cannot be stored: {error}"), "");
    let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).map_err(|error| unfit(&error));
    let tensors = [
        ("rows", view(Dtype::U32, shape.clone(), &rows)?),
        ("ranks", view(Dtype::F64, shape.clone(), &ranks)?),
        ("voters", view(Dtype::U32, shape, &voters)?),
        ("truth", view(Dtype::U32, vec![truth.len()], &truth_bytes)?),
    ];
    let header = serde_json::to_string(&header).map_err(|error| unfit(&error))?;
    let metadata = HashMap::from([(HEADER.to_owned(), header)]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| unfit(&error))?;
    data::write::bytes(path, &bytes)
}

/// Reads a part and checks that it is whole: nothing in it is believed.
pub(super) fn read(path: &Path) -> Result<Part> {
    let refuse =
        |problem: String| Error::data(path, problem, "pass the files that knn --shard I/N --out wrote");
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let wrong = |error: safetensors::SafeTensorError| refuse(format!("no part of a search: {error}"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
    let file = SafeTensors::deserialize(&bytes).map_err(wrong)?;
    let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEADER));
    let header = header.ok_or_else(|| refuse("no part of a search: it has no header".into()))?;
    let header: Header = serde_json::from_str(header)
        .map_err(|error| refuse(format!("the header does not parse: {error}")))?;
    let tensor = |name: &str, dtype: Dtype| {
        let tensor = file.tensor(name).map_err(wrong)?;
        if tensor.dtype() == dtype {
            Ok(tensor)
        } else {
            Err(refuse(format!("{name} has type {:?}", tensor.dtype())))
        }
    };
    let integers = |name: &str| {
        let words =
            tensor(name, Dtype::U32)?.data().as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
        Ok::<Vec<u32>, Error>(words)
    };
    let (rows, voters, truth) = (integers("rows")?, integers("voters")?, integers("truth")?);
    let ranks =
        tensor("ranks", Dtype::F64)?.data().as_chunks().0.iter().copied().map(f64::from_le_bytes).collect();
    let shape = tensor("rows", Dtype::U32)?.shape().to_vec();
    let &[queries, k] = shape.as_slice() else {
        return Err(refuse(format!("neighbours of shape {shape:?}, not queries × k")));
    };
    let classes = header.classes.len();
    let problem = match () {
        () if header.k == 0 => Some("k is 0"),
        () if voters.len() != rows.len() => Some("not every neighbour has a class"),
        () if voters.iter().any(|&class| class as usize >= classes) => {
            Some("a neighbour's class has no name")
        }
        () if rows.iter().any(|&row| row as usize >= header.train) => Some("a neighbour is no training row"),
        () if header.scored && truth.len() != queries => Some("not every query has a true class"),
        () if truth.iter().any(|&class| class as usize >= classes) => Some("a query's class has no name"),
        () => None,
    };
    if let Some(problem) = problem {
        return Err(refuse(problem.into()));
    }
    let neighbors = Neighbors::from_parts(header.metric.into(), k, rows, ranks)
        .map_err(|error| refuse(error.to_string()))?;
    Ok(Part { header, neighbors, voters, truth })
}
