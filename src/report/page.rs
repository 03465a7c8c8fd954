//! The page of a finished training run: one HTML document that needs no other file and no network, to be opened, sent
//! or printed.

mod charts;
mod classes;
mod html;
mod images;
mod reconstructions;

use std::fmt::Write;

use self::html::{counted, escape, figure, head, pairs, percent, section, table};
use super::confusion::Confusion;
use super::mistakes::Mistake;
use super::table::thousands;
use crate::data::ImageShape;
use crate::error::Result;
use crate::rows::RowsRef;

/// Epochs that the page lists; of more, evenly spaced ones and the last.
const MOST_EPOCHS: usize = 200;

/// What the page tells. Whatever is empty or `None` is left out.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The heading: model and data, say.
    pub title: &'a str,
    /// The few figures that matter most, as names and values: accuracies, epochs, steps per second, seconds.
    pub headline: &'a [(String, String)],
    /// Options and their values.
    pub configuration: &'a [(String, String)],
    /// The device, and where the time went.
    pub timings: &'a [(String, String)],
    /// What was measured after each epoch.
    pub epochs: &'a [EpochPoint],
    /// The training loss of each step, from step 1.
    pub losses: &'a [f32],
    /// The test rows' predictions against their truth.
    pub confusion: Option<&'a Confusion>,
    /// Name of each class.
    pub classes: &'a [String],
    /// Weights of the first layer; drawn where they are images of shape `image`.
    pub filters: Option<Filters<'a>>,
    /// Rows that an autoencoder has given back.
    pub reconstructions: Option<Reconstructions<'a>>,
    /// Wrong predictions, surest first; see [`mistakes`](super::mistakes::mistakes).
    pub mistakes: &'a [Mistake],
    /// The rows that the mistakes count.
    pub test: RowsRef<'a>,
    /// The shape of a row, where rows are images.
    pub image: Option<ImageShape>,
}

/// What was measured after an epoch. Accuracies are shares, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochPoint {
    /// Its number, from 1.
    pub epoch: usize,
    /// Steps made until its end, counted as [`Run::losses`] counts them.
    pub step: usize,
    /// Mean training loss.
    pub train_loss: f64,
    /// Validation loss, where there are validation rows.
    pub val_loss: Option<f64>,
    /// Accuracy on training rows, where rows are classified.
    pub train_accuracy: Option<f64>,
    /// Accuracy on validation rows, where there are any.
    pub val_accuracy: Option<f64>,
}

/// Weights of a layer that sees the rows themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filters<'a> {
    /// `count` rows of as many weights as there are features, without biases.
    pub values: &'a [f32],
    /// Classes, or neurons.
    pub count: usize,
    /// What to call them: the heading of their section.
    pub what: &'a str,
    /// Whether row i belongs to class i, as in a linear classifier; else rows are neurons.
    pub by_class: bool,
}

/// Test rows and what an autoencoder makes of them; drawn where rows are images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconstructions<'a> {
    /// All test rows given back, in the units of the data.
    pub values: &'a [f32],
    /// The mean squared error of each row.
    pub errors: &'a [f64],
}

/// The page, as HTML.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) when a picture is too large for its format.
pub fn page(run: &Run<'_>) -> Result<String> {
    let title = escape(run.title);
    // The policy lets the page load nothing and run nothing, whatever a name in a file may have tried.
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <header>\n<p class=\"kind\">Training run</p>\n<h1>{title}</h1>\n{}</header>\n<main>\n",
        include_str!("page/style.css"),
        headline(run.headline)
    );
    html += &training(run)?;
    if let Some(confusion) = run.confusion {
        html += &classes::classes(confusion);
    }
    html += &reconstructions::reconstructions(run)?;
    html += &images::weights(run)?;
    html += &images::mistakes(run)?;
    let setting = pairs("Configuration", run.configuration) + &pairs("Device and timings", run.timings);
    if !setting.is_empty() {
        html += &section("setting", "How it was run", &format!("<div class=\"columns\">\n{setting}</div>\n"));
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ =
        write!(html, "</main>\n<footer><p>Written by cs231n-gpu {version}.</p></footer>\n</body>\n</html>\n");
    Ok(html)
}

/// The page's pictures as files of their own, with their names: `loss.svg`, `accuracy.svg` and `templates.png`, as far
/// as there is something to draw.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) when a picture is too large for its format.
pub fn pictures(run: &Run<'_>) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for (name, chart) in [("loss.svg", charts::loss(run)), ("accuracy.svg", charts::accuracy(run))] {
        if let Some(chart) = chart {
            files.push((name, chart.svg()?.into_bytes()));
        }
    }
    files.extend(images::grid(run)?.map(|png| ("templates.png", png)));
    Ok(files)
}

fn headline(figures: &[(String, String)]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    let figure = |(name, value): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
    };
    format!("<dl class=\"headline\">\n{}</dl>\n", figures.iter().map(figure).collect::<String>())
}

fn training(run: &Run<'_>) -> Result<String> {
    let mut body = String::new();
    for chart in [charts::loss(run), charts::accuracy(run)].into_iter().flatten() {
        body += &chart.figure()?;
    }
    if !body.is_empty() {
        body = format!("<div class=\"columns\">\n{body}</div>\n");
    }
    let lost = run.losses.iter().filter(|loss| !loss.is_finite()).count();
    if lost > 0 {
        let (lost, steps) = (thousands(lost), counted(run.losses.len(), "step"));
        let _ = writeln!(body, "<p class=\"warning\">The loss is not finite in {lost} of {steps}.</p>");
    }
    body += &epochs(run.epochs);
    Ok(if body.is_empty() { body } else { section("training", "Training", &body) })
}

/// Every epoch in numbers, folded away; the best by validation is bold: by accuracy, or where nothing is classified by loss.
fn epochs(epochs: &[EpochPoint]) -> String {
    let Some(last) = epochs.len().checked_sub(1) else { return String::new() };
    let every = epochs.len().div_ceil(MOST_EPOCHS);
    let classified = epochs.iter().any(|epoch| epoch.train_accuracy.is_some());
    let known = |epoch: &EpochPoint| {
        let score = if classified { epoch.val_accuracy } else { epoch.val_loss.map(|loss| -loss) };
        score.filter(|score| score.is_finite())
    };
    let best = (0..epochs.len())
        .filter(|&at| known(&epochs[at]).is_some())
        .reduce(|best, at| if known(&epochs[at]) > known(&epochs[best]) { at } else { best });
    let mut rows = String::new();
    for (at, epoch) in epochs.iter().enumerate() {
        if at % every != 0 && at != last && Some(at) != best {
            continue;
        }
        let missing = || "–".to_owned();
        let mut cells = vec![
            thousands(epoch.step),
            figure(epoch.train_loss),
            epoch.val_loss.map_or_else(missing, figure),
        ];
        if classified {
            cells.extend(
                [epoch.train_accuracy, epoch.val_accuracy].map(|it| it.map_or_else(missing, percent)),
            );
        }
        let class = if Some(at) == best { " class=\"best\"" } else { "" };
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(rows, "<tr{class}><th scope=\"row\">{}</th>{cells}</tr>", thousands(epoch.epoch));
    }
    let score = if classified { "accuracy" } else { "loss" };
    let note = match (every > 1, best.is_some()) {
        (false, false) => String::new(),
        (false, true) => format!("The best validation {score} is bold."),
        (true, false) => format!("One epoch of {every}, and the last."),
        (true, true) => {
            format!("One epoch of {every}, the last, and the best validation {score}, which is bold.")
        }
    };
    let columns = ["steps", "training loss", "validation loss", "training accuracy", "validation accuracy"];
    let head = head("epoch", &[], if classified { &columns } else { &columns[..3] });
    let table = table("epochs", "epochs in numbers", &head, &rows, &note);
    format!("<details>\n<summary>Epochs in numbers</summary>\n{table}</details>\n")
}

#[cfg(test)]
mod tests;
