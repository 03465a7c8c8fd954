//! How a product is computed on an adapter: the choice of a family of kernels and of its tile.

use crate::cpu::matmul::MatmulShape;
use crate::gpu::Gpu;
use crate::gpu::limits::LOOP_ROUNDS;
use crate::tolerance::{chained_block, product_block};

/// How a product is computed: a family of kernels with its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) family: Family,
    /// Rows and columns of C that a tile covers.
    pub(super) tile: [usize; 2],
    /// Invocations that share a tile (`registers`), of a workgroup of `group`.
    pub(super) lanes: usize,
    pub(super) group: usize,
    /// Whether A, and B, are loaded from images.
    pub(super) images: [bool; 2],
    /// Whether these show copies whose rows start on vectors.
    pub(super) padded: [bool; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Registers,
    /// `Registers` with operands loaded from images or by 64-bit words.
    RegisterWords,
    Subgroup,
    /// `Subgroup` with operands loaded from images or by 64-bit words.
    Words,
    Tiles,
}

impl Family {
    pub(super) const ALL: [Self; 5] =
        [Self::Registers, Self::RegisterWords, Self::Subgroup, Self::Words, Self::Tiles];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::RegisterWords => "register_words",
            Self::Subgroup => "subgroup",
            Self::Words => "words",
            Self::Tiles => "tiles",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// Whether a subgroup holds a tile.
    pub(super) fn shared(self) -> bool {
        matches!(self, Self::Subgroup | Self::Words)
    }

    /// Subgroup tiles are written for one size of subgroup, which must divide them.
    pub(super) fn runs_on(self, adapter: Adapter) -> bool {
        let subgroup = !self.shared() || adapter.subgroup.is_some_and(|lanes| [4, 8, 16].contains(&lanes));
        subgroup && (adapter.words || !self.words())
    }

    /// Whether operands are loaded from images or by 64-bit words.
    pub(super) fn words(self) -> bool {
        matches!(self, Self::RegisterWords | Self::Words)
    }
}

/// What the choice of a plan depends on.
#[derive(Clone, Copy)]
pub(super) struct Adapter {
    pub(super) software: bool,
    /// Invocations of a subgroup, where that is one number.
    pub(super) subgroup: Option<u32>,
    /// Whether kernels may load 64-bit words.
    pub(super) words: bool,
    /// Whether they load images.
    pub(super) images: bool,
}

impl Adapter {
    pub(super) fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        let features = info.features;
        Self {
            software: info.software(),
            subgroup: info.subgroup_size(),
            words: features.int64,
            images: info.loads_images(),
        }
    }
}

/// How much of k `tiles` holds in workgroup memory.
pub(super) const DEPTH: usize = 8;

/// Products up to so many multiply-adds have no large tile on a software adapter.
const SOFTWARE_SMALL: usize = 1 << 21;

/// Multiprocessors of a large GPU: a product should have at least as many tiles.
const OCCUPIED: usize = 128;

impl Plan {
    /// The family for an adapter, and the largest tile that leaves enough tiles or is not mostly empty.
    pub(super) fn choose(shape: MatmulShape, adapter: Adapter, family: Option<Family>) -> Self {
        let MatmulShape { m, n, k, .. } = shape;
        let software = adapter.software;
        // Where a subgroup's tile would be mostly empty; and what software does in a fraction of the time that compiling the large tile takes.
        let small = m.min(n) <= 8 || (software && m * n * k <= SOFTWARE_SMALL);
        let family = family.unwrap_or(match software {
            true if small && adapter.words => Family::RegisterWords,
            _ if small => Family::Registers,
            true if Family::Words.runs_on(adapter) => Family::Words,
            true if Family::Subgroup.runs_on(adapter) => Family::Subgroup,
            true => Family::Registers,
            false => Family::Tiles,
        });
        let images = |tile| match family {
            Family::Words | Family::RegisterWords if adapter.images => images(shape, tile, family.shared()),
            _ => [[false; 2]; 2],
        };
        let lanes = adapter.subgroup.map_or(1, |lanes| lanes as usize);
        match family {
            Family::Registers | Family::RegisterWords => {
                // Of the few groups of a small product each processor should have its share.
                let group = if software { lanes } else { 64 };
                // More rows by words: loads of B, which are short where it is narrow, then serve twice as many.
                let height = if family == Family::RegisterWords && m > 4 { 8 } else { 4 };
                let tile = [height, 4];
                let [images, padded] = images(tile);
                Self { family, tile, lanes: 1, group, images, padded }
            }
            // 32 × 64 for 8 lanes: 64 × 64 saves a tenth of the time at best, and takes a software adapter three times as long to compile. A
            // tile holds at least a vector a lane.
            Family::Subgroup | Family::Words => {
                let side =
                    |n: usize, most: usize| if n > 4 * lanes { most.max(4 * lanes) } else { 4 * lanes };
                let tile = [side(shape.m, 32), side(shape.n, 64)];
                let [images, padded] = images(tile);
                Self { family, tile, lanes, group: lanes, images, padded }
            }
            Family::Tiles => {
                let tiles = shape.batch * shape.m.div_ceil(128) * shape.n.div_ceil(64);
                let height = if tiles >= OCCUPIED { 128 } else { 64 };
                let [images, padded] = [[false; 2]; 2];
                Self { family, tile: [height, 64], lanes: 1, group: 1, images, padded }
            }
        }
    }

    /// The plan by the family that was found to be the quickest for the shape's class, if that can run here; else that of [`Self::choose`].
    pub(super) fn by(quickest: Option<&str>, shape: MatmulShape, adapter: Adapter) -> Self {
        let family = quickest.and_then(Family::named).filter(|family| family.runs_on(adapter));
        let plan = family.map(|family| Self::choose(shape, adapter, Some(family)));
        plan.filter(|plan| plan.ends(shape.k, adapter)).unwrap_or_else(|| Self::choose(shape, adapter, None))
    }

    /// Terms that an invocation adds before the sum joins the total.
    pub(super) fn block(self, k: usize) -> usize {
        if self.family == Family::Tiles { product_block(k, DEPTH) } else { chained_block(k, 4) }
    }

    /// Rounds of an invocation's loops, nested ones and those between blocks too.
    fn rounds(self, k: usize) -> usize {
        let step = if self.family == Family::Tiles { 1 } else { 4 };
        k.div_ceil(step) + k.div_ceil(self.block(k))
    }

    /// Whether the adapter runs a loop over so long a k to its end.
    pub(super) fn ends(self, k: usize, adapter: Adapter) -> bool {
        !adapter.software || self.rounds(k) <= LOOP_ROUNDS
    }
}

/// Whether rows of an operand so long start on vectors.
pub(super) fn whole(columns: usize) -> bool {
    columns.is_multiple_of(4)
}

/// Rows and columns of the matrices of A and B as stored.
pub(super) fn stored(shape: MatmulShape) -> [[usize; 2]; 2] {
    let MatmulShape { m, n, k, a_transposed, b_transposed, .. } = shape;
    [if a_transposed { [k, m] } else { [m, k] }, if b_transposed { [n, k] } else { [k, n] }]
}

/// Multiply-adds of a small product for which images pay.
const LEAST_IMAGED: usize = 1 << 20;

/// Elements of an image at most: 64 MiB, half of those that are kept.
const MOST_IMAGED: usize = 1 << 24;

/// The operands of which images pay, and those of which images of padded copies do: such images must start their rows on vectors, and end
/// their depths with one. An element costs as much to copy as an image gains in one or two tiles, to pad as it gains in two or three; for a
/// small product, one that is not `large`, the launch that pads takes too long.
fn images(shape: MatmulShape, [height, width]: [usize; 2], large: bool) -> [[bool; 2]; 2] {
    let MatmulShape { batch, m, n, k, .. } = shape;
    let operands = stored(shape);
    let odd = operands.map(|[_, columns]| !whole(columns) || !whole(k));
    let elements = operands.map(|[rows, columns]| batch * rows * columns);
    let uses = [n.div_ceil(width), m.div_ceil(height)];
    let enough = large || [m, n, k].into_iter().fold(batch, usize::saturating_mul) >= LEAST_IMAGED;
    let pays = [0, 1].map(|i| {
        let least = if odd[i] { 3 } else { 2 };
        enough && (large || !odd[i]) && uses[i] >= least && elements[i] <= MOST_IMAGED
    });
    // An odd depth is made whole in both or not at all.
    let padded = [0, 1].map(|i| odd[i] && pays[i] && (whole(k) || pays == [true; 2]));
    [[0, 1].map(|i| pays[i] && odd[i] == padded[i]), padded]
}

/// Classes of shapes for which `tune` may find another family than the usual one: the name, and the batch, m, n and k that it times.
pub const CLASSES: &[(&str, &[usize])] = &[
    ("small", &[1, 128, 128, 128]),
    ("long", &[1, 256, 256, 2048]),
    ("wide", &[1, 128, 2048, 512]),
    ("square", &[1, 512, 512, 512]),
];

/// The class of a shape; none for results so narrow that tiles would be mostly empty, which differ too much among themselves.
pub(super) fn class(shape: MatmulShape) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_and_shapes_get_their_tiles() {
        let shape = |batch, m, n| MatmulShape { batch, ..MatmulShape::of([m, n, 9]) };
        let adapter = |software, subgroup| Adapter { software, subgroup, words: false, images: false };
        let plan = |shape, software, subgroup| Plan::choose(shape, adapter(software, subgroup), None);
        assert_eq!(plan(shape(1, 512, 512), true, Some(8)).family, Family::Subgroup);
        assert_eq!(plan(shape(1, 512, 512), true, Some(8)).tile, [32, 64]);
        assert_eq!(plan(shape(1, 200, 200), true, Some(8)).family, Family::Registers);
        assert_eq!(plan(shape(1, 512, 512), true, None).family, Family::Registers);
        assert_eq!(plan(shape(1000, 8, 16), true, Some(8)).family, Family::Registers);
        assert_eq!(plan(shape(1, 512, 512), false, Some(32)).tile, [64, 64]);
        assert_eq!(plan(shape(1, 4096, 4096), false, Some(32)).tile, [128, 64]);
        let words = |m, n, k| {
            Plan::choose(MatmulShape::of([m, n, k]), Adapter { words: true, ..adapter(true, Some(8)) }, None)
        };
        assert_eq!((words(256, 10, 512).family, words(256, 10, 512).tile), (Family::RegisterWords, [8, 4]));
        assert_eq!(words(3, 10, 512).tile, [4, 4]);
        assert_eq!(words(512, 512, 512).family, Family::Words);
    }

    #[test]
    fn operands_are_images_where_several_tiles_load_them() {
        let adapter = Adapter { software: true, subgroup: Some(8), words: true, images: true };
        let plan = |m, n, k| {
            let plan = Plan::choose(MatmulShape::of([m, n, k]), adapter, Some(Family::Words));
            (plan.images, plan.padded)
        };
        assert_eq!(plan(512, 512, 512), ([true; 2], [false; 2]));
        assert_eq!(plan(32, 512, 512), ([true, false], [false; 2]));
        assert_eq!(plan(512, 64, 512), ([false, true], [false; 2]));
        assert_eq!(plan(512, 513, 512), ([true, true], [false, true]));
        assert_eq!(plan(512, 512, 513), ([true; 2], [true; 2]));
        assert_eq!(plan(512, 10, 513), ([false; 2], [false; 2]));
        assert_eq!(plan(40_000, 513, 785), ([false; 2], [false; 2]));
        assert_eq!(plan(40_000, 512, 784), ([false, true], [false; 2]));
        let none = Adapter { images: false, ..adapter };
        assert_eq!(Plan::choose(MatmulShape::of([512; 3]), none, None).images, [false; 2]);
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
        let adapter = Adapter { software: true, subgroup: Some(8), words: true, images: true };
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
}
