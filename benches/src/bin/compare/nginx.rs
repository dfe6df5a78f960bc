//! nginx, tuned for what it does here, and a look whether it took each setting.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use demo::certificate::CertificateFiles;
use demo::failure::{Failure, Step};

use super::client::Client;
use super::peer::{Peer, free_address};
use super::process_facts::{ProcessFacts, open_files};

/// What nginx reads at once where it does not use sendfile (`output_buffers`).
const OUTPUT_BUFFER_BYTES: u64 = 32 * 1024;

/// How it reads files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The worker itself, by sendfile.
    Sendfile,
    /// Threads beside it, by sendfile (`aio threads`).
    Threads,
}

/// What differs between one nginx and another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// How it reads files.
    pub(crate) reading: Reading,
    /// Connections that a worker has room for.
    pub(crate) connections: u32,
    /// Its workers.
    pub(crate) workers: usize,
}

impl Setup {
    /// One worker, with room for as many connections as most machines allow.
    pub(crate) const fn new(reading: Reading) -> Self {
        Self { reading, connections: DESCRIPTORS - 512, workers: 1 }
    }
}

/// A running nginx.
pub(crate) struct Nginx {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) peer: Peer,
}

/// The settings that make it fast, as they must be in effect.
const SETTINGS: [&str; 13] = [
    "access_log off",
    "aio threads",
    "keepalive_requests 1000000000",
    "keepalive_timeout 1h",
    "multi_accept on",
    "open_file_cache max=100000 inactive=1h",
    "open_file_cache_min_uses 1",
    "open_file_cache_valid 1h",
    "sendfile on",
    "ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384",
    "ssl_protocols TLSv1.3",
    "tcp_nodelay on",
    "tcp_nopush on",
];

impl Nginx {
    /// Starts it over the tree at `root`, with its own things in `folder`.
    pub(crate) fn start(
        folder: &Path,
        root: &Path,
        certificate: &CertificateFiles,
        setup: Setup,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(folder).step("making nginx's folder")?;
        let (http, https) = (free_address()?, free_address()?);
        let text = configuration(folder, root, certificate, setup, [http, https]);
        let file = folder.join("nginx.conf");
        fs::write(&file, text).step("writing nginx's configuration")?;
        is_in_effect(&file, folder, setup, [http, https])?;
        let mut command = command(&file, folder);
        command.stderr(fs::File::create(folder.join("stderr")).step("nginx's folder")?);
        let peer = Peer::start("nginx", command, http)?;
        Ok(Self { http, https, peer })
    }

    /// Looks at what the kernel counts while an object that is in memory is fetched: that sendfile moves it, that the file stays open
    /// afterwards, and that the threads are there. Says what it saw.
    pub(crate) fn look(&self, target: &str, reading: Reading) -> Result<String, Failure> {
        let mut client = Client::connect(self.http)?;
        client.get(target)?;
        let processes = self.peer.processes();
        let before = ProcessFacts::of(&processes)?;
        let body_bytes = client.get(target)?.body.len() as u64;
        let after = ProcessFacts::of(&processes)?;
        let bytes = after.read_bytes - before.read_bytes;
        let per_call = bytes / (after.read_calls - before.read_calls).max(1);
        if bytes < body_bytes || per_call <= OUTPUT_BUFFER_BYTES {
            return Err(Failure::new(format!(
                "nginx does not use sendfile: {bytes} bytes for {body_bytes}, {per_call} at a time"
            )));
        }
        drop(client);
        let is_kept =
            processes.iter().any(|process| open_files(*process).iter().any(|file| file.ends_with(target)));
        if !is_kept {
            return Err(Failure::new("nginx does not keep files open (open_file_cache)"));
        }
        if reading == Reading::Threads && after.threads <= processes.len() as u64 {
            return Err(Failure::new("nginx has no threads for reading (aio threads)"));
        }
        Ok(format!(
            "sendfile moves {per_call} bytes at a time, the file stays open, {} threads in {} processes",
            after.threads,
            processes.len()
        ))
    }
}

fn command(file: &Path, folder: &Path) -> Command {
    // Debian puts it where users without rights do not look.
    let program = if Path::new("/usr/sbin/nginx").is_file() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = Command::new(program);
    command.arg("-c").arg(file).arg("-p").arg(folder).arg("-e").arg(folder.join("error.log"));
    command
}

fn configuration(
    folder: &Path,
    root: &Path,
    certificate: &CertificateFiles,
    Setup { reading, connections, workers }: Setup,
    [http, https]: [SocketAddr; 2],
) -> String {
    let folder = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let aio = if reading == Reading::Threads { "aio threads;" } else { "" };
    format!(
        "daemon off;\n\
         {user}\
         worker_processes {workers};\n\
         worker_rlimit_nofile {descriptors};\n\
         pid {folder}/nginx.pid;\n\
         error_log {folder}/error.log warn;\n\
         events {{ worker_connections {connections}; multi_accept on; }}\n\
         http {{\n\
         access_log off;\n\
         default_type video/iso.segment;\n\
         sendfile on;\n\
         {aio}\n\
         tcp_nopush on;\n\
         tcp_nodelay on;\n\
         open_file_cache max=100000 inactive=1h;\n\
         open_file_cache_valid 1h;\n\
         open_file_cache_min_uses 1;\n\
         keepalive_requests 1000000000;\n\
         keepalive_timeout 1h;\n\
         client_body_temp_path {folder}/body;\n\
         proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n\
         server {{\n\
         listen {http} reuseport backlog=4096;\n\
         listen {https} ssl reuseport backlog=4096;\n\
         ssl_certificate {chain};\n\
         ssl_certificate_key {key};\n\
         ssl_protocols TLSv1.3;\n\
         ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;\n\
         root {root};\n\
         }}\n\
         }}\n",
        descriptors = DESCRIPTORS,
        chain = certificate.chain.display(),
        key = certificate.key.display(),
        root = root.display(),
    )
}

/// Descriptors of a worker: enough for 16,000 connections, and within what most machines allow.
const DESCRIPTORS: u32 = 20_000;

/// What nginx itself says is in effect (`nginx -T`).
fn is_in_effect(
    file: &Path,
    folder: &Path,
    Setup { reading, connections, workers }: Setup,
    [http, https]: [SocketAddr; 2],
) -> Result<(), Failure> {
    let output = command(file, folder).arg("-T").output().step("asking nginx for its configuration")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::new(format!("nginx refuses its configuration: {words}")));
    }
    let directives = directives(&String::from_utf8_lossy(&output.stdout));
    let own = [
        format!("listen {http} reuseport backlog=4096"),
        format!("listen {https} ssl reuseport backlog=4096"),
        format!("worker_connections {connections}"),
        format!("worker_processes {workers}"),
        format!("worker_rlimit_nofile {DESCRIPTORS}"),
    ];
    let wanted = SETTINGS
        .into_iter()
        .filter(|setting| *setting != "aio threads" || reading == Reading::Threads)
        .chain(own.iter().map(String::as_str));
    for setting in wanted {
        if !directives.iter().any(|directive| directive == setting) {
            return Err(Failure::new(format!("nginx does not have {setting:?} in effect")));
        }
    }
    Ok(())
}

/// The directives of a configuration, each with single spaces; comments are left out.
fn directives(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ");
    let directives = text.split([';', '{', '}']);
    let words = directives.map(|directive| directive.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|directive| !directive.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_what_nginx_acts_on() {
        let text = "# sendfile on;\nhttp {\n  sendfile   off; # sendfile on;\n  tcp_nopush\n on;\n}\n";
        assert_eq!(directives(text), ["http", "sendfile off", "tcp_nopush on"]);
    }

    #[test]
    fn every_setting_that_is_looked_for_is_written() {
        let file = || "x.pem".into();
        let certificate = CertificateFiles { chain: file(), key: file(), pem: String::new() };
        let address: SocketAddr = ([127, 0, 0, 1], 80).into();
        let folder = Path::new("/folder");
        let text = configuration(folder, folder, &certificate, Setup::new(Reading::Threads), [address; 2]);
        let written = directives(&text);
        for setting in SETTINGS {
            assert!(written.iter().any(|directive| directive == setting), "{setting}");
        }
        let text = configuration(folder, folder, &certificate, Setup::new(Reading::Sendfile), [address; 2]);
        assert!(!directives(&text).contains(&"aio threads".to_owned()));
    }
}
