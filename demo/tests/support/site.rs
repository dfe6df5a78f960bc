#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! An appliance for one test: a folder with volumes, content whose every byte is known beforehand, and the
//! daemon as a process of its own.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use cache_store::{BundleWriter, PlannedObject, PublishError, Volume};
use control_client::admin::{Adopt, Adopted, Retire, Retired};
use control_client::admin_client::{AdminClient, AdminError};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::health::HealthReport;
use control_client::inventory::{BundleState, InventoryEntry};
use control_client::status::ListenerRole;
use demo::appliance::{DaemonProcess, Premises};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::http::{Answer, Connection};

/// The demo program, which starts itself once per role.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_demo");

/// How long anything that should happen by itself may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// For daemons that are started again and again: with the usual 64 MiB for each worker, to take and clear them is much of a start.
pub const FEW_READ_BUFFERS: &str = "read_buffers = \"8 MiB\"";

/// The folder of one appliance, and its configuration.
pub struct Site {
    pub folder: TempDir,
    pub premises: Premises,
    runtime: Runtime,
}

/// A bundle whose bytes are known: each object is a sequence of its own, made from the bundle's name and generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub path: String,
    pub generation: u64,
    /// Names and lengths.
    pub objects: Vec<(String, usize)>,
}

/// The daemon of a site. Killed when dropped, if it still runs.
pub struct Daemon<'a> {
    site: &'a Site,
    process: DaemonProcess,
}

impl Site {
    /// With so many volumes, empty.
    pub fn new(volume_count: usize) -> Self {
        Self::with_volumes((0..volume_count).map(|index| PathBuf::from(format!("volume{index}"))).collect())
    }

    /// With volumes in these directories, relative to the folder; each is made unless it exists.
    pub fn with_volumes(volumes: Vec<PathBuf>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut premises = Premises::new(folder.path());
        for volume in &volumes[1..] {
            premises.add_volume(folder.path().join(volume));
        }
        premises.set("log", "level = \"error\"");
        premises.set("serve", "workers = 2");
        let site = Self { folder, premises, runtime: runtime() };
        for volume in site.premises.volumes() {
            Volume::init(volume).expect("a new volume");
        }
        site
    }

    /// A copy of another site's volumes and configuration, in a folder of its own. Bundles, which never
    /// change in place, are linked.
    pub fn copy_of(template: &Site) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut premises = Premises::new(folder.path());
        for volume in template.premises.volumes() {
            let name = volume.strip_prefix(template.folder.path()).expect("volumes lie in the folder");
            copy_tree(volume, &folder.path().join(name)).expect("a copy of a volume");
            if name != Path::new("volume0") {
                premises.add_volume(folder.path().join(name));
            }
        }
        premises.set("log", "level = \"error\"");
        premises.set("serve", "workers = 2");
        premises.set("serve", FEW_READ_BUFFERS);
        Self { folder, premises, runtime: runtime() }
    }

    /// A volume's directory.
    pub fn volume(&self, index: usize) -> &Path {
        &self.premises.volumes()[index]
    }

    /// Makes a new volume in a directory of the folder, which may be a mount point, and adds it to the configuration.
    pub fn add_volume(&mut self, name: &str) {
        let path = self.folder.path().join(name);
        Volume::init(&path).expect("a new volume");
        self.premises.add_volume(path);
    }

    /// Writes the configuration, starts the daemon, and waits until it serves.
    pub fn start(&self) -> Daemon<'_> {
        self.start_program(Path::new(PROGRAM))
    }

    /// The same with a program that becomes the daemon.
    pub fn start_program(&self, program: &Path) -> Daemon<'_> {
        self.premises.write_config().expect("the configuration is written");
        let start = DaemonProcess::start(&self.premises, program, Stdio::inherit());
        Daemon { site: self, process: self.wait_for(start).unwrap_or_else(|failure| panic!("{failure}")) }
    }

    /// The command that runs the daemon.
    pub fn daemon_command(&self) -> Command {
        self.premises.write_config().expect("the configuration is written");
        self.premises.daemon_command(Path::new(PROGRAM))
    }

    /// The daemon's admin client.
    pub fn admin(&self) -> AdminClient {
        self.premises.admin()
    }

    /// Waits for what the admin client does.
    pub fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Has a published bundle adopted.
    pub fn adopt(&self, volume: usize, sample: &Sample) -> Result<Adopted, AdminError> {
        let file = file_name(sample);
        let volume = self.volume(volume).to_string_lossy().into_owned();
        self.wait_for(self.admin().adopt(Adopt { version: Default::default(), volume, file }))
    }

    /// Has a bundle retired, and waits until its space has returned.
    pub fn retire(&self, sample: &Sample) -> Result<Retired, AdminError> {
        let generation = Some(Generation::new(sample.generation));
        self.wait_for(self.admin().retire(Retire {
            version: Default::default(),
            path: sample.bundle_path(),
            generation,
        }))
    }

    /// What the daemon says of its health.
    pub fn health(&self) -> HealthReport {
        self.wait_for(self.admin().health()).expect("the daemon answers about its health")
    }

    /// Bundles that the daemon says it holds.
    pub fn inventory(&self) -> Vec<InventoryEntry> {
        self.wait_for(self.admin().inventory()).expect("the daemon answers about its inventory").bundles
    }

    /// Paths and generations that serve, sorted.
    pub fn serving(&self) -> Vec<(String, u64)> {
        let mut serving: Vec<_> = self
            .inventory()
            .into_iter()
            .filter(|entry| entry.state == BundleState::Published)
            .map(|entry| (entry.path.as_str().to_owned(), entry.generation.number()))
            .collect();
        serving.sort();
        serving
    }

    /// The sum of a metric over the lines whose labels contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.wait_for(self.admin().metrics()).expect("the daemon answers with its metrics");
        metrics
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Daemon<'_> {
    /// Where it serves HTTP.
    pub fn http(&self) -> SocketAddr {
        self.process.address(ListenerRole::Http).expect("a listener for HTTP")
    }

    /// Everywhere where it serves HTTP.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.process.status().addresses(ListenerRole::Http).collect()
    }

    /// Where it serves HTTPS.
    pub fn https(&self) -> SocketAddr {
        self.process.address(ListenerRole::Https).expect("a listener for HTTPS")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("the daemon can be signalled");
    }

    /// Waits for it to exit by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.site.wait_for(self.process.wait()).expect("the daemon exits in time")
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// One GET over a connection of its own.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        Connection::open(self.http())?.get(path)
    }
}

impl Sample {
    /// A bundle with so many objects of so many bytes each, called `0`, `1`, …
    pub fn new(path: &str, generation: u64, object_count: usize, object_bytes: usize) -> Self {
        let objects = (0..object_count).map(|index| (index.to_string(), object_bytes)).collect();
        Self { path: path.to_owned(), generation, objects }
    }

    /// Its path and generation.
    pub fn key(&self) -> (String, u64) {
        (self.path.clone(), self.generation)
    }

    /// The path of a request for an object.
    pub fn request_path(&self, object: &str) -> String {
        format!("{}/{object}", self.path)
    }

    /// An object's bytes: the key stream of a cipher whose key is its name. Made by assembly, it costs little in a program that is built
    /// for tests, too.
    pub fn bytes(&self, object: &str) -> Vec<u8> {
        let length = self.objects.iter().find(|(name, _)| name == object).map_or(0, |(_, length)| *length);
        let name = format!("{} {} {object}", self.path, self.generation);
        let key = UnboundKey::new(&CHACHA20_POLY1305, digest(&SHA256, name.as_bytes()).as_ref());
        let key = LessSafeKey::new(key.expect("a digest is as long as a key"));
        let mut bytes = vec![0; length];
        let _tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes)
            .expect("objects of tests are shorter than a key stream");
        bytes
    }

    /// The bundle's path, as a type.
    pub fn bundle_path(&self) -> BundlePath {
        BundlePath::parse(&self.path).expect("samples have good paths")
    }

    /// Writes its objects as files, for an import.
    pub fn write_files(&self, directory: &Path) {
        fs::create_dir_all(directory).expect("a directory for a sample");
        for (name, _) in &self.objects {
            fs::write(directory.join(name), self.bytes(name)).expect("a sample's file");
        }
    }

    /// Publishes it on a volume, as a fill does: written, verified, synced, renamed. It is not adopted.
    pub fn publish(&self, volume: &Path) {
        self.try_publish(volume).unwrap_or_else(|error| panic!("{}: {error}", self.path));
    }

    /// The same, on a disk that may refuse.
    pub fn try_publish(&self, volume: &Path) -> Result<(), PublishError> {
        let volume = Arc::new(Volume::open(volume, false).expect("a volume"));
        let key = BundleKey { path: self.bundle_path(), generation: Generation::new(self.generation) };
        let planned = self.objects.iter().map(|(name, length)| PlannedObject {
            name: ObjectName::parse(name).expect("samples have good names"),
            length: *length as u64,
            media_type: "video/mp4".into(),
            last_modified: 1_700_000_000,
            sha256: None,
        });
        let mut writer = BundleWriter::create(&volume, key, Sha256::new([0; 32]), planned.collect())?;
        let names: Vec<String> =
            writer.objects().iter().map(|object| object.name.as_str().to_owned()).collect();
        for name in names {
            writer.write(&self.bytes(&name))?;
            writer.end_object()?;
        }
        writer.finish().map(|_| ())
    }
}

/// The file of a bundle below `bundles/`, `ab/….bundle`.
pub fn file_name(sample: &Sample) -> String {
    let id = cache_store::BundleId::new(&sample.bundle_path(), Generation::new(sample.generation));
    format!("{}/{}", id.directory_name(), id.file_name())
}

/// Every file under `bundles/` of a volume, as `ab/….bundle`, sorted.
pub fn bundle_files(volume: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for directory in names_in(&volume.join("bundles")) {
        files.extend(
            names_in(&volume.join("bundles").join(&directory))
                .iter()
                .map(|name| format!("{directory}/{name}")),
        );
    }
    files
}

/// The names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Asks until it is so; panics, naming `what`, when it takes longer than [`PATIENCE`].
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value below which the part `quantile` of all samples lies.
pub fn quantile(samples: &mut [Duration], quantile: f64) -> Duration {
    samples.sort();
    let place = ((samples.len() as f64 * quantile).ceil() as usize).clamp(1, samples.len());
    samples[place - 1]
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match () {
            () if entry.file_type()?.is_dir() => copy_tree(&source, &target)?,
            () if source.extension().is_some_and(|extension| extension == "bundle") => {
                fs::hard_link(&source, &target)?
            }
            () => fs::copy(&source, &target).map(|_| ())?,
        }
    }
    Ok(())
}
