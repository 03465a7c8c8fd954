//! Operands copied to rows that are whole vectors, for products on a software adapter whose own rows are not.

use crate::cpu::matmul::{MatmulShape, Strides};
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `matmul.pack.wgsl`.
    struct PackParams {
        rows: u32,
        columns: u32,
        row: u32,
        batch: u32,
        padded_rows: u32,
        vectors: u32,
        count: u32,
    }
}

static PACK: Kernel = Kernel {
    op: super::NAME,
    source: include_str!("../../../shaders/matmul.pack.wgsl"),
    entry: "pack",
    buffers: &[Access::Read, Access::ReadWrite],
    fields: PackParams::FIELDS,
    subgroup: false,
    native: false,
};

pub(super) fn shader() -> Shader {
    Shader { kernel: &PACK, constants: Vec::new() }
}

/// Multiply-adds for each element copied from which on copying costs less than it saves (measured on Mesa's lavapipe).
const REPAYS: usize = 64;

/// Which operands of a product are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Packed {
    pub(super) a: bool,
    pub(super) b: bool,
}

impl Packed {
    /// Those whose rows are no whole vectors; both where k is none, for both must then hold zeros beyond k.
    pub(super) fn needed(shape: MatmulShape) -> Self {
        let MatmulShape { m, n, k, a_transposed, b_transposed, .. } = shape;
        let along = |transposed: bool, yes: usize, no: usize| {
            !(if transposed { yes } else { no }).is_multiple_of(4) || !k.is_multiple_of(4)
        };
        Self { a: along(a_transposed, m, k), b: along(b_transposed, k, n) }
    }

    /// Whether copying pays.
    pub(super) fn repays(self, shape: MatmulShape) -> bool {
        let MatmulShape { m, n, k, .. } = self.padded(shape);
        let copied = usize::from(self.a) * m * k + usize::from(self.b) * k * n;
        m * n * k >= REPAYS * copied
    }

    /// The shape whose operands the kernel loads: rows of B are eights, which it loads at once.
    pub(super) fn padded(self, shape: MatmulShape) -> MatmulShape {
        let up = |n: usize, to: usize, when: bool| if when { n.next_multiple_of(to) } else { n };
        MatmulShape {
            m: up(shape.m, 4, self.a && shape.a_transposed),
            n: up(shape.n, 8, self.b && !shape.b_transposed),
            k: up(shape.k, 4, self.a && self.b),
            ..shape
        }
    }
}

/// Records the copy of an operand with `size` rows and columns, `strides` apart, to `padded` ones; returns it with its own strides.
pub(super) fn record(
    gpu: &Gpu,
    x: &Buffer,
    batch: usize,
    size: [usize; 2],
    strides: Strides,
    padded: [usize; 2],
) -> Result<(Buffer, Strides)> {
    let elements = batch * padded[0] * padded[1];
    check_count(super::NAME, elements)?;
    let out = gpu.alloc(4 * elements as u64)?;
    let params = PackParams {
        rows: size[0] as u32,
        columns: size[1] as u32,
        row: strides.row as u32,
        batch: strides.batch as u32,
        padded_rows: padded[0] as u32,
        vectors: (padded[1] / 4) as u32,
        count: (elements / 4) as u32,
    };
    per_item(gpu, &PACK, &[], &[x, &out], &params, elements / 4, 8 * elements)?;
    Ok((out, Strides { row: padded[1], batch: padded[0] * padded[1] }))
}
