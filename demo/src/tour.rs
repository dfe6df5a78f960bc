//! What a person is shown: an appliance that serves the sample title until Ctrl-C, and addresses to try.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use control_client::status::ListenerRole;
use tempfile::TempDir;

use crate::appliance::{DaemonProcess, Premises};
use crate::certificate;
use crate::failure::{Failure, Step};
use crate::title::{self, TITLE_PATH};

/// A running appliance with the sample title, and the folder that it lives in.
pub struct Exhibit {
    /// The daemon.
    pub daemon: DaemonProcess,
    /// Where everything is.
    pub premises: Premises,
    /// The certificate, as PEM.
    pub certificate: String,
    /// Cleartext.
    pub http: SocketAddr,
    /// TLS.
    pub https: SocketAddr,
    /// The read-only admin API.
    pub admin: SocketAddr,
    // Removed last.
    _folder: TempDir,
}

impl Exhibit {
    /// Imports the title into a new store in a temporary folder, and starts the daemon over it.
    pub async fn open() -> Result<Self, Failure> {
        let folder =
            tempfile::Builder::new().prefix("oca-demo-").tempdir().step("making a temporary folder")?;
        let certificate = certificate::make(folder.path(), "demo", &["localhost", "127.0.0.1", "::1"])?;
        let mut premises = Premises::new(folder.path());
        premises.add_certificate(&certificate);
        premises.write_config()?;
        import(&premises)?;
        let program = std::env::current_exe().step("finding this program")?;
        let daemon = DaemonProcess::start(&premises, &program, Stdio::inherit()).await?;
        let address = |role| daemon.address(role);
        Ok(Self {
            http: address(ListenerRole::Http)?,
            https: address(ListenerRole::Https)?,
            admin: address(ListenerRole::Admin)?,
            daemon,
            premises,
            certificate: certificate.pem,
            _folder: folder,
        })
    }

    /// The file that a client is told to trust.
    pub fn certificate_path(&self) -> std::path::PathBuf {
        self.premises.folder().join("demo.pem")
    }
}

/// Makes the volume and imports the title's directory, one bundle for each directory in it.
fn import(premises: &Premises) -> Result<(), Failure> {
    let volume = &premises.volumes()[0];
    cache_store::Volume::init(volume).step("making the volume")?;
    for bundle in title::import(&title::directory(), TITLE_PATH, volume)? {
        println!(
            "imported {:<28} {:>3} objects  {:>9} bytes",
            bundle.record.key.path, bundle.record.object_count, bundle.record.object_bytes
        );
    }
    Ok(())
}

/// Shows everything, and runs until Ctrl-C.
pub async fn run() -> Result<bool, Failure> {
    let mut exhibit = Exhibit::open().await?;
    print(&exhibit);
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.step("waiting for Ctrl-C")?;
            println!("\nstopping");
            let status = exhibit.daemon.stop().await?;
            Ok(status.success())
        }
        ended = exhibit.daemon.wait() => {
            eprintln!("demo: the daemon ended by itself: {}", ended?);
            Ok(false)
        }
    }
}

/// Runs a command beside the appliance; true when it succeeds.
pub async fn run_beside(command: &Path) -> Result<bool, Failure> {
    let exhibit = Exhibit::open().await?;
    let status = Command::new(command)
        .arg(format!("http://{}{TITLE_PATH}", exhibit.http))
        .arg(format!("https://localhost:{}{TITLE_PATH}", exhibit.https.port()))
        .arg(exhibit.certificate_path())
        .status()
        .step(&command.display().to_string())?;
    Ok(exhibit.daemon.stop().await?.success() && status.success())
}

fn print(exhibit: &Exhibit) {
    let Exhibit { http, https, admin, .. } = exhibit;
    let pem = exhibit.certificate_path();
    let (pem, secure) = (pem.display(), format!("https://localhost:{}{TITLE_PATH}", https.port()));
    let plain = format!("http://{http}{TITLE_PATH}");
    println!(
        "
A page that plays the title with what the browser has built in:
  {plain}/play.html
  {plain}/play.html?player=dash   (shows each request)

HLS    {plain}/master.m3u8
       {secure}/master.m3u8
DASH   {plain}/manifest.mpd
       {secure}/manifest.mpd

Try:
  curl -i {plain}/master.m3u8
  curl -i -r 0-99 -o /dev/null -D - {plain}/720p/segment-00001.m4s
  curl -i --cacert {pem} {secure}/360p/media.m3u8
  curl http://{admin}/health
  curl http://{admin}/metrics
  curl http://{admin}/inventory
  curl -X POST --unix-socket {socket} http://oca/drain

Everything is in {folder}; Ctrl-C ends the daemon and removes it.",
        socket = exhibit.premises.socket().display(),
        folder = exhibit.premises.folder().display(),
    );
}
