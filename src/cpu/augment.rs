//! Random flips and shifts of images on the CPU, line by line: what is not flipped is copied whole.

use super::chunks::{CHUNK, pieces};
use crate::recycled;
use crate::reference::augment::{Augment, Move};

/// Images x [M, D] after their moves; 0 where nothing has moved to.
pub fn augment(x: &[f32], augment: &Augment) -> Vec<f32> {
    let [_, height, width] = augment.image;
    let features = augment.image.iter().product::<usize>();
    if features == 0 {
        return Vec::new();
    }
    let mut out = recycled::numbers(x.len());
    let (words, augment) = (augment.key.words(), *augment);
    pieces(
        &mut out,
        (CHUNK / features).max(1) * features,
        #[inline(always)]
        move |start, out| {
            let first = start / features;
            let images = out.chunks_exact_mut(features).zip(x[start..].chunks_exact(features));
            for (row, (out, x)) in (first..).zip(images) {
                let Move { flip, down, right } = augment.decide(words, row as u32);
                let (down, right) = (down as isize, right as isize);
                if (down, right) != (0, 0) {
                    out.fill(0.0);
                }
                // Columns of the output that have something, and where that begins.
                let (to, from) = (right.max(0).unsigned_abs(), right.min(0).unsigned_abs());
                let Some(count) = width.checked_sub(to + from) else { continue };
                let planes = out.chunks_exact_mut(height * width).zip(x.chunks_exact(height * width));
                for (out, x) in planes {
                    for (i, out) in out.chunks_exact_mut(width).enumerate() {
                        let Some(i) = i.checked_add_signed(-down).filter(|&i| i < height) else { continue };
                        let (line, out) = (&x[i * width..][..width], &mut out[to..][..count]);
                        if flip {
                            let turned = line[..width - from].iter().rev();
                            out.iter_mut().zip(turned).for_each(|(out, &x)| *out = x);
                        } else {
                            out.copy_from_slice(&line[from..][..count]);
                        }
                    }
                }
            }
        },
    );
    out
}
