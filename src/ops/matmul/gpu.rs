//! Matrix products on an adapter.

use super::padded;
use super::plan::{Adapter, DEPTH, Family, Plan, class, stored, whole};
use crate::cpu::matmul::MatmulShape;
use crate::error::{Error, Result};
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;
use crate::ops::activation::{Activation, gpu::kind};

crate::params! {
    /// Parameters of `matmul.wgsl`.
    struct MatmulParams {
        m: u32,
        n: u32,
        k: u32,
        tiles_m: u32,
        tiles_n: u32,
        tiles: u32,
        a_batch: u32,
        b_batch: u32,
        c_batch: u32,
        a_row: u32,
        b_row: u32,
        c_row: u32,
        block: u32,
        alpha: f32,
        lowest: f32,
        slope: f32,
    }
}

/// A, B, the two terms and C; then the sums of B's columns, where they are wanted.
const fn buffers(a: Access, b: Access) -> [Access; 6] {
    [a, b, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite]
}

/// A without, then with its image; likewise B.
const BUFFERS: [[[Access; 6]; 2]; 2] = [
    [buffers(Access::Read, Access::Read), buffers(Access::Read, Access::Image)],
    [buffers(Access::Image, Access::Read), buffers(Access::Image, Access::Image)],
];

/// What all families share, and the files of one of them.
macro_rules! family {
    ($($file:literal),+) => {
        concat!(
            include_str!("../../../shaders/matmul.wgsl"),
            $(include_str!(concat!("../../../shaders/", $file))),+
        )
    };
}

const fn kernel(
    entry: &'static str,
    source: &'static str,
    [subgroup, native]: [bool; 2],
    [a, b]: [usize; 2],
    side: bool,
) -> Kernel {
    let buffers: &'static [Access; 6] = &BUFFERS[a][b];
    Kernel {
        op: super::NAME,
        source,
        entry,
        buffers: if side { buffers } else { buffers.split_at(5).0 },
        fields: MatmulParams::FIELDS,
        subgroup,
        native,
    }
}

const REGISTERS_SOURCE: &str = family!("matmul.registers.wgsl");
const WORDS_SOURCE: &str = family!("prelude.native.wgsl", "matmul.native.wgsl", "matmul.registers.wgsl");
const TILES_SOURCE: &str = family!("matmul.tiles.wgsl");

/// Each without and with the sums of B's columns; what they need of a device are subgroups and 64-bit integers.
static REGISTERS: [Kernel; 2] = both("registers", REGISTERS_SOURCE, [false, false], [0; 2]);
// The same entry: with SHARED = 1 it broadcasts across a subgroup.
static SUBGROUP: [Kernel; 2] = both("registers", REGISTERS_SOURCE, [true, false], [0; 2]);
static REGISTER_WORDS: [[[Kernel; 2]; 2]; 2] = loaded([false, true]);
static WORDS: [[[Kernel; 2]; 2]; 2] = loaded([true, true]);
static TILES: [Kernel; 2] = both("tiles", TILES_SOURCE, [false, false], [0; 2]);

const fn both(
    entry: &'static str,
    source: &'static str,
    needs: [bool; 2],
    images: [usize; 2],
) -> [Kernel; 2] {
    [kernel(entry, source, needs, images, false), kernel(entry, source, needs, images, true)]
}

/// A without, then with its image; likewise B.
const fn loaded(needs: [bool; 2]) -> [[[Kernel; 2]; 2]; 2] {
    const fn of(needs: [bool; 2], a: usize) -> [[Kernel; 2]; 2] {
        [both("registers", WORDS_SOURCE, needs, [a, 0]), both("registers", WORDS_SOURCE, needs, [a, 1])]
    }
    [of(needs, 0), of(needs, 1)]
}

impl Plan {
    fn kernel(self, side: bool) -> &'static Kernel {
        let [a, b] = self.images.map(usize::from);
        let kernels = match self.family {
            Family::Registers => &REGISTERS,
            Family::RegisterWords => &REGISTER_WORDS[a][b],
            Family::Subgroup => &SUBGROUP,
            Family::Words => &WORDS[a][b],
            Family::Tiles => &TILES,
        };
        &kernels[usize::from(side)]
    }

    /// What a kernel is compiled for.
    fn constants(self, shape: MatmulShape, form: Form) -> Vec<(&'static str, u32)> {
        let Form { terms, finish, side } = form;
        // ReLU and leaky ReLU.
        let kinked = finish < 2;
        let shared = self.family.shared();
        let native = self.family.words();
        let [[_, a], [_, b]] = stored(shape);
        let [image_a, image_b] = self.images;
        let [tile_m, tile_n] = if self.family == Family::Tiles { self.tile } else { [64; 2] };
        let [rows, columns] = if self.family == Family::Tiles { [4; 2] } else { self.tile };
        [
            ("A_T", usize::from(shape.a_transposed)),
            ("B_T", usize::from(shape.b_transposed)),
            ("ALIGNED", usize::from(whole(a) && whole(b))),
            ("WHOLE", usize::from(whole(shape.n))),
            ("C_EVEN", usize::from(native && shape.n % 4 == 2)),
            ("TAIL", usize::from(!whole(shape.k) && self.padded != [true; 2])),
            ("TERMS", terms as usize),
            ("FINISH", finish as usize),
            ("RECTIFIED", usize::from(kinked && terms != SLOPES)),
            ("CURVED", usize::from(!kinked && finish < PLAIN && terms != SLOPES)),
            ("KINKED", usize::from(kinked)),
            ("SLOPED", usize::from(terms == SLOPES)),
            ("SIDE", usize::from(side)),
            ("NATIVE", usize::from(native)),
            ("A_IMAGE", usize::from(image_a)),
            ("B_IMAGE", usize::from(image_b)),
            ("A_WHOLE", usize::from(native && (whole(a) || image_a))),
            ("A_EVEN", usize::from(native && a.is_multiple_of(2))),
            ("B_WHOLE", usize::from(native && (whole(b) || image_b))),
            ("B_EVEN", usize::from(native && b.is_multiple_of(2))),
            ("LANES", if shared { self.lanes } else { 1 }),
            ("SHARED", usize::from(shared)),
            ("GROUP", if self.family == Family::Tiles { 64 } else { self.group }),
            ("ROWS", rows),
            ("COLUMNS", columns),
            ("TILE_M", tile_m),
            ("TILE_N", tile_n),
            ("DEPTH", DEPTH),
        ]
        .map(|(name, value)| (name, value as u32))
        .to_vec()
    }
}

/// What is done to a sum before it is stored: c = f(alpha·sum + terms).
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    pub(crate) alpha: f32,
    pub(crate) terms: Terms<'a>,
    pub(crate) finish: Finish,
    /// Where the sums of B's columns go, if they are wanted.
    pub(crate) side: Option<&'a Buffer>,
}

impl Epilogue<'_> {
    /// The sum as it is.
    pub(crate) const NONE: Self = Self { alpha: 1.0, terms: Terms::None, finish: Finish::Plain, side: None };

    /// What is compiled for it, and the parameters `lowest` and `slope`.
    fn form(&self) -> (Form, f32, f32) {
        let (finish, lowest, slope) = match self.terms {
            Terms::Slopes { activation, .. } => Finish::Activation(activation).kind(),
            _ => self.finish.kind(),
        };
        (Form { terms: self.terms.count(), finish, side: self.side.is_some() }, lowest, slope)
    }
}

/// What an epilogue is in the shader's constants.
#[derive(Clone, Copy)]
struct Form {
    terms: u32,
    finish: u32,
    side: bool,
}

/// What is added to a sum.
#[derive(Clone, Copy)]
pub(crate) enum Terms<'a> {
    /// Nothing.
    None,
    /// columns[j]: the bias of a layer, of one matrix of the batch after the other.
    Columns(&'a Buffer),
    /// rows[i] + columns[j].
    Both { rows: &'a Buffer, columns: &'a Buffer },
    /// The factor f′, from y = f of the shape of C; nothing finishes such a sum.
    Slopes { y: &'a Buffer, activation: Activation },
}

/// The value of the constant TERMS for [`Terms::Slopes`].
const SLOPES: u32 = 3;

impl Terms<'_> {
    /// The constant TERMS.
    fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Columns(_) => 1,
            Self::Both { .. } => 2,
            Self::Slopes { .. } => SLOPES,
        }
    }
}

/// The function that a result passes through.
#[derive(Clone, Copy)]
pub(crate) enum Finish {
    /// None.
    Plain,
    /// max(lowest, x).
    AtLeast(f32),
    /// That of a layer.
    Activation(Activation),
}

/// Values of the constant FINISH beyond those of a nonlinearity.
const PLAIN: u32 = 4;
const AT_LEAST: u32 = 5;

impl Finish {
    /// The constant FINISH, and the parameters `lowest` and `slope`.
    fn kind(self) -> (u32, f32, f32) {
        match self {
            Self::Plain => (PLAIN, f32::MIN, 0.0),
            Self::AtLeast(lowest) => (AT_LEAST, lowest, 0.0),
            Self::Activation(activation) => {
                let (kind, slope) = kind(activation);
                (kind, f32::MIN, slope)
            }
        }
    }
}

/// Every kernel with the constants it meets: transposes, alignment, tails, tiles.
pub(super) fn shaders() -> Vec<Shader> {
    let mut all: Vec<Shader> = vec![padded::shader()];
    let adapter = Adapter { software: true, subgroup: Some(8), words: true, images: true };
    for family in Family::ALL {
        for (m, n, k) in [(64, 64, 64), (60, 64, 64), (64, 68, 61), (63, 65, 61), (2048, 2048, 64)] {
            for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
                let shape = MatmulShape { a_transposed, b_transposed, ..MatmulShape::of([m, n, k]) };
                let plan = Plan::choose(shape, adapter, Some(family));
                let mut push = |terms, finish, side| {
                    let constants = plan.constants(shape, Form { terms, finish, side });
                    let kernel = plan.kernel(side);
                    let known = |shader: &Shader| {
                        std::ptr::eq(shader.kernel, kernel) && shader.constants == constants
                    };
                    // Shapes differ in constants only where a family's tile does.
                    if !all.iter().any(known) {
                        all.push(Shader { kernel, constants });
                    }
                };
                // A product, distances, layers, and their gradients.
                push(0, PLAIN, false);
                push(2, AT_LEAST, false);
                match (a_transposed, b_transposed) {
                    (false, false) => {
                        (0..=PLAIN).for_each(|finish| push(1, finish, false));
                        push(0, 0, false);
                    }
                    (false, true) => (0..PLAIN).for_each(|finish| push(SLOPES, finish, false)),
                    (true, false) => push(0, PLAIN, true),
                    (true, true) => {}
                }
            }
        }
    }
    all
}

pub(crate) fn families(gpu: &Gpu, _: &str) -> Vec<&'static str> {
    let adapter = Adapter::of(gpu);
    Family::ALL.into_iter().filter(|family| family.runs_on(adapter)).map(Family::name).collect()
}

/// Records a product with what follows it; returns C.
pub(crate) fn record_with(
    gpu: &Gpu,
    family: Option<&str>,
    a: &Buffer,
    b: &Buffer,
    shape: MatmulShape,
    epilogue: &Epilogue<'_>,
) -> Result<Buffer> {
    let c = gpu.alloc(4 * (shape.batch * shape.m * shape.n) as u64)?;
    record_into(gpu, family, a, b, &c, shape, epilogue)?;
    Ok(c)
}

/// [`record_with`] into `c`.
pub(crate) fn record_into(
    gpu: &Gpu,
    family: Option<&str>,
    a: &Buffer,
    b: &Buffer,
    c: &Buffer,
    shape: MatmulShape,
    epilogue: &Epilogue<'_>,
) -> Result<()> {
    let MatmulShape { batch, m, n, mut k, .. } = shape;
    // Without rows of C, the columns of B have their sums all the same.
    if batch * n == 0 || (m == 0 && epilogue.side.is_none()) {
        return Ok(());
    }
    let adapter = Adapter::of(gpu);
    let plan = match family {
        Some(name) => Plan::choose(shape, adapter, Family::named(name)),
        None => Plan::by(class(shape).and_then(|class| gpu.chosen(super::NAME, class)), shape, adapter),
    };
    if !plan.ends(k, adapter) {
        return Err(Error::device(
            format!("matmul: k = {k} is more than a software adapter adds in one launch"),
            "use --device cpu",
        ));
    }
    let block = plan.block(k);
    let [tiles_m, tiles_n] = [m.div_ceil(plan.tile[0]).max(1), n.div_ceil(plan.tile[1])];
    let tiles = batch * tiles_m * tiles_n;
    let (form, lowest, slope) = epilogue.form();
    // A binding must hold something even where the kernel does not read it.
    let (rows, columns) = match epilogue.terms {
        Terms::None => (a, a),
        Terms::Columns(columns) => (a, columns),
        Terms::Both { rows, columns } => (rows, columns),
        Terms::Slopes { y, .. } => (y, a),
    };
    let [mut a_strides, mut b_strides, c_strides] = shape.strides();
    let mut operands = [a.clone(), b.clone()];
    let depth = k.next_multiple_of(4);
    let padded_rows =
        [if shape.a_transposed { depth } else { m }, if shape.b_transposed { n } else { depth }];
    for (i, strides) in [&mut a_strides, &mut b_strides].into_iter().enumerate() {
        if plan.padded[i] {
            (operands[i], *strides) =
                padded::record(gpu, &operands[i], batch, stored(shape)[i], *strides, padded_rows[i])?;
        }
    }
    if plan.padded == [true; 2] {
        // Zeros follow in both.
        k = depth;
    }
    let buffers = operands.iter().chain([rows, columns, c]).chain(epilogue.side).collect::<Vec<_>>();
    let params = MatmulParams {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        tiles_m: tiles_m as u32,
        tiles_n: tiles_n as u32,
        tiles: tiles as u32,
        a_batch: a_strides.batch as u32,
        b_batch: b_strides.batch as u32,
        c_batch: c_strides.batch as u32,
        a_row: a_strides.row as u32,
        b_row: b_strides.row as u32,
        c_row: c_strides.row as u32,
        block: block as u32,
        alpha: epilogue.alpha,
        lowest,
        slope,
    };
    gpu.record(&Launch {
        kernel: plan.kernel(form.side),
        constants: &plan.constants(shape, form),
        buffers: &buffers,
        params: params.bytes(),
        groups: gpu.limits().grid((tiles * plan.lanes).div_ceil(plan.group) as u64)?,
        work: 2 * (batch * m * n * k) as u64,
    })
}
