//! What appliances purge so that nothing of a title is served any more.

use std::collections::BTreeSet;

use control_client::content::BundlePath;
use control_client::fleet::TitleName;
use control_client::report::Order;

use crate::catalogue::Catalogue;

/// The orders that purge a title; none where the catalogue has no bundle of it.
///
/// A title is what lies below the directory that it was published as, which holds all of its bundles, so that the directory which they
/// have in common lies in it, too. That is purged with everything below, for playlists and objects that were pulled are in no catalogue.
/// Where another title has bundles there, the directories below are looked at one by one.
pub fn orders(catalogue: &Catalogue, title: &TitleName) -> Vec<Order> {
    let (own, others): (Vec<_>, Vec<_>) = catalogue.bundles.iter().partition(|bundle| bundle.title == *title);
    let own: BTreeSet<&str> = own.iter().map(|bundle| bundle.key.path.as_str()).collect();
    let others: BTreeSet<&str> = others.iter().map(|bundle| bundle.key.path.as_str()).collect();
    let Some(common) = own.iter().copied().reduce(common_directory) else { return Vec::new() };
    let purges: BTreeSet<(&str, bool)> = own.iter().map(|path| purge_of(path, common, &others)).collect();
    let order = |(path, prefix): (&str, bool)| {
        BundlePath::parse(path).map(|path| Order::Purge { path, prefix }).expect("a part of a path is a path")
    };
    purges.into_iter().map(order).collect()
}

/// The highest directory from `common` down to a bundle's own in which no other title has bundles, or only the bundle.
fn purge_of<'a>(path: &'a str, common: &str, others: &BTreeSet<&str>) -> (&'a str, bool) {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let mut directories = ends.filter(|&end| end >= common.len().max(1)).map(|end| &path[..end]);
    match directories.find(|directory| !has_below(others, directory)) {
        Some(directory) => (directory, true),
        None => (path, false),
    }
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
    use crate::catalogue::CataloguedBundle;

    fn purged(own: &[&str], others: &[&str]) -> Vec<(String, bool)> {
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
        let orders = orders(&Catalogue { titles: vec![], bundles }, &TitleName::parse("film").unwrap());
        let order = |order| match order {
            Order::Purge { path, prefix } => (path.to_string(), prefix),
            other => panic!("{other:?}"),
        };
        orders.into_iter().map(order).collect()
    }

    fn all_below(directories: &[&str]) -> Vec<(String, bool)> {
        directories.iter().map(|directory| ((*directory).to_owned(), true)).collect()
    }

    #[test]
    fn a_title_is_the_directory_that_its_bundles_have_in_common() {
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
    }

    #[test]
    fn what_the_catalogue_does_not_have_is_not_purged() {
        assert_eq!(purged(&[], &["/other"]), []);
    }
}
