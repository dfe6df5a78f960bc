//! What there is to watch: titles of the same ladder and of different lengths, watched after Zipf.

use std::fs;
use std::path::Path;

use demo::catalogue::{Title, TitleBundle};
use demo::failure::{Failure, Step};
use demo::popularity::Popularity;
use demo::random::Random;
use demo::system::mebibytes;

use super::ladder::LADDER;

/// How large a catalogue is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogueSize {
    /// How many titles.
    pub(crate) titles: usize,
    /// The fewest segments of a title.
    pub(crate) segments_min: usize,
    /// The most.
    pub(crate) segments_max: usize,
    /// The title at rank `r` is watched in proportion to `r` to the power of minus this.
    pub(crate) zipf: f64,
    /// What everything follows from.
    pub(crate) seed: u64,
}

/// A bundle: one representation of one title, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Bundle {
    pub(crate) title: usize,
    pub(crate) representation: usize,
}

/// The titles, and how much each is watched.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    /// Their bundles are in the order of the ladder.
    titles: Vec<Title>,
    popularity: Popularity,
    /// By title: the part of all sessions that are of it.
    shares: Vec<f64>,
    seed: u64,
}

impl Catalogue {
    /// The catalogue of that size; nothing is written.
    pub(crate) fn new(size: &CatalogueSize) -> Self {
        let titles = (0..size.titles).map(|number| title(size, number)).collect();
        let popularity = Popularity::new(size.titles, size.zipf, size.seed, 0);
        let weight = |rank: usize| (rank as f64 + 1.0).powf(-size.zipf);
        let sum: f64 = (0..size.titles).map(weight).sum();
        let mut shares = vec![0.0; size.titles];
        for (rank, title) in popularity.order().iter().enumerate() {
            shares[*title] = weight(rank) / sum;
        }
        Self { titles, popularity, shares, seed: size.seed }
    }

    /// The titles, by place.
    pub(crate) fn titles(&self) -> &[Title] {
        &self.titles
    }

    /// The part of all sessions that are of a title.
    pub(crate) fn share(&self, title: usize) -> f64 {
        self.shares[title]
    }

    /// A title's name.
    pub(crate) fn name_of(&self, title: usize) -> &str {
        &self.titles[title].name
    }

    /// The title of the next session.
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        self.popularity.draw(random)
    }

    /// How many segments a title has.
    pub(crate) fn segments(&self, title: usize) -> usize {
        self.titles[title].bundles[0].objects.len()
    }

    /// All bundles.
    pub(crate) fn bundles(&self) -> impl Iterator<Item = Bundle> {
        let representations =
            |title| (0..LADDER.len()).map(move |representation| Bundle { title, representation });
        (0..self.titles.len()).flat_map(representations)
    }

    /// The bytes of a bundle.
    pub(crate) fn bytes_of(&self, bundle: Bundle) -> u64 {
        self.parts(bundle).bytes()
    }

    /// The bytes of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.titles.iter().map(Title::bytes).sum()
    }

    /// The directory of a bundle.
    pub(crate) fn path_of(&self, bundle: Bundle) -> &str {
        &self.parts(bundle).path
    }

    /// The request for a segment of a bundle.
    pub(crate) fn target(&self, bundle: Bundle, segment: usize) -> String {
        let parts = self.parts(bundle);
        parts.request_path(&parts.objects[segment].0)
    }

    /// The name of the segment that comes after one in its bundle; none after the last.
    pub(crate) fn next_name(&self, bundle: Bundle, segment: usize) -> Option<&str> {
        self.parts(bundle).objects.get(segment + 1).map(|(name, _)| name.as_str())
    }

    /// What a request must be answered with.
    pub(crate) fn body(&self, bundle: Bundle, segment: usize) -> Vec<u8> {
        let bytes = LADDER[bundle.representation].segment_bytes();
        Random::of(self.seed, &self.target(bundle, segment)).bytes(bytes as usize)
    }

    /// Writes all of it into the origin's tree.
    pub(crate) fn write(&self, tree: &Path) -> Result<(), Failure> {
        for bundle in self.bundles() {
            let parts = self.parts(bundle);
            let directory = tree.join(&parts.path[1..]);
            fs::create_dir_all(&directory).step("making the origin's tree")?;
            for (segment, (name, _)) in parts.objects.iter().enumerate() {
                fs::write(directory.join(name), self.body(bundle, segment))
                    .step("writing the origin's tree")?;
            }
        }
        Ok(())
    }

    /// For people.
    pub(crate) fn description(&self) -> String {
        let (titles, bundles) = (self.titles.len(), self.titles.len() * LADDER.len());
        format!("{titles} titles in {bundles} bundles, {}", mebibytes(self.bytes()))
    }

    fn parts(&self, bundle: Bundle) -> &TitleBundle {
        &self.titles[bundle.title].bundles[bundle.representation]
    }
}

fn title(size: &CatalogueSize, number: usize) -> Title {
    let name = format!("title-{:04}", number + 1);
    let path = format!("/titles/{name}");
    let lengths = size.segments_max - size.segments_min + 1;
    let segments = size.segments_min + Random::of(size.seed, &name).below(lengths);
    let bundles = LADDER
        .iter()
        .map(|one| TitleBundle {
            path: format!("{path}/{}", one.name),
            objects: (1..=segments)
                .map(|segment| (format!("segment-{segment:05}.m4s"), one.segment_bytes()))
                .collect(),
        })
        .collect();
    Title { name, path, bundles }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: CatalogueSize =
        CatalogueSize { titles: 20, segments_min: 2, segments_max: 4, zipf: 1.0, seed: 7 };

    #[test]
    fn lengths_are_within_their_bounds_and_the_same_for_the_same_seed() {
        let (catalogue, again) = (Catalogue::new(&SIZE), Catalogue::new(&SIZE));
        let lengths = |catalogue: &Catalogue| -> Vec<usize> {
            (0..SIZE.titles).map(|title| catalogue.segments(title)).collect()
        };
        assert_eq!(lengths(&catalogue), lengths(&again));
        assert!([2, 3, 4].iter().all(|length| lengths(&catalogue).contains(length)));
        assert!(lengths(&catalogue).iter().all(|length| (2..=4).contains(length)));
    }

    #[test]
    fn titles_are_drawn_as_often_as_their_shares_say() {
        let catalogue = Catalogue::new(&SIZE);
        let sum: f64 = (0..SIZE.titles).map(|title| catalogue.share(title)).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        let mut random = Random::new(3);
        let mut counts = [0_u32; SIZE.titles];
        (0..50_000).for_each(|_| counts[catalogue.draw(&mut random)] += 1);
        for (title, count) in counts.iter().enumerate() {
            let drawn = f64::from(*count) / 50_000.0;
            assert!((drawn / catalogue.share(title) - 1.0).abs() < 0.15, "{title}: {drawn}");
        }
    }

    #[test]
    fn every_segment_has_bytes_of_its_own() {
        let catalogue = Catalogue::new(&SIZE);
        let first = Bundle { title: 0, representation: 0 };
        let body = catalogue.body(first, 0);
        assert_eq!(body.len() as u64, LADDER[0].segment_bytes());
        assert_ne!(body, catalogue.body(first, 1));
        assert_ne!(body, catalogue.body(Bundle { title: 1, ..first }, 0));
    }

    #[test]
    fn what_comes_next_is_beside_the_segment_in_its_bundle() {
        let catalogue = Catalogue::new(&SIZE);
        let bundle = Bundle { title: 3, representation: 1 };
        let last = catalogue.segments(3) - 1;
        for segment in 0..last {
            let next = catalogue.next_name(bundle, segment).unwrap();
            let expected = format!("{}/{next}", catalogue.path_of(bundle));
            assert_eq!(catalogue.target(bundle, segment + 1), expected);
        }
        assert_eq!(catalogue.next_name(bundle, last), None);
    }

    #[test]
    fn bundles_together_are_the_whole() {
        let catalogue = Catalogue::new(&SIZE);
        assert_eq!(
            catalogue.bundles().map(|bundle| catalogue.bytes_of(bundle)).sum::<u64>(),
            catalogue.bytes()
        );
    }
}
