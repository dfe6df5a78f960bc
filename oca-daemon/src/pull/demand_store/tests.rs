//! The demand content of two volumes, of which one does not do what it should.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use cache_store::{StoreOptions, VolumeOptions};
use control_client::content::BundlePath;
use control_client::units::ByteCount;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::volume::Opening;
use super::*;
use crate::limits::{DEMAND_ENTRY_LOCKS, DEMAND_THREADS};
use crate::pull::PurgeSelector;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const DISK_TIMEOUT: Duration = Duration::from_millis(400);

/// Holds up whoever comes to it until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.1 += 1;
        drop(changed.wait_timeout_while(state, PATIENCE, |(is_open, _)| !*is_open).unwrap());
    }

    fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }

    fn has_come(&self) -> usize {
        self.0.0.lock().unwrap().1
    }
}

/// Two volumes in a folder.
struct Site(TempDir);

/// What runs over them.
struct Running {
    store: Arc<Store>,
    demand: DemandStore,
}

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for place in 0..2 {
            Volume::init(&site.volume(place)).unwrap();
        }
        site
    }

    fn volume(&self, place: usize) -> PathBuf {
        self.0.path().join(format!("volume{place}"))
    }

    fn start(&self) -> Running {
        let gate = Gate::default();
        gate.open();
        self.start_gated(gate)
    }

    /// The same, where the second volume's log is not open before the gate is.
    fn start_gated(&self, gate: Gate) -> Running {
        self.start_with(gate, Some(self.file()))
    }

    /// Over these volumes.
    fn start_of(&self, volumes: &[PathBuf]) -> Running {
        self.start_over(volumes, Some(self.file()), open_small)
    }

    /// Where it is written down what volumes have missed.
    fn file(&self) -> PathBuf {
        self.0.path().join("missed-purges")
    }

    fn start_with(&self, gate: Gate, missed_purges: Option<PathBuf>) -> Running {
        let gated = self.volume(1);
        self.start_opening(missed_purges, move |volume: &Volume| {
            if volume.path() == gated {
                gate.wait();
            }
            open_small(volume)
        })
    }

    fn start_opening(&self, missed_purges: Option<PathBuf>, opener: impl Opening + 'static) -> Running {
        self.start_over(&[self.volume(0), self.volume(1)], missed_purges, opener)
    }

    /// The same over other volumes than the two.
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
    async fn settled(self) -> Self {
        timeout(PATIENCE, async {
            while !self.demand.is_settled() {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .expect("the logs are opened");
        self
    }

    fn stop(self) {
        self.demand.stop(Instant::now() + PATIENCE);
        self.store.close();
    }

    /// A key below `/films/` that belongs to a volume.
    fn key(&self, place: usize, number: usize) -> String {
        let keys = (0..).map(|number| format!("/films/{number}"));
        keys.filter(|key| self.demand.home(key) == Some(place)).nth(number).unwrap()
    }

    async fn keep(&self, key: &str) -> Result<DiskEntry, DiskFault> {
        let asked = self.demand.asked(key).ok_or(DiskFault::Unavailable)?;
        self.demand.append_head(asked, key, Vec::new(), b"head".to_vec(), Some(0)).await
    }

    /// Keeps it in a volume's log, the way there left out.
    fn keep_on(&self, place: usize, key: &str) {
        let (log, key) = (self.demand.volumes[place].log().unwrap(), log_key(key));
        let entry = NewEntry { key: &key, secondary: b"", metadata: b"head", total_bytes: Some(0) };
        log.append_head(&entry, log.mark()).unwrap();
    }

    /// Whether a volume's log has it, the way there left out.
    fn is_held(&self, place: usize, key: &str) -> bool {
        !self.demand.volumes[place].log().unwrap().entries(&log_key(key)).unwrap().is_empty()
    }

    /// From now on a volume does nothing until the gate is opened.
    async fn hang(&self, place: usize) -> Gate {
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
    async fn catch_up(&self, place: usize) {
        for _ in 0..DEMAND_THREADS {
            self.demand.volumes[place].order(|_| ()).unwrap().await.unwrap();
        }
    }
}

fn open_small(volume: &Volume) -> io::Result<DemandLog> {
    open_log(volume, 1, 4 << 20)
}

fn path(key: &str) -> Vec<PurgeSelector> {
    vec![PurgeSelector::Path(key.to_owned())]
}

#[tokio::test]
async fn a_purge_is_made_on_every_volume_though_the_first_one_does_not_answer() {
    let site = Site::new();
    let running = site.start().settled().await;
    let keys = [running.key(0, 0), running.key(1, 0)];
    for key in &keys {
        running.keep(key).await.unwrap();
    }
    let gate = running.hang(0).await;
    let purged = running.demand.purge(vec![PurgeSelector::Prefix("/films/".to_owned())]).await;
    let error = purged.unwrap_err().to_string();
    assert!(error.contains("volume0") && error.contains("does not answer"), "{error}");
    assert!(running.is_held(0, &keys[0]) && !running.is_held(1, &keys[1]));
    gate.open();
    running.catch_up(0).await;
    assert!(!running.is_held(0, &keys[0]), "it is made as soon as the volume answers");
    running.stop();
}

#[tokio::test]
async fn a_volume_that_is_opened_after_a_purge_does_not_bring_back_what_was_purged() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (purged, kept) = (running.key(1, 0), running.key(1, 1));
    running.keep(&purged).await.unwrap();
    running.keep(&kept).await.unwrap();
    running.stop();

    let gate = Gate::default();
    let running = site.start_gated(gate.clone());
    running.demand.purge(path(&purged)).await.expect("it is made before what that volume holds is served");
    gate.open();
    let running = running.settled().await;
    assert_eq!(running.demand.entries(&kept).await.len(), 1);
    assert!(running.demand.entries(&purged).await.is_empty());
    running.stop();
}

#[tokio::test]
async fn a_volume_that_was_away_does_not_bring_back_what_was_purged_meanwhile() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (purged, kept) = (running.key(1, 0), running.key(1, 1));
    running.keep(&purged).await.unwrap();
    running.keep(&kept).await.unwrap();
    running.stop();

    let away = site.0.path().join("away");
    std::fs::rename(site.volume(1), &away).unwrap();
    let running = site.start().settled().await;
    running.demand.purge(path(&purged)).await.expect("it is not in use, and what it misses is written down");
    running.stop();

    std::fs::rename(&away, site.volume(1)).unwrap();
    let running = site.start().settled().await;
    assert!(running.is_held(1, &kept) && !running.is_held(1, &purged));
    running.keep(&purged).await.unwrap();
    running.stop();
    let running = site.start().settled().await;
    assert!(running.is_held(1, &purged), "what was missed is made up for once");
    running.stop();
}

/// Found in review: such a volume was not written down, as only those of the configuration were, by their paths.
#[tokio::test]
async fn a_volume_that_was_out_of_the_configuration_does_not_bring_back_what_was_purged_meanwhile() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (purged, kept) = (running.key(1, 0), running.key(1, 1));
    for key in [&purged, &kept] {
        running.keep(key).await.unwrap();
    }
    running.stop();

    let running = site.start_of(&[site.volume(0)]).settled().await;
    running.demand.purge(path(&purged)).await.unwrap();
    running.stop();

    // Its disk is mounted elsewhere now.
    let elsewhere = site.0.path().join("elsewhere");
    std::fs::rename(site.volume(1), &elsewhere).unwrap();
    let running = site.start_of(&[site.volume(0), elsewhere]).settled().await;
    assert!(running.is_held(1, &kept) && !running.is_held(1, &purged));
    running.stop();
}

/// Found in review: the disk that was put in its place had made up for what the other had missed.
#[tokio::test]
async fn a_disk_that_comes_back_to_its_path_after_another_does_not_bring_back_what_was_purged_meanwhile() {
    let (site, other) = (Site::new(), Site::new());
    let mut key = String::new();
    for site in [&other, &site] {
        let running = site.start().settled().await;
        key = running.key(1, 0);
        running.keep_on(1, &key);
        running.stop();
    }
    let away = site.0.path().join("away");
    std::fs::rename(site.volume(1), &away).unwrap();
    std::fs::rename(other.volume(1), site.volume(1)).unwrap();
    let running = site.start().settled().await;
    assert!(!running.is_held(1, &key), "it is not known here what was purged of what comes from elsewhere");
    running.demand.purge(path(&key)).await.unwrap();
    running.stop();

    std::fs::remove_dir_all(site.volume(1)).unwrap();
    std::fs::rename(&away, site.volume(1)).unwrap();
    let running = site.start().settled().await;
    assert!(!running.is_held(1, &key));
    running.stop();
}

#[tokio::test]
async fn what_is_purged_while_nothing_is_pulled_does_not_come_back() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (purged, kept) = (running.key(0, 0), running.key(0, 1));
    for key in [&purged, &kept] {
        running.keep(key).await.unwrap();
    }
    running.stop();
    let config = PullConfig { missed_purges: Some(site.file()), ..PullConfig::default() };
    DormantPurges::new(&config).note(&path(&purged)).unwrap();
    let running = site.start().settled().await;
    assert!(running.is_held(0, &kept) && !running.is_held(0, &purged));
    running.stop();
}

#[tokio::test]
async fn a_purge_that_a_volume_has_missed_and_that_cannot_be_written_down_is_an_error() {
    let site = Site::new();
    site.start().settled().await.stop();
    std::fs::remove_dir_all(site.volume(1)).unwrap();
    // In the way of what is written beside it.
    std::fs::create_dir(site.file().with_extension("new")).unwrap();
    let running = site.start().settled().await;
    running.demand.purge(path("/films/1")).await.unwrap_err();
    running.stop();
}

#[tokio::test]
async fn without_a_file_of_missed_purges_nothing_outlives_a_restart() {
    let site = Site::new();
    for _ in 0..2 {
        let running = site.start_opening(None, open_small).settled().await;
        let key = running.key(0, 0);
        assert!(!running.is_held(0, &key));
        running.keep(&key).await.unwrap();
        running.demand.purge(path("/films/none")).await.unwrap();
        assert!(running.is_held(0, &key));
        running.stop();
    }
}

/// Found in review: what a slow volume had missed was made again at the next start, whatever it had confirmed since.
#[tokio::test]
async fn a_purge_that_a_slow_volume_makes_late_is_not_made_again() {
    let site = Site::new();
    let running = site.start().settled().await;
    let key = running.key(0, 0);
    running.keep(&key).await.unwrap();
    let is_noted = || std::fs::read_to_string(site.file()).unwrap().contains(&key);
    let gate = running.hang(0).await;
    running.demand.purge(path(&key)).await.unwrap_err();
    assert!(is_noted());
    gate.open();
    running.catch_up(0).await;
    timeout(PATIENCE, async {
        while is_noted() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("it is taken back");
    running.keep_on(0, &key);
    running.stop();
    let running = site.start().settled().await;
    assert!(running.is_held(0, &key));
    running.stop();
}

#[tokio::test]
async fn a_volume_whose_log_cannot_be_opened_takes_part_in_nothing() {
    let site = Site::new();
    let key = {
        let running = site.start().settled().await;
        let key = running.key(1, 0);
        running.stop();
        key
    };
    std::fs::remove_dir_all(site.volume(1).join("demand")).unwrap();
    std::fs::write(site.volume(1).join("demand"), "not a directory").unwrap();
    let running = site.start().settled().await;
    running.keep(&key).await.unwrap();
    assert!(running.is_held(0, &key), "its keys belong to the other now");
    assert_eq!(running.demand.purge(path(&key)).await.unwrap(), 1);
    running.stop();
}

#[tokio::test]
async fn what_belongs_to_a_volume_that_is_being_opened_is_stored_nowhere_else() {
    let site = Site::new();
    let gate = Gate::default();
    let running = site.start_gated(gate.clone());
    let (open, opening) = (running.key(0, 0), running.key(1, 0));
    timeout(PATIENCE, async {
        while running.demand.asked(&open).is_none() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    assert!(running.demand.asked(&opening).is_none());
    assert!(running.demand.entries(&opening).await.is_empty());
    gate.open();
    let running = running.settled().await;
    assert_eq!(running.keep(&opening).await.unwrap().volume, 1);
    running.stop();
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_stored() {
    let site = Site::new();
    let running = site.start().settled().await;
    let key = running.key(0, 0);
    let gate = running.hang(0).await;
    assert!(matches!(running.keep(&key).await, Err(DiskFault::Stalled)));
    gate.open();
    running.catch_up(0).await;
    assert!(!running.is_held(0, &key));
    running.stop();
}

#[tokio::test]
async fn a_volume_that_does_not_answer_is_not_waited_for_again_at_once() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (held, healthy) = (running.key(0, 0), running.key(1, 0));
    let entry = running.keep(&held).await.unwrap();
    let gate = running.hang(0).await;
    assert!(matches!(running.demand.read_block(entry, 0).await, Err(DiskFault::Stalled)));
    let began = Instant::now();
    for _ in 0..10 {
        assert!(matches!(running.demand.read_block(entry, 0).await, Err(DiskFault::Stalled)));
        assert!(running.demand.entries(&held).await.is_empty() && running.demand.asked(&held).is_none());
    }
    assert!(began.elapsed() < DISK_TIMEOUT, "{:?}", began.elapsed());
    running.keep(&healthy).await.expect("the other volume answers");
    running.demand.forget(entry);
    gate.open();
    running.catch_up(0).await;
    assert!(!running.is_held(0, &held), "an entry is forgotten, whatever its disk does");
    running.stop();
}

#[tokio::test]
async fn whoever_waits_longer_than_others_did_in_vain_is_not_refused() {
    let site = Site::new();
    let running = site.start().settled().await;
    let gate = running.hang(0).await;
    let (volume, short) = (&running.demand.volumes[0], Duration::from_millis(300));
    assert!(matches!(volume.call(short, |_| ()).await, Err(DiskFault::Stalled)));
    let opening = gate.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(100)).await;
        opening.open();
    });
    let began = Instant::now();
    assert!(matches!(volume.call(short, |_| ()).await, Err(DiskFault::Stalled)));
    assert!(began.elapsed() < short, "it was not waited for");
    volume.call(PATIENCE, |_| ()).await.expect("the volume answers a moment later");
    running.stop();
}

#[tokio::test]
async fn entries_that_are_begun_on_one_volume_hold_up_none_on_another() {
    let site = Site::new();
    let running = site.start().settled().await;
    let keys: Vec<String> = (0..8 * DEMAND_ENTRY_LOCKS).map(|number| format!("/films/{number}")).collect();
    let (of_one, of_other): (Vec<_>, Vec<_>) =
        keys.iter().partition(|key| running.demand.home(key) == Some(0));
    let mut held = Vec::new();
    for key in of_one {
        if let Ok(lock) = timeout(Duration::ZERO, running.demand.lock_entries(key)).await {
            held.push(lock);
        }
    }
    assert!(held.len() > DEMAND_ENTRY_LOCKS / 2);
    for key in of_other {
        timeout(PATIENCE, running.demand.lock_entries(key)).await.expect("it is not held up");
    }
    drop(held);
    running.stop();
}

#[tokio::test]
async fn what_is_purged_by_its_name_is_gone_however_clients_escape_it() {
    let site = Site::new();
    let running = site.start().settled().await;
    let purged = ["/films/a!b", "/films/a%21b?x=1", "/films/a%21b/1.m4s", "/films//a!b"];
    let kept = ["/films/a%2521b", "/films/a", "/films/a!bc"];
    for key in purged.iter().chain(&kept) {
        running.keep(key).await.unwrap();
    }
    let name = BundlePath::parse("/films/a!b").unwrap();
    assert_eq!(running.demand.purge(PurgeSelector::of(&name, false)).await.unwrap(), purged.len() as u64);
    for key in purged {
        assert!(running.demand.entries(key).await.is_empty(), "{key}");
    }
    for key in kept {
        assert_eq!(running.demand.entries(key).await.len(), 1, "{key}");
    }
    running.stop();
}

/// Found in review: a process that was short of descriptors when it started had no demand content until it was started again.
#[tokio::test]
async fn a_log_that_cannot_be_opened_for_want_of_descriptors_is_opened_later() {
    let site = Site::new();
    let running = site.start().settled().await;
    let key = running.key(0, 0);
    running.keep(&key).await.unwrap();
    running.stop();
    let (first, is_short) = (site.volume(0), AtomicBool::new(true));
    let running = site.start_opening(Some(site.file()), move |volume: &Volume| {
        if volume.path() == first && is_short.swap(false, Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        open_small(volume)
    });
    let running = running.settled().await;
    assert_eq!(running.demand.entries(&key).await.len(), 1);
    running.stop();
}

/// Opens logs, and is short of descriptors at the first purge.
struct ShortOfDescriptors(AtomicBool);

impl Opening for ShortOfDescriptors {
    fn open(&self, volume: &Volume) -> io::Result<DemandLog> {
        open_small(volume)
    }

    fn purge(&self, log: &DemandLog, selector: &PurgeSelector) -> io::Result<usize> {
        if self.0.swap(false, Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        log_key::purge(log, selector)
    }
}

/// Found in review: the same where the descriptors were wanting for what the volume had missed.
#[tokio::test]
async fn what_was_missed_and_cannot_be_made_for_want_of_descriptors_is_made_later() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (purged, kept) = (running.key(0, 0), running.key(0, 1));
    for key in [&purged, &kept] {
        running.keep(key).await.unwrap();
    }
    running.stop();
    let config = PullConfig { missed_purges: Some(site.file()), ..PullConfig::default() };
    DormantPurges::new(&config).note(&path(&purged)).unwrap();
    let opener = ShortOfDescriptors(AtomicBool::new(true));
    let running = site.start_opening(Some(site.file()), opener).settled().await;
    assert!(running.is_held(0, &kept) && !running.is_held(0, &purged));
    running.stop();
}
