//! The register tiles behind every pairwise distance, one implementation per instruction set.
//!
//! A tile holds 16 queries in the lanes of each *group* and up to `ROWS` training rows, keeps one sum per pair in
//! registers over all features, and compares the finished keys with a threshold per query: for most tiles of a search
//! nothing passes, and not one distance is written to memory. Training values are broadcast from the rows as they
//! lie; only the queries are packed.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::order;

/// Queries in a group: the lanes of one 512-bit register of 32-bit sums.
pub(super) const LANES: usize = 16;
/// The most training rows in a tile.
pub(super) const ROWS: usize = 8;
/// The most groups in a tile.
pub(super) const GROUPS: usize = 3;
/// Features of f32 rows that are summed in registers before the sum joins the total. Shorter blocks round less (see
/// [`crate::cpu::nearest::roundings`]) and spill more.
pub(super) const BLOCK: usize = 64;

/// Asks for the cache line at `at`, which need not exist.
#[inline(always)]
pub(super) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing; every x86-64 processor knows it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Whether this machine is an AMD processor up to family 25, Zen to Zen 4: none of them has two multiply-adds of 512 bits in a cycle, as later ones
/// and Intel's do.
pub(super) fn early_zen() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static EARLY: LazyLock<bool> = LazyLock::new(|| {
            let id = raw_cpuid::CpuId::new();
            let amd = id.get_vendor_info().is_some_and(|vendor| vendor.as_str() == "AuthenticAMD");
            amd && id.get_feature_info().is_some_and(|processor| processor.family_id() <= 25)
        });
        *EARLY
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// 64 packed bytes: one step of one group, aligned to a cache line.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 64]);

/// How one lane's features lie in a [`Line`], and with them what a training row must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pack {
    /// Four features of u8 less this offset, as i8 where it is not 0; rows as they are.
    Quads {
        /// 0, or half of the range where the instruction wants one signed operand.
        offset: u8,
    },
    /// Two features as i16; rows widened to i16.
    Pairs,
    /// Eight features of u8 in two lines of eight lanes each; rows as they are.
    Octets,
    /// One feature of f32; rows as they are.
    Floats,
}

impl Pack {
    /// Features that one step consumes.
    pub(super) fn step(self) -> usize {
        match self {
            Self::Quads { .. } => 4,
            Self::Pairs => 2,
            Self::Octets => 8,
            Self::Floats => 1,
        }
    }

    /// Lines that one group takes for one step.
    pub(super) fn lines(self) -> usize {
        match self {
            Self::Octets => 2,
            _ => 1,
        }
    }
}

/// What a tile is computed from. `K` is the key: `i32` for byte rows, `f32` for float rows.
pub(super) struct Tile<'a, K> {
    /// Packed queries: the lines of the first group, then those of the next.
    pub(super) queries: &'a [Line],
    /// Steps along the features.
    pub(super) steps: usize,
    /// Each row's first value: `steps` steps can be read from every one of them.
    pub(super) rows: [*const u8; ROWS],
    /// Bytes from each row to the one in its place in the next tile of rows, which x86 kernels fetch early.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only x86 has a stable prefetch"))]
    pub(super) ahead: usize,
    /// Each row's part of the key.
    pub(super) row_terms: [K; ROWS],
    /// Each query's part of the key, group by group: from 1 to the kernel's limit of groups.
    pub(super) query_terms: &'a [[K; LANES]],
    /// A key passes when it is below its query's threshold; a NaN threshold passes everything.
    pub(super) thresholds: &'a [[K; LANES]],
    /// Byte products enter the key as `−(product << shift)`.
    pub(super) shift: u32,
}

/// The keys of a tile that passed. Entry `row × groups + group` is valid where that bit of the kernel's result is set.
#[repr(C, align(64))]
pub(super) struct Hits<K> {
    /// The keys of the entry's 16 queries.
    pub(super) keys: [[K; LANES]; GROUPS * ROWS],
    /// Which of them passed.
    pub(super) masks: [u16; GROUPS * ROWS],
}

impl<K: Lane> Default for Hits<K> {
    fn default() -> Self {
        Self { keys: [[K::OPEN; LANES]; GROUPS * ROWS], masks: [0; GROUPS * ROWS] }
    }
}

/// A register tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel<K> {
    /// The layout of the queries.
    pub(super) pack: Pack,
    /// The most groups it takes, at most [`GROUPS`].
    pub(super) groups: usize,
    /// The rows it takes, at most `ROWS`.
    pub(super) rows: usize,
    /// Computes a tile and says which entries of `Hits` have a key that passed.
    ///
    /// # Safety
    /// The instruction set that the kernel belongs to must be present, and the tile as its fields say.
    pub(super) run: unsafe fn(&Tile<'_, K>, &mut Hits<K>) -> u32,
}

/// The kernels of one instruction set.
pub(super) struct Kernels {
    name: &'static str,
    present: fn() -> bool,
    /// The same for the compiler's vector code.
    arch: fn() -> pulp::Arch,
    /// u8 rows, `row + query − (q·t << shift)`, where the row's part has made up for the pack's offset.
    pub(super) byte_dot: Kernel<i32>,
    /// The same of rows and queries whose values are at most [`Self::small`].
    pub(super) small_dot: Kernel<i32>,
    /// What values may be for the quickest of the two.
    pub(super) small: u8,
    /// u8 rows, Σ|q − t|.
    pub(super) byte_l1: Kernel<i32>,
    /// Σ(x − y)² of two u8 rows as they lie, equally long.
    ///
    /// # Safety
    /// The instruction set must be present.
    pub(super) byte_squares: unsafe fn(&[u8], &[u8]) -> u32,
    /// f32 rows, `row − q·t`.
    pub(super) float_dot: Kernel<f32>,
    /// f32 rows, Σ|q − t|.
    pub(super) float_l1: Kernel<f32>,
    /// f32 rows, Σ(q − t)².
    pub(super) float_squares: Kernel<f32>,
}

/// What [`Isa::limit`] set.
static LIMIT: OnceLock<Isa> = OnceLock::new();

/// An instruction set that this machine has. Having a value is the proof, so whatever takes one needs no check.
#[derive(Clone, Copy)]
pub struct Isa(&'static Kernels);

impl Isa {
    const ALL: &[&Kernels] = &[
        #[cfg(target_arch = "x86_64")]
        &avx512::VNNI,
        #[cfg(target_arch = "x86_64")]
        &avx512::PLAIN,
        #[cfg(target_arch = "x86_64")]
        &avx2::VNNI,
        #[cfg(target_arch = "x86_64")]
        &avx2::KERNELS,
        #[cfg(target_arch = "aarch64")]
        &neon::KERNELS,
        &portable::KERNELS,
    ];

    /// The instruction sets of this machine, fastest first; the last one is portable code.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().filter(|kernels| (kernels.present)()).map(|kernels| Self(kernels))
    }

    /// The fastest instruction set of this machine, or what [`Isa::limit`] set.
    pub fn best() -> Self {
        LIMIT.get().copied().unwrap_or_else(Self::fastest)
    }

    fn fastest() -> Self {
        Self::available().next().unwrap_or(Self(&portable::KERNELS))
    }

    /// Makes the CPU path use no wider instructions than those named (as [`Isa::name`] says, in any case), to compare machines.
    ///
    /// # Errors
    /// [`Error::Usage`] where this machine has no instruction set of that name, or another was set before.
    pub fn limit(name: &str) -> Result<()> {
        let Some(isa) = Self::available().find(|isa| isa.name().eq_ignore_ascii_case(name)) else {
            let known: Vec<_> = Self::available().map(Self::name).collect();
            return Err(Error::usage(
                format!("this machine has no instruction set \"{name}\""),
                format!("choose from {}", known.join(", ")),
            ));
        };
        if LIMIT.get_or_init(|| isa).name() == isa.name() {
            return Ok(());
        }
        Err(Error::usage("the instruction set was chosen before", "choose it once, at the start"))
    }

    /// What loops that the compiler turns into vector code are compiled for.
    pub(super) fn arch() -> pulp::Arch {
        LIMIT.get().map_or_else(pulp::Arch::new, |isa| (isa.0.arch)())
    }

    /// What such loops are compiled for with these instructions.
    #[cfg(test)]
    pub(super) fn own_arch(self) -> pulp::Arch {
        (self.0.arch)()
    }

    /// The largest value that rows may have for the quickest products.
    pub(super) fn small(self) -> u8 {
        self.0.small
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) fn kernels(self) -> &'static Kernels {
        self.0
    }
}

impl std::fmt::Debug for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A key as the kernels compute it.
pub(super) trait Lane: Copy + Send + Sync + 'static {
    /// The threshold that lets every key pass.
    const OPEN: Self;
    /// A threshold that lets no key pass.
    const CLOSED: Self;
    /// Nothing added.
    const ZERO: Self;

    /// The key in the order of candidates.
    fn key(self) -> u32;

    /// The threshold that lets pass whatever may still be below `bound`, for rows with indices above `index`.
    fn threshold(bound: u64, index: u32) -> Self;
}

/// Byte keys are never negative and below `i32::MAX`, so they are candidate keys as they stand.
impl Lane for i32 {
    const OPEN: Self = Self::MAX;
    const CLOSED: Self = Self::MIN;
    const ZERO: Self = 0;

    fn key(self) -> u32 {
        self.cast_unsigned()
    }

    fn threshold(bound: u64, index: u32) -> Self {
        // An equal distance wins only with a lower index, and rows arrive by rising index almost always.
        let inclusive = u32::from(order::index(bound) > index);
        i32::try_from(order::key(bound).saturating_add(inclusive)).unwrap_or(Self::OPEN)
    }
}

impl Lane for f32 {
    const OPEN: Self = Self::NAN;
    const CLOSED: Self = Self::NEG_INFINITY;
    const ZERO: Self = 0.0;

    fn key(self) -> u32 {
        order::Ordered::key(self)
    }

    fn threshold(bound: u64, index: u32) -> Self {
        if order::key(bound) == u32::MAX {
            return Self::OPEN;
        }
        let limit: Self = order::Ordered::from_key(order::key(bound));
        if order::index(bound) < index {
            limit
        } else if limit < Self::INFINITY {
            limit.next_up()
        } else {
            Self::OPEN
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn squares_of_bytes_are_those_of_their_definition() {
        let noise = rng::pixels(&mut rng::seeded(9), 2 * 33_025);
        let (x, y) = noise.split_at(33_025);
        let far = ([0; 33_025], [255; 33_025]);
        for isa in Isa::available() {
            for length in (0..200).chain([784, 3072, 33_025]) {
                for (x, y) in [(x, y), (&far.0[..], &far.1[..])] {
                    let (x, y) = (&x[..length], &y[..length]);
                    let want: u32 = x.iter().zip(y).map(|(&x, &y)| u32::from(x.abs_diff(y)).pow(2)).sum();
                    // SAFETY: the instruction set is there.
                    assert_eq!(unsafe { (isa.kernels().byte_squares)(x, y) }, want, "{isa:?}, {length}");
                }
            }
        }
    }
}
