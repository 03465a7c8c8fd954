//! `compare batchnorm`: its backward pass by the computational graph and by the formula that the graph simplifies to.

use clap::Args;
use serde::Serialize;

use super::{centred, devices, frobenius, label, rounded, speed_up, steady, timed, wide};
use crate::cli::args::{DataArgs, DeviceArgs};
use crate::cli::output::{self, Format};
use crate::cli::summary::{DataFacts, thousands};
use crate::device::Device;
use crate::error::Result;
use crate::nn::layers::{
    BatchNormParam, affine_forward, batchnorm_backward, batchnorm_backward_alt, batchnorm_forward,
};
use crate::reference::batchnorm as definition;
use crate::report::table::Table;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;
use crate::tolerance::{DOUBLE, Tracked, Worst, compare, largest_error};

#[derive(Debug, Args)]
pub(super) struct BatchNorm {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Neurons of the layer whose sums are normalised.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    hidden: u16,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// One form. Keys are stable: see the README.
#[derive(Serialize)]
struct Line {
    form: String,
    seconds: f64,
    /// ‖Δ‖ / ‖gradient‖ to the first form, for dx, dγ and dβ.
    dx_difference: f64,
    dgamma_difference: f64,
    dbeta_difference: f64,
    /// The worst error as a share of what the form's precision allows there: 32-bit forms by the running error analysis of the
    /// definition ([`crate::tolerance`]), 64-bit ones by [`DOUBLE`].
    worst_ratio: f64,
    /// Whether that is at most 1.
    agrees: bool,
}

#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    data: DataFacts,
    hidden: usize,
    forms: Vec<Line>,
}

/// The operands on the host: the sums of a first layer, and the gradient that comes back.
struct Operands {
    x: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    dout: Vec<f64>,
    shape: [usize; 2],
}

/// dx, dγ, dβ.
type Gradients = [Vec<f64>; 3];

impl BatchNorm {
    pub(super) fn run(self) -> Result<()> {
        let dataset = self.data.load()?;
        let opened = self.device.open()?;
        let (rows, features) = (dataset.train.len(), dataset.train.features());
        let x = centred(wide(dataset.train.view()), features);
        let operands = self.operands(&x, rows, features)?;
        let mut forms: Vec<Line> = Vec::new();
        let mut truth: Option<Gradients> = None;
        let bounds = operands.bounds();
        for device in [vec![Device::Reference], devices(&opened.device, self.device.selection())].concat() {
            for by_formula in [false, true] {
                let (gradients, seconds) = operands.backward(&device, by_formula)?;
                let truth = truth.get_or_insert_with(|| gradients.clone());
                let ratio = match device {
                    Device::Reference => {
                        let errors = gradients.iter().zip(&*truth);
                        errors.map(|(got, want)| largest_error(got, want, want)).fold(0.0, f64::max) / DOUBLE
                    }
                    _ => {
                        let worst = gradients.iter().zip(&bounds[usize::from(by_formula)]);
                        let worst = worst.map(|(got, want)| compare(got, want));
                        worst.fold(Worst::NONE, Worst::max).ratio.min(f64::MAX)
                    }
                };
                let name = if by_formula { "formula" } else { "graph" };
                forms.push(line(format!("{name}, {}", label(&device)), seconds, truth, &gradients, ratio));
            }
        }
        let report = Report {
            command: "compare batchnorm",
            version: env!("CARGO_PKG_VERSION"),
            data: DataFacts::new(&dataset),
            hidden: self.hidden.into(),
            forms,
        };
        match self.format {
            Format::Text => output::print(&text(&report)),
            Format::Json => output::print_json(&report),
        }
    }

    fn operands(&self, x: &[f64], rows: usize, features: usize) -> Result<Operands> {
        let hidden = usize::from(self.hidden);
        let mut random = RandomState::new(self.data.seed as u32);
        let scale = 1.0 / (features as f64).sqrt();
        let w: Vec<_> = random.randn(features * hidden).iter().map(|w| scale * w).collect();
        let (x, w, b) = (
            Tensor::from_f64(&Device::Cpu, &[rows, features], x)?,
            Tensor::from_f64(&Device::Cpu, &[features, hidden], &w)?,
            Tensor::from_f64(&Device::Cpu, &[hidden], &vec![0.0; hidden])?,
        );
        Ok(Operands {
            x: affine_forward(&x, &w, &b)?.0.to_f64()?,
            gamma: random.randn(hidden).into_iter().map(rounded).collect(),
            beta: random.randn(hidden).into_iter().map(rounded).collect(),
            dout: random.randn(rows * hidden).into_iter().map(rounded).collect(),
            shape: [rows, hidden],
        })
    }
}

impl Operands {
    /// The gradients with what 32 bit may make of them: by the graph, by the formula.
    fn bounds(&self) -> [[Vec<Tracked>; 3]; 2] {
        let [x, gamma, dout] = [&self.x, &self.gamma, &self.dout].map(|values| Tracked::inputs(values));
        let statistics =
            definition::statistics(&definition::moments(&x, gamma.len()), BatchNormParam::default().eps);
        [definition::backward_graph(&dout, &x, &statistics, &gamma), {
            definition::backward_formula(&dout, &x, &statistics, &gamma)
        }]
        .map(|found| [found.dx, found.dgamma, found.dbeta])
    }

    /// The backward pass on a device that already holds the operands, read back.
    fn backward(&self, device: &Device, by_formula: bool) -> Result<(Gradients, f64)> {
        let vector = |values: &[f64]| Tensor::from_f64(device, &[values.len()], values);
        let x = Tensor::from_f64(device, &self.shape, &self.x)?;
        let dout = Tensor::from_f64(device, &self.shape, &self.dout)?;
        let (gamma, beta) = (vector(&self.gamma)?, vector(&self.beta)?);
        let forward = || batchnorm_forward(&x, &gamma, &beta, &mut BatchNormParam::default());
        let run = || {
            let (_, cache) = forward()?;
            if let Device::Gpu(gpu) = device {
                gpu.wait()?;
            }
            timed(|| {
                let (dx, dgamma, dbeta) = match by_formula {
                    true => batchnorm_backward_alt(&dout, cache)?,
                    false => batchnorm_backward(&dout, cache)?,
                };
                if let Device::Gpu(gpu) = device {
                    gpu.wait()?;
                }
                Ok([dx, dgamma, dbeta])
            })
        };
        // The definition takes seconds; once is enough.
        let (gradients, seconds) = match device {
            Device::Reference => run()?,
            _ => {
                let mut all = Vec::new();
                let (last, _) = steady(|| {
                    let (gradients, seconds) = run()?;
                    all.push(seconds);
                    Ok(gradients)
                })?;
                // Without the first, which starts threads and compiles kernels.
                let later = &mut all[1..];
                later.sort_by(f64::total_cmp);
                (last, later[later.len() / 2])
            }
        };
        let [dx, dgamma, dbeta] = gradients;
        Ok(([dx.to_f64()?, dgamma.to_f64()?, dbeta.to_f64()?], seconds))
    }
}

fn line(form: String, seconds: f64, truth: &Gradients, gradients: &Gradients, worst_ratio: f64) -> Line {
    let difference = |i: usize| {
        let [difference, size]: [f64; 2] = frobenius(&gradients[i], &truth[i]);
        if size == 0.0 { difference } else { difference / size }
    };
    let [dx_difference, dgamma_difference, dbeta_difference] = [0, 1, 2].map(difference);
    let agrees = worst_ratio <= 1.0;
    Line { form, seconds, dx_difference, dgamma_difference, dbeta_difference, worst_ratio, agrees }
}

fn text(report: &Report) -> String {
    let mut table =
        Table::new(&["backward form", "seconds", "speed-up", "Δdx", "Δdγ", "Δdβ", "of allowed", "agrees"]);
    let slowest = report.forms.first().map_or(0.0, |line| line.seconds);
    for line in &report.forms {
        table.row(&[
            line.form.clone(),
            format!("{:.5}", line.seconds),
            speed_up(slowest, line.seconds),
            format!("{:.1e}", line.dx_difference),
            format!("{:.1e}", line.dgamma_difference),
            format!("{:.1e}", line.dbeta_difference),
            format!("{:.3}", line.worst_ratio),
            if line.agrees { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    format!(
        "data  {}: the sums of {} first-layer neurons over {} training rows\n\n{}",
        report.data.name,
        report.hidden,
        thousands(report.data.train),
        table.text()
    )
}
