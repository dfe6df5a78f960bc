//! An appliance of the fleet: daemon and agent over one folder, known to the control plane by name.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use control_client::health::Readiness;
use control_client::inventory::{BundleState, InventoryEntry};
use control_client::status::ListenerRole;

use crate::appliance::{AgentProcess, DaemonProcess, Premises};
use crate::certificate::CertificateFiles;
use crate::failure::{Failure, Step};

/// What a control plane has to tell an appliance before it can enrol.
pub struct Invitation {
    /// The control plane's base URL.
    pub url: String,
    /// The token that the appliance shows.
    pub token: String,
    /// The keys that sign manifests, as the value of `control.trusted_keys`.
    pub trusted_keys: String,
}

/// An appliance of the fleet.
pub struct Member {
    name: String,
    premises: Premises,
    program: PathBuf,
    daemon: Option<DaemonProcess>,
    agent: Option<AgentProcess>,
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
}

impl Member {
    /// Starts the daemon over a new store in a new folder, then, with the addresses that the kernel chose, the agent. `settings` are
    /// sections and lines of the configuration, beside what a member needs.
    pub async fn start(
        name: &str,
        folder: &Path,
        program: &Path,
        certificate: &CertificateFiles,
        invitation: &Invitation,
        settings: &[(&'static str, String)],
    ) -> Result<Self, Failure> {
        fs::create_dir(folder).step("making the appliance's folder")?;
        let mut premises = Premises::new(folder);
        premises.add_certificate(certificate);
        premises.set("log", "level = \"warn\"");
        premises.set("serve", "connections = 2000");
        cache_store::Volume::init(&premises.volumes()[0]).step("making the volume")?;
        invite(&mut premises, name, invitation)?;
        for (section, line) in settings {
            premises.set(section, line.clone());
        }
        premises.write_config()?;
        let daemon = DaemonProcess::start(&premises, program, Stdio::inherit()).await?;
        let (http, https, admin) = (
            daemon.address(ListenerRole::Http)?,
            daemon.address(ListenerRole::Https)?,
            daemon.address(ListenerRole::Admin)?,
        );
        // From now on at these addresses, which the control plane is told.
        premises.set("serve", format!("listen = [\"{http}\"]"));
        premises.set("serve", format!("listen_tls = [\"{https}\"]"));
        premises.set("admin", format!("listen = [\"{admin}\"]"));
        premises.set("control", format!("serve_urls = [\"http://{http}\", \"https://{https}\"]"));
        premises.set("control", format!("admin_url = \"http://{admin}\""));
        premises.write_config()?;
        let agent = Some(AgentProcess::start(&premises, program, Stdio::inherit()).await?);
        let (name, program) = (name.to_owned(), program.to_owned());
        Ok(Self { name, premises, program, daemon: Some(daemon), agent, http, https, admin })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn premises(&self) -> &Premises {
        &self.premises
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it serves HTTPS.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Its read-only admin API.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its agent.
    pub fn agent(&self) -> Result<&AgentProcess, Failure> {
        self.agent.as_ref().ok_or_else(|| Failure::new(format!("{}: the agent does not run", self.name)))
    }

    /// Bundles that serve.
    pub async fn held(&self) -> Result<Vec<InventoryEntry>, Failure> {
        let inventory = self.premises.admin().inventory().await.step(&self.name)?;
        Ok(inventory.bundles.into_iter().filter(|entry| entry.state == BundleState::Published).collect())
    }

    /// Whether it says that it serves.
    pub async fn is_serving(&self) -> bool {
        self.premises.admin().health().await.is_ok_and(|health| health.readiness == Readiness::Serving)
    }

    /// Ends the daemon at once.
    pub fn kill_daemon(&mut self) -> Result<(), Failure> {
        self.daemon.take().map_or(Ok(()), |daemon| daemon.kill().map(|_| ()))
    }

    /// Whether the daemon was started, and not ended since.
    pub fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// Starts the daemon again, at the same addresses.
    pub async fn start_daemon(&mut self) -> Result<(), Failure> {
        self.daemon = Some(DaemonProcess::start(&self.premises, &self.program, Stdio::inherit()).await?);
        Ok(())
    }

    /// Another night begins, with a budget of its own: the agent is started again with another window.
    pub async fn begin_night(&mut self, night: u32) -> Result<(), Failure> {
        if let Some(agent) = self.agent.take() {
            agent.stop().await?;
        }
        self.premises.set("fill", format!("window = {:?}", window_far_away(night)));
        self.premises.write_config()?;
        self.agent = Some(AgentProcess::start(&self.premises, &self.program, Stdio::inherit()).await?);
        Ok(())
    }

    /// How daemon or agent ended, if one of them has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let daemon = self.daemon.as_mut().map_or(Ok(None), DaemonProcess::ended)?;
        let agent = self.agent.as_mut().map_or(Ok(None), AgentProcess::ended)?;
        Ok(daemon.or(agent))
    }

    /// Stops the agent, then the daemon; whether both ended well.
    pub async fn stop(&mut self) -> Result<bool, Failure> {
        let mut is_well = true;
        if let Some(agent) = self.agent.take() {
            is_well &= agent.stop().await?.success();
        }
        if let Some(daemon) = self.daemon.take() {
            is_well &= daemon.stop().await?.success();
        }
        Ok(is_well)
    }
}

/// The configuration of the agent. The window is closed all day, as far as the demo lasts: a night is when the demo says so.
fn invite(premises: &mut Premises, name: &str, invitation: &Invitation) -> Result<(), Failure> {
    let token = premises.folder().join("token");
    write_private(&token, &format!("{}\n", invitation.token))?;
    let (state, socket) = (premises.agent_state(), premises.agent_socket());
    for line in [
        format!("url = {:?}", invitation.url),
        format!("appliance = {name:?}"),
        format!("token_file = {token:?}"),
        format!("trusted_keys = {}", invitation.trusted_keys),
        "report_interval = \"1 s\"".to_owned(),
    ] {
        premises.set("control", line);
    }
    for line in [
        format!("state = {state:?}"),
        format!("socket = {socket:?}"),
        "time_zone = \"UTC\"".to_owned(),
        format!("window = {:?}", window_far_away(0)),
        "jitter = \"0 s\"".to_owned(),
        "rate = \"10 Gbit/s\"".to_owned(),
        "keep_free = \"64 MiB\"".to_owned(),
        // Two cores do everything here; a night of the demo has no viewers whom it could disturb.
        "yield_latency = \"2 s\"".to_owned(),
    ] {
        premises.set("fill", line);
    }
    Ok(())
}

/// A window of half an hour that opens in twelve hours or a little later: another one for each night of the demo, each of which has
/// its own budget.
fn window_far_away(night: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let opens = (now / 3600 + 12) * 60 + u64::from(night % 30);
    let clock = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    format!("{}-{}", clock(opens), clock(opens + 30))
}

fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .step("writing the token")?;
    file.write_all(text.as_bytes()).step("writing the token")
}
