//! How content goes that must not be served any more: what serves, what is leaving, and what was published and never
//! adopted, which a later start would find and serve.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use control_client::content::BundlePath;

use super::Store;
use crate::change::{ChangeError, Purge};
use crate::departure::{Cause, Departure, DepartureState};
use crate::keeper::{Command, Meant, Removed};
use crate::limits::{CHANGE_TIMEOUT, CHANGE_WAIT_SLICE};
use crate::shared::VolumeView;

impl Store {
    /// Takes the bundle of a path out of service, and with `prefix` all bundles below it, and waits until their
    /// files are unlinked, those of earlier generations and of earlier requests too. Removes what was published
    /// there and never adopted. Responses that have begun are completed.
    pub fn purge(&self, path: &BundlePath, prefix: bool) -> Result<Purge, ChangeError> {
        let meant = Arc::new(Meant::new(path, prefix, Instant::now() + CHANGE_TIMEOUT));
        let is_there = |departure: &Departure| {
            meant.includes(&departure.key().path) && departure.state() != DepartureState::Unlinked
        };
        // At once: a volume that hangs keeps nothing of the others in service.
        let mut departures = self.with_earlier(self.dismiss(&meant), Cause::Purged, is_there);
        let (mut purge, is_late) = self.purge_unadopted(&meant)?;
        // And again, after every keeper has looked: until then a reconciliation, or an adoption, may have taken in what had
        // been published. What was not found there is in the index by now, and what comes later was published later.
        let mut adopted_meanwhile = self.dismiss(&meant);
        adopted_meanwhile.retain(|late| !departures.iter().any(|known| Arc::ptr_eq(known, late)));
        departures.append(&mut adopted_meanwhile);
        self.add_unfinished(&mut departures, is_there);
        for departure in departures {
            match self.wait(Some(meant.deadline), |slice_end| departure.wait_until_unlinked(slice_end))? {
                DepartureState::Leaving => return Err(ChangeError::TimedOut),
                _ => {
                    purge.file_bytes += departure.file_bytes();
                    purge.keys.push(departure.key().clone());
                }
            }
        }
        if is_late { Err(ChangeError::TimedOut) } else { Ok(purge) }
    }

    /// Takes what is meant out of the index.
    fn dismiss(&self, meant: &Meant) -> Vec<Arc<Departure>> {
        let index = &self.shared.index;
        let bundles: Vec<_> = if meant.is_exact() {
            index.get(meant.path().as_str()).into_iter().collect()
        } else {
            index.bundles()
        };
        let serving = bundles.iter().filter(|bundle| meant.includes(&bundle.key().path));
        serving.map(|bundle| self.shared.dismiss(bundle, Cause::Purged)).collect()
    }

    /// Has the keepers remove what is meant and was never adopted, all at once, and waits for each. What they have removed,
    /// and whether one was too late; the others have done it all the same.
    fn purge_unadopted(&self, meant: &Arc<Meant>) -> Result<(Purge, bool), ChangeError> {
        let (mut purge, mut is_late) = (Purge::default(), false);
        for (view, answer) in self.ask_keepers(meant) {
            let removed = match answer.map(|answer| self.removed(view, &answer, meant.deadline)) {
                Some(Err(ChangeError::TimedOut)) => {
                    is_late = true;
                    continue;
                }
                Some(answered) => answered?,
                None => Removed::default(),
            };
            if !removed.is_all {
                purge.not_reached.push(view.path.clone());
            }
            for (key, file_bytes) in removed.bundles {
                purge.file_bytes += file_bytes;
                purge.keys.push(key);
            }
        }
        Ok((purge, is_late))
    }

    /// Where each keeper's answer will come; `None` where its volume has failed or is not open yet.
    fn ask_keepers(&self, meant: &Arc<Meant>) -> Vec<(&VolumeView, Option<Receiver<Removed>>)> {
        let asked = self.shared.volumes.iter().map(|view| {
            let is_in_reach = view.volume().is_some() && !view.is_failed();
            let answer = is_in_reach.then(|| {
                let (reply, answer) = mpsc::sync_channel(1);
                // Where the keeper has ended, the reply is dropped with the command, and no answer comes.
                let _ = view.commands.send(Command::PurgeUnadopted(Arc::clone(meant), reply));
                answer
            });
            (&**view, answer)
        });
        asked.collect()
    }

    fn removed(
        &self,
        view: &VolumeView,
        answer: &Receiver<Removed>,
        deadline: Instant,
    ) -> Result<Removed, ChangeError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left.min(CHANGE_WAIT_SLICE)) {
                Ok(removed) => return Ok(removed),
                Err(_) if self.shared.is_closing.load(Ordering::SeqCst) => return Err(ChangeError::Closing),
                // Nothing serves from it any more, however long its keeper hangs.
                Err(_) if view.is_failed() => return Ok(Removed::default()),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => return Err(ChangeError::TimedOut),
            }
        }
    }
}
