//! An appliance with one volume, its agent in this process, and a stand-in for its daemon. Manifest, sources and descriptors are
//! in the state folder, as if the control plane had given them and gone away since.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_store::{BundleId, Volume};
use control_client::backoff::Backoff;
use control_client::config::{Config, VolumeConfig};
use control_client::fill::{FailureReason, FillRun};
use control_client::fill_manifest::{FillEntry, FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::signature::SigningKey;
use control_client::sources::{BundleSources, FillSource, SourceKind};
use control_client::units::ByteCount;
use control_client::wire::DocumentVersion;
use fill_agent::agent::Agent;
use fill_agent::clock::ClockTrust;
use fill_agent::escalation::Patience;
use fill_agent::run::{self, Occasion};
use fill_agent::state::StateFolder;
use jiff::Timestamp;
use tokio::sync::watch;

use super::content::Content;
use super::scripted_daemon::ScriptedDaemon;

pub struct Appliance {
    pub folder: tempfile::TempDir,
    pub agent: Arc<Agent>,
    pub daemon: ScriptedDaemon,
    pub tell: watch::Sender<bool>,
    /// The last to go: the folder is no longer there then.
    _memory: Option<fs::File>,
}

impl Appliance {
    /// One whose manifest lists these bundles, each with its sources.
    pub fn new(bundles: &[(&Content, Vec<FillSource>)]) -> Self {
        Self::with(bundles, |_| {}, |_| {})
    }

    /// The same, with other entries and another configuration.
    pub fn with(
        bundles: &[(&Content, Vec<FillSource>)],
        change_entries: impl FnOnce(&mut Vec<FillEntry>),
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::at(tempfile::tempdir().unwrap(), bundles, change_entries, configure)
    }

    /// The same, on memory: what is free there does not change with what others build. One at a time: a second one waits until
    /// the first is dropped.
    pub fn in_memory(
        bundles: &[(&Content, Vec<FillSource>)],
        change_entries: impl FnOnce(&mut Vec<FillEntry>),
    ) -> Self {
        // All processes have the same memory, and what one puts there is not free for the others.
        let memory = fs::File::open("/dev/shm").unwrap();
        memory.lock().unwrap();
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        Self { _memory: Some(memory), ..Self::at(folder, bundles, change_entries, |_| {}) }
    }

    fn at(
        folder: tempfile::TempDir,
        bundles: &[(&Content, Vec<FillSource>)],
        change_entries: impl FnOnce(&mut Vec<FillEntry>),
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Volume::init(&folder.path().join("volume")).unwrap();
        let mut config = config(folder.path());
        configure(&mut config);
        let mut entries = bundles.iter().map(|(content, _)| content.entry()).collect();
        change_entries(&mut entries);
        let state = StateFolder::open(&config.fill.state).unwrap();
        keep(&state, 1, entries, bundles);
        let daemon = ScriptedDaemon::start(&config.admin.socket, &config.store.volumes[0].path);
        let agent = agent(config, state);
        Self { folder, agent, daemon, tell: watch::channel(false).0, _memory: None }
    }

    /// The agent's process has ended, and another one begins.
    pub fn restart(&mut self) {
        self.restart_with(self.agent.config.clone());
    }

    /// The same, with another configuration.
    pub fn restart_with(&mut self, config: Config) {
        // The lock goes with the last of it.
        let before = std::mem::replace(&mut self.agent, {
            let folder = tempfile::tempdir().unwrap();
            let state = StateFolder::open(folder.path()).unwrap();
            agent(config.clone(), state)
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&before) > 1 {
            assert!(std::time::Instant::now() < deadline, "something of the earlier agent goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(before.volumes.stop(Duration::from_secs(10)));
        drop(before);
        self.agent = agent(config.clone(), StateFolder::open(&config.fill.state).unwrap());
        self.tell = watch::channel(false).0;
    }

    /// Another manifest is in force.
    pub fn obey(&self, sequence: u64, entries: Vec<FillEntry>, bundles: &[(&Content, Vec<FillSource>)]) {
        keep(&self.agent.state, sequence, Vec::new(), bundles);
        self.agent.take_manifest(signed(sequence, entries)).unwrap();
    }

    /// A run that somebody asked for.
    pub async fn run(&self) -> FillRun {
        let night = self.agent.window.night_of(Timestamp::now());
        let occasion = Occasion { night, is_by_hand: true };
        run::run(&self.agent, occasion, self.tell.subscribe()).await.expect("it is by hand")
    }

    pub fn volume(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// Whether the volume has a published file of that bundle.
    pub fn has_published(&self, content: &Content) -> bool {
        self.volume().join(BundleId::of(&content.key()).file_path()).exists()
    }

    /// What lies under `incoming/`.
    pub fn incoming(&self) -> Vec<String> {
        let names = fs::read_dir(self.volume().join("incoming")).unwrap();
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Quick where the defaults are patient.
fn agent(config: Config, state: StateFolder) -> Arc<Agent> {
    let mut agent = Agent::new(config, ClockTrust::Trusted, state).unwrap();
    let quick =
        |millis| Backoff { first: Duration::from_millis(millis), longest: Duration::from_millis(millis) };
    agent.patience =
        Patience { tries: 2, pause: quick(100), not_yet: quick(200), wait: Duration::from_secs(2) };
    Arc::new(agent)
}

pub fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.store.volumes = vec![VolumeConfig { path: folder.join("volume"), mount_required: false }];
    config.admin.socket = folder.join("daemon.sock");
    config.control.appliance = Some(name());
    config.control.trusted_keys = vec![key().trusted_key("k")];
    config.fill.state = folder.join("state");
    config.fill.socket = folder.join("agent.sock");
    config.fill.keep_free = ByteCount::mib(1);
    config.fill.stall_timeout = Duration::from_secs(1);
    config.fill.connect_timeout = Duration::from_millis(500);
    config.fill.concurrency = 4;
    config.fill.time_zone = "UTC".to_owned();
    config
}

/// It has a control plane, and a token to show it.
pub fn report_to(config: &mut Config, url: String) {
    config.control.url = Some(url);
    config.control.token_file = config.fill.state.with_file_name("token");
    fs::write(&config.control.token_file, "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(&config.control.token_file, fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn name() -> ApplianceName {
    ApplianceName::parse("oca-1").unwrap()
}

pub fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

pub fn signed(sequence: u64, entries: Vec<FillEntry>) -> SignedManifest {
    let manifest =
        FillManifest { version: DocumentVersion, audience: name(), sequence, issued_at: 0, entries };
    SignedManifest::sign(&manifest, "k", &key())
}

pub fn source(kind: SourceKind, name: &str, url: String, after_seconds: u32) -> FillSource {
    FillSource { kind, name: name.to_owned(), url, after_seconds }
}

pub fn origin(url: String) -> FillSource {
    source(SourceKind::Origin, "origin", url, 0)
}

/// The failures of a run, by path.
pub fn failures(run: &FillRun) -> Vec<(String, FailureReason)> {
    run.failures.iter().map(|failure| (failure.bundle.path.to_string(), failure.reason)).collect()
}

fn keep(
    state: &StateFolder,
    sequence: u64,
    entries: Vec<FillEntry>,
    bundles: &[(&Content, Vec<FillSource>)],
) {
    if !entries.is_empty() {
        state.write("manifest.json", &signed(sequence, entries)).unwrap();
        state.write("sequence.json", &sequence).unwrap();
    }
    let sources: Vec<BundleSources> = bundles
        .iter()
        .map(|(content, sources)| BundleSources { bundle: content.key(), sources: sources.clone() })
        .collect();
    state.write("sources.json", &sources).unwrap();
    fs::create_dir_all(state.path().join("descriptors")).unwrap();
    for (content, _) in bundles {
        let name = format!("descriptors/{}", content.digest());
        state.write_bytes(&name, &content.descriptor.to_bytes()).unwrap();
    }
}
