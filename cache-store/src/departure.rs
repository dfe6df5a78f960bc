//! A bundle's way out: it has left the index; its file is unlinked (or moved to quarantine); its last reader
//! lets go; then the space has returned.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use control_client::content::BundleKey;

use crate::bundle::{Bundle, VolumeIndex};
use crate::identity::BundleId;
use crate::quarantine::QuarantineReason;

/// Why a bundle leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was asked for.
    Retired,
    /// A higher generation of its path was adopted.
    Superseded,
    /// Its content must not be served any more.
    Purged,
    /// It failed.
    Quarantined(QuarantineReason),
}

/// How far a departure has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DepartureState {
    /// Out of the index; its file is still there.
    Leaving,
    /// Its name is gone from the directory; readers may hold the file.
    Unlinked,
    /// Nobody holds the file any more.
    Returned,
    /// Its file is still there: it could not be removed, or was not to be. Whoever asks for it to be gone has it
    /// tried again.
    Failed(Arc<str>),
}

/// One bundle on its way out. Waiting is for threads that may block, never for workers.
#[derive(Debug)]
pub struct Departure {
    bundle: Weak<Bundle>,
    key: BundleKey,
    id: BundleId,
    volume: VolumeIndex,
    file_bytes: u64,
    cause: Cause,
    state: Mutex<DepartureState>,
    changed: Condvar,
}

impl Departure {
    pub(crate) fn new(bundle: &Arc<Bundle>, cause: Cause) -> Arc<Self> {
        Arc::new(Self {
            bundle: Arc::downgrade(bundle),
            key: bundle.key().clone(),
            id: bundle.id(),
            volume: bundle.volume(),
            file_bytes: bundle.record().file_bytes,
            cause,
            state: Mutex::new(DepartureState::Leaving),
            changed: Condvar::new(),
        })
    }

    /// The bundle, while somebody holds it: a reader does.
    pub fn bundle(&self) -> Option<Arc<Bundle>> {
        self.bundle.upgrade()
    }

    /// Which bundle.
    pub fn key(&self) -> &BundleKey {
        &self.key
    }

    /// What its file is called.
    pub(crate) fn id(&self) -> BundleId {
        self.id
    }

    /// On which volume.
    pub fn volume(&self) -> VolumeIndex {
        self.volume
    }

    /// Bytes of its file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Why.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// How far it has come.
    pub fn state(&self) -> DepartureState {
        self.lock().clone()
    }

    /// Waits until its name is gone from the directory, or that has failed, or `deadline` has passed.
    pub fn wait_until_unlinked(&self, deadline: Option<Instant>) -> DepartureState {
        self.wait(deadline, |state| *state == DepartureState::Leaving)
    }

    /// Waits until the space has returned, or that has failed, or `deadline` has passed.
    pub fn wait_until_returned(&self, deadline: Option<Instant>) -> DepartureState {
        self.wait(deadline, |state| matches!(state, DepartureState::Leaving | DepartureState::Unlinked))
    }

    /// Its name is gone from the directory. Returned at once where no file is open: asked under the lock, so that
    /// whoever waits for the one does not see the other come a moment later.
    pub(crate) fn on_unlinked(&self) {
        let mut state = self.lock();
        if *state == DepartureState::Leaving {
            let is_open = self.bundle().is_some_and(|bundle| bundle.has_open_files());
            *state = if is_open { DepartureState::Unlinked } else { DepartureState::Returned };
            self.changed.notify_all();
        }
    }

    /// Begins a removal that has failed once more; `false` where it has not failed.
    pub(crate) fn begin_again(&self) -> bool {
        let mut state = self.lock();
        let has_failed = matches!(*state, DepartureState::Failed(_));
        if has_failed {
            *state = DepartureState::Leaving;
        }
        has_failed
    }

    /// No file of it is open; counts only once its name is gone.
    pub(crate) fn on_no_open_files(&self) {
        self.advance(DepartureState::Unlinked, DepartureState::Returned);
    }

    pub(crate) fn on_failed(&self, what: &str) {
        self.advance(DepartureState::Leaving, DepartureState::Failed(what.into()));
    }

    fn advance(&self, from: DepartureState, to: DepartureState) {
        let mut state = self.lock();
        if *state == from {
            *state = to;
            self.changed.notify_all();
        }
    }

    fn wait(
        &self,
        deadline: Option<Instant>,
        unfinished: impl Fn(&DepartureState) -> bool,
    ) -> DepartureState {
        let mut state = self.lock();
        while unfinished(&state) {
            match deadline {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        state.clone()
    }

    fn lock(&self) -> MutexGuard<'_, DepartureState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cause {
    /// The number that the inventory journal keeps.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Retired => 1,
            Self::Superseded => 2,
            Self::Purged => 3,
            Self::Quarantined(reason) => 16 + reason as u8,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Retired),
            2 => Some(Self::Superseded),
            3 => Some(Self::Purged),
            16.. => QuarantineReason::from_number(number - 16).map(Self::Quarantined),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retired => formatter.pad("retired"),
            Self::Superseded => formatter.pad("superseded"),
            Self::Purged => formatter.pad("purged"),
            Self::Quarantined(reason) => write!(formatter, "quarantined ({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_number_of_its_own() {
        let mut causes = vec![Cause::Retired, Cause::Superseded, Cause::Purged];
        causes.extend(QuarantineReason::ALL.map(Cause::Quarantined));
        for number in 0..=u8::MAX {
            match Cause::from_number(number) {
                Some(cause) => assert_eq!(cause.number(), number),
                None => assert!(causes.iter().all(|cause| cause.number() != number)),
            }
        }
        assert!(causes.iter().all(|cause| Cause::from_number(cause.number()) == Some(*cause)));
    }
}
