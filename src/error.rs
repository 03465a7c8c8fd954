//! One error type. Every variant says what failed, with the numbers, and what to do about it.

use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, grouped by who can mend it; [`Error::exit_code`] follows the same groups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes or arguments that an operation cannot take (the caller's mistake).
    #[error("{op}: {problem}")]
    Shape {
        /// Name of the operation, as in the op table.
        op: &'static str,
        /// What does not fit, with the numbers.
        problem: String,
        /// What would fit.
        hint: String,
    },
    /// A command-line option, or a combination of options, that means nothing.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// A file or data set whose contents are refused.
    #[error("{}: {problem}", path.display())]
    Data {
        /// The file (or the folder) that was read.
        path: PathBuf,
        /// What is wrong, naming row and column where there are any.
        problem: String,
        /// How to mend the file or which option avoids it.
        hint: String,
    },
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `"read"`, `"write"`, `"create"` …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No adapter, a lost device, a refused allocation, a shader that a driver rejects.
    #[error("{problem}")]
    Device {
        /// What happened, with what was tried.
        problem: String,
        /// What may help on this machine.
        hint: String,
    },
    /// A training whose loss is no number any more.
    #[error("the loss of step {step} is {loss}: the training diverged at a learning rate of {learning_rate}")]
    Diverged {
        /// The step, counted from 1.
        step: usize,
        /// Its loss.
        loss: f64,
        /// The learning rate of the run.
        learning_rate: f64,
    },
    /// A correctness check failed.
    #[error("{failed} of {total} checks failed")]
    Check {
        /// Checks outside their allowance.
        failed: usize,
        /// Checks that ran.
        total: usize,
    },
}

impl Error {
    /// An operation was given shapes or arguments that it cannot take.
    pub fn shape(op: &'static str, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Shape { op, problem: problem.into(), hint: hint.into() }
    }

    /// An option or a combination of options means nothing.
    pub fn usage(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into(), hint: hint.into() }
    }

    /// The contents of `path` are refused.
    pub fn data(path: impl AsRef<Path>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), problem: problem.into(), hint: hint.into() }
    }

    /// The system refused `action` on `path`; made for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The device, its driver or the choice of a device failed.
    pub fn device(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Device { problem: problem.into(), hint: hint.into() }
    }

    /// What the user can do, where there is something to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Shape { hint, .. }
            | Self::Usage { hint, .. }
            | Self::Data { hint, .. }
            | Self::Device { hint, .. } => Some(hint.as_str()).filter(|hint| !hint.is_empty()),
            Self::Diverged { .. } => {
                Some("lower --lr, use --warmup, or a preprocessing that keeps inputs near 0")
            }
            Self::Io { .. } | Self::Check { .. } => None,
        }
    }

    /// The process exit code: 1 a check failed, 2 usage, 3 data, 4 device.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Check { .. } => 1,
            Self::Shape { .. } | Self::Usage { .. } | Self::Diverged { .. } => 2,
            Self::Data { .. } | Self::Io { .. } => 3,
            Self::Device { .. } => 4,
        }
    }
}
