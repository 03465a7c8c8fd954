//! Large arrays in large pages, where Linux gives them to those who ask.
//!
//! A sweep over an array of 16 MiB in pages of 4 KiB looks up 4,096 of them, and the first one takes a fault for each. Products are a few per
//! cent quicker without, and Adam up to a quarter. Elsewhere this is the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for pages of 2 MiB for arrays of 4 MiB and more. The program installs it; a library leaves that choice to
/// whoever uses it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: cs231n_gpu::huge_pages::HugePages = cs231n_gpu::huge_pages::HugePages;
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct HugePages;

/// Bytes from which an array is worth the call: two pages, so that at least one lies inside.
#[cfg(target_os = "linux")]
const LEAST: usize = 2 * PAGE;
/// Bytes of a large page on x86-64, and on aarch64 with pages of 4 KiB. Where they are larger, fewer arrays have one.
#[cfg(target_os = "linux")]
const PAGE: usize = 2 << 20;

/// Asks for large pages for what lies in whole ones.
#[cfg(target_os = "linux")]
fn advise(array: *mut u8, bytes: usize) {
    use std::ptr::NonNull;

    use nix::sys::mman::{MmapAdvise, madvise};

    if array.is_null() || bytes < LEAST {
        return;
    }
    let before = array.align_offset(PAGE);
    let inside = bytes.saturating_sub(before) / PAGE * PAGE;
    if let Some(first) = NonNull::new(array.wrapping_add(before)) {
        // SAFETY: the range lies in the array, whose contents the advice leaves as they are. Whether it is taken changes nothing but the time.
        let _ = unsafe { madvise(first.cast(), inside, MmapAdvise::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

// SAFETY: all calls are the system allocator's, with the same arguments; advice changes no contents.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let array = unsafe { System.alloc(layout) };
        advise(array, layout.size());
        array
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let array = unsafe { System.alloc_zeroed(layout) };
        advise(array, layout.size());
        array
    }

    unsafe fn realloc(&self, array: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let array = unsafe { System.realloc(array, layout, size) };
        advise(array, size);
        array
    }

    unsafe fn dealloc(&self, array: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(array, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_all_sizes_keep_their_contents() {
        for bytes in [1, 4096, (2 << 20) - 1, 2 << 20, (4 << 20) + 5, 9 << 20] {
            let layout = Layout::from_size_align(bytes, 16).expect("a layout");
            // SAFETY: the layout has a size; what is read was allocated and written, by zeros or here.
            unsafe {
                let array = HugePages.alloc_zeroed(layout);
                assert!(!array.is_null() && array.addr().is_multiple_of(16));
                assert_eq!([*array, *array.add(bytes - 1)], [0; 2]);
                *array = 7;
                *array.add(bytes - 1) = 9;
                let array = HugePages.realloc(array, layout, 2 * bytes + 3);
                assert_eq!(*array, if bytes == 1 { 9 } else { 7 });
                assert_eq!(*array.add(bytes - 1), 9);
                HugePages.dealloc(array, Layout::from_size_align(2 * bytes + 3, 16).expect("a layout"));
                let array = HugePages.alloc(layout);
                *array = 1;
                HugePages.dealloc(array, layout);
            }
        }
    }
}
