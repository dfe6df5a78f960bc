//! How the fill goes, for whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_client::content::BundleKey;
use control_client::fill::{BundleProgress, FillProgress, FillState, FillStep};
use control_client::wire::DocumentVersion;

/// Shared by all that work on a run, and by whoever tells of it.
#[derive(Debug, Default)]
pub struct Progress {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: FillState,
    detail: String,
    run: Option<String>,
    planned: Sum,
    done: Sum,
    failed_bundles: u64,
    active: BTreeMap<BundleKey, Active>,
    /// When, and how many bytes were received by then; the oldest first.
    received: VecDeque<(Duration, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    bundles: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Active {
    step: FillStep,
    bytes: u64,
    done_bytes: u64,
    source: Option<String>,
}

/// The rate is of so long.
const RATE_SPAN: Duration = Duration::from_secs(5);

impl Default for Inner {
    fn default() -> Self {
        Self {
            state: FillState::Waiting,
            detail: String::new(),
            run: None,
            planned: Sum::default(),
            done: Sum::default(),
            failed_bundles: 0,
            active: BTreeMap::new(),
            received: VecDeque::new(),
        }
    }
}

impl Progress {
    /// The agent does something else now. The detail says why, where the state does not.
    pub fn enter(&self, state: FillState, detail: impl Into<String>) {
        let mut inner = self.locked();
        inner.state = state;
        inner.detail = detail.into();
        if state != FillState::Filling {
            inner.active.clear();
            inner.received.clear();
        }
    }

    /// A run begins.
    pub fn begin_run(&self, run: &str) {
        let mut inner = self.locked();
        *inner = Inner { state: FillState::Planning, run: Some(run.to_owned()), ..Inner::default() };
    }

    /// So much is to be fetched.
    pub fn plan(&self, bundles: u64, bytes: u64) {
        self.locked().planned = Sum { bundles, bytes };
    }

    /// A bundle is worked on: its bytes, and those of them that are there.
    pub fn begin_bundle(&self, key: &BundleKey, bytes: u64, done_bytes: u64) {
        let active = Active { step: FillStep::Fetching, bytes, done_bytes, source: None };
        let mut inner = self.locked();
        let before = inner.active.insert(key.clone(), active).map_or(0, |active| active.done_bytes);
        inner.done.bytes = inner.done.bytes.saturating_sub(before) + done_bytes;
    }

    /// Another object of a bundle is there.
    pub fn advance(&self, key: &BundleKey, bytes: u64, source: &str) {
        let mut inner = self.locked();
        if let Some(active) = inner.active.get_mut(key) {
            active.done_bytes += bytes;
            if active.source.as_deref() != Some(source) {
                active.source = Some(source.to_owned());
            }
            inner.done.bytes += bytes;
        }
    }

    /// A bundle is asked of that source.
    pub fn ask(&self, key: &BundleKey, source: &str) {
        if let Some(active) = self.locked().active.get_mut(key) {
            active.source = Some(source.to_owned());
        }
    }

    /// A bundle takes the next step.
    pub fn step(&self, key: &BundleKey, step: FillStep) {
        if let Some(active) = self.locked().active.get_mut(key) {
            active.step = step;
        }
    }

    /// A bundle waits for its sources: what is there of it counts on.
    pub fn suspend_bundle(&self, key: &BundleKey) {
        if let Some(active) = self.locked().active.get_mut(key) {
            active.source = None;
        }
    }

    /// A bundle is published. `bytes` are all of its bytes.
    pub fn publish(&self, key: &BundleKey, bytes: u64) {
        let mut inner = self.locked();
        let counted = inner.active.remove(key).map_or(0, |active| active.done_bytes);
        inner.done.bytes = inner.done.bytes.saturating_sub(counted) + bytes;
        inner.done.bundles += 1;
    }

    /// A bundle was given up for this run.
    pub fn give_up(&self, key: &BundleKey) {
        let mut inner = self.locked();
        let counted = inner.active.remove(key).map_or(0, |active| active.done_bytes);
        inner.done.bytes = inner.done.bytes.saturating_sub(counted);
        inner.failed_bundles += 1;
    }

    /// Takes in how many bytes were received so far, and gives the rate over the last seconds, in bits per second.
    pub fn sample(&self, now: Duration, received: u64) -> u64 {
        let mut inner = self.locked();
        while inner.received.front().is_some_and(|(at, _)| now.saturating_sub(*at) > RATE_SPAN) {
            inner.received.pop_front();
        }
        inner.received.push_back((now, received));
        inner.rate()
    }

    /// The document; the caller knows the window and the manifest.
    pub fn document(&self, window_changes_at: Option<u64>, manifest_sequence: u64) -> FillProgress {
        let inner = self.locked();
        let active = inner.active.iter().map(|(key, active)| BundleProgress {
            bundle: key.clone(),
            step: active.step,
            bytes: active.bytes,
            done_bytes: active.done_bytes,
            source: active.source.clone(),
        });
        FillProgress {
            version: DocumentVersion,
            state: inner.state,
            detail: inner.detail.clone(),
            run: inner.run.clone(),
            window_changes_at,
            manifest_sequence,
            planned_bytes: inner.planned.bytes,
            done_bytes: inner.done.bytes,
            planned_bundles: inner.planned.bundles,
            done_bundles: inner.done.bundles,
            failed_bundles: inner.failed_bundles,
            rate_bits_per_second: inner.rate(),
            active: active.collect(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn rate(&self) -> u64 {
        let (Some((from, before)), Some((until, after))) = (self.received.front(), self.received.back())
        else {
            return 0;
        };
        let micros = until.saturating_sub(*from).as_micros();
        let bits = u128::from(after.saturating_sub(*before)) * 8;
        u64::try_from((bits * 1_000_000).checked_div(micros).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};

    use super::*;

    fn key(path: &str) -> BundleKey {
        BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) }
    }

    #[test]
    fn what_is_done_is_what_is_on_disk_of_bundles_that_were_not_given_up() {
        let progress = Progress::default();
        progress.begin_run("r");
        progress.plan(3, 300);
        progress.begin_bundle(&key("/a"), 100, 0);
        progress.advance(&key("/a"), 60, "origin");
        progress.begin_bundle(&key("/b"), 100, 30);
        let document = progress.document(None, 7);
        assert_eq!((document.done_bytes, document.active.len(), document.manifest_sequence), (90, 2, 7));
        assert_eq!(document.active[0].source.as_deref(), Some("origin"));
        progress.publish(&key("/a"), 100);
        progress.give_up(&key("/b"));
        let document = progress.document(None, 7);
        assert_eq!((document.done_bytes, document.done_bundles, document.failed_bundles), (100, 1, 1));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let progress = Progress::default();
        let seconds = Duration::from_secs;
        assert_eq!(progress.sample(seconds(1), 0), 0);
        assert_eq!(progress.sample(seconds(2), 1000), 8000);
        assert_eq!(progress.sample(seconds(60), 1000), 0, "long ago");
        assert_eq!(progress.sample(seconds(61), 3000), 16_000);
    }
}
