//! Batched matrix product on the CPU: operands are packed for a register tile, which adds in blocks of k (packing and tiles after K. Goto,
//! R. van de Geijn: Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008).
//!
//! A library's product would add all of k in one chain, or be called for every block and pack its operands for each tile again.

mod kernel;
mod pack;
mod tile;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use self::pack::Lines;
use self::tile::{PackRows, Rows, Tile};
use super::simd::Isa;
use crate::recycled;
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
}

/// Products below this many multiply-adds do not repay waking a second thread.
const SERIAL_BELOW: usize = 1 << 17;
/// Rows of a tile of C at most, and columns: its sums are read and written once for every block of k, and stay in the second level of cache with
/// what they need of both operands.
const TILE: [usize; 2] = [1024, 128];
/// Rows of a tile at least, where there could be more tiles: its columns of B are packed for these rows alone.
const LEAST_ROWS: usize = 96;

/// C = op(A)·op(B) for every product of the batch; `c` holds batch·m·n values and is overwritten.
///
/// Sums are made in blocks along k ([`product_block`]), so that their error is proven to stay within what is allowed. The result does not
/// depend on the number of threads: whatever tile an element lies in, it is the same sum.
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
    let product = |((a, b), c): ((&[f32], &[f32]), &mut [f32])| {
        let a = Lines { values: a, lines: m, steps: k, across: shape.a_transposed };
        let b = Lines { values: b, lines: n, steps: k, across: !shape.b_transposed };
        Product { a, b, block: product_block(k, 1) }.run(c);
    };
    let work = m * n * k;
    if work < SERIAL_BELOW && work * batch >= SERIAL_BELOW {
        let operands = a.par_chunks(m * k).zip(b.par_chunks(k * n));
        operands.zip(c.par_chunks_mut(m * n)).for_each(product);
    } else {
        a.chunks(m * k).zip(b.chunks(k * n)).zip(c.chunks_mut(m * n)).for_each(product);
    }
}

thread_local! {
    /// Room for packed parts of A, and of B with sums: kept from product to product.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// At least `n` numbers, whatever they are.
fn grown(scratch: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if scratch.len() < n {
        scratch.resize(n, 0.0);
    }
    &mut scratch[..n]
}

/// Where C starts.
struct Start(*mut f32);

impl Start {
    // A method, so that closures borrow the whole and not the pointer, which is no `Sync`.
    fn get(&self) -> *mut f32 {
        self.0
    }
}

// SAFETY: it is the mutable borrow of plain numbers in `Product::run`, whose tasks write tiles that do not overlap.
unsafe impl Sync for Start {}

/// One product of the batch.
#[derive(Clone, Copy)]
struct Product<'a> {
    a: Lines<'a>,
    b: Lines<'a>,
    /// Steps of a block of k.
    block: usize,
}

impl Product<'_> {
    fn run(self, c: &mut [f32]) {
        let [m, n, k] = [self.a.lines, self.b.lines, self.b.steps];
        let arch = Isa::arch();
        let high = arch.dispatch(Rows);
        let serial = m * n * k < SERIAL_BELOW;
        // Whole columns, unless there would be too few tiles for all threads.
        let width = n.div_ceil(n.div_ceil(TILE[1])).next_multiple_of(32);
        let across = n.div_ceil(width);
        let wanted = if serial {
            1
        } else {
            (2 * rayon::current_num_threads()).div_ceil(across).min(m.div_ceil(LEAST_ROWS))
        };
        let height = m.div_ceil(wanted.max(m.div_ceil(TILE[0]))).next_multiple_of(high);
        let down = m.div_ceil(height);

        let start = Start(c.as_mut_ptr());
        // The tile from a row and a column of C on, with that row's place in packed groups of A.
        let tile = |[row, column]: [usize; 2],
                    (a, groups, place): (&[f32], usize, usize),
                    scratch: &mut Vec<f32>| {
            arch.dispatch(Tile {
                a,
                groups,
                place,
                b: self.b,
                block: self.block,
                // SAFETY: `c` holds m·n values and is borrowed mutably; the tile starts inside.
                c: (unsafe { start.get().add(row * n + column) }, n),
                height: height.min(m - row),
                columns: column..n.min(column + width),
                scratch,
            });
        };
        if serial {
            SCRATCH.with_borrow_mut(|[a, scratch]| {
                let groups = m.div_ceil(high);
                let a = grown(a, groups * high * k);
                self.pack(0..m, high, a);
                for i in 0..down * across {
                    let [row, column] = [i % down * height, i / down * width];
                    tile([row, column], (a, groups, row), scratch);
                }
            });
        } else if across == 1 {
            // Nobody else needs a tile's rows of A.
            (0..down).into_par_iter().with_max_len(1).for_each(|i| {
                let rows = i * height..m.min((i + 1) * height);
                let groups = rows.len().div_ceil(high);
                let mut a = recycled::numbers(groups * high * k);
                self.pack(rows.clone(), high, &mut a);
                SCRATCH.with_borrow_mut(|[_, scratch]| tile([rows.start, 0], (&a, groups, 0), scratch));
                recycled::give_back(a);
            });
        } else {
            let groups = m.div_ceil(high);
            let mut a = recycled::numbers(groups * high * k);
            let blocks = a.par_chunks_mut(groups * high * self.block).enumerate();
            blocks.for_each(|(i, packed)| self.pack_block(0..m, i, packed));
            (0..down * across).into_par_iter().with_max_len(1).for_each(|i| {
                let [row, column] = [i % down * height, i / down * width];
                SCRATCH.with_borrow_mut(|[_, scratch]| tile([row, column], (&a, groups, row), scratch));
            });
            recycled::give_back(a);
        }
    }

    /// Packs `rows` of A in groups of `high`, block of k after block.
    fn pack(&self, rows: Range<usize>, high: usize, packed: &mut [f32]) {
        let groups = rows.len().div_ceil(high);
        let blocks = packed.chunks_mut(groups * high * self.block).enumerate();
        blocks.for_each(|(i, packed)| self.pack_block(rows.clone(), i, packed));
    }

    /// Packs block `i` of k.
    fn pack_block(&self, rows: Range<usize>, i: usize, packed: &mut [f32]) {
        let range = i * self.block..self.a.steps.min((i + 1) * self.block);
        Isa::arch().dispatch(PackRows { a: self.a, rows, range, packed });
    }
}
