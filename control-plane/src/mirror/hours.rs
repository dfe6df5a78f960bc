//! When titles may be watched: from their release to the end of their licence.

use std::collections::HashSet;

use control_client::content::BundlePath;

use crate::catalogue::Catalogue;

/// Of all bundles of titles that have a release or an end.
#[derive(Default)]
pub(super) struct Hours {
    bundles: Vec<(BundlePath, u64, u64)>,
    /// From this moment on other bundles are closed than those that were told last.
    next: Option<u64>,
}

impl Hours {
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        let mut bundles = Vec::new();
        for (_, bundle) in catalogue.current_places() {
            let Some(title) = catalogue.title(&bundle.title) else { continue };
            if title.release_at.is_some() || title.expires_at.is_some() {
                let hours = (title.release_at.unwrap_or_default(), title.expires_at.unwrap_or(u64::MAX));
                bundles.push((bundle.key.path.clone(), hours.0, hours.1));
            }
        }
        Self { bundles, next: Some(0) }
    }

    /// The paths that nobody may watch now, where these are others than those that were told last.
    pub(super) fn closed(&mut self, now: u64) -> Option<HashSet<BundlePath>> {
        self.next.filter(|next| *next <= now)?;
        let moments = self.bundles.iter().flat_map(|(_, from, until)| [*from, *until]);
        self.next = moments.filter(|moment| *moment > now).min();
        let closed = self.bundles.iter().filter(|(_, from, until)| now < *from || now >= *until);
        Some(closed.map(|(path, ..)| path.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_open_from_its_release_to_the_end_of_its_licence() {
        let path = BundlePath::parse("/film").unwrap();
        let mut hours = Hours { bundles: vec![(path.clone(), 100, 200)], next: Some(0) };
        let closed = HashSet::from([path]);
        assert_eq!(hours.closed(50), Some(closed.clone()));
        assert_eq!(hours.closed(99), None, "nothing has changed");
        assert_eq!(hours.closed(100), Some(HashSet::new()));
        assert_eq!(hours.closed(199), None);
        assert_eq!(hours.closed(250), Some(closed));
        assert_eq!(hours.closed(u64::MAX - 1), None);
    }
}
