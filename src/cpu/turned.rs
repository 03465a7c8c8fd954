//! Rows of a few numbers, such as the scores of ten classes: a tile of them lies across, so that a lane is a row and nothing is added up between
//! lanes, which for rows that fill no vector is most of the work.

/// Columns up to which rows are turned.
pub(super) const NARROW: usize = 32;

/// Rows of a tile: one of the widest vectors.
pub(super) const ROWS: usize = 16;

/// A number of each row.
pub(super) type Lanes = [f32; ROWS];

/// Up to [`ROWS`] rows, column by column; what it lacks is 0. Made once for many rows: to clear it takes as long as to fill it.
pub(super) struct Tile {
    lanes: [Lanes; NARROW],
    columns: usize,
}

impl Tile {
    /// One for rows of up to [`NARROW`] columns; of wider ones, which are not turned, it has none.
    pub(super) fn new(columns: usize) -> Self {
        Self { lanes: [[0.0; ROWS]; NARROW], columns: if columns <= NARROW { columns } else { 0 } }
    }

    /// Takes some rows. Compiled for any machine: gathering and scattering instructions take longer than one move for each number.
    #[inline(never)]
    pub(super) fn turn(&mut self, rows: &[f32]) -> &mut Self {
        let (none, columns) = ([0.0; NARROW], self.columns);
        let row = |r: usize| rows.get(r * columns..(r + 1) * columns).unwrap_or(&none[..columns]);
        let rows: [&[f32]; ROWS] = std::array::from_fn(row);
        for (c, column) in self.columns_mut().iter_mut().enumerate() {
            *column = std::array::from_fn(|r| rows[r][c]);
        }
        self
    }

    /// Writes f(x, number of the row) for every number x of the rows.
    ///
    /// What is one instruction belongs here: with a body as short as that, [`Tile::update`] is compiled as a loop across the columns, with
    /// gathering and scattering instructions.
    #[inline(never)]
    pub(super) fn write(&self, rows: &mut [f32], f: impl Fn(f32, usize) -> f32) {
        for (r, row) in rows.chunks_exact_mut(self.columns).enumerate() {
            for (x, column) in row.iter_mut().zip(self.columns()) {
                *x = f(column[r], r);
            }
        }
    }

    /// Its columns.
    #[inline(always)]
    pub(super) fn columns(&self) -> &[Lanes] {
        &self.lanes[..self.columns]
    }

    /// Its columns, to be changed.
    #[inline(always)]
    pub(super) fn columns_mut(&mut self) -> &mut [Lanes] {
        &mut self.lanes[..self.columns]
    }

    /// x = f(x, number of the row) for every number.
    #[inline(always)]
    pub(super) fn update(&mut self, f: impl Fn(f32, usize) -> f32) {
        for column in self.columns_mut() {
            for (k, x) in column.iter_mut().enumerate() {
                *x = f(*x, k);
            }
        }
    }

    /// What `f(so far, x, number of the row)` makes of the numbers of each row, one after the other from `start` on.
    #[inline(always)]
    pub(super) fn fold(&self, start: f32, f: impl Fn(f32, f32, usize) -> f32) -> Lanes {
        let mut folded = [start; ROWS];
        for column in self.columns() {
            for (k, (folded, &x)) in folded.iter_mut().zip(column).enumerate() {
                *folded = f(*folded, x, k);
            }
        }
        folded
    }
}

/// How many rows of so many numbers are worked on at once: those of a tile, or one.
pub(super) fn rows_at_once(columns: usize) -> usize {
    if columns <= NARROW { ROWS } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_and_what_a_tile_lacks_is_0() {
        for columns in [1, 10, NARROW] {
            let mut tile = Tile::new(columns);
            for count in [ROWS, 1, 5] {
                let rows: Vec<f32> = (1..=count * columns).map(|x| x as f32).collect();
                for (c, column) in tile.turn(&rows).columns().iter().enumerate() {
                    let want = |r: usize| if r < count { rows[r * columns + c] } else { 0.0 };
                    assert_eq!(*column, std::array::from_fn(want), "{count} × {columns}");
                }
                let mut back = vec![f32::NAN; rows.len()];
                tile.write(&mut back, |x, _| x);
                assert_eq!(back, rows);
                tile.write(&mut back, |x, r| x * r as f32);
                for (i, (back, x)) in back.iter().zip(rows).enumerate() {
                    assert_eq!(*back, x * (i / columns) as f32, "{count} × {columns}");
                }
            }
        }
    }
}
