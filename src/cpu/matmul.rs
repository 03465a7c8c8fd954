//! Batched matrix product on the CPU, through the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::tolerance::product_block;

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
    /// The matrices of a batch, as stored, are the columns of one matrix side by side instead of lying one after the other.
    pub side_by_side: bool,
}

/// Elements from one row, as stored, to the next, and from one matrix of a batch to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) row: usize,
    pub(crate) batch: usize,
}

impl MatmulShape {
    /// One product, m×k by k×n, nothing transposed.
    pub fn of([m, n, k]: [usize; 3]) -> Self {
        Self { batch: 1, m, n, k, a_transposed: false, b_transposed: false, side_by_side: false }
    }

    /// Those of A, B and C.
    pub(crate) fn strides(self) -> [Strides; 3] {
        let Self { batch, m, n, k, a_transposed, b_transposed, side_by_side } = self;
        let of = |rows: usize, columns: usize| match side_by_side {
            false => Strides { row: columns, batch: rows * columns },
            true => Strides { row: batch * columns, batch: columns },
        };
        [
            if a_transposed { of(k, m) } else { of(m, k) },
            if b_transposed { of(n, k) } else { of(k, n) },
            of(m, n),
        ]
    }
}

/// Products below this many multiply-adds do not repay waking a second thread.
const SERIAL_BELOW: usize = 1 << 17;

/// C = op(A)·op(B) for every product of the batch; `c` holds batch·m·n values and is overwritten.
///
/// Sums are made in blocks along k ([`product_block`]), so that their error is proven to stay within what is allowed. The result does not
/// depend on the number of threads.
///
/// # Panics
/// When a slice's length differs from the shape's.
pub fn matmul(a: &[f32], b: &[f32], c: &mut [f32], shape: MatmulShape) {
    let MatmulShape { batch, m, n, k, .. } = shape;
    let [.., of_c] = shape.strides();
    assert_eq!((a.len(), b.len(), c.len()), (batch * m * k, batch * k * n, batch * m * n), "matmul: lengths");
    if c.is_empty() {
        return;
    }
    if k == 0 {
        c.fill(0.0);
        return;
    }
    let side = side(m, n);
    let (down, across) = (m.div_ceil(side), n.div_ceil(side));
    let start = Start(c.as_mut_ptr());
    let tile = |i: usize| {
        let (i, at) = (i / (down * across), i % (down * across));
        let (row, column) = (at / across * side, at % across * side);
        let [height, width] = [side.min(m - row), side.min(n - column)];
        // SAFETY: `c` holds batch·m·n values and is borrowed mutably; this is where tile `at` of product `i` starts, and no two tiles share
        // an element.
        unsafe {
            let c = start.get().add(i * of_c.batch + row * of_c.row + column);
            product(a, b, c, i, [row, column, height, width], shape)
        };
    };
    let tiles = 0..batch * down * across;
    if m * n * k * batch < SERIAL_BELOW { tiles.for_each(tile) } else { tiles.into_par_iter().for_each(tile) }
}

/// Where C starts.
struct Start(*mut f32);

impl Start {
    // A method, so that closures borrow the whole and not the pointer, which is no `Sync`.
    fn get(&self) -> *mut f32 {
        self.0
    }
}

// SAFETY: it is the mutable borrow of plain numbers in `matmul`, whose tasks write tiles that do not overlap.
unsafe impl Sync for Start {}

/// Rows and columns of a tile of C: it is read and written once for every block of k, so it should stay in the second level of cache, and
/// there should be tiles for all threads. Chosen by the shape alone.
fn side(m: usize, n: usize) -> usize {
    if m * n >= 1 << 20 { 256 } else { 128 }
}

/// One tile of product `i` of the batch, of `height` × `width` from (`row`, `column`), block after block of k.
///
/// # Safety
/// `c` points to the tile's first element in the shape's C, which holds the tile, and nobody else uses the tile.
unsafe fn product(
    a: &[f32],
    b: &[f32],
    c: *mut f32,
    i: usize,
    [row, column, height, width]: [usize; 4],
    shape: MatmulShape,
) {
    let MatmulShape { k, a_transposed, b_transposed, .. } = shape;
    let [of_a, of_b, of_c] = shape.strides();
    let along =
        |stored: Strides, transposed: bool| if transposed { (stored.row, 1) } else { (1, stored.row) };
    let (a_column, a_row) = along(of_a, a_transposed);
    let (b_column, b_row) = along(of_b, b_transposed);
    let (a, b) = (&a[i * of_a.batch..], &b[i * of_b.batch..]);
    let block = product_block(k, 1);
    for p in (0..k).step_by(block) {
        let (a, b) = (&a[row * a_row + p * a_column..], &b[p * b_row + column * b_column..]);
        // SAFETY: the slices start at the tile's first row and column of this block, and the strides address height·depth and depth·width
        // of the matrices that they lie in; `c` is the tile by the caller's promise, and overlaps neither operand.
        unsafe {
            gemm::gemm(
                height,
                width,
                block.min(k - p),
                c,
                1,
                of_c.row as isize,
                p > 0,
                a.as_ptr(),
                a_column as isize,
                a_row as isize,
                b.as_ptr(),
                b_column as isize,
                b_row as isize,
                if p > 0 { 1.0 } else { 0.0 },
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}
