//! Batch normalisation's row of the table.

use super::{Backward, Gradients, NAME, Normalized, Running, backward, gpu, test, train};
use crate::device::Device;
use crate::error::Result;
use crate::ops::inputs::{Input, level_column, worst};
use crate::ops::{BOUNDED, Case, Effort, Op, split_variant, variants_of, wrong_case};
use crate::reference;
use crate::rng;
use crate::tensor::Tensor;
use crate::tolerance::Worst;

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "out = γ·x̂ + β with x̂ normalised column by column, in training and test, and its gradients in two forms",
    dimensions: &["rows", "columns"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |_, s| 8.0 * (s[0] * s[1]) as f64,
    bytes: |form, s| if form.starts_with("backward") { 12.0 } else { 8.0 } * (s[0] * s[1]) as f64,
    variants: |device| variants_of(device, FORMS, gpu::families),
    shapes,
    fit: |_| {},
    timed: &[&[256, 512], &[256, 4096]],
    workload: |device, case| {
        let (operands, form, variant) = (operands(device, case)?, form(case)?, case.variant.clone());
        let mut moments = operands.moments.tensor.clone();
        Ok(Box::new(move || operands.run(form, Some(&mut moments), split_variant(&variant).1).map(drop)))
    },
    check,
};

const FORMS: &[&str] = &["train", "test", "backward_formula", "backward_graph"];

#[derive(Debug, Clone, Copy)]
enum Form {
    Train,
    Test,
    Backward(Backward),
}

fn form(case: &Case) -> Result<Form> {
    Ok(match case.form() {
        "train" => Form::Train,
        "test" => Form::Test,
        "backward_formula" => Form::Backward(Backward::Formula),
        "backward_graph" => Form::Backward(Backward::Graph),
        _ => return Err(wrong_case(&OP, case)),
    })
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 5],
        vec![5, 0],
        vec![1, 1],
        vec![1, 64],
        vec![2, 3],
        vec![3, 4],
        vec![63, 65],
        vec![64, 64],
        vec![65, 63],
        vec![127, 20],
        vec![257, 16],
        vec![100, 36],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![5000, 3], vec![1031, 129], vec![700, 260]]);
    }
    shapes
}

/// As people set them, rounded to 32 bit, where every executor starts.
fn settings() -> (f64, f64) {
    (f64::from(1e-5f32), f64::from(0.9f32))
}

/// Seeded inputs of every form.
struct Operands {
    x: Input,
    gamma: Input,
    beta: Input,
    moments: Input,
    dout: Input,
    statistics: Input,
}

fn operands(device: &Device, case: &Case) -> Result<Operands> {
    let &[rows, columns] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let mut rng = rng::seeded(case.seed);
    // Off centre, so that a mean matters, and once of equal terms.
    let off = Input::between(device, &mut rng, &[rows, columns], -1.0, 3.0)?;
    let mut values: Vec<f64> = off.tracked.iter().map(|x| x.value()).collect();
    level_column(&mut values, columns);
    let x = Input::of(device, &[rows, columns], &values)?;
    let gamma = Input::between(device, &mut rng, &[columns], 0.5, 2.0)?;
    let beta = Input::reals(device, &mut rng, &[columns])?;
    let moments = Input::between(device, &mut rng, &[2, columns], 0.25, 2.0)?;
    // A column of equal terms to add.
    let dout = Input::level(device, &mut rng, [rows, columns], level_column)?;
    let wide: Vec<f64> = x.tracked.iter().map(|x| x.value()).collect();
    let exact =
        reference::batchnorm::statistics(&reference::batchnorm::moments(&wide, columns), settings().0);
    let narrow: Vec<f64> = exact.into_iter().map(|value| f64::from(value as f32)).collect();
    let statistics = Input::of(device, &[2, columns], &narrow)?;
    Ok(Operands { x, gamma, beta, moments, dout, statistics })
}

/// What a form returns.
enum Outputs {
    Train(Normalized),
    Test(Tensor),
    Backward(Gradients),
}

impl Operands {
    /// Runs a form; training moves `running` where there is one.
    fn run(&self, form: Form, running: Option<&mut Tensor>, family: Option<&str>) -> Result<Outputs> {
        let [x, gamma, beta] = [&self.x, &self.gamma, &self.beta].map(|input| &input.tensor);
        let (epsilon, momentum) = settings();
        Ok(match form {
            Form::Train => {
                let running = running.map(|moments| Running { moments, momentum });
                Outputs::Train(train(x, gamma, beta, epsilon, running, family)?)
            }
            Form::Test => Outputs::Test(test(x, gamma, beta, &self.moments.tensor, epsilon, family)?),
            Form::Backward(form) => {
                let (dout, statistics) = (&self.dout.tensor, &self.statistics.tensor);
                Outputs::Backward(backward(dout, x, statistics, gamma, form, family)?)
            }
        })
    }
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let operands = operands(device, case)?;
    let form = form(case)?;
    let [x, gamma, beta, moments, dout, statistics] = [
        &operands.x,
        &operands.gamma,
        &operands.beta,
        &operands.moments,
        &operands.dout,
        &operands.statistics,
    ]
    .map(|input| input.tracked.as_slice());
    let (epsilon, momentum) = settings();
    let family = split_variant(&case.variant).1;
    let mut running = operands.moments.tensor.clone();
    match operands.run(form, Some(&mut running), family)? {
        Outputs::Train(got) => {
            let want = reference::batchnorm::train(x, gamma, beta, epsilon);
            let batch = reference::batchnorm::moments(x, gamma.len());
            let want_running = match case.shape[0] {
                0 => moments.to_vec(),
                _ => reference::batchnorm::running(moments, &batch, momentum),
            };
            let moving = worst(&[
                (&got.out, want.out.clone()),
                (&got.statistics, want.statistics.clone()),
                (&running, want_running),
            ])?;
            // Without running moments it is another kernel.
            let Outputs::Train(got) = operands.run(form, None, family)? else { return Ok(moving) };
            Ok(moving.max(worst(&[(&got.out, want.out), (&got.statistics, want.statistics)])?))
        }
        Outputs::Test(got) => worst(&[(&got, reference::batchnorm::test(x, gamma, beta, moments, epsilon))]),
        Outputs::Backward(got) => {
            let definition = match form {
                Form::Backward(Backward::Graph) => reference::batchnorm::backward_graph,
                _ => reference::batchnorm::backward_formula,
            };
            let want = definition(dout, x, statistics, gamma);
            worst(&[(&got.dx, want.dx), (&got.dgamma, want.dgamma), (&got.dbeta, want.dbeta)])
        }
    }
}
