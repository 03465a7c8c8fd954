//! The folder of a run.

use std::path::{Path, PathBuf};

use crate::data::write;
use crate::error::{Error, Result};
use crate::nn::solver::History;

/// Where runs go by default.
const RUNS: &str = "runs";

/// A folder with a run's configuration, checkpoint, model, history and pictures.
pub(in crate::cli) struct RunDir(PathBuf);

impl RunDir {
    /// What [`RunDir::create`] would make now: nothing is written.
    pub(super) fn planned(path: Option<&Path>, name: &str) -> Self {
        let numbered = |number| Path::new(RUNS).join(format!("{name}-{number}"));
        let free = || (1..).map(numbered).find(|path| !path.exists()).unwrap_or_default();
        Self(path.map_or_else(free, Path::to_owned))
    }

    /// `path`, or the next free runs/NAME-N.
    pub(in crate::cli) fn create(path: Option<&Path>, name: &str) -> Result<Self> {
        if let Some(path) = path {
            std::fs::create_dir_all(path).map_err(Error::io("create", path))?;
            return Ok(Self(path.to_owned()));
        }
        std::fs::create_dir_all(RUNS).map_err(Error::io("create", RUNS))?;
        let mut number = 1;
        loop {
            let path = Path::new(RUNS).join(format!("{name}-{number}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Made by another run, perhaps this moment.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io("create", path)(error)),
            }
        }
    }

    /// The folder of an interrupted run: a path, or `last` for the one under runs/ whose checkpoint is the newest.
    pub(in crate::cli) fn find(which: &str) -> Result<Self> {
        if which != "last" {
            let dir = Self(PathBuf::from(which));
            return match dir.checkpoint().is_file() {
                true => Ok(dir),
                false => Err(Error::usage(
                    format!("{which} holds no checkpoint"),
                    "pass the folder of a run that finished at least one epoch",
                )),
            };
        }
        let folders =
            std::fs::read_dir(RUNS).map_err(Error::io("read", RUNS))?.filter_map(std::result::Result::ok);
        let newest = folders
            .map(|folder| Self(folder.path()))
            .filter_map(|dir| Some((std::fs::metadata(dir.checkpoint()).ok()?.modified().ok()?, dir)))
            .max_by_key(|(modified, _)| *modified);
        match newest {
            Some((_, dir)) => Ok(dir),
            None => Err(Error::usage("no run under runs/ has a checkpoint", "name the folder of a run")),
        }
    }

    /// What the run goes on from.
    pub(super) fn checkpoint(&self) -> PathBuf {
        self.file("checkpoint.safetensors")
    }

    /// The best net.
    pub(in crate::cli) fn model(&self) -> PathBuf {
        self.file("model.safetensors")
    }

    /// A file of the run.
    pub(in crate::cli) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes the configuration.
    pub(in crate::cli) fn write_config(&self, toml: &str) -> Result<()> {
        write::text(self.file("config.toml"), toml)
    }

    /// Writes the history: a line an epoch as CSV, everything as JSON.
    pub(super) fn write_history(&self, history: &History) -> Result<()> {
        let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut csv =
            "epoch,step,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy,seconds\n".to_owned();
        for epoch in &history.epochs {
            csv += &format!(
                "{},{},{},{},{},{},{},{}\n",
                epoch.epoch,
                epoch.step,
                epoch.learning_rate,
                epoch.train_loss,
                optional(epoch.train_accuracy),
                optional(epoch.val_loss),
                optional(epoch.val_accuracy),
                epoch.seconds
            );
        }
        write::text(self.file("history.csv"), &csv)?;
        let json = serde_json::to_string_pretty(history)
            .map_err(|error| Error::usage(format!("the history does not fit JSON: {error}"), ""))?;
        write::text(self.file("history.json"), &json)
    }
}
