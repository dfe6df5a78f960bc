//! The origin: everything that can be filled, as a directory tree over HTTP. Its switches make it slow, silent or wrong on
//! command, and it counts what it sent, so that tests can compare.
//!
//! `range` decides what a request gets, and is pure; `service` is the role itself.

mod range;
mod service;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use reqwest::Client;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Step};
use crate::process::RoleProcess;

pub(crate) use service::publish_address;
pub use service::run;

/// Where the switches are: `GET` and `PUT` of a list of [`OriginFault`].
pub const FAULTS_PATH: &str = "/.control/faults";

/// Where the counters are: `GET` of [`OriginCounters`].
pub const COUNTERS_PATH: &str = "/.control/counters";

/// Something that goes wrong with requests whose paths begin so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginFault {
    /// The beginning of the paths that it is about.
    pub paths: String,
    /// What goes wrong.
    pub wrong: Wrong,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wrong {
    /// Bodies come so slowly, each for itself.
    Slow {
        /// Bytes of each response per second.
        bytes_per_second: u64,
    },
    /// After so many bytes of a body nothing comes any more, and the connection stays.
    Stalled {
        /// Bytes that come.
        after_bytes: u64,
    },
    /// After so many bytes of a body the connection ends.
    Cut {
        /// Bytes that come.
        after_bytes: u64,
    },
    /// Each request is answered so.
    Status {
        /// The status.
        status: u16,
    },
    /// One bit in the middle of each body is wrong.
    WrongBytes,
}

/// What the origin has sent since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginCounters {
    /// Requests for objects that are there.
    pub requests: u64,
    /// Bytes of bodies that were handed to connections.
    pub body_bytes: u64,
    /// Bytes of these in responses whose connection ended first.
    pub cut_bytes: u64,
    /// Responses that are being sent.
    pub open_responses: u64,
    /// By path of the object, in the order of the paths.
    pub objects: BTreeMap<String, ObjectCounters>,
}

/// What was sent of one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounters {
    /// Requests.
    pub requests: u64,
    /// Bytes of bodies.
    pub body_bytes: u64,
}

/// A running origin.
pub struct OriginProcess {
    process: RoleProcess,
    address: SocketAddr,
    client: Client,
}

impl OriginProcess {
    /// Starts `program` as the origin of `directory`, on a port that the kernel chooses.
    pub async fn start(program: &Path, directory: &Path) -> Result<Self, Failure> {
        Self::start_at(program, directory, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same on a given port: an origin that comes back.
    pub async fn start_at(program: &Path, directory: &Path, listen: SocketAddr) -> Result<Self, Failure> {
        let address_file = directory.with_extension("address");
        remove_if_there(&address_file)?;
        let mut command = Command::new(program);
        command.args(["role", "origin", "--listen", &listen.to_string(), "--directory"]).arg(directory);
        command.arg("--address-file").arg(&address_file).stdin(Stdio::null());
        let mut process = RoleProcess::start("the origin", command)?;
        let address = process
            .wait_until_ready(async || fs::read_to_string(&address_file).ok()?.trim().parse().ok())
            .await?;
        let client = Client::builder().no_proxy().build().step("making a client of the origin")?;
        Ok(Self { process, address, client })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// From now on exactly this goes wrong.
    pub async fn set_faults(&self, faults: &[OriginFault]) -> Result<(), Failure> {
        let body = serde_json::to_vec(faults).step("the faults")?;
        let request = self.client.put(format!("{}{FAULTS_PATH}", self.url())).body(body);
        request
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .step("switching the origin's faults")?;
        Ok(())
    }

    /// What it has sent.
    pub async fn counters(&self) -> Result<OriginCounters, Failure> {
        let response =
            self.client.get(format!("{}{COUNTERS_PATH}", self.url())).send().await.step("the counters")?;
        let text = response.text().await.step("the counters")?;
        serde_json::from_str(&text).step("the counters")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.ended()
    }

    /// Tells it to stop, and waits for it.
    pub async fn stop(self) -> Result<ExitStatus, Failure> {
        self.process.stop().await
    }

    /// Ends it at once.
    pub fn kill(self) -> Result<ExitStatus, Failure> {
        self.process.kill()
    }
}

/// What the role is told on its command line.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// Where to listen; port 0 has the kernel choose.
    pub listen: SocketAddr,
    /// The tree to serve.
    pub directory: PathBuf,
    /// Where to write the address that it listens on, once it does.
    pub address_file: PathBuf,
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("removing {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}
