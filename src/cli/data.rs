//! `data`: look at a data set without using it.

use clap::{Args, Subcommand};

use super::args::DataArgs;
use super::output::{self, Format};
use super::summary::thousands;
use crate::data;
use crate::error::Result;
use crate::report::table::Table;

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
        let facts = data::info(&source, limits)?;
        match info.format {
            Format::Text => output::print(&text(&facts)),
            Format::Json => output::print_json(&facts),
        }
    }
}

fn text(facts: &data::Info) -> String {
    let mut text = format!("{} ({})\n", facts.name, facts.format);
    if let Some(image) = facts.image {
        let (channels, height, width) = (image.channels, image.height, image.width);
        text += &format!(
            "images of {height} × {width} pixels, {channels} channel{}\n",
            if channels == 1 { "" } else { "s" }
        );
    }
    let mut arrays = Table::new(&["array", "shape", "stored", "type", "bytes", "min", "max", "mean"]);
    for array in &facts.arrays {
        let shape: Vec<_> = array.shape.iter().map(ToString::to_string).collect();
        let range = array.range.map_or([const { String::new() }; 3], |range| {
            [format!("{}", range.min), format!("{}", range.max), format!("{:.4}", range.mean)]
        });
        let [min, max, mean] = range;
        let bytes = thousands(array.bytes as usize) + if array.mapped { " (mapped)" } else { "" };
        arrays.row(&[
            array.name.into(),
            shape.join(" × "),
            array.stored.clone(),
            array.dtype.into(),
            bytes,
            min,
            max,
            mean,
        ]);
    }
    text += &format!("\n{}", arrays.text());
    if !facts.classes.is_empty() {
        let mut classes = Table::new(&["class", "training rows", "test rows"]);
        for class in &facts.classes {
            let test = class.test.map_or("–".into(), thousands);
            classes.row(&[class.name.clone(), thousands(class.train), test]);
        }
        text += &format!("\n{}", classes.text());
    }
    text
}
