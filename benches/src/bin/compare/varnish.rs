//! Varnish, with everything that is served in its memory, and nginx behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use demo::failure::{Failure, Step};

use super::client::Client;
use super::peer::{Peer, free_address};

/// A running Varnish.
pub(crate) struct Varnish {
    pub(crate) http: SocketAddr,
    pub(crate) peer: Peer,
}

/// More than all hot objects together.
const STORAGE: &str = "malloc,1g";

/// Threads: one for each connection that has a request, and these are 64.
const PARAMETERS: [&str; 4] =
    ["thread_pools=1", "thread_pool_min=100", "thread_pool_max=1000", "timeout_idle=3600"];

impl Varnish {
    /// Starts it before `origin`, with its own things in `folder`.
    pub(crate) fn start(folder: &Path, origin: SocketAddr) -> Result<Self, Failure> {
        fs::create_dir_all(folder).step("making Varnish's folder")?;
        let http = free_address()?;
        let program =
            if Path::new("/usr/sbin/varnishd").is_file() { "/usr/sbin/varnishd" } else { "varnishd" };
        let mut command = Command::new(program);
        command
            .args(["-F", "-j", "none", "-t", "86400", "-s", STORAGE])
            .args(["-a", &http.to_string(), "-b", &origin.to_string(), "-n"])
            .arg(folder);
        for parameter in PARAMETERS {
            command.args(["-p", parameter]);
        }
        command.stderr(fs::File::create(folder.join("stderr")).step("Varnish's folder")?);
        let peer = Peer::start("Varnish", command, http)?;
        Ok(Self { http, peer })
    }

    /// Fetches an object twice, and looks whether the second answer is of its memory: then it names two transactions
    /// (`X-Varnish`), its own and that which brought the object.
    pub(crate) fn look(&self, target: &str) -> Result<String, Failure> {
        let mut client = Client::connect(self.http)?;
        client.get(target)?;
        let answer = client.get(target)?;
        let transactions = answer.field("x-varnish").unwrap_or_default();
        if transactions.split_whitespace().count() != 2 {
            return Err(Failure::new(format!(
                "Varnish did not answer from its memory: X-Varnish: {transactions}"
            )));
        }
        Ok(format!("answers from memory ({} processes)", self.peer.processes().len()))
    }
}
