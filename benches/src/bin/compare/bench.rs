//! What all scenarios share: the folder with everything in it, what is served, who can be compared with, and how much is measured.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use benches::rounds::Rounds;
use demo::certificate::{self, CertificateFiles};
use demo::failure::{Failure, Step};
use demo::random::Random;
use rustls::ClientConfig;
use tokio::runtime::Runtime;

use super::bare::{Bare, BareKind};
use super::client::{Client, tls_settings};
use super::corpus::{Corpus, ObjectSet};
use super::nginx::{Nginx, Reading, Setup};
use super::ours::{Ours, Setting};
use super::peer::is_installed;
use super::placement::{Side, standing};
use super::read_ahead::ReadAhead;
use super::scale::Scale;
use super::varnish::Varnish;

/// Objects whose bytes are compared, of each contestant, before and after it is measured.
const SAMPLES: usize = 4;

/// Everything that scenarios share.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) corpus: Corpus,
    pub(crate) certificate: CertificateFiles,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) scale: Scale,
    pub(crate) rounds: Rounds,
    read_ahead: Option<ReadAhead>,
    sets: RefCell<BTreeMap<String, ObjectSet>>,
}

/// Who serves, where, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) is_tls: bool,
}

impl Bench {
    /// Everything in an existing folder.
    pub(crate) fn new(
        folder: PathBuf,
        read_ahead: Option<ReadAhead>,
        scale: Scale,
        rounds: Rounds,
    ) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().step("the runtime")?;
        let certificate = certificate::make(&folder, "certificate", &["127.0.0.1", "localhost"])?;
        Ok(Self {
            runtime,
            program: std::env::current_exe().step("finding this program")?,
            corpus: Corpus::new(folder.join("root"), &folder.join("ours/volume0"))?,
            tls: tls_settings(&certificate.pem)?,
            folder,
            certificate,
            scale,
            rounds,
            read_ahead,
            sets: RefCell::new(BTreeMap::new()),
        })
    }

    /// A set of objects, made when it is first asked for. Our daemon must not run then.
    pub(crate) fn set(&self, name: &str, objects: usize, object_bytes: u64) -> Result<ObjectSet, Failure> {
        if let Some(set) = self.sets.borrow().get(name) {
            return Ok(set.clone());
        }
        let set = self.corpus.add(name, objects, object_bytes)?;
        println!("  {name}: {}", set.described());
        self.sets.borrow_mut().insert(name.to_owned(), set.clone());
        Ok(set)
    }

    /// An object that is looked at, made before anybody serves: large enough for several reads, where one could do without sendfile.
    pub(crate) fn looked_at(&self) -> Result<String, Failure> {
        Ok(self.set("look", 1, 2 << 20)?.targets.remove(0))
    }

    /// Our daemon on its side.
    pub(crate) fn ours(&self, settings: &[Setting]) -> Result<Ours, Failure> {
        self.ours_on(settings, Side::Server)
    }

    /// Our daemon.
    pub(crate) fn ours_on(&self, settings: &[Setting], side: Side) -> Result<Ours, Failure> {
        self.ours_over(&self.folder.join("ours"), settings, side)
    }

    /// Our daemon over what is in another folder.
    pub(crate) fn ours_over(&self, folder: &Path, settings: &[Setting], side: Side) -> Result<Ours, Failure> {
        let read_ahead = self.read_ahead.as_ref().and_then(ReadAhead::at_default);
        Ours::start(&self.runtime, &self.program, folder, &self.certificate, settings, side, read_ahead)
    }

    /// nginx, where it is installed.
    pub(crate) fn nginx(&self, reading: Reading) -> Result<Option<Nginx>, Failure> {
        self.nginx_with(Setup::new(reading), Side::Server)
    }

    /// nginx as it is told to be, where it is installed, and looked at: it serves so.
    pub(crate) fn nginx_with(&self, setup: Setup, side: Side) -> Result<Option<Nginx>, Failure> {
        if !is_installed("nginx") {
            return Ok(None);
        }
        let folder = match setup.reading {
            Reading::Sendfile => "nginx",
            Reading::Threads => "nginx-aio",
        };
        let folder = self.folder.join(format!("{folder}-{}", setup.workers));
        let start = || Nginx::start(&folder, &self.corpus.root, &self.certificate, setup);
        let nginx = standing(side, start)?;
        nginx.look(&self.looked_at()?, setup.reading)?;
        Ok(Some(nginx))
    }

    /// Varnish, where it is installed.
    pub(crate) fn varnish(&self, origin: SocketAddr) -> Result<Option<Varnish>, Failure> {
        if !is_installed("varnishd") {
            return Ok(None);
        }
        standing(Side::Server, || Varnish::start(&self.folder.join("varnish"), origin)).map(Some)
    }

    /// A bare loop over a set.
    pub(crate) fn bare(&self, kind: BareKind, set: &str) -> Result<Bare, Failure> {
        let start = || Bare::start(kind, &self.program, &self.corpus.root, set, &self.certificate);
        standing(Side::Server, start)
    }

    /// Compares the bytes of some objects with what was written.
    pub(crate) fn sample(
        &self,
        contestant: &Contestant,
        objects: &ObjectSet,
        seed: u64,
    ) -> Result<(), Failure> {
        let mut client = self.client(contestant)?;
        let mut random = Random::of(seed, contestant.name);
        for _ in 0..SAMPLES {
            let target = &objects.targets[(random.next() % objects.targets.len() as u64) as usize];
            let answer = client.get(target)?;
            if answer.status != 200 || answer.body != self.corpus.read(target)? {
                return Err(Failure::new(format!(
                    "{} does not serve {target} as it was written",
                    contestant.name
                )));
            }
        }
        Ok(())
    }

    /// A client of a contestant.
    pub(crate) fn client(&self, contestant: &Contestant) -> Result<Client, Failure> {
        if contestant.is_tls {
            Client::connect_tls(contestant.address, &self.tls)
        } else {
            Client::connect(contestant.address)
        }
    }
}
