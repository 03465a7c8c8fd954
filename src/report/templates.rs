//! Weights as pictures: what a class, or a neuron of the first layer, looks for in an image (the course's
//! `visualize_grid`).

use super::picture;
use crate::data::ImageShape;
use crate::error::{Error, Result};

/// Templates that are drawn at most.
pub const MOST: usize = 100;

/// Pixels between templates. They are transparent, and so fit any page.
const GAP: usize = 4;
/// Small templates are enlarged by a whole factor to about this width.
const COMFORTABLE: usize = 80;
/// Pixels of the whole that fit in memory, and that somebody may look at.
const MOST_PIXELS: usize = 100_000_000;

/// A PNG of the first [`MOST`] templates, `columns` beside each other. `weights` holds `count` rows, one a class or
/// neuron, each an image of shape `image` as planes. Every template is scaled to 0..255 on its own: templates tell where
/// a weight is large, not how large it is beside another template's.
///
/// # Errors
/// [`Error::Usage`] when the rows are no images of 1 or 3 channels, there is none, or the picture is too large.
pub fn templates(weights: &[f32], count: usize, image: ImageShape, columns: usize) -> Result<Vec<u8>> {
    let features = weights.len().checked_div(count).filter(|features| features * count == weights.len());
    let Some(features) = features.filter(|&features| picture::fits(image, features)) else {
        return Err(Error::usage(
            format!("{} weights are no {count} templates of {image:?}", weights.len()),
            "give one weight a pixel, in rows, without the bias",
        ));
    };
    let ImageShape { height, width, .. } = image;
    let shown = count.min(MOST);
    let columns = columns.clamp(1, shown);
    let factor = (COMFORTABLE / width).max(1);
    let side = |cells: usize, size: usize| cells.checked_mul(size * factor + GAP).map(|pixels| pixels - GAP);
    let (across, down) = (side(columns, width), side(shown.div_ceil(columns), height));
    let size = across
        .zip(down)
        .filter(|(across, down)| across.checked_mul(*down).is_some_and(|pixels| pixels <= MOST_PIXELS));
    let Some((across, down)) = size else {
        return Err(Error::usage(format!("{shown} templates of {image:?} are too large"), "draw fewer"));
    };
    let mut pixels = vec![[0u8; 4]; across * down];
    for (template, values) in weights.chunks_exact(features).take(shown).enumerate() {
        let colors = picture::stretched(values, image);
        let left = template % columns * (width * factor + GAP);
        let top = template / columns * (height * factor + GAP);
        for y in 0..height * factor {
            let line = &mut pixels[(top + y) * across + left..][..width * factor];
            for (x, pixel) in line.iter_mut().enumerate() {
                let [red, green, blue] = colors[y / factor * width + x / factor];
                *pixel = [red, green, blue, 255];
            }
        }
    }
    super::png(pixels.as_flattened(), across, down, png::ColorType::Rgba)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: Vec<u8>) -> (usize, usize, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        (info.width as usize, info.height as usize, pixels)
    }

    #[test]
    fn templates_lie_in_a_grid_each_on_its_own_scale() {
        let image = ImageShape { channels: 1, height: 1, width: 2 };
        let weights = [0.0, 1.0, -50.0, 50.0, 3.0, 2.0];
        let (width, height, pixels) = decoded(templates(&weights, 3, image, 2).expect("a picture"));
        assert_eq!((width, height), (2 * 80 + GAP, 2 * 40 + GAP));
        let at = |x: usize, y: usize| <[u8; 4]>::try_from(&pixels[4 * (y * width + x)..][..4]).expect("four");
        let (black, white) = ([0, 0, 0, 255], [255; 4]);
        assert_eq!([at(0, 0), at(39, 39), at(40, 0), at(79, 39)], [black, black, white, white]);
        assert_eq!([at(80 + GAP, 0), at(2 * 80 + GAP - 1, 0)], [black, white], "as bright as the first");
        assert_eq!([at(0, 40 + GAP), at(79, 40 + GAP)], [white, black]);
        assert_eq!(
            [at(80, 0), at(0, 40), at(120, 60)],
            [[0; 4]; 3],
            "gaps and the free place are transparent"
        );
    }

    #[test]
    fn colours_are_planes() {
        let image = ImageShape { channels: 3, height: 1, width: 1 };
        let (width, _, pixels) = decoded(templates(&[1.0, 0.0, 0.5], 1, image, 9).expect("a picture"));
        assert_eq!((width, &pixels[..4]), (80, &[255, 0, 128, 255][..]));
    }

    #[test]
    fn a_hundred_of_many_are_drawn() {
        let image = ImageShape { channels: 1, height: 1, width: 100 };
        let (width, height, _) = decoded(templates(&[0.5; 51_200], 512, image, 10).expect("a picture"));
        assert_eq!((width, height), (10 * 104 - GAP, 10 * (1 + GAP) - GAP));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let image = |channels, height, width| ImageShape { channels, height, width };
        let cases = [
            (6, 0, image(1, 2, 3)),
            (6, 2, image(2, 1, 3)),
            (7, 2, image(1, 1, 3)),
            (0, 3, image(1, 0, 0)),
            (8, 2, image(1, 1, 3)),
        ];
        for (weights, count, image) in cases {
            let error = templates(&vec![0.0; weights], count, image, 4).expect_err("no picture");
            assert_eq!(error.exit_code(), 2, "{weights} weights, {count} of {image:?}");
        }
        assert!(templates(&vec![0.0; 20_000_000], 1, image(1, 20_000_000, 1), 1).is_err(), "too large");
    }
}
