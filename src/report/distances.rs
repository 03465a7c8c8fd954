//! The picture of a distance matrix that assignment 1 draws: a row for each test row, a column for each training row,
//! dark is near. Bright rows are unusual test images, bright columns unusual training images.

use crate::error::Result;

/// Pixels beyond which nobody can look at the picture.
pub const MOST_PIXELS: usize = 100_000_000;

/// An 8-bit grey PNG of `rows` × `columns` distances: the smallest is black, the largest white.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) when the picture is too large for the format.
pub fn image(distances: &[f64], rows: usize, columns: usize) -> Result<Vec<u8>> {
    let finite = || distances.iter().copied().filter(|d| d.is_finite());
    let (min, max) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let range = if max > min { max - min } else { 1.0 };
    let pixels: Vec<u8> =
        distances.iter().map(|d| (255.0 * (d - min) / range).round().clamp(0.0, 255.0) as u8).collect();
    super::png(&pixels, columns, rows, png::ColorType::Grayscale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_dark_and_far_is_bright() {
        let bytes = image(&[0.0, 5.0, 10.0, 2.5, 10.0, 0.0], 2, 3).expect("a picture");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(pixels, [0, 128, 255, 64, 255, 0]);
    }

    #[test]
    fn equal_distances_are_one_shade() {
        assert!(image(&[3.0; 4], 2, 2).is_ok());
    }
}
