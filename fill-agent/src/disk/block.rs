#![expect(unsafe_code, reason = "the traits by which tokio-uring takes buffers are unsafe to implement")]
//! Blocks of memory that the kernel may read and write while the disk works: aligned as `O_DIRECT` asks for, of one
//! length, at most so many at a time.

use std::sync::{Arc, Mutex, PoisonError};

use cache_store::ALIGNMENT;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::limits::BLOCK_BYTES;

/// The blocks of one volume.
#[derive(Clone, Debug)]
pub struct BlockPool {
    places: Arc<Semaphore>,
    free: Arc<Mutex<Vec<Memory>>>,
}

/// One block of [`BLOCK_BYTES`]. It goes back to its pool when it is dropped, wherever that is.
#[derive(Debug)]
pub struct Block {
    // `None` only while it is dropped.
    memory: Option<Memory>,
    free: Arc<Mutex<Vec<Memory>>>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Memory {
    // Never grown: its address must not change.
    storage: Vec<u8>,
    start: usize,
}

impl BlockPool {
    /// At most so many blocks at a time; their memory is taken when they are first needed.
    pub fn new(blocks: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(blocks)), free: Arc::default() }
    }

    /// A block, as soon as there is one. Its bytes are what was in it last.
    pub async fn take(&self) -> Block {
        let place = Arc::clone(&self.places);
        self.block(place.acquire_owned().await.expect("the semaphore of a pool is never closed"))
    }

    /// A block, where there is one now.
    pub fn try_take(&self) -> Option<Block> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(|place| self.block(place))
    }

    /// How many could be taken now.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }

    fn block(&self, place: OwnedSemaphorePermit) -> Block {
        let memory = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Block {
            memory: Some(memory.unwrap_or_else(Memory::new)),
            free: Arc::clone(&self.free),
            _place: place,
        }
    }

    /// Gives the memory of the blocks that nobody has back to the system.
    pub fn release(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Block {
    /// All of its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory().bytes()
    }

    /// All of its bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let memory = self.memory.as_mut().expect("a block that is not being dropped has its memory");
        &mut memory.storage[memory.start..memory.start + BLOCK_BYTES]
    }

    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("a block that is not being dropped has its memory")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        }
    }
}

impl Memory {
    fn new() -> Self {
        let storage = vec![0; BLOCK_BYTES + ALIGNMENT as usize];
        let start = storage.as_ptr().align_offset(ALIGNMENT as usize);
        Self { storage, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + BLOCK_BYTES]
    }
}

// SAFETY: the bytes are on the heap, in a vector that is never grown, so they stay where they are while the block is
// moved and until it is dropped; all BLOCK_BYTES of them are initialised from the start.
unsafe impl IoBuf for Block {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        BLOCK_BYTES
    }

    fn bytes_total(&self) -> usize {
        BLOCK_BYTES
    }
}

// SAFETY: as above; the pointer is made from an exclusive borrow.
unsafe impl IoBufMut for Block {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes_mut().as_mut_ptr()
    }

    // All bytes are initialised already.
    unsafe fn set_init(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_block_is_aligned_and_its_memory_is_used_again() {
        let pool = BlockPool::new(1);
        let mut block = pool.take().await;
        assert_eq!(block.bytes().as_ptr().addr() % ALIGNMENT as usize, 0);
        assert_eq!(block.bytes().len(), BLOCK_BYTES);
        block.bytes_mut()[BLOCK_BYTES - 1] = 7;
        let address = block.stable_ptr();
        drop(block);
        let block = pool.take().await;
        assert_eq!((block.stable_ptr(), block.bytes()[BLOCK_BYTES - 1]), (address, 7));
        drop(block);
        pool.release();
        assert!(pool.free.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_more_blocks_are_out_than_the_pool_has() {
        let pool = BlockPool::new(2);
        let one = pool.take().await;
        let _two = pool.take().await;
        let third = tokio::time::timeout(std::time::Duration::from_millis(20), pool.take());
        assert!(third.await.is_err());
        assert!(pool.try_take().is_none());
        drop(one);
        drop(pool.take().await);
        assert!(pool.try_take().is_some());
    }
}
