//! Layer normalisation's row of the table.

use super::{Gradients, NAME, Normalized, backward, forward, gpu};
use crate::device::Device;
use crate::error::Result;
use crate::ops::inputs::{Input, level_column, level_row, worst};
use crate::ops::{BOUNDED, Case, Effort, Op, split_variant, variants_of, wrong_case};
use crate::reference;
use crate::rng;
use crate::tolerance::Worst;

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "out = γ·x̂ + β with x̂ normalised row by row, and its gradients",
    dimensions: &["rows", "columns"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |_, s| 8.0 * (s[0] * s[1]) as f64,
    bytes: |form, s| if form.starts_with("backward") { 12.0 } else { 8.0 } * (s[0] * s[1]) as f64,
    variants: |device| variants_of(device, &["forward", "backward"], gpu::families),
    shapes,
    fit: |_| {},
    timed: &[&[256, 512], &[4096, 1024]],
    workload: |device, case| {
        let (operands, variant) = (operands(device, case)?, case.variant.clone());
        is_backward(case)?;
        Ok(Box::new(move || match split_variant(&variant) {
            ("backward", family) => operands.backward(family).map(drop),
            (_, family) => operands.forward(family).map(drop),
        }))
    },
    check,
};

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 5],
        vec![5, 0],
        vec![1, 1],
        vec![64, 1],
        vec![3, 2],
        vec![4, 3],
        vec![65, 63],
        vec![64, 64],
        vec![63, 65],
        vec![20, 127],
        vec![9, 257],
        vec![3, 1028],
        vec![36, 100],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![5000, 3], vec![129, 1031], vec![700, 260]]);
    }
    shapes
}

/// As people set it, rounded to 32 bit, where every executor starts.
fn epsilon() -> f64 {
    f64::from(1e-5f32)
}

fn is_backward(case: &Case) -> Result<bool> {
    match case.form() {
        "forward" => Ok(false),
        "backward" => Ok(true),
        _ => Err(wrong_case(&OP, case)),
    }
}

/// Seeded inputs of both passes.
struct Operands {
    x: Input,
    gamma: Input,
    beta: Input,
    dout: Input,
    statistics: Input,
}

fn operands(device: &Device, case: &Case) -> Result<Operands> {
    let &[rows, columns] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let mut rng = rng::seeded(case.seed);
    // Off centre, so that a mean matters, and once of equal terms.
    let off = Input::between(device, &mut rng, &[rows, columns], -1.0, 3.0)?;
    let mut values: Vec<f64> = off.tracked.iter().map(|x| x.value()).collect();
    level_row(&mut values, columns);
    let x = Input::of(device, &[rows, columns], &values)?;
    let gamma = Input::between(device, &mut rng, &[columns], 0.5, 2.0)?;
    let beta = Input::reals(device, &mut rng, &[columns])?;
    // A column of equal terms to add.
    let dout = Input::level(device, &mut rng, [rows, columns], level_column)?;
    let wide: Vec<f64> = x.tracked.iter().map(|x| x.value()).collect();
    let ones = vec![1.0; columns];
    let exact = reference::layernorm::forward(&wide, &ones, &ones, epsilon(), rows).statistics;
    let narrow: Vec<f64> = exact.into_iter().map(|value| f64::from(value as f32)).collect();
    let statistics = Input::of(device, &[2, rows], &narrow)?;
    Ok(Operands { x, gamma, beta, dout, statistics })
}

impl Operands {
    fn forward(&self, family: Option<&str>) -> Result<Normalized> {
        forward(&self.x.tensor, &self.gamma.tensor, &self.beta.tensor, epsilon(), family)
    }

    fn backward(&self, family: Option<&str>) -> Result<Gradients> {
        backward(&self.dout.tensor, &self.x.tensor, &self.statistics.tensor, &self.gamma.tensor, family)
    }
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let operands = operands(device, case)?;
    let (rows, family) = (case.shape[0], split_variant(&case.variant).1);
    let [x, gamma, beta, dout, statistics] =
        [&operands.x, &operands.gamma, &operands.beta, &operands.dout, &operands.statistics]
            .map(|input| input.tracked.as_slice());
    if is_backward(case)? {
        let got = operands.backward(family)?;
        let want = reference::layernorm::backward(dout, x, statistics, gamma, rows);
        return worst(&[(&got.dx, want.dx), (&got.dgamma, want.dgamma), (&got.dbeta, want.dbeta)]);
    }
    let got = operands.forward(family)?;
    let want = reference::layernorm::forward(x, gamma, beta, epsilon(), rows);
    worst(&[(&got.out, want.out), (&got.statistics, want.statistics)])
}
