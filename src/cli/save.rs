//! Files that hold an answer, for `knn` and `knn merge` alike.

use std::path::PathBuf;

use clap::Args;

use crate::data;
use crate::error::Result;
use crate::ops::nearest::Neighbors;

/// Files that hold the answer.
#[derive(Debug, Clone, Args)]
pub(super) struct SaveArgs {
    /// Write the neighbours, test rows × k training rows, as .npy (i64).
    #[arg(long, value_name = "NPY")]
    save_neighbors: Option<PathBuf>,
    /// Write the neighbours' distances, test rows × k, as .npy (f64).
    #[arg(long, value_name = "NPY")]
    save_neighbor_distances: Option<PathBuf>,
    /// Write the predicted classes as .npy (i64), or as lines of class names where the name does not end in .npy; with
    /// --shard, the part as .safetensors.
    #[arg(long, value_name = "PATH")]
    pub(super) out: Option<PathBuf>,
}

impl SaveArgs {
    /// Writes the neighbours and their distances where asked for.
    pub(super) fn neighbors(&self, neighbors: &Neighbors) -> Result<()> {
        let shape = [neighbors.queries(), neighbors.k()];
        if let Some(path) = &self.save_neighbors {
            let rows: Vec<i64> = neighbors.rows().iter().copied().map(i64::from).collect();
            data::write::npy(path, &shape, &rows)?;
        }
        if let Some(path) = &self.save_neighbor_distances {
            data::write::npy(path, &shape, &neighbors.distances())?;
        }
        Ok(())
    }

    /// Writes the predictions where asked for.
    pub(super) fn predictions(&self, predicted: &[u32], classes: &[String]) -> Result<()> {
        let Some(path) = &self.out else { return Ok(()) };
        if path.extension().is_some_and(|extension| extension == "npy") {
            let ids: Vec<i64> = predicted.iter().copied().map(i64::from).collect();
            return data::write::npy(path, &[ids.len()], &ids);
        }
        let lines: String = predicted.iter().map(|&class| format!("{}\n", classes[class as usize])).collect();
        data::write::bytes(path, lines.as_bytes())
    }
}
