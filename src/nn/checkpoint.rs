//! Models and interrupted runs as safetensors files.
//!
//! Names and layouts are PyTorch's, so that `load_state_dict` takes them from modules of these names:
//!
//! | ours | in the file | shape |
//! |---|---|---|
//! | W1 (D × H) | `fc1.weight` | H × D |
//! | b1 | `fc1.bias` | H |
//! | gamma1, beta1 | `bn1.weight`, `bn1.bias`, or `ln1.…` | H |
//! | running moments | `bn1.running_mean`, `bn1.running_var` (biased) | H |
//! | (x − shift)·scale of the inputs | `input.shift`, `input.scale` | D |
//!
//! Everything else is JSON under the metadata key `cs231n-gpu`. A run's file holds the optimizer's state as `optimizer.0.fc1.weight`, … and the best
//! net so far as `best.fc1.weight`, … besides.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::model::{Architecture, FullyConnectedNet, Normalization};
use super::optim::Optimizer;
use super::parameters::{Named, Parameters};
use super::solver::{History, Solver, Training};
use crate::data::preprocess::Columns;
use crate::data::{self, ImageShape};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The metadata key of the JSON.
const HEADER: &str = "cs231n-gpu";

/// Version of the layout.
const FORMAT: u32 = 1;

/// What turns rows as they are read into classes, or into codes and back.
#[derive(Debug, Clone)]
pub struct Model {
    /// The net.
    pub net: FullyConnectedNet,
    /// What is done to its inputs.
    pub columns: Columns,
    /// Names of the classes; none of an autoencoder.
    pub classes: Vec<String>,
    /// What its rows look like, where they are images.
    pub image: Option<ImageShape>,
}

/// The JSON of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    version: String,
    architecture: Architecture,
    classes: Vec<String>,
    image: Option<ImageShape>,
    /// Of an interrupted run.
    run: Option<Run>,
}

/// The JSON of an interrupted run.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    training: Training,
    history: History,
    /// What the caller wants to find again.
    notes: serde_json::Value,
}

/// A tensor as it lies in a file.
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Entry {
    /// A matrix lies the other way round in a file, other tensors as they are; in 64 bit where [`is_wide`].
    fn new(name: String, shape: &[usize], values: &[f64], wide: bool) -> Self {
        let [rows, columns] = *shape else {
            return Self { shape: shape.to_vec(), ..Self::new(name, &[values.len(), 1], values, wide) };
        };
        let (dtype, bytes) = if wide {
            (Dtype::F64, transposed([rows, columns], values, f64::to_le_bytes).into_flattened())
        } else {
            (Dtype::F32, transposed([rows, columns], values, |x| (x as f32).to_le_bytes()).into_flattened())
        };
        Self { name, shape: vec![columns, rows], dtype, bytes }
    }
}

impl Model {
    /// Writes the model.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written; [`Error::Device`] when the device fails.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write(path.as_ref(), self.entries("")?, None)
    }

    /// Reads a model onto a device.
    ///
    /// # Errors
    /// [`Error::Data`] naming what is missing or wrong in the file; [`Error::Io`]; [`Error::Device`].
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let file = File::parse(path, &bytes)?;
        file.model(device, "")
    }

    fn entries(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut entries = net_entries(&self.net, prefix)?;
        let wide = is_wide(&self.net.device());
        for (name, values) in [("shift", &self.columns.shift), ("scale", &self.columns.scale)] {
            let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
            entries.push(Entry::new(format!("{prefix}input.{name}"), &[values.len()], &values, wide));
        }
        Ok(entries)
    }

    fn write(&self, path: &Path, entries: Vec<Entry>, run: Option<Run>) -> Result<()> {
        let unfit =
            |error: &dyn std::fmt::Display| Error::usage(format!("the model cannot be stored: {error}"), "");
        let header = Header {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: self.net.architecture().clone(),
            classes: self.classes.clone(),
            image: self.image,
            run,
        };
        let header = serde_json::to_string(&header).map_err(|error| unfit(&error))?;
        let tensors = entries.iter().map(|entry| {
            let view = TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes);
            Ok((entry.name.as_str(), view.map_err(|error| unfit(&error))?))
        });
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| unfit(&error))?;
        data::write::bytes(path, &bytes)
    }
}

/// Writes a run so that [`load_run`] goes on from it: bit by bit as if it had not been interrupted. `notes` come back as they are.
///
/// # Errors
/// As [`Model::save`].
pub fn save_run(
    path: impl AsRef<Path>,
    model: &Model,
    solver: &Solver,
    notes: &impl Serialize,
) -> Result<()> {
    let current = Model { net: solver.net.clone(), ..model.clone() };
    let mut entries = current.entries("")?;
    if let Some(best) = &solver.best {
        entries.extend(net_entries(best, "best.")?);
    }
    for (i, state) in solver.optimizer.states().iter().enumerate() {
        entries.extend(parameter_entries(&format!("optimizer.{i}."), solver.net.architecture(), state)?);
    }
    let notes = serde_json::to_value(notes)
        .map_err(|error| Error::usage(format!("the run's notes do not fit JSON: {error}"), ""))?;
    let run = Run { training: solver.training().clone(), history: solver.history.clone(), notes };
    current.write(path.as_ref(), entries, Some(run))
}

/// Reads a run that [`save_run`] has written: the model, the solver, and the notes.
///
/// # Errors
/// As [`Model::load`]; [`Error::Data`] also for a file that holds a model but no run.
pub fn load_run<T: DeserializeOwned>(device: &Device, path: impl AsRef<Path>) -> Result<(Model, Solver, T)> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let file = File::parse(path, &bytes)?;
    let model = file.model(device, "")?;
    let Some(run) = &file.header.run else {
        return Err(file.refuse("a finished model, with nothing to go on from".into()));
    };
    let mut solver = Solver::new(model.net.clone(), run.training.clone())?;
    solver.history = run.history.clone();
    if run.history.best_epoch > 0 {
        solver.best = Some(file.model(device, "best.")?.net);
    }
    let architecture = model.net.architecture();
    let state = |i| {
        let tensors = file.parameters(&format!("optimizer.{i}."), architecture)?;
        Parameters::new(device, tensors, model.net.parameters.weight_count())
    };
    let states = (0..run.training.rule.states()).map(state).collect::<Result<_>>()?;
    solver.optimizer = Optimizer::resume(run.training.rule, states, run.history.losses.len() as u32);
    let notes = serde_json::from_value(run.notes.clone())
        .map_err(|error| file.refuse(format!("the notes of the run do not parse: {error}")))?;
    Ok((model, solver, notes))
}

/// The name that a parameter has in a file.
fn file_name(net: &Architecture, name: &str) -> String {
    let split = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let (kind, layer) = name.split_at(split);
    let norm = if net.normalization == Normalization::Layer { "ln" } else { "bn" };
    match kind {
        "W" => format!("fc{layer}.weight"),
        "b" => format!("fc{layer}.bias"),
        "gamma" => format!("{norm}{layer}.weight"),
        _ => format!("{norm}{layer}.bias"),
    }
}

/// The tensors of parameters, or of what belongs to each of them.
fn parameter_entries(prefix: &str, net: &Architecture, parameters: &Parameters) -> Result<Vec<Entry>> {
    let wide = is_wide(&parameters.device());
    let all = parameters.flat().to_f64()?;
    let entry = |((name, shape), place): ((&str, &[usize]), _)| {
        Entry::new(prefix.to_owned() + &file_name(net, name), shape, &all[place], wide)
    };
    Ok(parameters.shapes().zip(parameters.ranges()).map(entry).collect())
}

fn net_entries(net: &FullyConnectedNet, prefix: &str) -> Result<Vec<Entry>> {
    let mut entries = parameter_entries(prefix, net.architecture(), &net.parameters)?;
    for (i, norm) in net.norms.iter().enumerate() {
        // Before the first step there are none.
        let Some(moments) = &norm.moments else { continue };
        let both = moments.to_f64()?;
        let (mean, variance) = both.split_at(both.len() / 2);
        for (name, values) in [("running_mean", mean), ("running_var", variance)] {
            let name = format!("{prefix}bn{}.{name}", i + 1);
            entries.push(Entry::new(name, &[values.len()], values, is_wide(&net.device())));
        }
    }
    Ok(entries)
}

/// Whether files hold a device's numbers in 64 bit: the reference computes so, and goes on from nothing less.
fn is_wide(device: &Device) -> bool {
    matches!(device, Device::Reference)
}

/// f of each number of a matrix, the other way round.
fn transposed<T: Copy + Default>(
    [rows, columns]: [usize; 2],
    values: &[f64],
    f: impl Fn(f64) -> T,
) -> Vec<T> {
    /// Rows at once: those of a column fill a cache line.
    const ROWS: usize = 16;
    let mut turned = vec![T::default(); values.len()];
    for first in (0..rows).step_by(ROWS) {
        for column in 0..columns {
            let turned = &mut turned[column * rows..][first..rows.min(first + ROWS)];
            for (turned, row) in turned.iter_mut().zip(first..) {
                *turned = f(values[row * columns + column]);
            }
        }
    }
    turned
}

/// A parsed file. Nothing in it is believed: every tensor is compared with what the architecture asks for.
struct File<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    header: Header,
}

impl<'a> File<'a> {
    fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let refuse = |problem: String| {
            Err(Error::data(path, problem, "pass a file that train has written (model.safetensors)"))
        };
        let (metadata, tensors) = match (SafeTensors::read_metadata(bytes), SafeTensors::deserialize(bytes)) {
            (Ok((_, metadata)), Ok(tensors)) => (metadata, tensors),
            (Err(error), _) | (_, Err(error)) => return refuse(format!("no safetensors file: {error}")),
        };
        let Some(header) = metadata.metadata().as_ref().and_then(|map| map.get(HEADER)) else {
            return refuse("no model of this program: it has no description".into());
        };
        match serde_json::from_str::<Header>(header) {
            Ok(header) if header.format == FORMAT => Ok(Self { path, tensors, header }),
            Ok(header) => {
                refuse(format!("its layout is number {}, this program reads {FORMAT}", header.format))
            }
            Err(error) => refuse(format!("its description does not parse: {error}")),
        }
    }

    fn refuse(&self, problem: String) -> Error {
        Error::data(self.path, problem, "the file is damaged or of another version: train again")
    }

    /// The numbers of a tensor, which must have this shape.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        let tensor =
            self.tensors.tensor(name).map_err(|error| self.refuse(format!("tensor {name}: {error}")))?;
        if tensor.shape() != shape {
            return Err(self.refuse(format!("tensor {name} is {:?}, not {shape:?}", tensor.shape())));
        }
        let values: Vec<f64> = match tensor.dtype() {
            Dtype::F32 => {
                let words = tensor.data().as_chunks().0.iter();
                words.map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
            }
            Dtype::F64 => {
                tensor.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
            }
            other => return Err(self.refuse(format!("tensor {name} has type {other:?}"))),
        };
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(self.refuse(format!("tensor {name} holds {value}"))),
            None => Ok(values),
        }
    }

    /// Names, shapes and values of tensors like the parameters of a net, under the names that these have in files.
    fn parameters(&self, prefix: &str, net: &Architecture) -> Result<Vec<Named>> {
        let (all, _) = net.parameters();
        let values = |(name, shape): (String, Vec<usize>)| {
            let turned: Vec<usize> = shape.iter().rev().copied().collect();
            let values = self.values(&(prefix.to_owned() + &file_name(net, &name)), &turned)?;
            let values = match turned[..] {
                [rows, columns] => transposed([rows, columns], &values, |x| x),
                _ => values,
            };
            Ok((name, shape, values))
        };
        all.into_iter().map(values).collect()
    }

    /// The model whose tensors carry a prefix; its inputs carry none.
    fn model(&self, device: &Device, prefix: &str) -> Result<Model> {
        let Header { architecture, classes, image, .. } = &self.header;
        // An autoencoder knows no classes.
        let named = if architecture.objective.of_labels() { architecture.outputs } else { 0 };
        if named != classes.len() || architecture.inputs == 0 {
            let problem = format!("{named} classes with {} names", classes.len());
            return Err(self.refuse(problem));
        }
        architecture.check().map_err(|error| self.refuse(error.to_string()))?;
        let named = self.parameters(prefix, architecture)?;
        let mut net = FullyConnectedNet::from_values(device, architecture.clone(), named)?;
        for (i, norm) in net.norms.iter_mut().enumerate() {
            let name = |what: &str| format!("{prefix}bn{}.{what}", i + 1);
            if self.tensors.tensor(&name("running_mean")).is_err() {
                continue;
            }
            let width = architecture.hidden[i];
            let mut both = self.values(&name("running_mean"), &[width])?;
            both.extend(self.values(&name("running_var"), &[width])?);
            norm.moments = Some(Tensor::from_f64(device, &[2, width], &both)?);
        }
        let narrow = |name| {
            Ok::<Vec<f32>, Error>(
                self.values(name, &[architecture.inputs])?.into_iter().map(|v| v as f32).collect(),
            )
        };
        let columns = Columns { shift: narrow("input.shift")?, scale: narrow("input.scale")? };
        Ok(Model { net, columns, classes: classes.clone(), image: *image })
    }
}
