//! `search`: many configurations, compared on the validation rows; the best one's model is kept.

mod course;
mod driver;
mod space;
mod trial;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::{Deserialize, Serialize};

use self::course::Course;
use self::driver::Driver;
use self::space::Parameter;
use self::trial::{Results, Trial, csv, ranked, shown};
use super::args::name_of;
use super::output::{self, TableFormat};
use super::summary::{DataFacts, DeviceFacts, thousands};
use super::train::{Kind, Notes, Parts, RunDir, Setup, TrainOptions};
use crate::data::Dataset;
use crate::device::Opened;
use crate::error::{Error, Result};
use crate::nn::checkpoint::Model;
use crate::report::confusion::Confusion;
use crate::report::table::Table;

/// Trials that the text shows.
const SHOWN: usize = 30;

/// More trials than this are a mistake.
const MOST: usize = 1_000_000;

/// Search for good options: try many configurations, score each on the validation rows, keep the best model.
///
/// Every option of train can be searched, by its own name.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct Search {
    /// What to train.
    #[arg(value_enum)]
    model: Kind,
    #[command(flatten)]
    setup: Setup,
    /// An option and the values to draw, like lr=log:1e-5..1e-1 (the logarithm is uniform), dropout=0..0.5 (uniform) or
    /// hidden=64|128|256,128 (one of them). May be given several times.
    #[arg(long = "param", value_name = "NAME=VALUES")]
    params: Vec<String>,
    /// An option and all values to try, like lr=1e-3,1e-2 or hidden=64|256,128; several make a grid.
    #[arg(long, value_name = "NAME=VALUES", conflicts_with_all = ["params", "n_iter", "coarse_to_fine"])]
    grid: Vec<String>,
    /// Configurations to draw, in each round; 20 by default.
    #[arg(long, value_name = "N")]
    n_iter: Option<usize>,
    /// Search in so many rounds, each with ranges a third as long around the best so far.
    #[arg(long, value_name = "ROUNDS")]
    coarse_to_fine: Option<usize>,
    /// Train all for one epoch, the better half for two, the better half of these for four, … up to --epochs.
    #[arg(long)]
    halving: bool,
    /// Train up to so many small nets together, where trials differ in nothing but rates, penalties, dropout and the numbers of the update
    /// rule; 1 trains each alone. 16 by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    together: Option<u16>,
    /// Folder of this search; by default the next free one of runs/search-MODEL-1, runs/search-MODEL-2, …
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Go on with an interrupted search: its folder. Data and options are its own.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "data", "train_x", "config", "run_dir", "params", "grid", "n_iter", "coarse_to_fine", "halving",
        "together"
    ])]
    resume: Option<PathBuf>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = TableFormat::Text)]
    format: TableFormat,
}

/// What is searched, and what is the same for all trials.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    notes: Notes,
    params: Vec<String>,
    grid: Vec<String>,
    n_iter: usize,
    rounds: usize,
    halving: bool,
    /// Trials that may be trained together.
    #[serde(default = "alone")]
    together: usize,
}

/// How trials were trained before they could be trained together.
fn alone() -> usize {
    1
}

/// What the command found. Keys are stable: see the README.
#[derive(Serialize)]
struct Summary<'a> {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    data: DataFacts,
    model: Kind,
    params: &'a [String],
    grid: &'a [String],
    n_iter: usize,
    rounds: usize,
    halving: bool,
    together: usize,
    seed: u64,
    /// The best first.
    trials: Vec<&'a Trial>,
    diverged: usize,
    /// Absent where all trials diverged, like what follows.
    best: Option<&'a Trial>,
    test_accuracy: Option<f64>,
    model_path: Option<PathBuf>,
    config_path: Option<PathBuf>,
    results_path: PathBuf,
    seconds: f64,
}

impl Plan {
    /// The parameters, checked.
    fn space(&self) -> Result<Vec<Parameter>> {
        let texts = self.params.iter().map(|text| (text, false));
        let space: Vec<Parameter> = texts
            .chain(self.grid.iter().map(|text| (text, true)))
            .map(|(text, grid)| Parameter::parse(text, grid))
            .collect::<Result<_>>()?;
        if space.is_empty() {
            return Err(Error::usage(
                "nothing is searched",
                "give --param lr=log:1e-5..1e-1, or --grid lr=1e-3,1e-2",
            ));
        }
        for (i, parameter) in space.iter().enumerate() {
            if space[..i].iter().any(|other| other.name == parameter.name) {
                return Err(Error::usage(
                    format!("{} is given twice", parameter.name),
                    "give all values of an option at once",
                ));
            }
            if self.halving && parameter.name == "epochs" {
                return Err(Error::usage(
                    "--halving chooses the epochs of each trial",
                    "search other options, or leave --halving out",
                ));
            }
        }
        if self.rounds > 1 && !space.iter().any(Parameter::is_range) {
            return Err(Error::usage("--coarse-to-fine has no range to narrow", "give --param a range"));
        }
        if self.notes.options.val_fraction.unwrap_or(0.0) == 0.0 {
            return Err(Error::usage("a search without validation rows", "give --val-fraction, like 0.1"));
        }
        let per_round = if self.grid.is_empty() {
            Some(self.n_iter)
        } else {
            space.iter().try_fold(1usize, |product, parameter| product.checked_mul(parameter.choices().len()))
        };
        let trials = per_round.and_then(|trials| trials.checked_mul(self.rounds));
        match trials {
            Some(0) => {
                Err(Error::usage("a search of no trials", "give --n-iter and --coarse-to-fine 1 or more"))
            }
            Some(1..=MOST) => Ok(space),
            _ => Err(Error::usage(
                format!("a search of more than {} trials", thousands(MOST)),
                "give fewer values, or draw some of them: --param",
            )),
        }
    }
}

impl Search {
    pub(super) fn run(self) -> Result<()> {
        let start = Instant::now();
        let (dataset, results, dir) = self.begin()?;
        let course = Course::new(results)?;
        let parts = Parts::new(&dataset, &course.results.plan.notes)?;
        let opened = self.setup.device.open()?;
        let dir = match dir {
            Some(dir) => dir,
            None => {
                let name = format!("search-{}", name_of(self.model));
                RunDir::create(self.run_dir.as_deref(), &name)?
            }
        };
        let limit = self.setup.device.memory_limit;
        let mut driver = Driver::new(course, &dataset, &parts, &opened.device, limit, &dir);
        driver.run()?;
        self.show(&driver.course.results, &dataset, &opened, &dir, start)
    }

    /// The data, and where the search stands: at its beginning, or where it was interrupted.
    fn begin(&self) -> Result<(Dataset, Results, Option<RunDir>)> {
        if let Some(dir) = &self.resume {
            let results = Results::read(dir)?;
            let model = results.plan.notes.model;
            if model != self.model || self.setup.options != TrainOptions::default() {
                return Err(Error::usage(
                    "an interrupted search goes on with its own model and options",
                    format!("write search {} --resume {}", name_of(model), dir.display()),
                ));
            }
            let dataset = results.plan.notes.model.load(&results.plan.notes.data)?;
            return Ok((dataset, results, Some(RunDir::create(Some(dir), "")?)));
        }
        if let Some(dir) = self.run_dir.as_ref().filter(|dir| Results::read(dir).is_ok()) {
            return Err(Error::usage(
                format!("{} holds a search already", dir.display()),
                "go on with it by --resume, or name another folder",
            ));
        }
        let dataset = self.model.load(&self.setup.data)?;
        let plan = Plan {
            notes: self.setup.notes(self.model, &dataset)?,
            params: self.params.clone(),
            grid: self.grid.clone(),
            n_iter: self.n_iter.unwrap_or(20),
            rounds: self.coarse_to_fine.unwrap_or(1),
            halving: self.halving,
            together: self.together.map_or(16, usize::from),
        };
        Ok((dataset, Results { plan, trials: Vec::new() }, None))
    }

    fn show(
        &self,
        results: &Results,
        dataset: &Dataset,
        opened: &Opened,
        dir: &RunDir,
        start: Instant,
    ) -> Result<()> {
        let Results { plan, trials } = results;
        let ranked = ranked(trials);
        let best = ranked.first().copied().filter(|trial| trial.is_scored());
        // The test rows are looked at once, by the one model that was chosen without them.
        let test_accuracy = match (best, dataset.test_labels.as_deref()) {
            (Some(_), Some(labels)) if !labels.is_empty() => {
                let predicted = Model::load(&opened.device, dir.model())?.predict(dataset.test.view())?;
                Some(Confusion::new(labels, &predicted, &dataset.classes).accuracy)
            }
            _ => None,
        };
        let summary = Summary {
            command: "search",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(opened),
            data: DataFacts::new(dataset),
            model: plan.notes.model,
            params: &plan.params,
            grid: &plan.grid,
            n_iter: plan.n_iter,
            rounds: plan.rounds,
            halving: plan.halving,
            together: plan.together,
            seed: plan.notes.data.seed,
            diverged: trials.iter().filter(|trial| trial.status == trial::Status::Diverged).count(),
            trials: ranked,
            best,
            test_accuracy,
            model_path: best.map(|_| dir.model()),
            config_path: best.map(|_| dir.file("config.toml")),
            results_path: dir.file("results.csv"),
            seconds: start.elapsed().as_secs_f64(),
        };
        match self.format {
            TableFormat::Text => output::print(&text(&summary)),
            TableFormat::Json => output::print_json(&summary),
            TableFormat::Csv => output::print(&csv(&summary.trials)?),
        }
    }
}

fn text(summary: &Summary<'_>) -> String {
    let DataFacts { name, train, features, dtype, .. } = &summary.data;
    let names: Vec<String> =
        summary.trials.first().map(|trial| trial.params.keys().cloned().collect()).unwrap_or_default();
    let classifies = summary.model.classifies();
    let (score, quality) = if classifies { ("val accuracy", "accuracy") } else { ("val loss", "loss") };
    let number = |trial: &Trial| match classifies {
        true => output::percent(trial.val_accuracy),
        false => trial.val_loss.map(|loss| format!("{loss:.4}")),
    };
    let fixed = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let headers = [fixed(["rank", "trial", score]), names.clone(), fixed(["epochs", "seconds", ""])].concat();
    let mut table = Table::new(&headers);
    for (i, trial) in summary.trials.iter().take(SHOWN).enumerate() {
        let mut row = vec![(i + 1).to_string(), trial.trial.to_string(), number(trial).unwrap_or_default()];
        row.extend(names.iter().map(|name| trial.params.get(name).map(shown).unwrap_or_default()));
        row.extend([
            trial.epochs.to_string(),
            format!("{:.1}", trial.seconds),
            trial.status.name().to_owned(),
        ]);
        table.row(&row);
    }
    let mut text = format!(
        "data       {name}: {} training rows of {features} features ({dtype})\n\
         device     {} · {}\n\
         search     {}, {} trials, {} diverged, seed {}\n\
         seconds    {:.1}\n\n{}",
        thousands(*train),
        summary.device.name,
        summary.device.why,
        name_of(summary.model),
        summary.trials.len(),
        summary.diverged,
        summary.seed,
        summary.seconds,
        table.text(),
    );
    if summary.trials.len() > SHOWN {
        text += &format!("… and {} more in the table\n", summary.trials.len() - SHOWN);
    }
    match summary.best {
        Some(best) => {
            text += &format!("\nbest       trial {}: {}\n", best.trial, best.described());
            let validation = number(best).unwrap_or_default();
            text += &format!("{quality:<11}validation {validation} (epoch {})", best.best_epoch);
            text += &output::percent(summary.test_accuracy)
                .map(|test| format!(" · test {test}"))
                .unwrap_or_default();
            text += "\n";
        }
        None => text += "\nall trials diverged: search lower learning rates\n",
    }
    for (name, path) in [("model", &summary.model_path), ("config", &summary.config_path)] {
        if let Some(path) = path {
            text += &format!("{name:<11}{}\n", path.display());
        }
    }
    text += &format!("table      {}\n", summary.results_path.display());
    text
}
