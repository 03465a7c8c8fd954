//! Results on standard output, which a reader may close at any time.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::{Error, Result};

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// How the tables of a command are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum TableFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// The table alone.
    Csv,
}

/// A share as people read it.
pub(super) fn percent(share: Option<f64>) -> Option<String> {
    share.map(|share| format!("{:.2} %", 100.0 * share))
}

/// Prints `text`. A closed pipe (`cs231n-gpu … | head`) is not an error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Io { action: "write", path: "standard output".into(), source: error })
        }
        _ => Ok(()),
    }
}

/// Prints `value` as one JSON document.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    // Our own structures hold string keys and finite numbers only, which JSON can always hold.
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Error::usage(format!("the result does not fit JSON: {error}"), "use --format text")
    })?;
    print(&(text + "\n"))
}

/// Tells the user something that concerns the run, not its result.
pub(super) fn note(text: &str) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
