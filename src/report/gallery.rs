//! Test images with their nearest training images, as the course shows them: the quickest way to see what a metric
//! thinks is alike.

use crate::error::{Error, Result};
use crate::rows::{RowsRef, ValuesRef};

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Gallery<'a> {
    /// Test images, one a row.
    pub test: RowsRef<'a>,
    /// Training images, one a row.
    pub train: RowsRef<'a>,
    /// Channels (1 or 3, as planes), height and width; `None` when rows are no images.
    pub image: Option<[usize; 3]>,
    /// Neighbours, test × k training rows.
    pub neighbors: &'a [u32],
    /// Neighbours of each test image.
    pub k: usize,
    /// Class of each training image.
    pub train_labels: &'a [u32],
    /// Class of each test image, where known.
    pub test_labels: Option<&'a [u32]>,
    /// Predicted class of each test image.
    pub predicted: &'a [u32],
    /// Test images to draw, from the first.
    pub rows: usize,
}

const PAPER: [u8; 3] = [255, 255, 255];
const RIGHT: [u8; 3] = [38, 148, 80];
const WRONG: [u8; 3] = [214, 48, 49];
const UNKNOWN: [u8; 3] = [150, 150, 150];

/// Pixels between images, and between a test image and its neighbours.
const GAP: usize = 4;
const WIDE_GAP: usize = 16;
/// Thickness of a frame; wrong neighbours get the thick one, to be seen in a large picture.
const THIN: usize = 1;
const THICK: usize = 3;
/// Small images are enlarged by a whole factor to about this width.
const COMFORTABLE: usize = 64;
/// Neighbours a row shows at most.
const MOST_NEIGHBORS: usize = 20;

/// A PNG with a row for each test image: the image, framed by whether its prediction is right, then its neighbours,
/// nearest first; neighbours of another class have a thick red frame, others a thin green one. Where the class of the
/// test image is unknown, neighbours are compared with the prediction.
///
/// # Errors
/// [`Error::Usage`] when rows are no images of 1 or 3 channels, or there is nothing to draw.
pub fn gallery(gallery: &Gallery<'_>) -> Result<Vec<u8>> {
    let [channels, height, width] =
        gallery.image.filter(|[channels, ..]| [1, 3].contains(channels)).ok_or_else(|| {
            Error::usage(
                "these rows are not images, so there is no gallery of them",
                "use CIFAR or idx data, or leave --gallery out",
            )
        })?;
    if channels * height * width != gallery.test.features() {
        return Err(Error::usage(
            format!(
                "rows of {} values are no images of {channels}×{height}×{width}",
                gallery.test.features()
            ),
            "leave --gallery out",
        ));
    }
    let rows = gallery.rows.min(gallery.test.len());
    if rows == 0 || gallery.k == 0 {
        return Err(Error::usage(
            "no test image to draw",
            "give at least one test row, and --gallery-rows at least 1",
        ));
    }
    let shown = gallery.k.min(MOST_NEIGHBORS);
    let factor = (COMFORTABLE / width.max(1)).max(1);
    let [cell_height, cell_width] = [height, width].map(|side| side * factor + 2 * THICK);
    let mut canvas = Canvas::new(
        GAP + cell_width + WIDE_GAP + shown * (cell_width + GAP),
        GAP + rows * (cell_height + GAP),
    );
    let (test_range, train_range) = (range(gallery.test), range(gallery.train));
    for row in 0..rows {
        let y = GAP + row * (cell_height + GAP);
        let predicted = gallery.predicted[row];
        let truth = gallery.test_labels.map(|labels| labels[row]);
        let (color, thickness) = match truth {
            None => (UNKNOWN, THIN),
            Some(truth) if truth == predicted => (RIGHT, THICK),
            Some(_) => (WRONG, THICK),
        };
        let picture =
            Picture { rows: gallery.test, row, shape: [channels, height, width], range: test_range };
        canvas.framed(GAP, y, &picture, factor, color, thickness);
        for (place, &neighbor) in gallery.neighbors[row * gallery.k..][..shown].iter().enumerate() {
            let neighbor = neighbor as usize;
            let alike = gallery.train_labels[neighbor] == truth.unwrap_or(predicted);
            let (color, thickness) = if alike { (RIGHT, THIN) } else { (WRONG, THICK) };
            let x = GAP + cell_width + WIDE_GAP + place * (cell_width + GAP);
            let picture = Picture {
                rows: gallery.train,
                row: neighbor,
                shape: [channels, height, width],
                range: train_range,
            };
            canvas.framed(x, y, &picture, factor, color, thickness);
        }
    }
    super::png(&canvas.pixels, canvas.width, canvas.height, png::ColorType::Rgb)
}

/// What black and white are: 0 and 255 for pixels, the extremes for other numbers.
fn range(rows: RowsRef<'_>) -> (f64, f64) {
    match rows.values() {
        ValuesRef::U8(_) => (0.0, 255.0),
        ValuesRef::F32(values) => {
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &value| {
                (min.min(f64::from(value)), max.max(f64::from(value)))
            })
        }
    }
}

struct Picture<'a> {
    rows: RowsRef<'a>,
    row: usize,
    shape: [usize; 3],
    range: (f64, f64),
}

impl Picture<'_> {
    fn color(&self, y: usize, x: usize) -> [u8; 3] {
        let [channels, height, width] = self.shape;
        let (min, max) = self.range;
        let scale = if max > min { 255.0 / (max - min) } else { 0.0 };
        std::array::from_fn(|channel| {
            let plane = channel.min(channels - 1);
            let value = self.rows.at(self.row, (plane * height + y) * width + x);
            ((value - min) * scale).round().clamp(0.0, 255.0) as u8
        })
    }
}

struct Canvas {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { pixels: PAPER.repeat(width * height), width, height }
    }

    fn set(&mut self, x: usize, y: usize, color: [u8; 3]) {
        self.pixels[3 * (y * self.width + x)..][..3].copy_from_slice(&color);
    }

    /// Draws `picture` with a frame around it, in a cell that leaves room for the thickest frame.
    fn framed(
        &mut self,
        x: usize,
        y: usize,
        picture: &Picture<'_>,
        factor: usize,
        color: [u8; 3],
        thickness: usize,
    ) {
        let [_, height, width] = picture.shape;
        let (x, y) = (x + THICK, y + THICK);
        for row in 0..height * factor + 2 * thickness {
            for column in 0..width * factor + 2 * thickness {
                let inside =
                    |at: usize, side: usize| at.checked_sub(thickness).filter(|&at| at < side * factor);
                let shade = match (inside(row, height), inside(column, width)) {
                    (Some(row), Some(column)) => picture.color(row / factor, column / factor),
                    _ => color,
                };
                self.set(x + column - thickness, y + row - thickness, shade);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Rows, Values};

    fn sample<'a>(test: &'a Rows, train: &'a Rows) -> Gallery<'a> {
        Gallery {
            test: test.view(),
            train: train.view(),
            image: Some([1, 2, 2]),
            neighbors: &[1, 0],
            k: 2,
            train_labels: &[0, 1],
            test_labels: Some(&[1]),
            predicted: &[1],
            rows: 10,
        }
    }

    fn rows(values: Vec<u8>, features: usize) -> Rows {
        Rows::new(Values::U8(values), features).expect("whole rows")
    }

    #[test]
    fn frames_tell_right_from_wrong() {
        let (test, train) = (rows(vec![10, 20, 30, 40], 4), rows(vec![50, 60, 70, 80, 90, 100, 110, 120], 4));
        let bytes = gallery(&sample(&test, &train)).expect("a picture");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        let cell = 2 * 32 + 2 * THICK;
        assert_eq!(info.width as usize, GAP + cell + WIDE_GAP + 2 * (cell + GAP));
        assert_eq!(info.height as usize, GAP + cell + GAP);
        let at = |x: usize, y: usize| &pixels[3 * (y * info.width as usize + x)..][..3];
        assert_eq!(at(0, 0), PAPER);
        assert_eq!(at(GAP, GAP), RIGHT, "a right prediction");
        assert_eq!(at(GAP + THICK, GAP + THICK), [10; 3], "the first pixel of the test image");
        let first = GAP + cell + WIDE_GAP;
        assert_eq!(at(first, GAP), PAPER, "a thin frame leaves the outer pixels");
        assert_eq!(at(first + THICK - THIN, GAP + THICK - THIN), RIGHT, "a neighbour of the right class");
        assert_eq!(at(first + THICK, GAP + THICK), [90; 3], "which is training row 1");
        assert_eq!(at(first + cell + GAP, GAP), WRONG, "a neighbour of another class");
    }

    #[test]
    fn rows_that_are_no_images_are_refused() {
        let (test, train) = (rows(vec![1; 4], 4), rows(vec![1; 8], 4));
        for image in [None, Some([2, 1, 2]), Some([1, 3, 3])] {
            let error = gallery(&Gallery { image, ..sample(&test, &train) }).expect_err("no images");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(gallery(&Gallery { rows: 0, ..sample(&test, &train) }).is_err());
    }
}
