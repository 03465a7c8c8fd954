//! Tables and pictures. Functions here render plain data to text or bytes; whoever calls them writes the files.

pub mod confusion;
pub mod curve;
pub mod distances;
pub mod gallery;
pub mod mistakes;
pub mod page;
mod picture;
pub mod table;
pub mod templates;

use crate::error::{Error, Result};

/// An 8-bit PNG of `width` × `height` pixels.
fn png(pixels: &[u8], width: usize, height: usize, color: png::ColorType) -> Result<Vec<u8>> {
    let too_large = |what: String| Error::usage(what, "draw fewer rows");
    let side =
        |n: usize| u32::try_from(n).map_err(|_| too_large(format!("a picture {n} pixels wide or high")));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(width)?, side(height)?);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(pixels)?;
        writer.finish()
    });
    written.map_err(|error| too_large(format!("a picture of {width} × {height} pixels: {error}")))?;
    Ok(bytes)
}
