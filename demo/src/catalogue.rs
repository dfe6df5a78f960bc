//! What the origin has: the sample title, and synthetic ones of any number and size, whose every byte follows from a seed.

use std::fs;
use std::path::{Path, PathBuf};

use control_client::units::ByteCount;

use crate::failure::{Failure, Step};
use crate::random::Random;
use crate::title::{self, TITLE_PATH};

/// The sample title's name in the catalogue.
pub const SAMPLE_TITLE: &str = "sample";

/// The usual length of a segment: some seconds of video.
const SEGMENT_BYTES: u64 = ByteCount::kib(512).bytes();

/// The representations of a synthetic title, and their parts of its bytes, in eighths.
const REPRESENTATIONS: [(&str, u64); 2] = [("1080p", 6), ("360p", 2)];

/// What synthetic titles there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueOptions {
    /// How many.
    pub titles: usize,
    /// The bytes of one, on average: they are between a half and one and a half of this.
    pub title_bytes: u64,
    /// What everything follows from.
    pub seed: u64,
}

/// A title, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// Its name in the catalogue.
    pub name: String,
    /// The directory under which it is served.
    pub path: String,
    /// Its bundles, by the name of their directory below the title's; `""` is the title's own directory.
    pub bundles: Vec<TitleBundle>,
}

/// One directory of a title: what is filled, held and retired as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleBundle {
    /// The directory that it serves.
    pub path: String,
    /// Names and lengths of its objects, in the order in which a player asks for them.
    pub objects: Vec<(String, u64)>,
}

impl Title {
    /// The bytes of all its objects.
    pub fn bytes(&self) -> u64 {
        self.bundles.iter().map(TitleBundle::bytes).sum()
    }

    /// Where its files are in the origin's tree.
    pub fn directory(&self, tree: &Path) -> PathBuf {
        tree.join(&self.path[1..])
    }
}

impl TitleBundle {
    /// The bytes of all its objects.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The path of a request for an object.
    pub fn request_path(&self, object: &str) -> String {
        format!("{}/{object}", self.path)
    }
}

/// The `index`th synthetic title; nothing is written.
pub fn synthetic(options: &CatalogueOptions, index: usize) -> Title {
    let name = format!("title-{:04}", index + 1);
    let path = format!("/titles/{name}");
    let factor = 0.5 + Random::of(options.seed, &name).unit();
    let bytes = ((options.title_bytes as f64 * factor) as u64).max(1);
    let bundles = REPRESENTATIONS
        .iter()
        .map(|(representation, eighths)| TitleBundle {
            path: format!("{path}/{representation}"),
            objects: segments((bytes * eighths / 8).max(1)),
        })
        .collect();
    Title { name, path, bundles }
}

/// Segments of nearly the same length.
fn segments(bytes: u64) -> Vec<(String, u64)> {
    let count = bytes.div_ceil(SEGMENT_BYTES);
    (0..count)
        .map(|index| {
            let length = bytes * (index + 1) / count - bytes * index / count;
            (format!("segment-{:05}.m4s", index + 1), length)
        })
        .collect()
}

/// Writes a synthetic title into the origin's tree, or another edition of it: 0 is the first.
pub fn write(options: &CatalogueOptions, title: &Title, edition: u32, tree: &Path) -> Result<(), Failure> {
    for bundle in &title.bundles {
        let directory = tree.join(&bundle.path[1..]);
        fs::create_dir_all(&directory).step("making the origin's tree")?;
        for (name, length) in &bundle.objects {
            let purpose = format!("{} edition {edition}", bundle.request_path(name));
            let bytes = Random::of(options.seed, &purpose).bytes(*length as usize);
            fs::write(directory.join(name), bytes).step("writing the origin's tree")?;
        }
    }
    Ok(())
}

/// Copies the sample title into the origin's tree.
pub fn write_sample(tree: &Path) -> Result<Title, Failure> {
    let mut bundles: Vec<TitleBundle> = Vec::new();
    for file in title::read()? {
        let request_path = file.request_path();
        let target = tree.join(&request_path[1..]);
        let (path, name) = request_path.rsplit_once('/').expect("a request path begins with a slash");
        fs::create_dir_all(tree.join(&path[1..])).step("making the origin's tree")?;
        fs::write(&target, &file.bytes).step("writing the origin's tree")?;
        let object = (name.to_owned(), file.bytes.len() as u64);
        match bundles.iter_mut().find(|bundle| bundle.path == path) {
            Some(bundle) => bundle.objects.push(object),
            None => bundles.push(TitleBundle { path: path.to_owned(), objects: vec![object] }),
        }
    }
    Ok(Title { name: SAMPLE_TITLE.to_owned(), path: TITLE_PATH.to_owned(), bundles })
}

/// Copies a directory of files, and of directories of files, into the origin's tree as a title.
pub fn write_tree(name: &str, directory: &Path, tree: &Path) -> Result<Title, Failure> {
    let path = format!("/titles/{name}");
    let mut title = Title { name: name.to_owned(), path: path.clone(), bundles: Vec::new() };
    let mut waiting = vec![(directory.to_owned(), path)];
    while let Some((from, path)) = waiting.pop() {
        let to = tree.join(&path[1..]);
        fs::create_dir_all(&to).step("making the origin's tree")?;
        let mut objects = Vec::new();
        for entry in fs::read_dir(&from).step(&from.display().to_string())? {
            let entry = entry.step("reading a title's directory")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                waiting.push((entry.path(), format!("{path}/{name}")));
            } else {
                let bytes = fs::copy(entry.path(), to.join(&name)).step("writing the origin's tree")?;
                objects.push((name, bytes));
            }
        }
        if !objects.is_empty() {
            objects.sort();
            title.bundles.push(TitleBundle { path, objects });
        }
    }
    Ok(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: CatalogueOptions = CatalogueOptions { titles: 3, title_bytes: 3_000_000, seed: 7 };

    #[test]
    fn a_synthetic_title_is_what_it_says_and_the_same_for_the_same_seed() {
        let title = synthetic(&OPTIONS, 2);
        assert_eq!(title, synthetic(&OPTIONS, 2));
        assert!((1_500_000..=4_500_000).contains(&title.bytes()), "{}", title.bytes());
        let trees = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for tree in &trees {
            write(&OPTIONS, &title, 0, tree.path()).unwrap();
        }
        for bundle in &title.bundles {
            for (name, length) in &bundle.objects {
                let [first, second] = trees
                    .each_ref()
                    .map(|tree| fs::read(tree.path().join(&bundle.request_path(name)[1..])).unwrap());
                assert_eq!(first.len() as u64, *length);
                assert!(first == second, "{name}");
            }
        }
    }

    #[test]
    fn the_sample_title_has_a_bundle_for_each_of_its_directories() {
        let tree = tempfile::tempdir().unwrap();
        let title = write_sample(tree.path()).unwrap();
        let mut paths: Vec<&str> = title.bundles.iter().map(|bundle| bundle.path.as_str()).collect();
        paths.sort_unstable();
        let expected = ["", "/180p", "/360p", "/720p", "/audio", "/subtitles"];
        assert_eq!(paths, expected.map(|name| format!("/titles/sample{name}")));
    }

    #[test]
    fn a_tree_becomes_a_title_with_a_bundle_for_each_directory_that_has_files() {
        let (from, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("empty/low")).unwrap();
        fs::write(from.path().join("master.m3u8"), "#EXTM3U").unwrap();
        fs::write(from.path().join("empty/low/1.m4s"), "one").unwrap();
        let title = write_tree("film", from.path(), tree.path()).unwrap();
        let mut objects: Vec<_> =
            title.bundles.iter().map(|bundle| bundle.request_path(&bundle.objects[0].0)).collect();
        objects.sort();
        assert_eq!(objects, ["/titles/film/empty/low/1.m4s", "/titles/film/master.m3u8"]);
        assert_eq!(fs::read(tree.path().join("titles/film/empty/low/1.m4s")).unwrap(), b"one");
    }
}
