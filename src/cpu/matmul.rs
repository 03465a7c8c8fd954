//! Batched matrix product on the CPU: operands are packed for a register tile, which adds in blocks of k (packing and tiles after K. Goto,
//! R. van de Geijn: Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008).
//!
//! A library's product would add all of k in one chain, or be called for every block and pack its operands for each tile again.

mod kernel;
mod pack;
mod tile;

use std::cell::RefCell;

use pulp::Arch;
use rayon::prelude::*;

use self::kernel::{Form, FormOf};
use self::pack::{LINE, Lines};
use self::tile::Tile;
use super::awake;
use super::simd::{Isa, early_zen};
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
const SERIAL_BELOW: usize = 1 << 19;
/// Those of the products of a batch that a thread takes at once, at least.
const TASK: usize = 1 << 16;
/// Rows and columns of a tile of C at most: what a visit needs of its rows of A, packed, stays in the second level of cache.
const HIGH: [usize; 2] = [512, 1024];
/// The same where A is not packed: the more rows, the more often a packed panel of B is used.
const WIDE: [usize; 2] = [1024, 1024];
/// The same of the even form, all of whose panels of B stay in the second level, and where A is turned again for the next columns.
const EVEN: [usize; 2] = [1024, 256];
const EVEN_TURNED: [usize; 2] = [1024, 512];
/// The same for a few columns, which use a row of A once or twice: it comes from memory and is used in the first level.
const THIN: [usize; 2] = [96, 32];
/// Multiply-adds in whose time a value is read where it lies, packed as it lies, or packed and turned.
const READ: usize = 4;
const COPIED: usize = 16;
const TURNED: usize = 32;
/// Multiply-adds in whose time a tile begins a row of C: a processor that writes several rows fetches some lines past the end of each, which are
/// those of another thread if the next tile is beside this one.
const BEGUN: usize = 1024;
/// Rows of tiles more than the least at most, among which the best are looked for.
const MOST_CUTS: usize = 32;
/// Columns of C up to which they are computed as rows, if rows of A, as stored, are steps: vectors of few columns would be mostly empty.
const NARROW: usize = 20;
/// The part of a tile's time for which a thread waits for another at the end: one of so many.
const WAIT: usize = 16;

/// C = op(A)·op(B) for every product of the batch; `c` holds batch·m·n values and is overwritten.
///
/// Sums are made in blocks along k ([`product_block`]), so that their error is proven to stay within what is allowed. The result does not
/// depend on the number of threads: whatever tile an element lies in, it is the same sum.
///
/// # Panics
/// When a slice's length differs from the shape's.
pub fn matmul(a: &[f32], b: &[f32], c: &mut [f32], shape: MatmulShape) {
    matmul_by((Isa::arch(), early_zen()), a, b, c, shape);
}

/// [`matmul`] with the instructions of `arch`, on a machine of [`early_zen`] or not.
fn matmul_by((arch, early_zen): (Arch, bool), a: &[f32], b: &[f32], c: &mut [f32], shape: MatmulShape) {
    let MatmulShape { batch, m, n, k, .. } = shape;
    let [of_a, of_b, of_c] = shape.strides();
    assert_eq!((a.len(), b.len(), c.len()), (batch * m * k, batch * k * n, batch * m * n), "matmul: lengths");
    if c.is_empty() {
        return;
    }
    if k == 0 {
        c.fill(0.0);
        return;
    }
    let start = Start(c.as_mut_ptr());
    let threads = rayon::current_num_threads().div_ceil(batch);
    let work = m * n * k;
    let serial = work < SERIAL_BELOW;
    let a = Lines { values: a, lines: m, steps: k, across: shape.a_transposed, row: of_a.row };
    let b = Lines { values: b, lines: n, steps: k, across: !shape.b_transposed, row: of_b.row };
    let turned = a.across && n <= NARROW && n < m;
    let ((a, of_a), (b, of_b)) = if turned { ((b, of_b), (a, of_a)) } else { ((a, of_a), (b, of_b)) };
    let first = Product { arch, a, b, c: (start, of_c.row), turned, block: product_block(k, 1) };
    let form =
        arch.dispatch(FormOf { rows: a.lines, columns: b.lines, steps: k, across: a.across, early_zen });
    let tile = first.tile(form, if serial { 1 } else { threads });
    let product = |i: usize| {
        let a = Lines { values: &a.values[i * of_a.batch..], ..a };
        let b = Lines { values: &b.values[i * of_b.batch..], ..b };
        // SAFETY: `c` holds batch·m·n values; product `i` begins there.
        let c = (Start(unsafe { start.get().add(i * of_c.batch) }), of_c.row);
        // SAFETY: `c` is borrowed mutably, its products share no elements, and the lengths are as asserted.
        unsafe { Product { a, b, c, ..first }.run(form.0, tile, serial) };
    };
    if batch > 1 && work * batch >= 2 * TASK {
        awake::keep(batch);
        (0..batch).into_par_iter().with_min_len(TASK / work).for_each(product);
    } else {
        (0..batch).for_each(product);
    }
}

thread_local! {
    /// Room for packed parts of A and B and sums, and for a tile that is turned: kept from product to product.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// At least `n` numbers, whatever they are.
fn grown(scratch: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if scratch.len() < n {
        scratch.resize(n, 0.0);
    }
    &mut scratch[..n]
}

/// Where a matrix starts that tasks write.
#[derive(Clone, Copy)]
struct Start(*mut f32);

impl Start {
    // A method, so that closures borrow the whole and not the pointer, which is no `Sync`.
    fn get(&self) -> *mut f32 {
        self.0
    }
}

// SAFETY: it is the mutable borrow of plain numbers in `matmul`, whose tasks write tiles that do not overlap.
unsafe impl Sync for Start {}

/// One product of the batch.
struct Product<'a> {
    arch: Arch,
    a: Lines<'a>,
    b: Lines<'a>,
    /// C's first element, and the distance of its rows.
    c: (Start, usize),
    /// Whether A and B have changed places: C's columns are computed as rows.
    turned: bool,
    /// Steps of a block of k.
    block: usize,
}

impl Product<'_> {
    /// Rows and columns of the tiles into which C is cut: those with which the last thread is ready first. Each tile packs what it needs by
    /// itself: lines of the cache that one thread has written and others read cost more than packing them again.
    fn tile(&self, (form, high): (Form, usize), threads: usize) -> [usize; 2] {
        let Self { a, b, .. } = self;
        let [m, n] = [a.lines, b.lines];
        let most = match form {
            Form::High if n <= THIN[1] => THIN,
            Form::Wide if !a.across => WIDE,
            Form::Even if !a.across => EVEN,
            Form::Even => EVEN_TURNED,
            _ => HIGH,
        };
        let least = [m.div_ceil(most[0]), n.div_ceil(most[1])];
        let packed = |across| if across { COPIED } else { TURNED };
        let of_a = match form {
            Form::High => packed(a.across),
            Form::Wide | Form::Even if a.across => TURNED,
            Form::Wide | Form::Even => READ,
        };
        let time = |[height, width]: [usize; 2]| {
            let of_b = if b.across && form.reads_b(height) { READ } else { packed(b.across) };
            let rounds = (m.div_ceil(height) * n.div_ceil(width)).div_ceil(threads);
            (WAIT * rounds + 1) * (height * width + (of_a + BEGUN / b.steps) * height + of_b * width)
        };
        // As many columns of tiles as a few rounds have for so many rows of them.
        let cuts = (least[0]..=least[0] + threads.min(MOST_CUTS)).flat_map(|down| {
            let rounds = (down * least[1]).div_ceil(threads);
            (rounds..rounds + 3).map(move |rounds| [down, (rounds * threads / down).max(least[1])])
        });
        cuts.map(|[down, across]| {
            [m.div_ceil(down).next_multiple_of(high), n.div_ceil(across).next_multiple_of(32)]
        })
        .min_by_key(|&tile| time(tile))
        .unwrap_or(most)
    }

    /// Computes C, cut into tiles of `height` × `width`.
    ///
    /// # Safety
    /// `c` must lead to as many rows and columns as there are lines of A and B, which are nobody else's.
    unsafe fn run(&self, form: Form, [height, width]: [usize; 2], serial: bool) {
        let ([m, n], arch) = ([self.a.lines, self.b.lines], self.arch);
        let [down, across] = [m.div_ceil(height), n.div_ceil(width)];

        let tile = |i: usize| {
            let [row, column] = [i % down * height, i / down * width];
            let (rows, columns) = (row..m.min(row + height), column..n.min(column + width));
            let (c, c_step) = &self.c;
            let at = if self.turned { column * c_step + row } else { row * c_step + column };
            // SAFETY: the tile starts inside of C, as promised.
            let there = (unsafe { c.get().add(at) }, *c_step);
            SCRATCH.with_borrow_mut(|[scratch, turned]| {
                let size = [rows.len(), columns.len()];
                let step = size[1].next_multiple_of(LINE);
                let c = if self.turned { (grown(turned, size[0] * step).as_mut_ptr(), step) } else { there };
                arch.dispatch(Tile {
                    a: self.a,
                    b: self.b,
                    form,
                    block: self.block,
                    c,
                    rows,
                    columns,
                    scratch,
                });
                if self.turned {
                    // SAFETY: so many sums were computed, and the tile of C is the caller's own.
                    unsafe { pack::turn_all((c.0, step), there, size) };
                }
            });
        };
        if serial {
            (0..down * across).for_each(tile);
        } else {
            awake::keep(down * across);
            (0..down * across).into_par_iter().with_max_len(1).for_each(tile);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// C by its definition: the sums of all blocks one after the other, those of a block in a chain.
    fn defined(a: &[f32], b: &[f32], shape: MatmulShape, chained: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let MatmulShape { m, n, k, a_transposed, b_transposed, .. } = shape;
        let a = |i: usize, step: usize| if a_transposed { a[step * m + i] } else { a[i * k + step] };
        let b = |step: usize, j: usize| if b_transposed { b[j * k + step] } else { b[step * n + j] };
        let block = product_block(k, 1);
        let sum = |i: usize, j: usize| {
            (0..k).step_by(block).fold(0.0, |sum, start| {
                let rest = start + 1..k.min(start + block);
                sum + rest.fold(a(i, start) * b(start, j), |sum, step| chained(a(i, step), b(step, j), sum))
            })
        };
        (0..m * n).map(|at| sum(at / n, at % n)).collect()
    }

    #[test]
    fn every_sum_is_that_of_its_blocks_to_the_bit() {
        let rows = [1, 3, 4, 6, 17, 50, 70];
        let columns = [1, 7, 16, 33, 64, 65, 96, 100, 200];
        let mut sizes: Vec<_> = rows.iter().flat_map(|&m| columns.map(|n| [m, n, 1 + m * n % 97])).collect();
        // Several visits, tiles and rounds of them; rows of C that are asked for ahead.
        sizes.extend([
            [100, 40, 300],
            [97, 130, 700],
            [530, 260, 90],
            [1030, 70, 20],
            [1030, 70, 40],
            [9, 1100, 33],
        ]);
        sizes.extend([[70, 300, 600], [131, 600, 65], [2100, 10, 40], [280, 3, 700]]);
        let noise = rng::reals(&mut rng::seeded(7), 200_000);
        let noise: Vec<f32> = noise.into_iter().map(|x| x as f32).collect();
        let pools =
            [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        for (i, [m, n, k]) in sizes.into_iter().enumerate() {
            let (a, b) = (&noise[..m * k], &noise[200_000 - k * n..]);
            for transposed in 0..4 {
                let (a_transposed, b_transposed) = (transposed % 2 == 1, transposed / 2 == 1);
                let shape = MatmulShape { a_transposed, b_transposed, ..MatmulShape::of([m, n, k]) };
                let fused = defined(a, b, shape, f32::mul_add);
                let rounded = defined(a, b, shape, |x, y, sum| x * y + sum);
                for isa in Isa::available() {
                    for early_zen in [false, true] {
                        let mut c = vec![f32::NAN; m * n];
                        let machine = (isa.own_arch(), early_zen);
                        pools[i % 2].install(|| matmul_by(machine, a, b, &mut c, shape));
                        assert!(c == fused || c == rounded, "{isa:?}, {early_zen}: {shape:?}");
                    }
                }
            }
        }
    }
}
