//! What the origin has: titles of one bundle each, and a small one that is watched meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use demo::catalogue::{Title, TitleBundle};
use demo::failure::{Failure, Step};
use demo::origin::OriginProcess;
use demo::random::Random;

/// Bytes of an object that is watched while a fill goes on.
pub(crate) const HOT_OBJECT_BYTES: u64 = 64 * 1024;

/// Objects that are.
const HOT_OBJECTS: u64 = 64;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogueSize {
    /// Titles, without the one that is watched.
    pub(crate) titles: usize,
    /// Segments of each.
    pub(crate) segments: u64,
    /// Bytes of each segment.
    pub(crate) segment_bytes: u64,
}

/// The titles, and who serves them.
pub(crate) struct Catalogue {
    /// Its size.
    pub(crate) size: CatalogueSize,
    /// What is filled.
    pub(crate) titles: Vec<Title>,
    /// What is watched.
    pub(crate) hot: Title,
    /// The tree on the disk.
    pub(crate) tree: PathBuf,
    /// The process that serves it.
    pub(crate) origin: OriginProcess,
}

impl Catalogue {
    /// Writes it below `folder`, and starts an origin of it.
    pub(crate) async fn start(program: &Path, folder: &Path, size: CatalogueSize) -> Result<Self, Failure> {
        let tree = folder.join("origin");
        let titles: Vec<Title> = (1..=size.titles)
            .map(|number| title(&format!("title-{number:02}"), size.segments, size.segment_bytes))
            .collect();
        let hot = title("hot", HOT_OBJECTS, HOT_OBJECT_BYTES);
        titles.iter().chain([&hot]).try_for_each(|title| write(title, &tree))?;
        // Nothing of it is on its way to the disk any more when that is measured.
        rustix::fs::sync();
        let origin = OriginProcess::start(program, &tree).await?;
        Ok(Self { size, titles, hot, tree, origin })
    }

    /// The bytes of what is filled.
    pub(crate) fn bytes(&self) -> u64 {
        self.titles.iter().map(Title::bytes).sum()
    }

    /// The requests for everything that is filled.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.titles.iter().flat_map(targets_of).collect()
    }
}

/// The requests for a title.
pub(crate) fn targets_of(title: &Title) -> Vec<String> {
    let bundles = title.bundles.iter();
    bundles.flat_map(|bundle| bundle.objects.iter().map(|(name, _)| bundle.request_path(name))).collect()
}

fn title(name: &str, segments: u64, segment_bytes: u64) -> Title {
    let path = format!("/titles/{name}");
    let objects = (1..=segments).map(|number| (format!("segment-{number:05}.m4s"), segment_bytes)).collect();
    let bundles = vec![TitleBundle { path: format!("{path}/1080p"), objects }];
    Title { name: name.to_owned(), path, bundles }
}

fn write(title: &Title, tree: &Path) -> Result<(), Failure> {
    for bundle in &title.bundles {
        let directory = tree.join(&bundle.path[1..]);
        fs::create_dir_all(&directory).step("making the origin's tree")?;
        for (name, length) in &bundle.objects {
            let bytes = Random::of(1, &bundle.request_path(name)).bytes(*length as usize);
            fs::write(directory.join(name), bytes).step("writing the origin's tree")?;
        }
    }
    Ok(())
}
