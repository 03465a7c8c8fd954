//! `--dry-run`: what a run would do, without doing it.

use std::path::PathBuf;

use serde::Serialize;

use super::origin::Start;
use super::{Feeds, Kind, Session};
use crate::cli::args::name_of;
use crate::cli::output::{self, Format};
use crate::cli::summary::{DataFacts, DeviceFacts, mebibytes, thousands};
use crate::device::Device;
use crate::error::Result;
use crate::nn::checkpoint::Model;
use crate::nn::feed::resident_bytes;
use crate::nn::model::{Architecture, Normalization};
use crate::nn::solver::{EVALUATED, Solver};
use crate::report::table::Table;

/// Files that every run writes into its folder.
const FILES: [&str; 7] = [
    "config.toml",
    "checkpoint.safetensors",
    "model.safetensors",
    "history.csv",
    "history.json",
    "report.html",
    "loss.svg",
];

/// The files of a run.
fn files(session: &Session<'_>) -> Vec<PathBuf> {
    let Session { dataset, notes, dir, .. } = *session;
    let accuracy = notes.model.classifies().then_some("accuracy.svg");
    let templates = dataset.image.map(|_| "templates.png");
    FILES.into_iter().chain(accuracy).chain(templates).map(|file| dir.file(file)).collect()
}

/// What would be done. Keys are stable: see the README.
#[derive(Serialize)]
struct Plan {
    command: &'static str,
    version: &'static str,
    dry_run: bool,
    device: DeviceFacts,
    data: DataFacts,
    model: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_from: Option<Start>,
    objective: String,
    layers: Vec<Layer>,
    parameters: usize,
    train_rows: usize,
    validation_rows: usize,
    test_rows: usize,
    batch_size: usize,
    epochs: u64,
    steps_per_epoch: u64,
    /// Of the whole run, and those that an interrupted one has made.
    steps: u64,
    steps_done: u64,
    memory: Memory,
    writes: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Layer {
    layer: String,
    inputs: usize,
    outputs: usize,
    parameters: usize,
}

/// Bytes on the device, as far as shapes tell: buffers that are kept for the next step and what drivers take come on top.
#[derive(Serialize)]
struct Memory {
    parameters: u64,
    gradients: u64,
    optimizer: u64,
    best_epoch: u64,
    /// Rows that stay there; 0 where they are uploaded anew in every epoch.
    rows: u64,
    rows_resident: bool,
    /// Of a training batch and its way back, or of the larger batches of an evaluation, whichever is more.
    batch: u64,
    total: u64,
}

/// Prints the plan.
pub(super) fn show(
    session: &Session<'_>,
    model: &Model,
    solver: &Solver,
    memory_limit: Option<u64>,
    format: Format,
) -> Result<()> {
    let Session { dataset, parts, notes, opened, .. } = *session;
    let feeds = Feeds::new(&opened.device, parts, &model.columns, memory_limit)?;
    let (net, training) = (model.net.architecture(), solver.training());
    let steps_per_epoch = feeds.per_epoch(solver);
    let plan = Plan {
        command: "train",
        version: env!("CARGO_PKG_VERSION"),
        dry_run: true,
        device: DeviceFacts::new(opened),
        data: DataFacts::new(dataset),
        model: notes.model,
        init_from: notes.start.clone(),
        objective: notes.options.objective(notes.model),
        layers: layers(net),
        parameters: net.elements(),
        train_rows: parts.train.len(),
        validation_rows: parts.validation.len(),
        test_rows: dataset.test.len(),
        batch_size: training.batch_size,
        epochs: training.epochs,
        steps_per_epoch,
        steps: training.steps(steps_per_epoch),
        steps_done: solver.history.losses.len() as u64,
        memory: memory(session, net, solver, memory_limit),
        writes: files(session),
    };
    match format {
        Format::Text => output::print(&text(&plan)),
        Format::Json => output::print_json(&plan),
    }
}

/// What is between inputs and outputs, layer by layer.
fn layers(net: &Architecture) -> Vec<Layer> {
    let widths = [&[net.inputs][..], &net.hidden, &[net.outputs]].concat();
    let code = net.encoder().len();
    let norm = match net.normalization {
        Normalization::None => "",
        Normalization::Batch => " · batchnorm",
        Normalization::Layer => " · layernorm",
    };
    let hidden = net.hidden.len();
    let layer = |(i, pair): (usize, &[usize])| {
        let (inputs, outputs) = (pair[0], pair[1]);
        let mut parameters = (inputs + 1) * outputs;
        let mut layer = "affine".to_owned();
        if i < hidden {
            let activation = format!("{:?}", net.activation).to_lowercase();
            layer += &format!("{norm} · {activation}");
            layer += &net.dropout.map(|it| format!(" · dropout {}", it.drop)).unwrap_or_default();
            parameters += if norm.is_empty() { 0 } else { 2 * outputs };
        }
        if !net.objective.of_labels() && i + 1 == code {
            layer += " (code)";
        }
        Layer { layer, inputs, outputs, parameters }
    };
    widths.windows(2).enumerate().map(layer).collect()
}

fn memory(session: &Session<'_>, net: &Architecture, solver: &Solver, memory_limit: Option<u64>) -> Memory {
    let parts = session.parts;
    let real = if matches!(session.opened.device, Device::Reference) { 8 } else { 4 };
    let parameters = net.elements() as u64 * real;
    let validated = !parts.validation.is_empty();
    // Inputs, outputs, and of every hidden layer what it puts out, what normalises it and what dropout leaves of it.
    let normalized = if net.normalization == Normalization::None { 0 } else { 2 };
    let copies = 1 + normalized + usize::from(net.dropout.is_some());
    let neurons = net.hidden.iter().sum::<usize>();
    let forward = (net.inputs + copies * neurons + net.outputs) as u64;
    let back = (neurons + net.outputs) as u64;
    let batch = solver.training().batch_size.min(parts.train.len()) as u64;
    let evaluated = EVALUATED.min(parts.train.len().max(parts.validation.len())) as u64;
    let rows = [Some(&parts.train), Some(&parts.validation)].into_iter().flatten();
    let resident: Option<u64> = rows.map(|rows| resident_bytes(rows.view(), memory_limit)).sum();
    let mut memory = Memory {
        parameters,
        gradients: parameters,
        optimizer: parameters * solver.training().rule.states() as u64,
        best_epoch: if validated { parameters } else { 0 },
        rows: resident.unwrap_or(0),
        rows_resident: resident.is_some(),
        batch: real * (batch * (forward + back)).max(evaluated * forward),
        total: 0,
    };
    let Memory { gradients, optimizer, best_epoch, rows, batch, .. } = memory;
    memory.total = parameters + gradients + optimizer + best_epoch + rows + batch;
    memory
}

fn text(plan: &Plan) -> String {
    let DataFacts { name, features, dtype, .. } = &plan.data;
    let mut table = Table::new(&["layer", "inputs", "outputs", "parameters"]);
    for Layer { layer, inputs, outputs, parameters } in &plan.layers {
        table.row(&[layer.clone(), thousands(*inputs), thousands(*outputs), thousands(*parameters)]);
    }
    let Memory { parameters, gradients, optimizer, best_epoch, rows, rows_resident, batch, total } =
        plan.memory;
    let rows = match rows_resident {
        true => format!("rows {}", mebibytes(rows)),
        false => "rows uploaded in every epoch".to_owned(),
    };
    let done = match plan.steps_done {
        0 => String::new(),
        done => format!(", {} of them done", thousands(done as usize)),
    };
    let mut text = format!(
        "data       {name}: {} training, {} validation and {} test rows of {features} features ({dtype})\n\
         device     {} · {}\n\
         model      {}, {} parameters\n",
        thousands(plan.train_rows),
        thousands(plan.validation_rows),
        thousands(plan.test_rows),
        plan.device.name,
        plan.device.why,
        name_of(plan.model),
        thousands(plan.parameters),
    );
    text += &plan.init_from.as_ref().map(Start::text).unwrap_or_default();
    text += &format!(
        "objective  {}\n\
         steps      {}{done}: {} epochs of {}, batches of {}\n\
         memory     about {} on the device: parameters {} · gradients {} · optimizer {} · best epoch {} · {rows} · batch {}\n\n\
         {}\nwould write\n",
        plan.objective,
        thousands(plan.steps as usize),
        plan.epochs,
        thousands(plan.steps_per_epoch as usize),
        thousands(plan.batch_size),
        mebibytes(total),
        mebibytes(parameters),
        mebibytes(gradients),
        mebibytes(optimizer),
        mebibytes(best_epoch),
        mebibytes(batch),
        table.text(),
    );
    plan.writes.iter().for_each(|path| text += &format!("  {}\n", path.display()));
    text + "a dry run: nothing was trained, nothing was written\n"
}
