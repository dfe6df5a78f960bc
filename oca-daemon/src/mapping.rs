#![expect(unsafe_code, reason = "anonymous memory is mapped and unmapped by hand, for its alignment")]
//! Anonymous memory, page-aligned and zeroed, for what the kernel reads and writes behind our back.

use std::io;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// An anonymous private mapping, unmapped when dropped.
pub struct Mapping {
    address: *mut u8,
    length_bytes: usize,
}

impl Mapping {
    /// Maps `length_bytes` (not zero); the memory is used only when touched.
    pub fn anonymous(length_bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let address = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        Ok(Self { address: address.cast(), length_bytes })
    }

    /// Asks for huge pages: fewer pages to pin and to look up. The kernel may decline.
    pub fn prefer_huge_pages(&self) {
        // SAFETY: advice about our own mapping, which changes no contents.
        let _ = unsafe { madvise(self.address.cast(), self.length_bytes, Advice::LinuxHugepage) };
    }

    /// Where it starts.
    pub fn address(&self) -> *mut u8 {
        self.address
    }

    /// How long it is.
    pub fn length_bytes(&self) -> usize {
        self.length_bytes
    }

    /// A part of it.
    ///
    /// # Panics
    /// When the range lies beyond the mapping.
    ///
    /// # Safety
    /// Nobody, the kernel included, writes to that part while the slice lives.
    pub unsafe fn slice(&self, start: usize, length_bytes: usize) -> &[u8] {
        assert!(start.checked_add(length_bytes).is_some_and(|end| end <= self.length_bytes));
        // SAFETY: mapped, readable and initialised (zeroed), as just asserted, as long as `self` lives; not written to, as the
        // caller promises.
        unsafe { std::slice::from_raw_parts(self.address.add(start), length_bytes) }
    }
}

// SAFETY: the memory is plain bytes; which part belongs to whom is settled by the pools that hand it out.
unsafe impl Send for Mapping {}
// SAFETY: as above; `slice` is the only access, and its callers promise that nobody writes there.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.address.cast(), self.length_bytes) };
    }
}
