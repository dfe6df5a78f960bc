//! Two volumes, and what runs over them; gates hold up what must come later.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use cache_store::demand::{DemandLog, NewEntry};
use cache_store::{Store, StoreOptions, Volume, VolumeOptions};
use control_client::config::PullConfig;
use control_client::units::ByteCount;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::super::volume::opening::{Opener, Opening};
use super::super::{DemandStore, DiskEntry, DiskFault, DormantPurges, log_key, open_log};
use crate::limits::DEMAND_THREADS;
use crate::pull::PurgeSelector;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// More than a busy disk takes for what is written in earnest.
pub(super) const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// Holds up whoever comes to it until it is opened.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Gate {
    pub(super) fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.1 += 1;
        drop(changed.wait_timeout_while(state, PATIENCE, |(is_open, _)| !*is_open).unwrap());
    }

    pub(super) fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }

    pub(super) fn has_come(&self) -> usize {
        self.0.0.lock().unwrap().1
    }
}

/// Two volumes in a folder.
pub(super) struct Site(TempDir);

/// What runs over them.
pub(super) struct Running {
    store: Arc<Store>,
    pub(super) demand: DemandStore,
}

impl Site {
    pub(super) fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for place in 0..2 {
            Volume::init(&site.volume(place)).unwrap();
        }
        site
    }

    /// One that does not run any more, and a volume of which has kept so many keys.
    pub(super) async fn keeping<const N: usize>(place: usize) -> (Self, [String; N]) {
        let site = Self::new();
        let running = site.start().settled().await;
        let keys = std::array::from_fn(|number| running.key(place, number));
        for key in &keys {
            running.keep(key).await.unwrap();
        }
        running.stop();
        (site, keys)
    }

    pub(super) fn volume(&self, place: usize) -> PathBuf {
        self.0.path().join(format!("volume{place}"))
    }

    /// Where a volume can be put that is away.
    pub(super) fn elsewhere(&self) -> PathBuf {
        self.0.path().join("elsewhere")
    }

    /// Where it is written down what volumes have missed.
    pub(super) fn file(&self) -> PathBuf {
        self.0.path().join("missed-purges")
    }

    /// A purge while nothing is pulled, and nothing runs.
    pub(super) fn purge_dormant(&self, key: &str) {
        let config = PullConfig { missed_purges: Some(self.file()), ..PullConfig::default() };
        DormantPurges::new(&config).note(&path(key)).unwrap();
    }

    pub(super) fn start(&self) -> Running {
        self.start_opening(Some(self.file()), open_small)
    }

    /// The same, where the second volume's log is not open before the gate is.
    pub(super) fn start_gated(&self, gate: Gate) -> Running {
        let gated = self.volume(1);
        self.start_opening(Some(self.file()), move |volume: &Volume| {
            if volume.path() == gated {
                gate.wait();
            }
            open_small(volume)
        })
    }

    /// Over these volumes instead of the two.
    pub(super) fn start_of(&self, volumes: &[PathBuf]) -> Running {
        self.start_over(volumes, Some(self.file()), open_small)
    }

    /// With logs that are opened so, and this file of what volumes have missed.
    pub(super) fn start_opening(
        &self,
        missed_purges: Option<PathBuf>,
        opener: impl Opening + 'static,
    ) -> Running {
        self.start_over(&[self.volume(0), self.volume(1)], missed_purges, opener)
    }

    fn start_over(
        &self,
        volumes: &[PathBuf],
        missed_purges: Option<PathBuf>,
        opener: impl Opening + 'static,
    ) -> Running {
        let of = |path: &PathBuf| VolumeOptions { path: path.clone(), mount_required: false };
        let options = StoreOptions {
            volumes: volumes.iter().map(of).collect(),
            footer_cache: ByteCount::mib(1),
            open_bundles: 4,
            open_queue: 4,
            volume_errors: 8,
        };
        let store = Store::open(options).unwrap();
        let config = PullConfig { missed_purges, ..PullConfig::default() };
        let demand = DemandStore::start_with(&store, &config, DISK_TIMEOUT, &(Arc::new(opener) as Opener));
        Running { store, demand: demand.unwrap() }
    }
}

impl Running {
    pub(super) async fn settled(self) -> Self {
        eventually("the logs are opened", || self.demand.is_settled()).await;
        self
    }

    pub(super) fn stop(self) {
        self.demand.stop(Instant::now() + PATIENCE);
        self.store.close();
    }

    /// A key below `/films/` that belongs to a volume.
    pub(super) fn key(&self, place: usize, number: usize) -> String {
        let keys = (0..).map(|number| format!("/films/{number}"));
        keys.filter(|key| self.demand.home(key) == Some(place)).nth(number).unwrap()
    }

    pub(super) async fn keep(&self, key: &str) -> Result<DiskEntry, DiskFault> {
        let asked = self.demand.asked(key).ok_or(DiskFault::Unavailable)?;
        self.demand.append_head(asked, key, Vec::new(), b"head".to_vec(), Some(0)).await
    }

    /// Keeps it in a volume's log, the way there left out.
    pub(super) fn keep_on(&self, place: usize, key: &str) {
        let (log, key) = (self.demand.volumes[place].log().unwrap(), log_key(key));
        let entry = NewEntry { key: &key, secondary: b"", metadata: b"head", total_bytes: Some(0) };
        log.append_head(&entry, log.mark()).unwrap();
    }

    /// Whether a volume's log has it, the way there left out.
    pub(super) fn is_held(&self, place: usize, key: &str) -> bool {
        !self.demand.volumes[place].log().unwrap().entries(&log_key(key)).unwrap().is_empty()
    }

    /// From now on a volume does nothing until the gate is opened.
    pub(super) async fn hang(&self, place: usize) -> Gate {
        let gate = Gate::default();
        for _ in 0..DEMAND_THREADS {
            let (volume, gate) = (Arc::clone(&self.demand.volumes[place]), gate.clone());
            drop(volume.order(move |_| gate.wait()).unwrap());
        }
        while gate.has_come() < DEMAND_THREADS {
            sleep(Duration::from_millis(1)).await;
        }
        gate
    }

    /// Waits until a volume has done all that it was told before.
    pub(super) async fn catch_up(&self, place: usize) {
        for _ in 0..DEMAND_THREADS {
            self.demand.volumes[place].order(|_| ()).unwrap().await.unwrap();
        }
    }
}

pub(super) fn open_small(volume: &Volume) -> io::Result<DemandLog> {
    open_log(volume, 1, 4 << 20)
}

pub(super) fn path(key: &str) -> Vec<PurgeSelector> {
    vec![PurgeSelector::Path(key.to_owned())]
}

/// Waits until it is so.
pub(super) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(what);
}
