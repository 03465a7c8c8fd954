//! Rows of numbers as small pictures.

use crate::data::ImageShape;
use crate::error::{Error, Result};
use crate::rows::{RowsRef, ValuesRef};

/// Whether rows of `features` numbers are pictures of this shape, in grey or colour.
pub(super) fn fits(image: ImageShape, features: usize) -> bool {
    let ImageShape { channels, height, width } = image;
    let size = channels.checked_mul(height).and_then(|size| size.checked_mul(width));
    [1, 3].contains(&channels) && features > 0 && size == Some(features)
}

/// The colours of a picture, from left to right and top to bottom. `values` holds its planes; the smallest becomes 0,
/// the largest 255, equal ones the grey between. Numbers that are not finite are black.
pub(super) fn stretched(values: &[f32], image: ImageShape) -> Vec<[u8; 3]> {
    let finite = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let byte = |value: f32| match value.is_finite() {
        false => 0,
        true if low < high => (255.0 * (f64::from(value) - low) / (high - low)).round() as u8,
        true => 128,
    };
    interleaved(&values.iter().map(|&value| byte(value)).collect::<Vec<_>>(), image)
}

fn interleaved(planes: &[u8], image: ImageShape) -> Vec<[u8; 3]> {
    let size = image.height * image.width;
    let plane = |channel: usize| channel.min(image.channels - 1) * size;
    (0..size).map(|pixel| [0, 1, 2].map(|channel| planes[plane(channel) + pixel])).collect()
}

/// A PNG of a row: bytes as they are, other numbers by their extremes.
///
/// # Errors
/// [`Error::Usage`] when the row is not there or no such picture.
pub(super) fn of_row(rows: RowsRef<'_>, row: usize, image: ImageShape) -> Result<Vec<u8>> {
    if row >= rows.len() || !fits(image, rows.features()) {
        let problem = format!("row {row} of {} is no picture of {image:?}", rows.len());
        return Err(Error::usage(problem, "give the rows that were predicted, and their shape"));
    }
    let pixels = match rows.range(row..row + 1).values() {
        ValuesRef::U8(values) => interleaved(values, image),
        ValuesRef::F32(values) => stretched(values, image),
    };
    png(&pixels, image)
}

/// A PNG of a row, and one of what was made of it (in the same units) in the same greys or colours: bytes as they are, other numbers by the
/// extremes of the row.
///
/// # Errors
/// As [`of_row`].
pub(super) fn of_pair(
    rows: RowsRef<'_>,
    row: usize,
    made: &[f32],
    image: ImageShape,
) -> Result<[Vec<u8>; 2]> {
    let original = of_row(rows, row, image)?;
    let (low, high) = match rows.range(row..row + 1).values() {
        ValuesRef::U8(_) => (0.0, 255.0),
        ValuesRef::F32(values) => {
            let finite = || values.iter().copied().filter(|value| value.is_finite());
            (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max))
        }
    };
    let byte = |value: &f32| match value.is_finite() {
        // A cast saturates.
        true if low < high => (255.0 * (value - low) / (high - low)).round() as u8,
        true => 128,
        false => 0,
    };
    let bytes: Vec<u8> = made.iter().map(byte).collect();
    if !fits(image, bytes.len()) {
        let problem = format!("{} numbers are no picture of {image:?}", bytes.len());
        return Err(Error::usage(problem, "give a whole row for each row"));
    }
    Ok([original, png(&interleaved(&bytes, image), image)?])
}

/// A PNG of a picture as [`stretched`] gives it.
pub(super) fn png(pixels: &[[u8; 3]], image: ImageShape) -> Result<Vec<u8>> {
    let ImageShape { channels, height, width } = image;
    if channels == 1 {
        let grey: Vec<u8> = pixels.iter().map(|pixel| pixel[0]).collect();
        return super::png(&grey, width, height, png::ColorType::Grayscale);
    }
    super::png(pixels.as_flattened(), width, height, png::ColorType::Rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_become_black_and_white() {
        let grey = ImageShape { channels: 1, height: 1, width: 4 };
        let level = |values: &[f32]| stretched(values, grey).iter().map(|pixel| pixel[0]).collect::<Vec<_>>();
        assert_eq!(level(&[-1.0, 0.0, 1.0, f32::NAN]), [0, 128, 255, 0]);
        assert_eq!(level(&[7.0; 4]), [128; 4]);
        assert_eq!(level(&[-f32::MAX, f32::MAX, 0.0, f32::INFINITY]), [0, 255, 128, 0]);
        let color = ImageShape { channels: 3, height: 1, width: 2 };
        assert_eq!(stretched(&[0.0, 255.0, 1.0, 2.0, 3.0, 4.0], color), [[0, 1, 3], [255, 2, 4]]);
    }

    #[test]
    fn only_rows_that_are_pictures_are_drawn() {
        let values = [9u8; 12];
        let rows = RowsRef::new(ValuesRef::U8(&values), 6).expect("two rows");
        let image = |channels, height, width| ImageShape { channels, height, width };
        assert!(of_row(rows, 1, image(3, 1, 2)).is_ok() && of_row(rows, 0, image(1, 2, 3)).is_ok());
        for (row, image) in [(2, image(1, 2, 3)), (0, image(2, 1, 3)), (0, image(1, 2, 2))] {
            assert_eq!(of_row(rows, row, image).expect_err("no picture").exit_code(), 2);
        }
        assert!(!fits(image(3, usize::MAX, 2), 6) && !fits(image(1, 0, 0), 0));
    }
}
