//! Batched matrix product on the CPU, through the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

/// The shape of a batched product: `batch` times m×k by k×n, each operand possibly stored transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulShape {
    /// Number of products.
    pub batch: usize,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// A is stored k×m.
    pub a_transposed: bool,
    /// B is stored n×k.
    pub b_transposed: bool,
}

/// Products below this many multiply-adds do not repay waking a second thread.
const SERIAL_BELOW: usize = 1 << 17;

/// C = op(A)·op(B) for every product of the batch; `c` holds batch·m·n values and is overwritten.
///
/// # Panics
/// When a slice's length differs from the shape's.
pub fn matmul(a: &[f32], b: &[f32], c: &mut [f32], shape: MatmulShape) {
    let MatmulShape { batch, m, n, k, .. } = shape;
    assert_eq!((a.len(), b.len(), c.len()), (batch * m * k, batch * k * n, batch * m * n), "matmul: lengths");
    if c.is_empty() {
        return;
    }
    if k == 0 {
        c.fill(0.0);
        return;
    }
    let one = |(i, c): (usize, &mut [f32]), threads| {
        product(&a[i * m * k..][..m * k], &b[i * k * n..][..k * n], c, shape, threads);
    };
    if batch == 1 {
        let threads = if m * n * k < SERIAL_BELOW { Parallelism::None } else { Parallelism::Rayon(0) };
        one((0, c), threads);
    } else {
        c.par_chunks_mut(m * n).enumerate().for_each(|chunk| one(chunk, Parallelism::None));
    }
}

fn product(a: &[f32], b: &[f32], c: &mut [f32], shape: MatmulShape, threads: Parallelism) {
    let MatmulShape { m, n, k, a_transposed, b_transposed, .. } = shape;
    let strides = |rows: usize, columns: usize, transposed: bool| {
        if transposed { (rows as isize, 1) } else { (1, columns as isize) }
    };
    let (a_column, a_row) = strides(m, k, a_transposed);
    let (b_column, b_row) = strides(k, n, b_transposed);
    // SAFETY: the slices hold m·k, k·n and m·n values (asserted by the caller), the strides address each of them once
    // and nothing else, and `c` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
