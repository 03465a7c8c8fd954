//! Steps of gradient descent on the CPU: parameters and state are read and written once, in place.

use super::awake;
use super::chunks::{CHUNK, vectorized};
use crate::reference::optimizer::{Rule, Step};

/// The numbers of a step, computed in 64 bit and rounded once; kernels take the same, a table of them in this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
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

/// Elements in succession that belong to one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The group.
    pub owner: usize,
    /// The first element behind them.
    pub end: usize,
}

/// The runs of `owners`, each element's group.
pub fn runs(owners: &[u32]) -> Vec<Run> {
    let runs = owners.chunk_by(|a, b| a == b).scan(0, |end, run| {
        *end += run.len();
        Some(Run { owner: run[0] as usize, end: *end })
    });
    runs.collect()
}

/// Moves `w` by one step, and its state.
///
/// # Panics
/// When lengths differ, or the number of states is not the rule's.
pub fn update(rule: &Rule, step: &Step, w: &mut [f32], gradient: &[f32], state: &mut [&mut [f32]]) {
    let all = [Run { owner: 0, end: w.len() }];
    update_grouped(&[*rule], &[*step], &all, w, gradient, state);
}

/// Moves the elements of several groups, each by its own rule and step: the rules are of one kind and the steps shrink the same elements.
///
/// # Panics
/// As [`update`]; also when the runs do not cover the elements or have other groups.
pub fn update_grouped(
    rules: &[Rule],
    steps: &[Step],
    runs: &[Run],
    w: &mut [f32],
    gradient: &[f32],
    state: &mut [&mut [f32]],
) {
    let lengths = state.iter().all(|state| state.len() == w.len());
    let covered = runs.last().map_or(0, |run| run.end) == w.len();
    assert!(lengths && covered && gradient.len() == w.len(), "optimizer: lengths");
    let numbers: Vec<_> = rules.iter().zip(steps).map(|(rule, step)| Scalars::new(rule, step)).collect();
    let regularized = steps.first().map_or(0, |step| step.regularized);
    let groups = Groups { runs, numbers: &numbers, regularized };
    awake::keep(w.len().div_ceil(CHUNK));
    match (rules.first(), state) {
        (Some(Rule::Sgd), []) => sweep(
            Span { start: 0, w, gradient, state: [] },
            groups,
            #[inline(always)]
            move |s, w, g, []| (w - s.rate * g, []),
        ),
        (Some(Rule::Momentum { .. }), [v]) => sweep(
            Span { start: 0, w, gradient, state: [v] },
            groups,
            #[inline(always)]
            move |s, w, g, [v]| {
                let v = s.first_decay * v - s.rate * g;
                (w + v, [v])
            },
        ),
        (Some(Rule::Nesterov { .. }), [v]) => sweep(
            Span { start: 0, w, gradient, state: [v] },
            groups,
            #[inline(always)]
            move |s, w, g, [before]| {
                let v = s.first_decay * before - s.rate * g;
                (w - s.first_decay * before + s.first_share * v, [v])
            },
        ),
        (Some(Rule::Adagrad { .. } | Rule::RmsProp { .. }), [c]) => sweep(
            Span { start: 0, w, gradient, state: [c] },
            groups,
            #[inline(always)]
            move |s, w, g, [c]| {
                let c = s.second_decay * c + s.second_share * (g * g);
                (w - s.rate * g / (c.sqrt() + s.epsilon), [c])
            },
        ),
        (Some(Rule::Adam { .. } | Rule::AdamW { .. }), [m, c]) => sweep(
            Span { start: 0, w, gradient, state: [m, c] },
            groups,
            #[inline(always)]
            move |s, w, g, [m, c]| {
                let m = s.first_decay * m + s.first_share * g;
                let c = s.second_decay * c + s.second_share * (g * g);
                (w - s.rate * m / ((s.correction * c).sqrt() + s.epsilon), [m, c])
            },
        ),
        (rule, state) => panic!("optimizer: {} states for {rule:?}", state.len()),
    }
}

/// Who owns what, and the numbers of each owner.
#[derive(Clone, Copy)]
struct Groups<'a> {
    runs: &'a [Run],
    numbers: &'a [Scalars],
    /// The leading elements that the penalty and the decay of AdamW shrink.
    regularized: usize,
}

/// Parameters with what belongs to them.
struct Span<'a, const N: usize> {
    /// The number of the first.
    start: usize,
    w: &'a mut [f32],
    gradient: &'a [f32],
    state: [&'a mut [f32]; N],
}

impl<'a, const N: usize> Span<'a, N> {
    #[inline(always)]
    fn split_at(self, middle: usize) -> (Self, Self) {
        let Span { start, w, gradient, mut state } = self;
        let (w, w_right) = w.split_at_mut(middle);
        let (gradient, gradient_right) = gradient.split_at(middle);
        let right = state.each_mut().map(|state| {
            let (left, right) = std::mem::take(state).split_at_mut(middle);
            *state = left;
            right
        });
        let right = Span { start: start + middle, w: w_right, gradient: gradient_right, state: right };
        (Span { start, w, gradient, state }, right)
    }

    /// (w, state) = f(w, g, state) for every element; `f` must be inlined.
    #[inline(always)]
    fn each(self, f: impl Fn(f32, f32, [f32; N]) -> (f32, [f32; N])) {
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
    }
}

/// (w, state) = f(numbers of its group, w, g, state) for every element, halved over all cores down to single chunks.
fn sweep<const N: usize>(
    span: Span<'_, N>,
    groups: Groups,
    f: impl Fn(Scalars, f32, f32, [f32; N]) -> (f32, [f32; N]) + Copy + Sync + Send,
) {
    let n = span.w.len();
    if n > CHUNK {
        let (left, right) = span.split_at((n / 2).next_multiple_of(CHUNK));
        rayon::join(|| sweep(left, groups, f), || sweep(right, groups, f));
        return;
    }
    let first = groups.runs.partition_point(|run| run.end <= span.start);
    vectorized(
        #[inline(always)]
        move || {
            let mut rest = span;
            for run in &groups.runs[first..] {
                let s = groups.numbers[run.owner];
                let length = (run.end - rest.start).min(rest.w.len());
                let (mine, others) = rest.split_at(length);
                let shrunk = groups.regularized.saturating_sub(mine.start).min(mine.w.len());
                let (shrunk, plain) = mine.split_at(shrunk);
                shrunk.each(
                    #[inline(always)]
                    move |w, g, state| f(s, s.keep * w, g + s.l2 * w, state),
                );
                plain.each(
                    #[inline(always)]
                    move |w, g, state| f(s, w, g, state),
                );
                rest = others;
                if rest.w.is_empty() {
                    break;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::{Run, runs};

    #[test]
    fn runs_end_where_the_owner_changes() {
        let run = |owner, end| Run { owner, end };
        assert_eq!(runs(&[2, 2, 0, 2]), [run(2, 2), run(0, 3), run(2, 4)]);
        assert_eq!(runs(&[]), []);
    }
}
