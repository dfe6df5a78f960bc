//! The limits: bare loops over io_uring that do what serving cannot do without, and nothing else. No request is parsed but for its target, no
//! condition or range is looked at, nothing is counted or logged, nobody is ever told to wait or to go.
//!
//! | loop | what it does for each request |
//! |---|---|
//! | [`sendfile`] | a head, and sendfile from the page cache |
//! | [`seal`] | a head, and TLS 1.3 records (AES-256-GCM) sealed from a mapping into a buffer that is then sent; keys from a handshake of rustls |
//! | [`direct`] | direct reads of 512 KiB, two under way, CRC32C of all of it, and a head and sends from where it was read |

mod direct;
mod objects;
mod ring;
mod seal;
mod sendfile;
mod serving;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use demo::certificate::CertificateFiles;
use demo::failure::{Failure, Step};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::peer::{Peer, free_address};

/// What this program is told when it is to be a bare loop.
#[derive(Args)]
pub(crate) struct BareArguments {
    /// What it does
    kind: BareKind,
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// The tree that it serves
    #[arg(long)]
    root: PathBuf,
    /// The directory of the tree with the objects
    #[arg(long)]
    set: String,
    /// The certificate's chain
    #[arg(long)]
    chain: PathBuf,
    /// The certificate's key
    #[arg(long)]
    key: PathBuf,
}

/// A bare loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BareKind {
    /// From the page cache.
    Sendfile,
    /// From a mapping, in TLS.
    Seal,
    /// From the disk.
    Direct,
}

/// A bare loop that runs as a process of its own.
pub(crate) struct Bare {
    pub(crate) address: SocketAddr,
    pub(crate) peer: Peer,
}

impl Bare {
    /// Starts `program` as a bare loop.
    pub(crate) fn start(
        kind: BareKind,
        program: &Path,
        root: &Path,
        set: &str,
        certificate: &CertificateFiles,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let kind = kind.to_possible_value().map_or_else(String::new, |kind| kind.get_name().to_owned());
        let mut command = Command::new(program);
        command.args(["bare", &kind, "--listen", &address.to_string(), "--set", set, "--root"]).arg(root);
        command.arg("--chain").arg(&certificate.chain).arg("--key").arg(&certificate.key);
        let peer = Peer::start("a bare loop", command, address)?;
        Ok(Self { address, peer })
    }
}

/// The life of a bare loop.
pub(crate) fn run(arguments: &BareArguments) -> ExitCode {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("{error}");
    }
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare bare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &BareArguments) -> Result<(), Failure> {
    let listener = TcpListener::bind(arguments.listen).step("listening")?;
    let objects = objects::Objects::open(&arguments.root, &arguments.set, arguments.kind == BareKind::Direct)
        .step("opening the objects")?;
    let served = match arguments.kind {
        BareKind::Sendfile => serving::serve(&listener, &objects, sendfile::Sending),
        BareKind::Direct => serving::serve(&listener, &objects, direct::Reading::default()),
        BareKind::Seal => {
            let sealing = seal::Sealing::new(&objects, &arguments.chain, &arguments.key)?;
            serving::serve(&listener, &objects, sealing)
        }
    };
    served.step("serving")
}
