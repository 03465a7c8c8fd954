//! `gradcheck --trace`: a layer's computational graph, node by node.

use serde::Serialize;

use super::output::{self, Format};
use super::summary::DeviceFacts;
use crate::device::{Device, Opened};
use crate::error::Result;
use crate::nn::layers::{BatchNormParam, batchnorm_backward, batchnorm_backward_alt, batchnorm_forward};
use crate::reference::batchnorm::graph;
use crate::report::table::Table;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;
use crate::tolerance::{largest_error, relative_error};

/// The assignment's sizes: `x = 5 * np.random.randn(4, 5) + 12`.
const ROWS: usize = 4;
const COLUMNS: usize = 5;
const EPSILON: f64 = 1e-5;

/// The graph. Keys are stable: see the README.
#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    layer: &'static str,
    device: DeviceFacts,
    seed: u64,
    nodes: Vec<Node>,
    forms: Vec<Forms>,
}

/// A node on the way forward and on the way back.
#[derive(Serialize)]
struct Node {
    name: &'static str,
    /// How the value is made.
    forward: &'static str,
    /// How the gradient is.
    backward: &'static str,
    shape: Vec<usize>,
    value: Vec<f64>,
    gradient: Vec<f64>,
}

/// One gradient by both forms.
#[derive(Serialize)]
struct Forms {
    gradient: &'static str,
    shape: Vec<usize>,
    graph: Vec<f64>,
    formula: Vec<f64>,
    /// The largest relative error between the two.
    apart: f64,
    /// The largest error of the device's formula to the reference's, as a share of the largest element.
    device_error: f64,
}

/// Batch normalisation of the assignment's example.
pub(super) fn batchnorm(opened: &Opened, seed: u64, format: Format) -> Result<()> {
    let mut random = RandomState::new(seed as u32);
    // In the notebook's order.
    let x: Vec<f64> = random.randn(ROWS * COLUMNS).into_iter().map(|x| 5.0 * x + 12.0).collect();
    let (gamma, beta, dout) = (random.randn(COLUMNS), random.randn(COLUMNS), random.randn(ROWS * COLUMNS));

    let graph = graph(&dout, &x, &gamma, &beta, EPSILON);
    let shape = |values: &[f64]| if values.len() == COLUMNS { vec![COLUMNS] } else { vec![ROWS, COLUMNS] };
    let nodes = graph.nodes().map(|(name, forward, backward, node)| Node {
        name,
        forward,
        backward,
        shape: shape(&node.value),
        value: node.value.clone(),
        gradient: node.gradient.clone(),
    });

    let backward = |device: &Device, by_formula: bool| -> Result<[Vec<f64>; 3]> {
        let matrix = |values: &[f64]| Tensor::from_f64(device, &[ROWS, COLUMNS], values);
        let vector = |values: &[f64]| Tensor::from_f64(device, &[COLUMNS], values);
        let param = &mut BatchNormParam { eps: EPSILON, ..BatchNormParam::default() };
        let (_, cache) = batchnorm_forward(&matrix(&x)?, &vector(&gamma)?, &vector(&beta)?, param)?;
        let (dx, dgamma, dbeta) = match by_formula {
            true => batchnorm_backward_alt(&matrix(&dout)?, cache)?,
            false => batchnorm_backward(&matrix(&dout)?, cache)?,
        };
        Ok([dx.to_f64()?, dgamma.to_f64()?, dbeta.to_f64()?])
    };
    let by_graph = backward(&Device::Reference, false)?;
    let by_formula = backward(&Device::Reference, true)?;
    let on_device = backward(&opened.device, true)?;
    let mut forms = Vec::new();
    for (((gradient, graph), formula), device) in
        ["dx", "dγ", "dβ"].into_iter().zip(by_graph).zip(by_formula).zip(on_device)
    {
        let pairs = graph.iter().zip(&formula);
        let apart = pairs.map(|(graph, formula)| relative_error(*graph, *formula)).fold(0.0, f64::max);
        let device_error = largest_error(&device, &formula, &formula);
        forms.push(Forms { gradient, shape: shape(&graph), graph, formula, apart, device_error });
    }
    let report = Report {
        command: "gradcheck --trace",
        version: env!("CARGO_PKG_VERSION"),
        layer: "batchnorm",
        device: DeviceFacts::new(opened),
        seed,
        nodes: nodes.into(),
        forms,
    };
    match format {
        Format::Text => output::print(&text(&report)),
        Format::Json => output::print_json(&report),
    }
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "batchnorm: x is {ROWS} × {COLUMNS} (5·randn + 12, seed {}), ε = {EPSILON:e}; N = {ROWS}\n\nforward\n",
        report.seed
    );
    for node in &report.nodes {
        text += &values(&format!("{} = {}", node.name, node.forward), &node.shape, &node.value);
    }
    text += "\nbackward: σ², μ and x̂ are nodes of their own, constants to one another where x̂ is differentiated\n";
    for node in report.nodes.iter().rev() {
        text += &values(&format!("d{} = {}", node.name, node.backward), &node.shape, &node.gradient);
    }
    text += "\nboth backward forms\n";
    let mut table = Table::new(&["", "by the graph", "by the formula", "relative difference"]);
    for form in &report.forms {
        for (i, (graph, formula)) in form.graph.iter().zip(&form.formula).enumerate() {
            table.row(&[
                place(form.gradient, &form.shape, i),
                format!("{graph:+.10}"),
                format!("{formula:+.10}"),
                format!("{:.1e}", relative_error(*graph, *formula)),
            ]);
        }
    }
    text += &table.text();
    let apart = report.forms.iter().map(|form| form.apart).fold(0.0, f64::max);
    text += &format!("\nlargest relative difference of the two forms: {apart:.1e}\n");
    if report.device.kind != "reference" {
        let error = report.forms.iter().map(|form| form.device_error).fold(0.0, f64::max);
        text += &format!("largest error on {}: {error:.1e}\n", report.device.name);
    }
    text
}

fn place(name: &str, shape: &[usize], i: usize) -> String {
    match *shape {
        [_, columns] => format!("{name}[{},{}]", i / columns, i % columns),
        _ => format!("{name}[{i}]"),
    }
}

/// A title, then the rows of a matrix or a vector.
fn values(title: &str, shape: &[usize], values: &[f64]) -> String {
    let mut text = format!("  {title}\n");
    for row in values.chunks(shape.last().copied().unwrap_or(1).max(1)) {
        let cells: Vec<_> = row.iter().map(|value| format!("{value:>14.8}")).collect();
        text += &format!("    {}\n", cells.join(" "));
    }
    text
}
