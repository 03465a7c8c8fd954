//! Images of buffers: copies in textures, for kernels that bind a buffer as [`Access::Image`](super::Access::Image).
//!
//! Mesa's software driver loads buffers lane by lane and element by element, a branch and a dozen instructions each. Of a storage texture it
//! fetches four floats a lane at once, in a fifth of the time, and copying a buffer into one costs about what loading it once does. So an
//! image pays where a launch loads each element more than once.
//!
//! Launches are recorded in the order in which they run, so what a buffer will hold at that point is known: its image is copied again only if
//! something was recorded that writes the buffer's memory since.

use super::context::Context;
use super::fault::scoped;
use super::limits::{BUFFER_UNIT, IMAGE_WIDTH, IMAGES_BYTES, STORAGE_BUFFERS};
use super::pool::Buffer;
use crate::Result;
use crate::profile::span;

/// Four words, bit by bit those of the buffer: a driver may flush subnormal floats.
pub(crate) const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba32Uint;

/// Bytes of a line of an image.
const LINE: u64 = IMAGE_WIDTH as u64 * BUFFER_UNIT;

/// Lines of the image of so many bytes.
pub(crate) fn lines(bytes: u64) -> u64 {
    bytes.div_ceil(LINE)
}

/// An image as a bind group binds it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Unique among the blocks of the pool and the images.
    pub(crate) id: u64,
    pub(crate) raw: wgpu::TextureView,
}

/// The images among a launch's bindings.
pub(crate) type Views = [Option<View>; STORAGE_BUFFERS];

/// A copy of a buffer into its image, recorded before the launch that loads it.
#[derive(Debug)]
pub(crate) struct ImageCopy {
    from: wgpu::Buffer,
    offset: u64,
    pub(crate) bytes: u64,
    to: wgpu::Texture,
}

impl ImageCopy {
    pub(crate) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let whole = self.bytes / LINE;
        self.lines(encoder, 0, IMAGE_WIDTH, whole as u32);
        self.lines(encoder, whole, (self.bytes % LINE / BUFFER_UNIT) as u32, 1);
    }

    /// Copies `lines` lines of `vectors` vectors each from line `first` on.
    fn lines(&self, encoder: &mut wgpu::CommandEncoder, first: u64, vectors: u32, lines: u32) {
        if vectors * lines == 0 {
            return;
        }
        let layout = wgpu::TexelCopyBufferLayout {
            offset: self.offset + first * LINE,
            bytes_per_row: Some(LINE as u32),
            rows_per_image: None,
        };
        let origin = wgpu::Origin3d { x: 0, y: first as u32, z: 0 };
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo { buffer: &self.from, layout },
            wgpu::TexelCopyTextureInfo { origin, ..self.to.as_image_copy() },
            wgpu::Extent3d { width: vectors, height: lines, depth_or_array_layers: 1 },
        );
    }
}

/// What an image shows: a range of a block, as it was left by so many writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    block: u64,
    offset: u64,
    bytes: u64,
    writes: u64,
}

impl Source {
    fn of(buffer: &Buffer) -> Self {
        let block = buffer.memory.block();
        let bytes = buffer.binding_bytes();
        Self { block: block.id, offset: buffer.offset, bytes, writes: block.writes() }
    }

    fn same_place(&self, other: &Self) -> bool {
        Self { writes: 0, ..*self } == Self { writes: 0, ..*other }
    }
}

#[derive(Debug)]
struct Image {
    view: View,
    texture: wgpu::Texture,
    lines: u64,
    source: Source,
    /// When it was last asked for.
    used: u64,
}

/// The images of a device. They are few: at most [`IMAGES_BYTES`], beyond one launch's own.
#[derive(Debug, Default)]
pub(crate) struct Images {
    held: Vec<Image>,
    bytes: u64,
    clock: u64,
}

impl Images {
    /// The image of a buffer as the launches recorded so far leave it, with the copy that must run before it is loaded.
    pub(crate) fn get(&mut self, context: &Context, buffer: &Buffer) -> Result<(View, Option<ImageCopy>)> {
        let source = Source::of(buffer);
        let (at, filled) = match self.held.iter().position(|image| image.source.same_place(&source)) {
            Some(at) => (at, self.held[at].source == source),
            None => (self.make(context, source)?, false),
        };
        self.clock += 1;
        let image = &mut self.held[at];
        (image.source, image.used) = (source, self.clock);
        let copy = (!filled).then(|| ImageCopy {
            from: buffer.memory.block().raw.clone(),
            offset: source.offset,
            bytes: source.bytes,
            to: image.texture.clone(),
        });
        Ok((image.view.clone(), copy))
    }

    /// A new image, in the place of those used longest ago where there are too many bytes.
    fn make(&mut self, context: &Context, source: Source) -> Result<usize> {
        let _span = span("allocate");
        let lines = lines(source.bytes);
        while self.bytes + lines * LINE > IMAGES_BYTES
            && let Some(oldest) = (0..self.held.len()).min_by_key(|at| self.held[*at].used)
        {
            self.drop_one(context, oldest);
        }
        let (texture, raw) = scoped(&context.device, &format!("an image of {lines} lines"), || {
            let texture = context.device.create_texture(&wgpu::TextureDescriptor {
                label: None,
                size: wgpu::Extent3d { width: IMAGE_WIDTH, height: lines as u32, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: FORMAT,
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            (texture, view)
        })?;
        context.fault.check()?;
        context.tally.made_buffer();
        let view = View { id: context.pool.reserve(lines * LINE), raw };
        self.bytes += lines * LINE;
        self.held.push(Image { view, texture, lines, source, used: 0 });
        Ok(self.held.len() - 1)
    }

    fn drop_one(&mut self, context: &Context, at: usize) {
        let image = self.held.swap_remove(at);
        self.bytes -= image.lines * LINE;
        context.pool.release(image.view.id, image.lines * LINE);
    }

    /// Drops the images of blocks which the pool has let go.
    pub(crate) fn forget(&mut self, context: &Context, blocks: &[u64]) {
        for at in (0..self.held.len()).rev() {
            if blocks.contains(&self.held[at].source.block) {
                self.drop_one(context, at);
            }
        }
    }

    /// Has every image copied anew before it is next loaded.
    pub(crate) fn expire(&mut self) {
        self.held.iter_mut().for_each(|image| image.source.writes = u64::MAX);
    }

    /// Drops all: nobody may keep one whose copy was recorded and will not run.
    pub(crate) fn clear(&mut self, context: &Context) {
        while !self.held.is_empty() {
            self.drop_one(context, 0);
        }
    }
}
