//! Sums, products and maxima of elements (course notes, "Backpropagation", patterns of the add, multiply and max gates).

use crate::tolerance::Real;

/// An operation f on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// a + b.
    Add,
    /// a·b.
    Mul,
    /// max(a, b): a maxout unit of two pieces; NaN where either is.
    Maxout,
}

impl Pair {
    /// f(a, b).
    pub fn value<T: Real>(self, a: T, b: T) -> T {
        match self {
            Self::Add => a + b,
            Self::Mul => a * b,
            Self::Maxout => a.max(b),
        }
    }
}

/// f(aᵢ, bᵢ).
pub fn pair<T: Real>(a: &[T], b: &[T], pair: Pair) -> Vec<T> {
    a.iter().zip(b).map(|(&a, &b)| pair.value(a, b)).collect()
}

/// αxᵢ.
pub fn scale<T: Real>(alpha: f64, x: &[T]) -> Vec<T> {
    x.iter().map(|&x| T::from(alpha) * x).collect()
}

/// yᵢ + αxᵢ.
pub fn axpy<T: Real>(alpha: f64, x: &[T], y: &[T]) -> Vec<T> {
    x.iter().zip(y).map(|(&x, &y)| y + T::from(alpha) * x).collect()
}

/// ∂L/∂aᵢ and ∂L/∂bᵢ of L(max(a, b)): the gradient goes to the larger of the two, and to a where they are equal.
pub fn maxout_backward<T: Real>(dout: &[T], a: &[T], b: &[T]) -> (Vec<T>, Vec<T>) {
    let one = T::from(1.0);
    let each = dout.iter().zip(a.iter().zip(b));
    each.map(|(&dout, (&a, &b))| {
        let second = (b - a).step();
        (dout * (one - second), dout * second)
    })
    .unzip()
}
