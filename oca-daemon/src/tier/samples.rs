//! What workers tell the tier: which blocks were asked for. A bounded ring for each worker, which nobody else sends to; what does
//! not fit is dropped and counted. A sample costs a worker a few stores.

use std::sync::Arc;

use cache_store::Bundle;

use super::block::{BLOCK_BYTES, BlockKey};

/// One request for bytes of one block.
pub struct Sample {
    /// The block.
    pub key: BlockKey,
    /// Where in the block the request began, in units of 4 KiB, at which objects begin: requests of one viewer after another
    /// for the same bytes begin at the same place, and one viewer's requests at one place after the other.
    pub position: u16,
    /// Of a block that is not in memory, whose it is.
    pub bundle: Option<Arc<Bundle>>,
}

/// The worker's end.
pub struct SampleSender {
    /// `None`: there is no tier.
    ring: Option<rtrb::Producer<Sample>>,
}

/// The tier's end.
pub(super) type Samples = rtrb::Consumer<Sample>;

const _: () = assert!(BLOCK_BYTES / cache_store::ALIGNMENT <= 1 << 16);

impl Sample {
    /// A request that asks for the byte at `offset` of the file first, of those in the block. `is_resident`: the block was found
    /// in memory.
    pub fn new(bundle: &Arc<Bundle>, offset: u64, is_resident: bool) -> Self {
        Self {
            key: BlockKey::at(bundle, offset),
            position: (offset % BLOCK_BYTES / cache_store::ALIGNMENT) as u16,
            bundle: (!is_resident).then(|| Arc::clone(bundle)),
        }
    }
}

impl SampleSender {
    /// A sender to nobody.
    pub fn off() -> Self {
        Self { ring: None }
    }

    pub(super) fn pair(capacity: usize) -> (Self, Samples) {
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        (Self { ring: Some(producer) }, consumer)
    }

    /// Hands a sample over; `false`: it was dropped, because the tier is behind. Never waits.
    pub fn push(&mut self, sample: Sample) -> bool {
        self.ring.as_mut().is_none_or(|ring| ring.push(sample).is_ok())
    }
}
