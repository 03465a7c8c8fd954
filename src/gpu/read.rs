//! Reading back: the copy rides in the submission that computes the value, and its staging memory is kept for the next read.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use futures_intrusive::channel::shared::oneshot_channel;

use super::context::Context;
use super::limits::{self, STAGING_BYTES};
use super::queue::Copy;
use super::{Buffer, pool};
use crate::profile::span;
use crate::{Error, Result};

/// Staging buffers kept between reads; as many threads read at once without making new ones.
const KEPT: usize = 4;

/// Idle staging buffers. A new one costs five times the copy itself (its pages are touched for the first time).
#[derive(Debug, Default)]
pub(crate) struct Staging(Mutex<Vec<wgpu::Buffer>>);

impl Staging {
    fn take(&self, context: &Context, bytes: u64) -> Result<wgpu::Buffer> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(_, buffer): &(usize, &wgpu::Buffer)| buffer.size() >= bytes;
        if let Some((index, _)) = idle.iter().enumerate().filter(fits).min_by_key(|(_, buffer)| buffer.size())
        {
            return Ok(idle.swap_remove(index));
        }
        drop(idle);
        context.tally.made_buffer();
        super::fault::scoped(&context.device, &format!("a staging buffer of {bytes} bytes"), || {
            context.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read-back"),
                size: pool::class(bytes, STAGING_BYTES),
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            })
        })
    }

    fn give_back(&self, buffer: wgpu::Buffer) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(buffer);
        if idle.len() > KEPT {
            // The smallest is the cheapest to make again.
            if let Some((index, _)) = idle.iter().enumerate().min_by_key(|(_, buffer)| buffer.size()) {
                idle.swap_remove(index);
            }
        }
    }
}

/// One range to read and where its bytes go.
pub(crate) struct Piece<'a> {
    pub(crate) buffer: &'a Buffer,
    pub(crate) start: u64,
    pub(crate) into: &'a mut [u8],
}

impl super::Gpu {
    /// The bytes of `range` in `buffer`, after all work recorded so far. One submission, with that work in it.
    ///
    /// # Errors
    /// [`Error::Device`] when recorded work failed, the device is lost, or the range exceeds the buffer.
    pub fn read(&self, buffer: &Buffer, range: Range<u64>) -> Result<Vec<u8>> {
        check_range(buffer, range.start, range.end)?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        self.read_into(buffer, range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `into` from the bytes of `buffer` at `start`; see [`Self::read`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_into(&self, buffer: &Buffer, start: u64, into: &mut [u8]) -> Result<()> {
        self.read_pieces(&mut [Piece { buffer, start, into }])
    }

    /// The whole contents of several buffers, in one submission while they fit into the staging memory together.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        let mut contents: Vec<Vec<u8>> =
            buffers.iter().map(|buffer| vec![0; usize::try_from(buffer.len()).unwrap_or(0)]).collect();
        let mut pieces: Vec<_> = buffers
            .iter()
            .zip(&mut contents)
            .map(|(buffer, into)| Piece { buffer, start: 0, into: into.as_mut_slice() })
            .collect();
        self.read_pieces(&mut pieces)?;
        drop(pieces);
        Ok(contents)
    }

    fn read_pieces(&self, pieces: &mut [Piece]) -> Result<()> {
        for piece in pieces.iter() {
            self.check_owner("read", piece.buffer)?;
            check_range(piece.buffer, piece.start, piece.start.saturating_add(piece.into.len() as u64))?;
        }
        // Cut into spans that fill the staging memory, one submission per filling.
        let mut batch: Vec<Span> = Vec::new();
        let mut staged = 0;
        for piece in pieces.iter_mut() {
            let mut at = piece.start;
            for into in piece.into.chunks_mut(STAGING_BYTES as usize - 8) {
                let span = Span::new(piece.buffer, at, into);
                at += span.into.len() as u64;
                if staged + span.bytes > STAGING_BYTES {
                    pollster::block_on(self.read_batch(&mut batch, staged))?;
                    batch.clear();
                    staged = 0;
                }
                staged += span.bytes;
                batch.push(span);
            }
        }
        if batch.is_empty() {
            // Nothing to copy, but a read is also where errors surface.
            return self.flush();
        }
        pollster::block_on(self.read_batch(&mut batch, staged))
    }

    /// One submission: what is recorded, then the copies of `batch`, `bytes` in total.
    async fn read_batch(&self, batch: &mut [Span<'_>], bytes: u64) -> Result<()> {
        let context = &self.inner.context;
        let staging = self.inner.staging.take(context, bytes)?;
        let mut to_offset = 0;
        let copies: Vec<_> = batch
            .iter()
            .map(|span| {
                let copy = Copy {
                    from: span.from.clone(),
                    offset: span.offset,
                    to: staging.clone(),
                    to_offset,
                    bytes: span.bytes,
                };
                to_offset += span.bytes;
                copy
            })
            .collect();
        let ticket = self.recorder().flush(context, &copies)?;

        // Waiting happens without the recorder's lock: other threads go on recording.
        let (sender, receiver) = oneshot_channel();
        staging.slice(..bytes).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only if this read has failed already.
            let _ = sender.send(result);
        });
        if let Some(ticket) = ticket {
            let waited = ticket.wait(context)?;
            self.recorder().submissions().retire(&ticket, waited);
        }
        let _span = span("read back");
        let failed =
            |reason: String| Error::device(format!("reading from the device failed: {reason}"), "run again");
        let mapped = receiver.receive().await;
        context.fault.check()?;
        match mapped {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(failed(error.to_string())),
            None => return Err(failed("the driver dropped the request".into())),
        }
        let view = staging.slice(..bytes).get_mapped_range().map_err(|error| failed(error.to_string()))?;
        let mut at = 0;
        for span in batch {
            let skipped = at + span.skip;
            span.into.copy_from_slice(&view[skipped..skipped + span.into.len()]);
            at += span.bytes as usize;
            context.tally.read_back(span.into.len() as u64);
        }
        drop(view);
        staging.unmap();
        self.inner.staging.give_back(staging);
        Ok(())
    }
}

fn check_range(buffer: &Buffer, start: u64, end: u64) -> Result<()> {
    if start <= end && end <= buffer.len() {
        return Ok(());
    }
    Err(Error::device(
        format!("read of bytes {start} to {end} from a buffer of {}", buffer.len()),
        super::DEFECT,
    ))
}

/// A piece of a read with the bounds that a copy needs: whole units of 4 bytes.
struct Span<'a> {
    from: &'a wgpu::Buffer,
    offset: u64,
    bytes: u64,
    /// Copied bytes before the first that was asked for.
    skip: usize,
    into: &'a mut [u8],
}

impl<'a> Span<'a> {
    fn new(buffer: &'a Buffer, start: u64, into: &'a mut [u8]) -> Self {
        let start = buffer.offset + start;
        let offset = start / wgpu::COPY_BUFFER_ALIGNMENT * wgpu::COPY_BUFFER_ALIGNMENT;
        let end = (start + into.len() as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
        Self {
            from: &buffer.memory.block().raw,
            offset,
            bytes: end - offset,
            skip: (start - offset) as usize,
            into,
        }
    }
}

const _: () = assert!(STAGING_BYTES.is_multiple_of(limits::BUFFER_UNIT));
