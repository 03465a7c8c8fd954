//! `data`: look at a data set without using it.

use clap::{Args, Subcommand};

use super::args::DataArgs;
use super::output::{self, Format};
use crate::data;
use crate::error::Result;

/// Look at data.
#[derive(Debug, Args)]
pub(super) struct Data {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Read and check a data set, and tell what is in it.
    Info(Box<Info>),
}

#[derive(Debug, Args)]
struct Info {
    /// Like --data.
    #[arg(value_name = "PATH", conflicts_with_all = ["data", "train_x"])]
    path: Option<std::path::PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Data {
    pub(super) fn run(self) -> Result<()> {
        let Sub::Info(mut info) = self.command;
        if let Some(path) = info.path.take() {
            info.data.set_path(path);
        }
        let (source, limits) = info.data.source();
        let facts = data::describe(&source, limits)?;
        match info.format {
            Format::Text => output::print(&facts.text()),
            Format::Json => output::print_json(&facts),
        }
    }
}
