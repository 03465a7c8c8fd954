//! The command line: one thin file per subcommand, which parses, calls the library and renders.

mod args;
mod bench;
mod check;
mod compare;
mod cross_validate;
mod cv;
mod data;
mod devices;
mod eval;
mod gradcheck;
mod knn;
mod merge;
mod opening;
mod output;
mod predict;
mod runs;
mod sanity;
mod save;
mod search;
mod shard;
mod summary;
mod trace;
mod train;
mod tune;

use std::ffi::OsString;
use std::io::Write;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, Result};

/// The classic classifiers of CS231n on any GPU and on plain CPUs, every operation proven against its definition.
#[derive(Debug, Parser)]
#[command(name = "cs231n-gpu", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads of the CPU path; by default one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), global = true)]
    threads: Option<u16>,
    /// Say more on standard error (twice: debug messages).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Classify by the k nearest neighbours, exactly.
    Knn(Box<knn::Knn>),
    /// Train an SVM, a softmax classifier, a multi-layer network or an autoencoder.
    Train(Box<train::Train>),
    /// Check before a long training that loss, gradient, capacity and learning rate are sane.
    Sanity(Box<sanity::Sanity>),
    /// Search for the options of a classifier: random, grid, coarse to fine, with successive halving.
    Search(Box<search::Search>),
    /// Cross-validate one configuration of a classifier.
    Cv(Box<cross_validate::CrossValidate>),
    /// Classify rows by a trained model, or turn them into codes.
    Predict(predict::Predict),
    /// Score a trained model on labelled rows, or an autoencoder on any.
    Eval(eval::Eval),
    /// List the devices that --device can name.
    Devices(devices::Devices),
    /// Prove every operation equal to its definition on a device.
    Check(check::Check),
    /// Time every operation next to what the device can do.
    Bench(bench::Bench),
    /// Measure what `--device auto` goes by on this machine.
    Tune(tune::Tune),
    /// Check the gradients of layers and nets numerically.
    Gradcheck(gradcheck::Gradcheck),
    /// Look at data.
    Data(data::Data),
    /// Time the course's forms of an exercise side by side and show that they agree.
    Compare(compare::Compare),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Parses `args` (the program's name first) and runs the command. Help and version texts are printed, not errors.
///
/// # Errors
/// Whatever the command meets; [`Error::Usage`] for arguments that do not parse.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(stop) if stop.use_stderr() => {
            // clap's own text names the argument and shows the usage; it ends the run with clap's exit code, 2.
            let text = stop.render().to_string();
            return Err(Error::usage(text.trim_start_matches("error: ").trim_end(), ""));
        }
        Err(help) => return output::print(&help.render().ansi().to_string()),
    };
    let level = ["warn", "info", "debug"][usize::from(cli.verbose.min(2))];
    // A second initialisation (several runs in one test process) keeps the first; nothing depends on which.
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format_timestamp(None)
        .try_init();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cli.threads.map_or(0, usize::from));
    let pool = pool.build().map_err(|error| {
        Error::usage(format!("cannot start the threads of the CPU path: {error}"), "give fewer --threads")
    })?;
    // The command is on a thread of the pool itself: from any other each parallel loop would wake one up, and be woken by it at the end, which
    // takes longer than a small net's layers.
    pool.install(|| cli.command.run())
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Knn(command) => command.run(),
            Self::Train(command) => command.run(),
            Self::Sanity(command) => command.run(),
            Self::Search(command) => command.run(),
            Self::Cv(command) => command.run(),
            Self::Predict(command) => command.run(),
            Self::Eval(command) => command.run(),
            Self::Devices(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Bench(command) => command.run(),
            Self::Tune(command) => command.run(),
            Self::Gradcheck(command) => command.run(),
            Self::Data(command) => command.run(),
            Self::Compare(command) => command.run(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "cs231n-gpu", &mut script);
                output::print(&String::from_utf8_lossy(&script))
            }
        }
    }
}

/// Writes an error and its hint to standard error.
///
/// # Errors
/// When standard error is closed.
pub fn report(error: &Error) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "error: {error}")?;
    match error.hint() {
        Some(hint) => writeln!(stderr, " hint: {hint}"),
        None => Ok(()),
    }
}
