//! Steps of gradient descent on the CPU: parameters and state are read and written once, in place.

use super::chunks::{CHUNK, vectorized};
use crate::reference::optimizer::{Rule, Step};

/// The numbers of a step, computed in 64 bit and rounded once; kernels take the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalars {
    /// The learning rate, divided by what the first moment of a corrected Adam still misses.
    pub rate: f32,
    /// λ of the penalty.
    pub l2: f32,
    /// What AdamW leaves of a parameter, 1 − ηλ; 1 for other rules.
    pub keep: f32,
    /// The share of the first state (v or m) that stays.
    pub first_decay: f32,
    /// The factor of the gradient in m; 1 + μ for Nesterov.
    pub first_share: f32,
    /// The share of Σg² that stays.
    pub second_decay: f32,
    /// The factor of g² in it.
    pub second_share: f32,
    /// What corrects the second moment; 1 without a correction.
    pub correction: f32,
    /// ε.
    pub epsilon: f32,
}

impl Scalars {
    /// The numbers of one step.
    pub fn new(rule: &Rule, step: &Step) -> Self {
        let missing = |beta: f64| 1.0 - beta.powf(f64::from(step.count));
        let mut rate = step.learning_rate;
        let (mut keep, mut correction) = (1.0, 1.0);
        let ([first_decay, first_share], [second_decay, second_share], epsilon) = match *rule {
            Rule::Sgd => ([0.0; 2], [0.0; 2], 0.0),
            Rule::Momentum { momentum } | Rule::Nesterov { momentum } => {
                ([momentum, 1.0 + momentum], [0.0; 2], 0.0)
            }
            Rule::Adagrad { epsilon } => ([0.0; 2], [1.0; 2], epsilon),
            Rule::RmsProp { decay, epsilon } => ([0.0; 2], [decay, 1.0 - decay], epsilon),
            Rule::Adam { beta1, beta2, epsilon, .. } | Rule::AdamW { beta1, beta2, epsilon, .. } => {
                if !matches!(rule, Rule::Adam { corrected: false, .. }) {
                    rate /= missing(beta1);
                    correction = 1.0 / missing(beta2);
                }
                if let Rule::AdamW { weight_decay, .. } = rule {
                    keep -= step.learning_rate * weight_decay;
                }
                ([beta1, 1.0 - beta1], [beta2, 1.0 - beta2], epsilon)
            }
        };
        Self {
            rate: rate as f32,
            l2: step.l2 as f32,
            keep: keep as f32,
            first_decay: first_decay as f32,
            first_share: first_share as f32,
            second_decay: second_decay as f32,
            second_share: second_share as f32,
            correction: correction as f32,
            epsilon: epsilon as f32,
        }
    }
}

/// Moves `w` by one step, and its state.
///
/// # Panics
/// When lengths differ, or the number of states is not the rule's.
pub fn update(rule: &Rule, step: &Step, w: &mut [f32], gradient: &[f32], state: &mut [&mut [f32]]) {
    let lengths = state.iter().all(|state| state.len() == w.len());
    assert!(lengths && gradient.len() == w.len(), "optimizer: lengths");
    let scalars = Scalars::new(rule, step);
    let Scalars { rate, first_decay, first_share, second_decay, second_share, correction, epsilon, .. } =
        scalars;
    let decayed = Decayed { l2: scalars.l2, keep: scalars.keep, count: step.regularized };
    match (rule, state) {
        (Rule::Sgd, []) => sweep(
            Span { w, gradient, state: [] },
            decayed,
            #[inline(always)]
            move |w, g, []| (w - rate * g, []),
        ),
        (Rule::Momentum { .. }, [v]) => sweep(
            Span { w, gradient, state: [v] },
            decayed,
            #[inline(always)]
            move |w, g, [v]| {
                let v = first_decay * v - rate * g;
                (w + v, [v])
            },
        ),
        (Rule::Nesterov { .. }, [v]) => sweep(
            Span { w, gradient, state: [v] },
            decayed,
            #[inline(always)]
            move |w, g, [before]| {
                let v = first_decay * before - rate * g;
                (w - first_decay * before + first_share * v, [v])
            },
        ),
        (Rule::Adagrad { .. } | Rule::RmsProp { .. }, [c]) => sweep(
            Span { w, gradient, state: [c] },
            decayed,
            #[inline(always)]
            move |w, g, [c]| {
                let c = second_decay * c + second_share * (g * g);
                (w - rate * g / (c.sqrt() + epsilon), [c])
            },
        ),
        (Rule::Adam { .. } | Rule::AdamW { .. }, [m, c]) => sweep(
            Span { w, gradient, state: [m, c] },
            decayed,
            #[inline(always)]
            move |w, g, [m, c]| {
                let m = first_decay * m + first_share * g;
                let c = second_decay * c + second_share * (g * g);
                (w - rate * m / ((correction * c).sqrt() + epsilon), [m, c])
            },
        ),
        (rule, state) => panic!("optimizer: {} states for {rule:?}", state.len()),
    }
}

/// What shrinks the leading elements.
#[derive(Clone, Copy)]
struct Decayed {
    l2: f32,
    keep: f32,
    /// How many there are.
    count: usize,
}

/// Parameters with what belongs to them.
struct Span<'a, const N: usize> {
    w: &'a mut [f32],
    gradient: &'a [f32],
    state: [&'a mut [f32]; N],
}

impl<'a, const N: usize> Span<'a, N> {
    fn split_at(self, middle: usize) -> (Self, Self) {
        let Span { w, gradient, mut state } = self;
        let (w, w_right) = w.split_at_mut(middle);
        let (gradient, gradient_right) = gradient.split_at(middle);
        let right = state.each_mut().map(|state| {
            let (left, right) = std::mem::take(state).split_at_mut(middle);
            *state = left;
            right
        });
        (Span { w, gradient, state }, Span { w: w_right, gradient: gradient_right, state: right })
    }

    /// (w, state) = f(w, g, state) for every element; `f` must be inlined.
    #[inline(always)]
    fn each(self, f: impl Fn(f32, f32, [f32; N]) -> (f32, [f32; N])) {
        vectorized(
            #[inline(always)]
            move || {
                let n = self.w.len();
                let gradient = &self.gradient[..n];
                let mut state = self.state.map(|state| &mut state[..n]);
                for i in 0..n {
                    let (w, new) = f(self.w[i], gradient[i], std::array::from_fn(|k| state[k][i]));
                    self.w[i] = w;
                    for (state, new) in state.iter_mut().zip(new) {
                        state[i] = new;
                    }
                }
            },
        );
    }
}

/// (w, state) = f(w, g, state) for every element, halved over all cores down to single chunks.
fn sweep<const N: usize>(
    span: Span<'_, N>,
    decayed: Decayed,
    f: impl Fn(f32, f32, [f32; N]) -> (f32, [f32; N]) + Copy + Sync + Send,
) {
    let n = span.w.len();
    if n > CHUNK {
        let middle = (n / 2).next_multiple_of(CHUNK);
        let (left, right) = span.split_at(middle);
        let rest = Decayed { count: decayed.count.saturating_sub(middle), ..decayed };
        rayon::join(|| sweep(left, decayed, f), || sweep(right, rest, f));
        return;
    }
    let (shrunk, others) = span.split_at(decayed.count.min(n));
    shrunk.each(
        #[inline(always)]
        move |w, g, state| f(decayed.keep * w, g + decayed.l2 * w, state),
    );
    others.each(f);
}
