//! How kernels that work along rows are compiled and launched: an invocation to a row, or a workgroup.

use rand::Rng;

use super::launch::{GROUP, check_count, check_rounds, per_group};
use super::{Case, Effort, Op, Shader, wrong_case};
use crate::error::Result;
use crate::gpu::limits::{LOOP_ROUNDS, WORKGROUP_INVOCATIONS};
use crate::gpu::{Buffer, Gpu, Kernel, Params};
use crate::rng;

/// Who has a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// For software adapters, where workgroup memory and barriers are slow, and for rows so short that a workgroup would idle.
    Invocation,
    /// For GPUs, whose neighbouring invocations should load neighbouring vectors.
    Workgroup,
}

/// Rows up to this many elements leave most of a workgroup idle.
pub(super) const SHORT: usize = 64;
/// Rows from this many elements on occupy the largest workgroup: a vector for each invocation.
const LONG: usize = 4 * WORKGROUP_INVOCATIONS as usize;

impl Family {
    const ALL: [Self; 2] = [Self::Invocation, Self::Workgroup];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Invocation => "invocation",
            Self::Workgroup => "workgroup",
        }
    }

    /// The family of a name, else the one for an adapter and rows of so many elements, which loops of `rounds` rounds read.
    pub(super) fn choose(columns: usize, rounds: usize, software: bool, named: Option<&str>) -> Self {
        let named = named.and_then(|name| Self::ALL.into_iter().find(|family| family.name() == name));
        named.unwrap_or(match columns {
            _ if columns <= SHORT => Self::Invocation,
            // A workgroup makes fewer rounds, where a software adapter would not end them (see `LOOP_ROUNDS`).
            _ if software && rounds <= LOOP_ROUNDS => Self::Invocation,
            _ => Self::Workgroup,
        })
    }

    /// Invocations of a workgroup, and those that share a row.
    pub(super) fn teams(self, columns: usize) -> [usize; 2] {
        match self {
            Self::Invocation => [GROUP, 1],
            Self::Workgroup if columns >= LONG => [WORKGROUP_INVOCATIONS as usize; 2],
            Self::Workgroup => [GROUP; 2],
        }
    }

    fn constants(self, columns: usize) -> [(&'static str, u32); 3] {
        let [group, team] = self.teams(columns).map(|n| n as u32);
        [("ALIGNED", u32::from(columns.is_multiple_of(4))), ("GROUP", group), ("TEAM", team)]
    }
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    Family::ALL.map(Family::name).to_vec()
}

/// A kernel in all the ways it may be compiled.
pub(super) fn shaders(kernel: &'static Kernel) -> impl Iterator<Item = Shader> {
    let widths = [LONG, LONG + 1, 100, 101];
    let all = Family::ALL.into_iter().flat_map(move |family| widths.map(|columns| family.constants(columns)));
    // An invocation is compiled alike for long and short rows.
    let all = all.enumerate().filter(|(i, _)| ![2, 3].contains(i));
    all.map(move |(_, constants)| Shader { kernel, constants: constants.to_vec() })
}

/// Records `kernel` over a matrix of rows × columns that it reads `sweeps` times.
pub(super) fn record<P: Params>(
    gpu: &Gpu,
    family: Option<&str>,
    kernel: &'static Kernel,
    buffers: &[&Buffer],
    params: &P,
    [rows, columns]: [usize; 2],
    sweeps: usize,
) -> Result<()> {
    check_count(kernel.op, rows * columns)?;
    if rows * columns == 0 {
        return Ok(());
    }
    let rounds = |team: usize| sweeps * columns.div_ceil(4 * team);
    let family = Family::choose(columns, rounds(1), gpu.info().software(), family);
    let [group, team] = family.teams(columns);
    check_rounds(gpu, kernel.op, "columns", columns, rounds(team))?;
    let groups = rows.div_ceil(group / team);
    let work = 4 * (sweeps + 1) * rows * columns;
    per_group(gpu, kernel, &family.constants(columns), buffers, params, groups, work)
}

/// Rows × columns of the table: nothing, one, a few classes, rows that start on vectors and rows that do not, edges of workgroups.
pub(super) fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 5],
        vec![1, 1],
        vec![65, 1],
        vec![100, 10],
        vec![63, 64],
        vec![64, 63],
        vec![65, 257],
        vec![7, 1031],
        vec![5, 1024],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![3, 4100], vec![70_000, 3]]);
    }
    shapes
}

/// Rows and columns of a case.
pub(super) fn shape_of(op: &Op, case: &Case) -> Result<[usize; 2]> {
    let &[rows, columns] = case.shape.as_slice() else { return Err(wrong_case(op, case)) };
    Ok([rows, columns])
}

/// Scores that a classifier may meet, exact in `f32`: among ordinary rows some of equal and of very large numbers.
pub(super) fn scores(rng: &mut impl Rng, [rows, columns]: [usize; 2]) -> Vec<f64> {
    let mut scores = rng::reals(rng, rows * columns);
    for (i, row) in scores.chunks_exact_mut(columns.max(1)).enumerate() {
        let equal = row.first().copied().unwrap_or(0.0);
        for score in row {
            *score = match i % 8 {
                1 => f64::from((*score * 1e4) as f32),
                3 => equal,
                // Whole numbers, so that some margins are exactly 0.
                5 => (*score * 3.0).round(),
                _ => f64::from((*score * 4.0) as f32),
            };
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gets_a_workgroup_where_it_fills_one() {
        use Family::{Invocation, Workgroup};
        let choose = |columns: usize, software| Family::choose(columns, 3 * columns / 4, software, None);
        assert_eq!((choose(10, false), choose(1000, false)), (Invocation, Workgroup));
        assert_eq!((choose(1000, true), choose(100_000, true)), (Invocation, Workgroup));
        assert_eq!(Family::choose(10, 8, true, Some("workgroup")), Workgroup);
        assert_eq!((Workgroup.teams(1024), Workgroup.teams(1000)), ([256, 256], [64, 64]));
    }
}
