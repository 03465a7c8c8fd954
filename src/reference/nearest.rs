//! The k nearest training rows of a query: the definition that every search must reproduce exactly.

use super::{pairwise_l1::l1_distance, pairwise_l2::squared_distance, topk::topk};

/// How near two rows are. Smaller is always nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Euclidean distance √Σ(x−y)², ranked by its square.
    L2,
    /// Squared Euclidean distance Σ(x−y)².
    SqEuclidean,
    /// Manhattan distance Σ|x−y|.
    L1,
    /// Cosine distance 1 − x·y / (‖x‖‖y‖); 1 when either row is zero.
    Cosine,
    /// Negated inner product −x·y, so that the largest product is the nearest.
    Dot,
}

impl Metric {
    /// The value that neighbours are ranked by: the distance itself, except that [`Metric::L2`] ranks by the square,
    /// which a root would round.
    pub fn rank(self, x: &[f64], y: &[f64]) -> f64 {
        match self {
            Self::L2 | Self::SqEuclidean => squared_distance(x, y),
            Self::L1 => l1_distance(x, y),
            // Not `-dot`: that makes −0 of an orthogonal pair, and 0 of another.
            Self::Dot => 0.0 - dot(x, y),
            Self::Cosine => {
                let norms = dot(x, x).sqrt() * dot(y, y).sqrt();
                if norms == 0.0 { 1.0 } else { 1.0 - dot(x, y) / norms }
            }
        }
    }

    /// The distance that a user sees for a rank.
    pub fn distance(self, rank: f64) -> f64 {
        if self == Self::L2 { rank.sqrt() } else { rank }
    }
}

/// x·y = Σᵢ xᵢ·yᵢ, summed in order.
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (x, y) in x.iter().zip(y) {
        sum += x * y;
    }
    sum
}

/// The k nearest of `train`'s rows (of `query.len()` values each) as (rank, row) pairs, ordered by (rank, row).
pub fn nearest(metric: Metric, query: &[f64], train: &[f64], k: usize) -> Vec<(f64, usize)> {
    let ranks: Vec<f64> = train.chunks_exact(query.len()).map(|row| metric.rank(query, row)).collect();
    topk(&ranks, k)
}
