//! What appliances purge so that nothing of a title is served any more.

use std::collections::BTreeSet;

use control_client::content::BundlePath;
use control_client::fleet::TitleName;
use control_client::report::Order;

use crate::catalogue::Catalogue;

/// The orders that purge a title; none where the catalogue has nothing of it.
///
/// A title is what lies below the directories that it was published as. Each of them is purged with everything below, for playlists and
/// objects that were pulled are in no catalogue. Where another title has bundles there, the directories on the way down to each of the
/// title's own bundles are looked at one by one; where it has none there any more, nothing is purged. What another title was published
/// as does not count, but for its bundles: it has some wherever it is.
///
/// The root is nobody's, unless it is a bundle's own. A title that was published there, or before its directory was remembered, begins
/// at the directory that its bundles have in common.
pub fn orders(catalogue: &Catalogue, title: &TitleName) -> Vec<Order> {
    let (own, others): (Vec<_>, Vec<_>) = catalogue.bundles.iter().partition(|bundle| bundle.title == *title);
    let own: BTreeSet<&str> = own.iter().map(|bundle| bundle.key.path.as_str()).collect();
    let others: BTreeSet<&str> = others.iter().map(|bundle| bundle.key.path.as_str()).collect();
    let published = published_directories(catalogue, title);
    let common = own.iter().copied().reduce(common_directory).unwrap_or_default();
    let whole = published.iter().copied().filter(|directory| !has_below(&others, directory));
    let parts = own.iter().copied().map(|path| {
        let start = highest_in(&published, path).unwrap_or(common);
        purge_of(path, start, &others)
    });
    let purges: BTreeSet<(&str, bool)> = whole.map(|directory| (directory, true)).chain(parts).collect();
    let order = |(path, prefix): (&str, bool)| {
        BundlePath::parse(path).map(|path| Order::Purge { path, prefix }).expect("a part of a path is a path")
    };
    purges.iter().copied().filter(|(path, _)| !is_below_another(&purges, path)).map(order).collect()
}

/// What the title was published as, without the root.
fn published_directories<'a>(catalogue: &'a Catalogue, title: &TitleName) -> BTreeSet<&'a str> {
    let directories = catalogue.title(title).into_iter().flat_map(|title| &title.directories);
    directories.map(BundlePath::as_str).filter(|&directory| directory != "/").collect()
}

/// The highest of these directories that is the path, or holds it.
fn highest_in<'a>(directories: &BTreeSet<&'a str>, path: &'a str) -> Option<&'a str> {
    directories_to(path).find(|directory| directories.contains(directory))
}

/// The highest directory from `start` down to a bundle's own in which no other title has bundles, or only the bundle.
fn purge_of<'a>(path: &'a str, start: &str, others: &BTreeSet<&str>) -> (&'a str, bool) {
    let mut directories = directories_to(path)
        .filter(|&directory| directory.len() >= start.len() && (directory != "/" || path == "/"));
    match directories.find(|directory| !has_below(others, directory)) {
        Some(directory) => (directory, true),
        None => (path, false),
    }
}

/// Whether a path goes with a directory above it, which is purged with everything below.
fn is_below_another<'a>(purges: &BTreeSet<(&'a str, bool)>, path: &'a str) -> bool {
    directories_to(path).any(|above| above != path && purges.contains(&(above, true)))
}

/// The directories from the root down to the path itself.
fn directories_to(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(move |(end, _)| &path[..end.max(1)]).chain([path])
}

/// Whether one of the paths is that directory, or lies below it.
fn has_below(paths: &BTreeSet<&str>, directory: &str) -> bool {
    let below = if directory == "/" { directory.to_owned() } else { format!("{directory}/") };
    paths.contains(directory)
        || paths.range(below.as_str()..).next().is_some_and(|path| path.starts_with(&below))
}

/// The directory that both are or lie below; empty for the root, which is nobody's.
fn common_directory<'a>(one: &'a str, other: &'a str) -> &'a str {
    let is_end =
        |end: usize| [one, other].iter().all(|path| matches!(path.as_bytes().get(end), None | Some(b'/')));
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let end = (1..=same).rev().find(|&end| is_end(end)).unwrap_or(0);
    &one[..end]
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundleKey, Generation};
    use control_client::digest::sha256;

    use super::*;
    use crate::catalogue::{CataloguedBundle, Title};

    /// What is purged of a title that was published as these directories, and has these bundles beside those of another title.
    fn purged_as(published: &[&str], own: &[&str], others: &[&str]) -> Vec<(String, bool)> {
        let film = Title {
            name: TitleName::parse("film").unwrap(),
            regions: vec![],
            published_at: 0,
            release_at: None,
            expires_at: None,
            pinned: false,
            similar_to: None,
            tags: vec![],
            seasons: vec![],
            directories: published.iter().map(|path| BundlePath::parse(path).unwrap()).collect(),
        };
        let bundle = |path: &&str, title: &str| CataloguedBundle {
            key: BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) },
            title: TitleName::parse(title).unwrap(),
            bytes: 1,
            objects: 1,
            descriptor: sha256(b"descriptor"),
            published_at: 0,
        };
        let of = |paths: &[&str], title| paths.iter().map(|path| bundle(path, title)).collect::<Vec<_>>();
        let mut bundles = of(own, "film");
        bundles.extend(of(others, "other"));
        let orders = orders(&Catalogue { titles: vec![film], bundles }, &TitleName::parse("film").unwrap());
        let order = |order| match order {
            Order::Purge { path, prefix } => (path.to_string(), prefix),
            other => panic!("{other:?}"),
        };
        orders.into_iter().map(order).collect()
    }

    /// The same of a title that was published before its directory was remembered.
    fn purged(own: &[&str], others: &[&str]) -> Vec<(String, bool)> {
        purged_as(&[], own, others)
    }

    fn all_below(directories: &[&str]) -> Vec<(String, bool)> {
        directories.iter().map(|directory| ((*directory).to_owned(), true)).collect()
    }

    #[test]
    fn a_title_with_a_single_bundle_is_the_directory_that_it_was_published_as() {
        let others = ["/titles/film-2/high", "/titles/fil", "/titles/a"];
        let purges = purged_as(&["/titles/film"], &["/titles/film/high"], &others);
        assert_eq!(purges, all_below(&["/titles/film"]));
    }

    #[test]
    fn a_title_that_was_published_twice_is_purged_where_it_was_too() {
        let published = ["/new/film", "/old/film"];
        let purges = purged_as(&published, &["/new/film/high"], &["/old/other"]);
        assert_eq!(purges, all_below(&published));
        let successor = purged_as(&published, &["/new/film/high"], &["/old/film/low"]);
        assert_eq!(successor, all_below(&["/new/film"]), "another title is there now");
    }

    #[test]
    fn what_lies_below_a_directory_that_is_purged_needs_no_order_of_its_own() {
        let published = ["/titles", "/titles/film"];
        let own = ["/titles/film/high", "/titles/film/low"];
        assert_eq!(purged_as(&published, &own, &[]), all_below(&["/titles"]));
        assert_eq!(purged_as(&published, &own, &["/titles/a"]), all_below(&["/titles/film"]));
        assert_eq!(purged_as(&["/"], &["/", "/a", "/b/high"], &[]), all_below(&["/"]));
    }

    #[test]
    fn titles_that_were_published_as_one_directory_part_where_their_bundles_do() {
        let purges = purged_as(&["/s"], &["/s/1/high"], &["/s/2/high", "/t"]);
        assert_eq!(purges, all_below(&["/s/1"]), "and not only its one bundle");
        let own = ["/s/1/high", "/s/1/low", "/s/2/high"];
        assert_eq!(purged_as(&["/s"], &own, &["/s/2/low"]), all_below(&["/s/1", "/s/2/high"]));
    }

    #[test]
    fn a_title_of_an_older_catalogue_is_the_directory_that_its_bundles_have_in_common() {
        let others = ["/titles/film-2/high", "/titles/fil", "/titles/a"];
        assert_eq!(purged(&["/titles/film/high", "/titles/film/low"], &others), all_below(&["/titles/film"]));
        assert_eq!(purged(&["/titles/film", "/titles/film/low"], &others), all_below(&["/titles/film"]));
        assert_eq!(purged(&["/titles/film/high"], &others), all_below(&["/titles/film/high"]));
        assert_eq!(purged(&["/titles/é/1", "/titles/è/1"], &[]), all_below(&["/titles"]));
    }

    #[test]
    fn names_that_begin_alike_have_no_directory_in_common() {
        assert_eq!(
            purged(&["/a/film", "/a/film-2", "/a/film/low"], &["/a/b"]),
            all_below(&["/a/film", "/a/film-2"])
        );
        assert_eq!(common_directory("/a/film", "/a/film-2"), "/a");
    }

    #[test]
    fn another_titles_bundles_are_spared_wherever_they_lie() {
        let own = ["/s/1/high", "/s/1/low", "/s/2/high", "/s/2/high/extra"];
        let purges = purged(&own, &["/s/2/low", "/s/2/high/commentary"]);
        let mut expected = all_below(&["/s/1", "/s/2/high/extra"]);
        expected.insert(1, ("/s/2/high".to_owned(), false));
        assert_eq!(purges, expected);
    }

    #[test]
    fn the_root_is_purged_only_where_it_is_the_titles_own() {
        assert_eq!(purged(&["/a", "/b/high"], &[]), all_below(&["/a", "/b"]));
        assert_eq!(purged(&["/"], &[]), all_below(&["/"]));
        assert_eq!(purged(&["/"], &["/other"]), [("/".to_owned(), false)]);
        // Published there, it has what its bundles have in common, and not whatever there is.
        let own = ["/film/high", "/film/low"];
        assert_eq!(purged_as(&["/"], &own, &[]), all_below(&["/film"]));
        assert_eq!(purged_as(&["/"], &own, &["/other"]), all_below(&["/film"]));
    }

    #[test]
    fn what_the_catalogue_does_not_have_is_not_purged() {
        assert_eq!(purged(&[], &["/other"]), []);
        let nobody = TitleName::parse("nobody").unwrap();
        assert_eq!(orders(&Catalogue::default(), &nobody), []);
    }
}
