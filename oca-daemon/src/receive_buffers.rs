#![expect(unsafe_code, reason = "the provided-buffer ring is memory shared with the kernel")]
//! Provided buffers for receives: the kernel picks one when bytes arrive, so that an idle connection holds none.
//!
//! A ring of entries (address, length, id) in a page-aligned mapping of its own, and the buffers in another.
//! A buffer is the kernel's while its entry is between head and tail; it is ours from the completion that
//! names it until `give_back`.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::mapping::Mapping;

/// A buffer that the kernel has filled for a receive: ours until it is given back.
#[derive(Debug)]
pub struct ReceivedBuffer(u16);

impl ReceivedBuffer {
    /// The buffer that a completion names.
    pub(crate) fn named_by(id: u16) -> Self {
        Self(id)
    }
}

/// The ring of provided buffers of one worker.
pub struct ReceiveBuffers {
    ring: Mapping,
    memory: Mapping,
    count: u16,
    buffer_bytes: usize,
    tail: u16,
}

impl ReceiveBuffers {
    /// `count` (a power of two, at most 2¹⁵) buffers of `buffer_bytes` each, all of them offered to the kernel.
    pub fn new(count: u16, buffer_bytes: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= 1 << 15);
        let ring = Mapping::anonymous(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::anonymous(usize::from(count) * buffer_bytes)?;
        let mut buffers = Self { ring, memory, count, buffer_bytes, tail: 0 };
        for buffer in 0..count {
            buffers.give_back(ReceivedBuffer(buffer));
        }
        Ok(buffers)
    }

    /// Where the ring of entries lies; stays mapped as long as `self`.
    pub fn ring_address(&self) -> u64 {
        self.ring.address() as u64
    }

    /// The first `length` bytes of a buffer.
    pub fn bytes(&self, buffer: &ReceivedBuffer, length: usize) -> &[u8] {
        let start = usize::from(buffer.0) * self.buffer_bytes;
        // SAFETY: the kernel writes only to buffers that it has been offered, and this one has not been since it was filled.
        unsafe { self.memory.slice(start, length.min(self.buffer_bytes)) }
    }

    /// Offers a buffer to the kernel.
    pub fn give_back(&mut self, ReceivedBuffer(buffer): ReceivedBuffer) {
        debug_assert!(buffer < self.count);
        let entries = self.ring.address().cast::<BufRingEntry>();
        let address = self.memory.address() as u64 + u64::from(buffer) * self.buffer_bytes as u64;
        // SAFETY: the index is below `count`, the mapping holds `count` entries, and the kernel reads an entry only
        // after the tail was moved past it, which happens below with release ordering. Fields are set one by
        // one because the first entry's last field is the ring's tail.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail & (self.count - 1)));
            entry.set_addr(address);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the address of the first entry of the ring, whose tail field is read and written atomically by both sides.
        let tail = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}
