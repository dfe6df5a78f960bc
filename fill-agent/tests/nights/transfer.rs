//! One bundle of a run on its way in.

use std::collections::BTreeSet;
use std::time::Duration;

use control_client::sources::FillSource;
use fill_agent::escalation::{Escalation, Patience};
use fill_agent::plan::PlannedFetch;

use super::scenario::OBJECTS;

pub(crate) struct Transfer {
    pub(crate) fetch: PlannedFetch,
    /// When the run began.
    began: Duration,
    /// From its turn on.
    pub(crate) escalation: Option<Escalation>,
    pub(crate) has_room: bool,
    pub(crate) asking: Option<Asking>,
    /// Bytes of an object that were received before its source fell silent.
    pub(crate) part: u64,
    pub(crate) bytes: u64,
    /// Bytes of whole objects.
    pub(crate) done: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) from: BTreeSet<String>,
}

/// An object that is asked for.
pub(crate) struct Asking {
    pub(crate) source: usize,
    pub(crate) wanted: u64,
    pub(crate) received: u64,
    pub(crate) silent_since: Duration,
}

impl Transfer {
    pub(crate) fn new(fetch: PlannedFetch, bytes: u64, expires_at: Option<u64>, began: Duration) -> Self {
        Self {
            fetch,
            began,
            escalation: None,
            has_room: false,
            asking: None,
            part: 0,
            bytes,
            done: 0,
            expires_at,
            from: BTreeSet::new(),
        }
    }

    /// Its turn begins with the first call.
    pub(crate) fn escalation(&mut self, sources: &[FillSource]) -> &mut Escalation {
        self.escalation.get_or_insert_with(|| Escalation::new(sources, Patience::default(), self.began))
    }

    pub(crate) fn ask(&mut self, source: usize, now: Duration) {
        let wanted = self.bytes.div_ceil(OBJECTS).min(self.bytes - self.done);
        let received = std::mem::take(&mut self.part);
        self.asking = Some(Asking { source, wanted, received, silent_since: now });
    }
}
