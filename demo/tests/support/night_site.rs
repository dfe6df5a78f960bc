#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! A night for one appliance: an origin with bundles whose every byte is known, a scripted control plane that lists them, and the
//! appliance's agent as a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use control_client::agent_client::AgentClient;
use control_client::content::{BundleKey, Generation, ObjectName};
use control_client::descriptor::{DescribedObject, Descriptor};
use control_client::digest::sha256;
use control_client::fill::{FillProgress, FillRun};
use control_client::fill_manifest::{FillClass, FillEntry, FillManifest};
use control_client::fleet::{ApplianceName, TitleName};
use control_client::sources::{FillSource, SourceKind};
use demo::origin::OriginProcess;

use super::http::Connection;
use super::scripted_plane::ScriptedPlane;
use super::site::{Daemon, PROGRAM, Sample, Site, eventually};

/// How long a run may take: one that asks a silent control plane waits for it three times.
const RUN_PATIENCE: Duration = Duration::from_secs(150);

/// The appliance's name.
pub const APPLIANCE: &str = "oca-1";

/// Everything around one appliance, and the appliance.
pub struct NightSite {
    pub site: Site,
    pub plane: ScriptedPlane,
    pub origin: OriginProcess,
    tree: PathBuf,
    /// The agent's, where it is another than UTC; as in `TZ`.
    time_zone: Option<String>,
}

impl NightSite {
    /// An origin with these bundles, a control plane that knows where they are but lists none, an appliance that is empty.
    pub fn new(samples: &[Sample]) -> Self {
        Self::of_site(Site::new(1), samples)
    }

    /// The same with a site of the test's own.
    pub fn of_site(mut site: Site, samples: &[Sample]) -> Self {
        let tree = site.folder.path().join("origin");
        for sample in samples {
            sample.write_files(&tree.join(&sample.path[1..]));
        }
        let origin =
            site.wait_for(OriginProcess::start(Path::new(PROGRAM), &tree)).expect("the origin starts");
        let plane = ScriptedPlane::start();
        configure(&mut site, &plane);
        let night = Self { site, plane, origin, tree, time_zone: None };
        samples.iter().for_each(|sample| night.make_known(sample));
        night
    }

    /// One more bundle at the origin, instead of another with its path.
    pub fn add(&self, sample: &Sample) {
        sample.write_files(&self.tree.join(&sample.path[1..]));
        self.make_known(sample);
    }

    fn make_known(&self, sample: &Sample) {
        let mut knowledge = self.plane.knowledge();
        let bytes = descriptor(sample).to_bytes();
        knowledge.descriptors.insert(sha256(&bytes), bytes);
        knowledge.sources.insert(key(sample), vec![origin_source(&self.origin)]);
    }

    /// The origin's tree.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// A manifest for the appliance that lists these, the best first.
    pub fn manifest(&self, sequence: u64, samples: &[&Sample]) -> FillManifest {
        manifest(sequence, samples)
    }

    /// The control plane hands out a manifest that lists these.
    pub fn list(&self, sequence: u64, samples: &[&Sample]) {
        self.plane.publish(&self.manifest(sequence, samples));
    }

    /// The command that does one run of the fill, and exits.
    pub fn run_command(&self) -> Command {
        self.agent_command("run")
    }

    /// The command that runs the agent as a service.
    pub fn serve_command(&self) -> Command {
        self.agent_command("serve")
    }

    fn agent_command(&self, task: &str) -> Command {
        self.site.premises.write_config().expect("the configuration is written");
        let mut command = Command::new(PROGRAM);
        command.args(["role", "agent", task, "--trust-clock", "--config"]);
        command.arg(self.site.premises.config_path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(self.time_zone.as_ref().map(|zone| ("TZ", zone)));
        command
    }

    /// Runs the fill once; whether it completed.
    pub fn run(&self) -> bool {
        self.run_command().status().expect("the agent runs").success()
    }

    /// The window is closed for hours: the service fills when it is told to, and only then.
    pub fn close_window(&mut self) {
        let hour = (now() / 3600 + 12) % 24;
        let window = format!("window = \"{hour:02}:00-{hour:02}:30\"");
        self.site.premises.set("fill", window);
    }

    /// The window is open until that moment. It closes at a full minute: the agent's clock is ahead by what lacks one.
    pub fn close_window_at(&mut self, moment: u64) {
        let shown = moment.next_multiple_of(60);
        let clock = |at: u64| format!("{:02}:{:02}", at / 3600 % 24, at / 60 % 60);
        let window = format!("window = \"{}-{}\"", clock(shown - 3600), clock(shown));
        self.site.premises.set("fill", window);
        self.site.premises.set("fill", "time_zone = \"system\"");
        self.time_zone = Some(format!("AHEAD-00:00:{:02}", shown - moment));
    }

    /// What the control plane was told of demand for a sample, over all reports.
    pub fn reported_requests(&self, sample: &Sample) -> u64 {
        let knowledge = self.plane.knowledge();
        let paths = knowledge.reports.iter().flat_map(|report| &report.demand).flat_map(|day| &day.paths);
        paths.filter(|path| path.path.as_str() == sample.path).map(|path| path.requests).sum()
    }

    /// Runs that the control plane was told of, each once, in the order of their names.
    pub fn reported_runs(&self) -> Vec<FillRun> {
        let knowledge = self.plane.knowledge();
        let mut runs: Vec<FillRun> =
            knowledge.reports.iter().flat_map(|report| &report.runs).cloned().collect();
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        runs
    }
}

/// Has the site's agent report to a control plane, quickly, and fill at once.
pub fn configure(site: &mut Site, plane: &ScriptedPlane) {
    let folder = site.folder.path().to_owned();
    let token = folder.join("token");
    fs::write(&token, "a-token-of-the-test-that-is-long-enough-for-one\n").expect("a token");
    private(&token);
    let premises = &mut site.premises;
    // Operators see warnings; the limit on open files of a test machine is no news.
    premises.set("log", "level = \"warn\"");
    premises.set("serve", "connections = 1000");
    premises.set("control", format!("url = {:?}", plane.url()));
    premises.set("control", format!("appliance = {APPLIANCE:?}"));
    premises.set("control", format!("token_file = {token:?}"));
    premises.set("control", plane.trusted_keys());
    premises.set("control", "report_interval = \"1 s\"");
    premises.set("fill", format!("state = {:?}", premises.agent_state()));
    premises.set("fill", format!("socket = {:?}", premises.agent_socket()));
    premises.set("fill", "window = \"00:00-24:00\"");
    premises.set("fill", "time_zone = \"UTC\"");
    premises.set("fill", "jitter = \"0 s\"");
    premises.set("fill", "rate = \"10 Gbit/s\"");
    premises.set("fill", "keep_free = \"64 MiB\"");
    premises.set("fill", "concurrency = 4");
    premises.set("fill", "connect_timeout = \"1 s\"");
    premises.set("fill", "stall_timeout = \"1 s\"");
    // A busy machine's disk must not slow the test down.
    premises.set("fill", "yield_latency = \"10 s\"");
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("permissions");
}

/// A manifest for the appliance.
pub fn manifest(sequence: u64, samples: &[&Sample]) -> FillManifest {
    FillManifest {
        version: Default::default(),
        audience: ApplianceName::parse(APPLIANCE).expect("a name"),
        sequence,
        issued_at: now(),
        entries: samples
            .iter()
            .enumerate()
            .map(|(place, sample)| entry(sample, 1_000_000_000_000 - place as u64))
            .collect(),
    }
}

/// An entry of a manifest.
pub fn entry(sample: &Sample, score: u64) -> FillEntry {
    FillEntry {
        path: sample.bundle_path(),
        generation: Generation::new(sample.generation),
        title: TitleName::parse("test").expect("a name"),
        bytes: sample.objects.iter().map(|(_, length)| *length as u64).sum(),
        objects: sample.objects.len() as u64,
        score,
        descriptor: sha256(&descriptor(sample).to_bytes()),
        class: FillClass::Ranked,
        expires_at: None,
    }
}

/// A sample's descriptor.
pub fn descriptor(sample: &Sample) -> Descriptor {
    let mut objects: Vec<DescribedObject> = sample
        .objects
        .iter()
        .map(|(name, length)| DescribedObject {
            name: ObjectName::parse(name).expect("samples have good names"),
            bytes: *length as u64,
            sha256: sha256(&sample.bytes(name)),
            media_type: "video/mp4".to_owned(),
            last_modified: 1_700_000_000,
        })
        .collect();
    objects.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let key = key(sample);
    Descriptor { version: Default::default(), path: key.path, generation: key.generation, objects }
}

/// A sample's path and generation.
pub fn key(sample: &Sample) -> BundleKey {
    BundleKey { path: sample.bundle_path(), generation: Generation::new(sample.generation) }
}

/// The origin as a source.
pub fn origin_source(origin: &OriginProcess) -> FillSource {
    FillSource { kind: SourceKind::Origin, name: "origin".to_owned(), url: origin.url(), after_seconds: 0 }
}

/// The bytes of these samples' objects.
pub fn bytes_of(samples: &[Sample]) -> u64 {
    samples.iter().flat_map(|sample| &sample.objects).map(|(_, length)| *length as u64).sum()
}

/// Every object of these samples comes back with its bytes.
pub fn read_all_back(daemon: &Daemon<'_>, samples: &[&Sample], context: &str) {
    let mut connection = Connection::open(daemon.http()).expect("a connection");
    for sample in samples {
        for (object, _) in &sample.objects {
            let answer = connection.get(&sample.request_path(object)).expect("an answer");
            assert_eq!(answer.head.status, 200, "{context}: {}/{object}", sample.path);
            assert!(answer.body == sample.bytes(object), "{context}: {}/{object}: wrong bytes", sample.path);
        }
    }
}

/// The agent as a service, with its log in a file. Killed when dropped.
pub struct AgentService<'a> {
    night: &'a NightSite,
    child: std::process::Child,
    log: PathBuf,
}

impl<'a> AgentService<'a> {
    /// Starts it, and waits until it answers.
    pub fn start(night: &'a NightSite) -> Self {
        let log = night.site.folder.path().join("agent.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let mut command = night.serve_command();
        command.stderr(file);
        let service = Self { night, child: command.spawn().expect("the agent starts"), log };
        eventually("the agent answers", || service.try_progress().is_some());
        service
    }

    /// How the fill goes, by its socket.
    pub fn progress(&self) -> FillProgress {
        self.try_progress().expect("the agent answers")
    }

    fn try_progress(&self) -> Option<FillProgress> {
        self.night.site.wait_for(self.client().progress()).ok()
    }

    /// Has it begin a run, whatever its window says.
    pub fn begin_run(&self) {
        self.night.site.wait_for(self.client().run()).expect("a run begins");
    }

    /// Has it do a run, and waits for the end.
    pub fn run(&self) -> FillRun {
        let before = self.runs().len();
        self.begin_run();
        let deadline = Instant::now() + RUN_PATIENCE;
        while self.runs().len() == before {
            assert!(Instant::now() < deadline, "the run did not end: {:?}", self.progress());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.runs().remove(0)
    }

    /// Runs that ended, the newest first.
    pub fn runs(&self) -> Vec<FillRun> {
        self.night.site.wait_for(self.client().history()).expect("the agent answers").runs
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// Ends it at once.
    pub fn kill(self) {}

    fn client(&self) -> AgentClient {
        AgentClient::new(self.night.site.premises.agent_socket())
    }
}

impl Drop for AgentService<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
