//! Update rules.

use cs231n_gpu::Tensor;
use cs231n_gpu::nn::optim::{self, AdamConfig, MomentumConfig, RmsPropConfig, SgdConfig};

use crate::support::{Case, Outcome, host, linspace, text};

/// w, dw: the notebook's, 4 × 5.
fn operands(case: &Case) -> Result<(Tensor, Tensor), String> {
    Ok((line(case, -0.4, 0.6)?, line(case, -0.6, 0.4)?))
}

fn line(case: &Case, from: f64, to: f64) -> Result<Tensor, String> {
    case.real(&[4, 5], &linspace(from, to, 20))
}

fn state(tensor: Option<Tensor>) -> Result<Vec<f64>, String> {
    host(&tensor.ok_or("the rule remembers nothing")?)
}

pub fn sgd(case: &Case) -> Outcome {
    let (mut w, dw) = operands(case)?;
    optim::sgd(&mut w, &dw, &SgdConfig { learning_rate: case.number("learning_rate") }).map_err(text)?;
    case.near("next_w", &host(&w)?, case.stated())
}

pub fn sgd_momentum(case: &Case) -> Outcome {
    let (mut w, dw) = operands(case)?;
    let mut config = MomentumConfig {
        learning_rate: case.number("learning_rate"),
        momentum: case.number("momentum"),
        velocity: Some(line(case, 0.6, 0.9)?),
    };
    optim::sgd_momentum(&mut w, &dw, &mut config).map_err(text)?;
    case.near("next_w", &host(&w)?, case.stated())?;
    case.near("velocity", &state(config.velocity)?, case.stated())
}

pub fn rmsprop(case: &Case) -> Outcome {
    let (mut w, dw) = operands(case)?;
    let mut config = RmsPropConfig {
        learning_rate: case.number("learning_rate"),
        decay_rate: case.number("decay_rate"),
        epsilon: case.number("epsilon"),
        cache: Some(line(case, 0.6, 0.9)?),
    };
    optim::rmsprop(&mut w, &dw, &mut config).map_err(text)?;
    case.near("next_w", &host(&w)?, case.stated())?;
    case.near("cache", &state(config.cache)?, case.stated())
}

pub fn adam(case: &Case) -> Outcome {
    let (mut w, dw) = operands(case)?;
    let mut config = AdamConfig {
        learning_rate: case.number("learning_rate"),
        beta1: case.number("beta1"),
        beta2: case.number("beta2"),
        epsilon: case.number("epsilon"),
        corrected: true,
        m: Some(line(case, 0.6, 0.9)?),
        v: Some(line(case, 0.7, 0.5)?),
        t: case.number("t_in") as u32,
    };
    optim::adam(&mut w, &dw, &mut config).map_err(text)?;
    case.near("next_w", &host(&w)?, case.stated())?;
    case.near("m", &state(config.m)?, case.stated())?;
    case.near("v", &state(config.v)?, case.stated())?;
    case.near_absolutely("t_out", config.t.into(), 0.0)
}

pub fn adam_first_step(case: &Case) -> Outcome {
    for (key, corrected) in [("next_w_no_correction", false), ("next_w_with_correction", true)] {
        let (mut w, dw) = operands(case)?;
        let learning_rate = case.number("learning_rate");
        let t = case.number("t_in") as u32;
        let mut config = AdamConfig { learning_rate, corrected, t, ..AdamConfig::default() };
        optim::adam(&mut w, &dw, &mut config).map_err(text)?;
        case.near(key, &host(&w)?, case.stated())?;
    }
    Ok(())
}
