//! `compare svm` and `compare softmax`: a linear classifier's loss and gradient by loops and in matrices.

use clap::Args;
use serde::Serialize;

use super::{centred, devices, frobenius, label, rounded, speed_up, steady, timed, wide};
use crate::classify::linear::{
    Samples, softmax_loss_naive, softmax_loss_vectorized, svm_loss_naive, svm_loss_vectorized,
};
use crate::cli::args::{DataArgs, DeviceArgs};
use crate::cli::output::{self, Format};
use crate::cli::summary::{DataFacts, thousands};
use crate::device::Device;
use crate::error::Result;
use crate::reference;
use crate::report::table::Table;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;
use crate::tolerance::{DOUBLE, Tracked, compare, largest_error, relative_error};

/// The notebooks' `W = np.random.randn(…) * 0.0001`.
const WEIGHT_SCALE: f64 = 1e-4;

#[derive(Debug, Args)]
pub(super) struct Linear {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Strength of the penalty reg·ΣW².
    #[arg(long, default_value_t = 5e-6)]
    reg: f64,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Which loss.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loss {
    /// Multiclass SVM.
    Svm,
    /// Softmax.
    Softmax,
}

/// One form. Keys are stable: see the README.
#[derive(Serialize)]
struct Line {
    form: String,
    seconds: f64,
    loss: f64,
    /// |loss of the loops − loss of this form|.
    loss_difference: f64,
    /// ‖dW of the loops − dW of this form‖, the notebook's check.
    gradient_difference: f64,
    /// The worst error as a share of what the form's precision allows there: 32-bit forms by the running error analysis of the
    /// definition ([`crate::tolerance`]) with the proven bound of its sums over the rows, 64-bit ones by [`DOUBLE`].
    worst_ratio: f64,
    /// Whether that is at most 1.
    agrees: bool,
}

#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    data: DataFacts,
    classes: usize,
    reg: f64,
    forms: Vec<Line>,
}

/// (loss, dW).
type Outcome = (f64, Vec<f64>);

impl Linear {
    pub(super) fn run(self, loss: Loss) -> Result<()> {
        let dataset = self.data.load()?;
        let opened = self.device.open()?;
        let classes = dataset.classes.len();
        let (x, features) = with_ones(wide(dataset.train.view()), dataset.train.features());
        let mut random = RandomState::new(self.data.seed as u32);
        let w: Vec<_> = random.randn(features * classes).iter().map(|w| rounded(WEIGHT_SCALE * w)).collect();
        let samples = Samples { x: &x, y: &dataset.train_labels, classes };

        let (truth, seconds) = timed(|| {
            Ok(match loss {
                Loss::Svm => svm_loss_naive(&w, samples, self.reg),
                Loss::Softmax => softmax_loss_naive(&w, samples, self.reg),
            })
        })?;
        let bounds = definition(loss, &w, samples, self.reg);
        let mut forms = vec![line("naive, f64 loops (the notes)".into(), seconds, &truth, &truth, 0.0)];
        for device in [vec![Device::Reference], devices(&opened.device, self.device.selection())].concat() {
            let (outcome, seconds) = self.vectorized(&device, loss, samples, features, &w)?;
            let ratio = match device {
                // The order of the additions is all that differs.
                Device::Reference => {
                    let apart = relative_error(outcome.0, truth.0);
                    apart.max(largest_error(&outcome.1, &truth.1, &truth.1)) / DOUBLE
                }
                _ => {
                    let got: Vec<_> = [&[outcome.0][..], &outcome.1].concat();
                    compare(&got, &bounds).ratio.min(f64::MAX)
                }
            };
            let form = format!("vectorized, {}", label(&device));
            forms.push(line(form, seconds, &truth, &outcome, ratio));
        }
        let report = Report {
            command: match loss {
                Loss::Svm => "compare svm",
                Loss::Softmax => "compare softmax",
            },
            version: env!("CARGO_PKG_VERSION"),
            data: DataFacts::new(&dataset),
            classes,
            reg: self.reg,
            forms,
        };
        match self.format {
            Format::Text => output::print(&text(&report)),
            Format::Json => output::print_json(&report),
        }
    }

    /// The form in matrices on a device that already holds them, as the notebook's variables do; with loss and gradient read back.
    fn vectorized(
        &self,
        device: &Device,
        loss: Loss,
        samples: Samples<'_>,
        features: usize,
        w: &[f64],
    ) -> Result<(Outcome, f64)> {
        let count = samples.y.len();
        let x = Tensor::from_f64(device, &[count, features], samples.x)?;
        let y = Tensor::from_u32(device, &[count], samples.y)?;
        let w = Tensor::from_f64(device, &[features, samples.classes], w)?;
        steady(|| {
            let (loss, dw) = match loss {
                Loss::Svm => svm_loss_vectorized(&w, &x, &y, self.reg)?,
                Loss::Softmax => softmax_loss_vectorized(&w, &x, &y, self.reg)?,
            };
            Ok((loss.value()?, dw.to_f64()?))
        })
    }
}

/// The mean row taken off, a 1 put at the end of each row, and the new number of features.
fn with_ones(values: Vec<f64>, features: usize) -> (Vec<f64>, usize) {
    let centred = centred(values, features);
    let rows = centred.chunks_exact(features);
    (rows.flat_map(|row| row.iter().copied().chain([1.0])).collect(), features + 1)
}

/// The loss, then dW, with what 32 bit may make of them.
fn definition(loss: Loss, w: &[f64], samples: Samples<'_>, reg: f64) -> Vec<Tracked> {
    let Samples { x, y, classes } = samples;
    let (n, features) = (y.len(), w.len() / classes);
    let (w, x) = (Tracked::inputs(w), Tracked::inputs(x));
    let scores = reference::matmul::matmul(&x, &w, [n, classes, features], false, false);
    let (losses, dscores) = match loss {
        Loss::Svm => reference::hinge_loss::losses(&scores, y, [classes, 1], None, 1.0),
        Loss::Softmax => reference::cross_entropy::losses(&scores, y, [classes, 1], None),
    };
    let dw = reference::matmul::matmul(&x, &dscores, [features, classes, n], true, false);
    let squares: Tracked = w.iter().map(|&w| w * w).sum();
    let mean = losses.into_iter().sum::<Tracked>() / Tracked::from(n.max(1) as f64);
    let penalized = dw.into_iter().zip(&w).map(|(dw, &w)| dw + Tracked::from(2.0 * reg) * w);
    [mean + Tracked::from(reg) * squares].into_iter().chain(penalized).collect()
}

fn line(form: String, seconds: f64, truth: &Outcome, outcome: &Outcome, worst_ratio: f64) -> Line {
    let [gradient_difference, _] = frobenius(&outcome.1, &truth.1);
    let loss_difference = (outcome.0 - truth.0).abs();
    let (loss, agrees) = (outcome.0, worst_ratio <= 1.0);
    Line { form, seconds, loss, loss_difference, gradient_difference, worst_ratio, agrees }
}

fn text(report: &Report) -> String {
    let mut table =
        Table::new(&["form", "seconds", "speed-up", "loss", "|Δloss|", "‖ΔdW‖", "of allowed", "agrees"]);
    let slowest = report.forms.first().map_or(0.0, |line| line.seconds);
    for line in &report.forms {
        table.row(&[
            line.form.clone(),
            format!("{:.5}", line.seconds),
            speed_up(slowest, line.seconds),
            format!("{:.6}", line.loss),
            format!("{:.1e}", line.loss_difference),
            format!("{:.1e}", line.gradient_difference),
            format!("{:.3}", line.worst_ratio),
            if line.agrees { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    let DataFacts { name, train, features, .. } = &report.data;
    let train = thousands(*train);
    format!(
        "data  {name}: {train} training rows of {features} features and a 1, centred, {} classes; W = {WEIGHT_SCALE:e}·randn, reg = {:e}\n\n{}",
        report.classes,
        report.reg,
        table.text()
    )
}
