//! The page of a finished run, with its pictures beside it.

use std::path::PathBuf;

use super::summary::Seconds;
use super::{Session, reconstruction::Reconstruction};
use crate::cli::args::name_of;
use crate::cli::summary::{mebibytes, peak_memory_bytes, thousands};
use crate::data::write;
use crate::error::Result;
use crate::nn::checkpoint::Model;
use crate::nn::solver::Solver;
use crate::report::confusion::Confusion;
use crate::report::page::{self, EpochPoint, Filters, Reconstructions, Run};

/// Mistakes that the page shows.
const MISTAKES: usize = 24;

/// What a finished run has to show.
pub(super) struct Finished<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) model: &'a Model,
    pub(super) solver: &'a Solver,
    pub(super) confusion: Option<&'a Confusion>,
    pub(super) reconstruction: Option<&'a Reconstruction>,
    pub(super) seconds: &'a Seconds,
}

/// Writes the page and its pictures into the run's folder; returns the page's path.
pub(super) fn write(finished: &Finished<'_>) -> Result<PathBuf> {
    let Finished { session, model, solver, confusion, .. } = *finished;
    let dataset = session.dataset;
    let epochs: Vec<EpochPoint> = solver
        .history
        .epochs
        .iter()
        .map(|epoch| EpochPoint {
            epoch: epoch.epoch as usize,
            step: epoch.step as usize,
            train_loss: epoch.train_loss,
            val_loss: epoch.val_loss,
            train_accuracy: epoch.train_accuracy,
            val_accuracy: epoch.val_accuracy,
        })
        .collect();
    let mistakes = match dataset.test_labels.as_deref().filter(|labels| !labels.is_empty()) {
        Some(truth) => model.mistakes(dataset.test.view(), truth, MISTAKES)?,
        None => Vec::new(),
    };
    let made = match session.notes.model.classifies() {
        true => None,
        false => {
            let test = dataset.test.view();
            Some((model.reconstructions(test)?, model.reconstruction_errors(test)?))
        }
    };
    let linear = !session.notes.model.is_deep();
    let filters = first_layer(model)?;
    let name = name_of(session.notes.model);
    let run = Run {
        title: &format!("{name} on {}", dataset.name),
        headline: &headline(finished),
        configuration: &configuration(finished)?,
        timings: &timings(finished),
        epochs: &epochs,
        losses: &solver.history.losses,
        confusion,
        classes: &dataset.classes,
        filters: dataset.image.map(|_| Filters {
            values: &filters,
            count: filters.len() / dataset.train.features(),
            what: if linear { "Weight templates" } else { "First-layer weights" },
            by_class: linear,
        }),
        reconstructions: made.as_ref().map(|(values, errors)| Reconstructions { values, errors }),
        mistakes: &mistakes,
        test: dataset.test.view(),
        image: dataset.image,
    };
    for (name, bytes) in page::pictures(&run)? {
        write::bytes(session.dir.file(name), &bytes)?;
    }
    let path = session.dir.file("report.html");
    write::text(&path, &page::page(&run)?)?;
    Ok(path)
}

/// The weights of the first layer, a row for each neuron.
fn first_layer(model: &Model) -> Result<Vec<f32>> {
    let w = model.net.parameters.get("W1")?;
    let (values, columns) = (w.to_f64()?, w.shape()[1]);
    let row = |neuron| values.iter().skip(neuron).step_by(columns).map(|&weight| weight as f32);
    Ok((0..columns).flat_map(row).collect())
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn headline(finished: &Finished<'_>) -> Vec<(String, String)> {
    let history = &finished.solver.history;
    let mut figures = Vec::new();
    if let Some(confusion) = finished.confusion {
        figures.push(("test accuracy".into(), percent(confusion.accuracy)));
    }
    if let Some(found) = finished.reconstruction {
        let errors = found.test.unwrap_or(found.train);
        let rows = if found.test.is_some() { "test" } else { "training" };
        figures.push((format!("{rows} error"), format!("{:.4}", errors.mse)));
        figures.push(("error of the mean row".into(), format!("{:.4}", errors.baseline_mse)));
        figures.push(("numbers of a code".into(), thousands(found.code)));
    }
    if let Some(accuracy) = history.best_accuracy() {
        figures.push(("validation accuracy".into(), percent(accuracy)));
    }
    figures.push(("epochs".into(), history.epochs.len().to_string()));
    figures.push(("steps".into(), thousands(history.losses.len())));
    figures.push(("seconds".into(), format!("{:.1}", finished.seconds.train)));
    figures
}

fn configuration(finished: &Finished<'_>) -> Result<Vec<(String, String)>> {
    let notes = finished.session.notes;
    let mut rows = vec![
        ("model".to_owned(), name_of(notes.model)),
        ("parameters".to_owned(), thousands(finished.model.net.parameters.elements())),
        ("objective".to_owned(), notes.options.objective(notes.model)),
        ("seed".to_owned(), notes.data.seed.to_string()),
    ];
    // One option a line: what the TOML file of the run says.
    let toml = notes.options.to_toml()?;
    rows.extend(
        toml.lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())),
    );
    Ok(rows)
}

fn timings(finished: &Finished<'_>) -> Vec<(String, String)> {
    let Seconds { load, upload, train, evaluate, .. } = finished.seconds;
    let opened = finished.session.opened;
    let mut rows = vec![
        ("device".to_owned(), opened.device.describe()),
        ("chosen".to_owned(), opened.why.clone()),
        ("load".to_owned(), format!("{load:.2} s")),
        ("upload".to_owned(), format!("{upload:.2} s")),
        ("train".to_owned(), format!("{train:.2} s")),
        ("evaluate".to_owned(), format!("{evaluate:.2} s")),
    ];
    if let Some(bytes) = peak_memory_bytes() {
        rows.push(("peak memory".to_owned(), mebibytes(bytes)));
    }
    rows
}
