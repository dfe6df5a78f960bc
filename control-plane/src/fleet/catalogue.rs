//! Which bundles there are, by path, and which lie below a directory: asked at every steering decision,
//! changed at every publication. Divided, so that a change copies a small part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use control_client::content::{BundleKey, BundlePath};

use crate::limits::{BUNDLE_NUMBERS_MAX, BUNDLES_BELOW_MAX};
use crate::rendezvous;
use crate::steering::{Edition, Wanted};

/// Parts. With a million bundles a change copies 4,000 entries.
const PARTS: usize = 256;

#[derive(Clone, Default)]
struct Part {
    bundles: HashMap<BundlePath, Arc<Wanted>>,
    below: HashMap<BundlePath, Below>,
}

/// The bundles below a directory, without its own.
#[derive(Clone)]
enum Below {
    Some(Vec<BundlePath>),
    /// More than [`BUNDLES_BELOW_MAX`]: it is no title's.
    TooMany,
}

pub(super) struct Catalogue {
    parts: Box<[ArcSwap<Part>]>,
    /// Held by whoever changes a part.
    writing: Mutex<()>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| ArcSwap::default()).collect(), writing: Mutex::default() }
    }
}

impl Catalogue {
    /// The bundle of a path.
    pub(super) fn bundle(&self, path: &BundlePath) -> Option<Arc<Wanted>> {
        self.part(path).load().bundles.get(path).map(Arc::clone)
    }

    /// The bundle of a path, and all that lie below it; of a directory with more than [`BUNDLES_BELOW_MAX`]
    /// only its own.
    pub(super) fn bundles_below(&self, path: &BundlePath) -> Vec<Arc<Wanted>> {
        let part = self.part(path).load();
        let below: &[BundlePath] = match part.below.get(path) {
            Some(Below::Some(paths)) => paths,
            Some(Below::TooMany) | None => &[],
        };
        self.bundle(path).into_iter().chain(below.iter().filter_map(|path| self.bundle(path))).collect()
    }

    pub(super) fn number_of(&self, bundle: &BundleKey) -> Option<u32> {
        let part = self.part(&bundle.path).load();
        let wanted = part.bundles.get(&bundle.path)?;
        wanted
            .editions
            .iter()
            .find(|edition| edition.generation == bundle.generation)
            .map(|edition| edition.number)
    }

    pub(super) fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.load().bundles.values().map(|wanted| wanted.editions.len()).sum::<usize>())
            .sum()
    }

    /// How many were left out because their number is too high.
    pub(super) fn add(&self, bundles: impl IntoIterator<Item = (BundleKey, u32)>) -> usize {
        let mut by_part: HashMap<usize, Vec<(BundleKey, u32)>> = HashMap::new();
        let mut left_out = 0;
        for (bundle, number) in bundles {
            if number < BUNDLE_NUMBERS_MAX {
                by_part.entry(part_of(&bundle.path)).or_default().push((bundle, number));
            } else {
                left_out += 1;
            }
        }
        let _writing = self.lock();
        let mut new_paths = Vec::new();
        for (part, bundles) in by_part {
            let mut next = Part::clone(&self.parts[part].load());
            for (bundle, number) in bundles {
                let before = next.bundles.get(&bundle.path);
                let mut editions = before.map(|wanted| wanted.editions.clone()).unwrap_or_default();
                if editions.iter().any(|edition| edition.generation == bundle.generation) {
                    continue;
                }
                if before.is_none() {
                    new_paths.push(bundle.path.clone());
                }
                editions.push(Edition { generation: bundle.generation, number });
                editions.sort_unstable_by_key(|edition| std::cmp::Reverse(edition.generation));
                next.bundles.insert(bundle.path.clone(), Arc::new(Wanted { path: bundle.path, editions }));
            }
            self.parts[part].store(next.into());
        }
        self.note_below(new_paths);
        left_out
    }

    pub(super) fn remove(&self, bundle: &BundleKey) {
        let _writing = self.lock();
        let part = self.part(&bundle.path);
        let mut next = Part::clone(&part.load());
        let mut is_last = false;
        if let Some(wanted) = next.bundles.remove(&bundle.path) {
            let editions = wanted.editions.iter().filter(|edition| edition.generation != bundle.generation);
            let editions: Vec<Edition> = editions.copied().collect();
            is_last = editions.is_empty();
            if !is_last {
                next.bundles
                    .insert(bundle.path.clone(), Arc::new(Wanted { path: bundle.path.clone(), editions }));
            }
            part.store(next.into());
        }
        if is_last {
            self.forget_below(&bundle.path);
        }
    }

    /// Takes a path out of the lists of all directories above it.
    fn forget_below(&self, path: &BundlePath) {
        for directory in above(path) {
            let part = self.part(&directory);
            let mut next = Part::clone(&part.load());
            if let Some(Below::Some(paths)) = next.below.get_mut(&directory) {
                paths.retain(|other| other != path);
                if paths.is_empty() {
                    next.below.remove(&directory);
                }
                part.store(next.into());
            }
        }
    }

    /// Notes new paths in the lists of all directories above them.
    fn note_below(&self, paths: Vec<BundlePath>) {
        let mut by_part: HashMap<usize, Vec<(BundlePath, BundlePath)>> = HashMap::new();
        for path in paths {
            for directory in above(&path) {
                by_part.entry(part_of(&directory)).or_default().push((directory, path.clone()));
            }
        }
        for (part, noted) in by_part {
            let mut next = Part::clone(&self.parts[part].load());
            for (directory, path) in noted {
                let below = next.below.entry(directory).or_insert_with(|| Below::Some(Vec::new()));
                if let Below::Some(paths) = below
                    && !paths.contains(&path)
                {
                    if paths.len() < BUNDLES_BELOW_MAX {
                        paths.push(path);
                    } else {
                        *below = Below::TooMany;
                    }
                }
            }
            self.parts[part].store(next.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, path: &BundlePath) -> &ArcSwap<Part> {
        &self.parts[part_of(path)]
    }
}

/// The directories above a path.
fn above(path: &BundlePath) -> impl Iterator<Item = BundlePath> {
    let text = path.as_str();
    let slashes = text.match_indices('/').map(|(place, _)| place);
    let is_root = text == "/";
    slashes
        .filter(move |_| !is_root)
        .filter_map(move |place| BundlePath::parse(if place == 0 { "/" } else { &text[..place] }).ok())
}

fn part_of(path: &BundlePath) -> usize {
    (rendezvous::identity(path.as_str()) % PARTS as u64) as usize
}
