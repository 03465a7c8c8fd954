//! Matrix products on an adapter.

use crate::cpu::matmul::MatmulShape;
use crate::error::{Error, Result};
use crate::gpu::limits::LOOP_ROUNDS;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;
use crate::ops::activation::{Activation, gpu::kind};
use crate::tolerance::product_block;

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
const BUFFERS: &[Access; 6] =
    &[Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite];

/// What all families share, and the files of one of them.
macro_rules! family {
    ($($file:literal),+) => {
        concat!(
            include_str!("../../../shaders/matmul.wgsl"),
            $(include_str!(concat!("../../../shaders/", $file))),+
        )
    };
}

const fn kernel(entry: &'static str, source: &'static str, needs: Needs, side: bool) -> Kernel {
    Kernel {
        op: super::NAME,
        source,
        entry,
        buffers: if side { BUFFERS } else { BUFFERS.split_at(5).0 },
        fields: MatmulParams::FIELDS,
        subgroup: !matches!(needs, Needs::Nothing),
        native: matches!(needs, Needs::SubgroupAndWords),
    }
}

/// What a kernel asks of a device beyond the portable baseline.
#[derive(Clone, Copy)]
enum Needs {
    Nothing,
    Subgroup,
    SubgroupAndWords,
}

const REGISTERS_SOURCE: &str = family!("matmul.registers.wgsl");
const WORDS_SOURCE: &str = family!("matmul.native.wgsl", "matmul.registers.wgsl");
const TILES_SOURCE: &str = family!("matmul.tiles.wgsl");

/// Each without and with the sums of B's columns.
static REGISTERS: [Kernel; 2] = both("registers", REGISTERS_SOURCE, Needs::Nothing);
// The same entry: with SHARED = 1 it broadcasts across a subgroup.
static SUBGROUP: [Kernel; 2] = both("registers", REGISTERS_SOURCE, Needs::Subgroup);
static WORDS: [Kernel; 2] = both("registers", WORDS_SOURCE, Needs::SubgroupAndWords);
static TILES: [Kernel; 2] = both("tiles", TILES_SOURCE, Needs::Nothing);

const fn both(entry: &'static str, source: &'static str, needs: Needs) -> [Kernel; 2] {
    [kernel(entry, source, needs, false), kernel(entry, source, needs, true)]
}

/// How a product is computed: a family of kernels with its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    family: Family,
    /// Rows and columns of C that a tile covers.
    tile: [usize; 2],
    /// Invocations that share a tile (`registers`), of a workgroup of `group`.
    lanes: usize,
    group: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Registers,
    Subgroup,
    /// `Subgroup` with operands loaded by 64-bit words.
    Words,
    Tiles,
}

impl Family {
    const ALL: [Self; 4] = [Self::Registers, Self::Subgroup, Self::Words, Self::Tiles];

    fn name(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Subgroup => "subgroup",
            Self::Words => "words",
            Self::Tiles => "tiles",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    fn kernel(self, side: bool) -> &'static Kernel {
        let kernels = match self {
            Self::Registers => &REGISTERS,
            Self::Subgroup => &SUBGROUP,
            Self::Words => &WORDS,
            Self::Tiles => &TILES,
        };
        &kernels[usize::from(side)]
    }

    /// Whether a subgroup holds a tile.
    fn shared(self) -> bool {
        matches!(self, Self::Subgroup | Self::Words)
    }

    /// Subgroup tiles are written for one size of subgroup, which must divide them.
    fn runs_on(self, adapter: Adapter) -> bool {
        let subgroup = !self.shared() || adapter.subgroup.is_some_and(|lanes| [4, 8, 16].contains(&lanes));
        subgroup && (adapter.words || self != Self::Words)
    }
}

/// What the choice of a plan depends on.
#[derive(Clone, Copy)]
struct Adapter {
    software: bool,
    /// Invocations of a subgroup, where that is one number.
    subgroup: Option<u32>,
    /// Whether kernels may load 64-bit words.
    words: bool,
}

impl Adapter {
    fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        Self { software: info.software(), subgroup: info.subgroup_size(), words: info.features.int64 }
    }
}

/// How much of k `tiles` holds in workgroup memory.
const DEPTH: usize = 8;

/// Products up to so many multiply-adds have no large tile on a software adapter.
const SOFTWARE_SMALL: usize = 1 << 21;

/// Multiprocessors of a large GPU: a product should have at least as many tiles.
const OCCUPIED: usize = 128;

impl Plan {
    /// The family for an adapter, and the largest tile that leaves enough tiles or is not mostly empty.
    fn choose(shape: MatmulShape, adapter: Adapter, family: Option<Family>) -> Self {
        let MatmulShape { m, n, k, .. } = shape;
        let software = adapter.software;
        // Where a subgroup's tile would be mostly empty; and what software does in a fraction of the time that compiling the large tile takes.
        let small = m.min(n) <= 8 || (software && m * n * k <= SOFTWARE_SMALL);
        let family = family.unwrap_or(match software {
            _ if small => Family::Registers,
            true if Family::Words.runs_on(adapter) => Family::Words,
            true if Family::Subgroup.runs_on(adapter) => Family::Subgroup,
            true => Family::Registers,
            false => Family::Tiles,
        });
        // Words hold two elements, and vectors of them must start where rows do.
        let family = if family == Family::Words && !aligned(shape) { Family::Subgroup } else { family };
        let lanes = adapter.subgroup.map_or(1, |lanes| lanes as usize);
        match family {
            Family::Registers => Self { family, tile: [4, 4], lanes: 1, group: 64 },
            // 32 × 64 for 8 lanes: 64 × 64 saves a tenth of the time at best, and takes a software adapter three times as long to compile. A
            // tile holds at least a vector a lane.
            Family::Subgroup | Family::Words => {
                let side =
                    |n: usize, most: usize| if n > 4 * lanes { most.max(4 * lanes) } else { 4 * lanes };
                Self { family, tile: [side(shape.m, 32), side(shape.n, 64)], lanes, group: lanes }
            }
            Family::Tiles => {
                let tiles = shape.batch * shape.m.div_ceil(128) * shape.n.div_ceil(64);
                let height = if tiles >= OCCUPIED { 128 } else { 64 };
                Self { family, tile: [height, 64], lanes: 1, group: 1 }
            }
        }
    }

    /// The plan by the family that was found to be the quickest for the shape's class, if that can run here; else that of [`Self::choose`].
    fn by(quickest: Option<&str>, shape: MatmulShape, adapter: Adapter) -> Self {
        let family = quickest.and_then(Family::named).filter(|family| family.runs_on(adapter));
        let plan = family.map(|family| Self::choose(shape, adapter, Some(family)));
        plan.filter(|plan| plan.ends(shape.k, adapter)).unwrap_or_else(|| Self::choose(shape, adapter, None))
    }

    fn constants(self, shape: MatmulShape, form: Form) -> Vec<(&'static str, u32)> {
        let Form { terms, finish, side } = form;
        // ReLU and leaky ReLU.
        let kinked = finish < 2;
        let whole = |n: usize| n.is_multiple_of(4);
        let shared = self.family.shared();
        let native = self.family == Family::Words;
        // An empty B is bound with 16 bytes: one load of eight elements would be longer than that.
        let wide = native
            && !shape.b_transposed
            && shape.k > 0
            && shape.n.is_multiple_of(8)
            && self.tile[1].is_multiple_of(8 * self.lanes);
        let [tile_m, tile_n] = if self.family == Family::Tiles { self.tile } else { [64; 2] };
        let [rows, columns] = if self.family == Family::Tiles { [4; 2] } else { self.tile };
        [
            ("A_T", usize::from(shape.a_transposed)),
            ("B_T", usize::from(shape.b_transposed)),
            ("ALIGNED", usize::from(aligned(shape))),
            ("WHOLE", usize::from(whole(shape.n))),
            ("TAIL", usize::from(!whole(shape.k))),
            ("TERMS", terms as usize),
            ("FINISH", finish as usize),
            ("RECTIFIED", usize::from(kinked && terms != SLOPES)),
            ("CURVED", usize::from(!kinked && finish < PLAIN && terms != SLOPES)),
            ("KINKED", usize::from(kinked)),
            ("SLOPED", usize::from(terms == SLOPES)),
            ("SIDE", usize::from(side)),
            ("NATIVE", usize::from(native)),
            ("WIDE", usize::from(wide)),
            ("LOADED", if wide { 8 } else { 4 }),
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

    /// Terms that an invocation adds before the sum joins the total.
    fn block(self, k: usize) -> usize {
        product_block(k, if self.family == Family::Tiles { DEPTH } else { 4 })
    }

    /// Rounds of an invocation's loops, nested ones and those between blocks too.
    fn rounds(self, k: usize) -> usize {
        let step = if self.family == Family::Tiles { 1 } else { 4 };
        k.div_ceil(step) + k.div_ceil(self.block(k))
    }

    /// Whether the adapter runs a loop over so long a k to its end.
    fn ends(self, k: usize, adapter: Adapter) -> bool {
        !adapter.software || self.rounds(k) <= LOOP_ROUNDS
    }
}

/// Classes of shapes for which `tune` may find another family than the usual one: the name, and the batch, m, n and k that it times.
pub const CLASSES: &[(&str, &[usize])] = &[
    ("small", &[1, 128, 128, 128]),
    ("long", &[1, 256, 256, 2048]),
    ("wide", &[1, 128, 2048, 512]),
    ("square", &[1, 512, 512, 512]),
];

/// The class of a shape; none for results so narrow that tiles would be mostly empty, which differ too much among themselves.
fn class(shape: MatmulShape) -> Option<&'static str> {
    let MatmulShape { m, n, k, .. } = shape;
    let (least, most) = (m.min(n), m.max(n));
    match () {
        () if least < 32 => None,
        () if m.saturating_mul(n).saturating_mul(k) <= SOFTWARE_SMALL => Some("small"),
        () if k / 4 >= most => Some("long"),
        () if most / 4 >= least => Some("wide"),
        () => Some("square"),
    }
}

/// Whether all contiguous dimensions of the operands are multiples of 4.
fn aligned(shape: MatmulShape) -> bool {
    let MatmulShape { m, n, k, a_transposed, b_transposed, .. } = shape;
    let a = if a_transposed { m } else { k };
    let b = if b_transposed { k } else { n };
    a.is_multiple_of(4) && b.is_multiple_of(4)
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
    let mut all: Vec<Shader> = Vec::new();
    let adapter = Adapter { software: true, subgroup: Some(8), words: true };
    for family in Family::ALL {
        for (m, n, k) in [(64, 64, 64), (64, 68, 61), (63, 65, 61), (2048, 2048, 64)] {
            for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
                let shape = MatmulShape { a_transposed, b_transposed, ..MatmulShape::of([m, n, k]) };
                let plan = Plan::choose(shape, adapter, Some(family));
                let mut push = |terms, finish, side| {
                    let constants = plan.constants(shape, Form { terms, finish, side });
                    let kernel = plan.family.kernel(side);
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
    let MatmulShape { batch, m, n, k, .. } = shape;
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
    let buffers = [a, b, rows, columns, c].into_iter().chain(epilogue.side).collect::<Vec<_>>();
    let [a, b, c] = shape.strides();
    let params = MatmulParams {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        tiles_m: tiles_m as u32,
        tiles_n: tiles_n as u32,
        tiles: tiles as u32,
        a_batch: a.batch as u32,
        b_batch: b.batch as u32,
        c_batch: c.batch as u32,
        a_row: a.row as u32,
        b_row: b.row as u32,
        c_row: c.row as u32,
        block: block as u32,
        alpha: epilogue.alpha,
        lowest,
        slope,
    };
    gpu.record(&Launch {
        kernel: plan.family.kernel(form.side),
        constants: &plan.constants(shape, form),
        buffers: &buffers,
        params: params.bytes(),
        groups: gpu.limits().grid((tiles * plan.lanes).div_ceil(plan.group) as u64)?,
        work: 2 * (batch * m * n * k) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_and_shapes_get_their_tiles() {
        let shape = |batch, m, n| MatmulShape { batch, ..MatmulShape::of([m, n, 9]) };
        let adapter = |software, subgroup| Adapter { software, subgroup, words: false };
        let plan = |shape, software, subgroup| Plan::choose(shape, adapter(software, subgroup), None);
        assert_eq!(plan(shape(1, 512, 512), true, Some(8)).family, Family::Subgroup);
        assert_eq!(plan(shape(1, 512, 512), true, Some(8)).tile, [32, 64]);
        assert_eq!(plan(shape(1, 200, 200), true, Some(8)).family, Family::Registers);
        assert_eq!(plan(shape(1, 512, 512), true, None).family, Family::Registers);
        assert_eq!(plan(shape(1000, 8, 16), true, Some(8)).family, Family::Registers);
        assert_eq!(plan(shape(1, 512, 512), false, Some(32)).tile, [64, 64]);
        assert_eq!(plan(shape(1, 4096, 4096), false, Some(32)).tile, [128, 64]);
    }

    #[test]
    fn each_class_is_timed_at_one_of_its_shapes() {
        for (name, shape) in CLASSES {
            let &[batch, m, n, k] = *shape else { panic!("{shape:?}") };
            assert_eq!(class(MatmulShape { batch, ..MatmulShape::of([m, n, k]) }), Some(*name));
        }
        assert_eq!(class(MatmulShape::of([60_000, 10, 784])), None);
        assert_eq!(class(MatmulShape::of([500, 5000, 3072])), Some("wide"));
    }

    #[test]
    fn a_family_that_was_measured_is_taken_where_it_runs() {
        let adapter = Adapter { software: true, subgroup: Some(8), words: true };
        let by = |name, shape, adapter| Plan::by(name, shape, adapter).family;
        let square = MatmulShape::of([512; 3]);
        assert_eq!(by(None, square, adapter), Family::Words);
        assert_eq!(by(Some("tiles"), square, adapter), Family::Tiles);
        assert_eq!(by(Some("no family"), square, adapter), Family::Words);
        let none = Adapter { subgroup: None, words: false, ..adapter };
        assert_eq!(by(Some("subgroup"), square, none), Family::Registers);
        // Tiles count every term where the others count four.
        let long = MatmulShape::of([64, 64, LOOP_ROUNDS]);
        assert_eq!(by(Some("tiles"), long, adapter), Family::Words);
        assert_eq!(by(Some("tiles"), long, Adapter { software: false, ..adapter }), Family::Tiles);
    }

    #[test]
    fn words_are_loaded_where_rows_start_on_them() {
        let adapter = Adapter { software: true, subgroup: Some(8), words: true };
        let plan = |n, k, b_transposed| {
            let shape = MatmulShape { b_transposed, ..MatmulShape::of([512, n, k]) };
            let plan = Plan::choose(shape, adapter, None);
            let constants = plan.constants(shape, Epilogue::NONE.form().0);
            (plan.family, constants.contains(&("WIDE", 1)))
        };
        assert_eq!(plan(512, 512, false), (Family::Words, true));
        assert_eq!(plan(512, 512, true), (Family::Words, false));
        assert_eq!(plan(508, 512, false), (Family::Words, false));
        assert_eq!(plan(512, 511, false), (Family::Subgroup, false));
        let empty = MatmulShape::of([512, 512, 0]);
        let words = Plan::choose(empty, adapter, Some(Family::Words));
        assert!(words.constants(empty, Epilogue::NONE.form().0).contains(&("WIDE", 0)));
    }
}
