//! Films at an origin, and what may be served of them after a purge.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use control_client::admin::Purge;
use control_client::admin_client::AdminError;
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;
use demo::origin::OriginProcess;

use super::http::{Answer, Connection};
use super::site::{PROGRAM, Sample, Site, eventually};

/// Bytes of each film. The first has two blocks, so that it can be written in part, and is in no memory, so that it is found only once
/// the log is open; of the third there is a copy in memory.
const FILM_BYTES: [usize; 4] = [1_100_000, 200_000, 3_000, 200_000];

/// The name under which a film lies in its directory: that of a segment, which is fresh for long where upstream does not say.
const NAME: &str = "whole.m4s";

/// What upstream has, of which there are editions.
pub(crate) struct Film {
    /// The edition that upstream has now is its generation.
    sample: Sample,
    /// The oldest edition that may be served: all before it were acknowledged as purged.
    oldest: u64,
}

/// Films at an origin.
pub(crate) struct Library {
    tree: PathBuf,
    pub(crate) films: Vec<Film>,
    /// What is being done, for whoever reads why the test failed.
    pub(crate) context: String,
    pub(crate) origin: OriginProcess,
}

impl Film {
    fn new(number: usize, bytes: usize) -> Self {
        let objects = vec![(NAME.to_owned(), bytes)];
        Self { sample: Sample { path: format!("/films/{number}"), generation: 1, objects }, oldest: 1 }
    }

    fn path(&self) -> String {
        self.sample.request_path(NAME)
    }

    fn write(&self, tree: &Path) {
        self.sample.write_files(&tree.join(&self.sample.path[1..]));
    }

    /// Which edition these bytes are, all of them.
    fn edition_of(&self, body: &[u8]) -> Option<u64> {
        let bytes_of = |generation| Sample { generation, ..self.sample.clone() }.bytes(NAME);
        (1..=self.sample.generation).rev().find(|edition| bytes_of(*edition) == body)
    }
}

impl Library {
    /// With the first edition of each film.
    pub(crate) fn open(site: &Site) -> Self {
        let tree = site.folder.path().join("origin");
        let films: Vec<Film> =
            FILM_BYTES.iter().enumerate().map(|(number, bytes)| Film::new(number, *bytes)).collect();
        for film in &films {
            film.write(&tree);
        }
        let origin = site.wait_for(OriginProcess::start(Path::new(PROGRAM), &tree)).unwrap();
        Self { tree, films, context: "the first time".to_owned(), origin }
    }

    /// Asks for a film; an answer is right, and an error means that the daemon is gone.
    pub(crate) fn ask(&self, film: usize, http: SocketAddr) -> io::Result<Answer> {
        let film = &self.films[film];
        let answer = Connection::open(http)?.get(&film.path())?;
        let context = format!("{}: {}: {:?}", self.context, film.path(), answer.head);
        assert_eq!(answer.head.status, 200, "{context}");
        let edition = film.edition_of(&answer.body);
        let oldest = film.oldest;
        assert!(
            edition.is_some_and(|edition| edition >= oldest),
            "{context}: edition {edition:?}, and all before {oldest} were purged"
        );
        Ok(answer)
    }

    /// Asks for a film until all of it is held; `None` once the daemon is gone.
    pub(crate) fn wait_until_held(&self, film: usize, http: SocketAddr) -> Option<()> {
        let mut is_there = true;
        eventually(&format!("{}: it holds film {film}", self.context), || {
            let answer = self.ask(film, http);
            is_there = answer.is_ok();
            answer.map_or(true, |answer| is_hit(&answer))
        });
        is_there.then_some(())
    }

    /// Upstream gets another edition of a film, and the daemon is told to purge it; `None` once that is gone.
    pub(crate) fn purge(&mut self, film: usize, site: &Site, http: SocketAddr) -> Option<()> {
        // Of what is held in part, upstream would not have the rest any more.
        self.wait_until_held(film, http)?;
        let film = &mut self.films[film];
        film.sample.generation += 1;
        film.write(&self.tree);
        purge(site, &film.path())?;
        film.oldest = film.sample.generation;
        Some(())
    }
}

/// Whether all of an answer came from what is held.
pub(crate) fn is_hit(answer: &Answer) -> bool {
    answer.head.field("cache-status").is_some_and(|status| status.contains(";hit"))
}

/// `None` where the daemon was killed before it answered; what it refuses is a failure of the test.
pub(crate) fn purge(site: &Site, path: &str) -> Option<()> {
    let path = BundlePath::parse(path).expect("a good path");
    let purge = Purge { version: DocumentVersion, path, prefix: false };
    match site.wait_for(site.admin().purge(purge)) {
        Err(refused @ AdminError::Refused { .. }) => panic!("{refused}"),
        other => other.ok().map(drop),
    }
}
