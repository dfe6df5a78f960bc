//! What is purged while a run is under way: the run gives it up, and a purge is done when nothing of it can come any more.
//!
//! A purge is noted first. From then on nobody may begin to publish what it means. The daemon is told at once, and takes out what serves
//! and what lies on its volumes, adopted or not. What was being published by then is waited for, and the daemon is told once more, so that
//! it takes out all that came before. A run that begins later goes by its list again.

use std::sync::Arc;

use control_client::admin::Purge;
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;
use tokio::sync::watch;

use crate::limits::PURGES_PER_RUN_MAX;

/// Shared by the run and by whoever purges.
#[derive(Debug, Default)]
pub struct Purges(watch::Sender<State>);

/// A purge that is being carried out. Dropped, it has been, and still holds for the run under way.
#[derive(Debug)]
pub struct Purging<'a> {
    purges: &'a Purges,
    purge: &'a Purge,
}

/// A bundle between the leave to publish it and its adoption. The thread that gives it its name holds this, so that it lasts as long as
/// that may still happen, however long the disk takes and whoever has given up waiting. Dropped, it serves; or it lies on the volume
/// unadopted, where the daemon's purge finds it; or it never comes by this run.
#[derive(Debug)]
pub struct Publishing {
    purges: Arc<Purges>,
    path: BundlePath,
}

#[derive(Debug, Default)]
struct State {
    /// What is being purged.
    under_way: Vec<Purge>,
    /// What was purged since the run under way began.
    done: Vec<Purge>,
    /// What is being published.
    publishing: Vec<BundlePath>,
}

impl Purges {
    /// A run begins. What was purged before does not concern it; what is being purged does.
    pub fn begin_run(&self) {
        self.0.send_modify(|state| state.done.clear());
    }

    /// A purge begins: nobody begins to publish what it means.
    pub fn begin<'a>(&'a self, purge: &'a Purge) -> Purging<'a> {
        self.0.send_modify(|state| state.under_way.push(purge.clone()));
        Purging { purges: self, purge }
    }

    /// Whether the run under way has to give that path up.
    pub fn is_purged(&self, path: &BundlePath) -> bool {
        self.0.borrow().is_purged(path)
    }

    /// Ends when the run under way has to give that path up.
    pub async fn until_purged(&self, path: &BundlePath) {
        let _ = self.0.subscribe().wait_for(|state| state.is_purged(path)).await;
    }

    /// Leave to publish a bundle of that path; `None` where it was purged. A purge that comes later waits until this is dropped.
    pub fn may_publish(self: &Arc<Self>, path: &BundlePath) -> Option<Publishing> {
        let mut is_allowed = false;
        self.0.send_if_modified(|state| {
            is_allowed = !state.is_purged(path);
            if is_allowed {
                state.publishing.push(path.clone());
            }
            // Nobody waits for that.
            false
        });
        is_allowed.then(|| Publishing { purges: Arc::clone(self), path: path.clone() })
    }
}

impl Purging<'_> {
    /// Whether anything that it means is being published. Once nothing is, nothing will be.
    pub fn is_publishing(&self) -> bool {
        self.purges.0.borrow().is_publishing(self.purge)
    }

    /// Ends when nothing that it means is being published.
    pub async fn until_unpublished(&self) {
        let _ = self.purges.0.subscribe().wait_for(|state| !state.is_publishing(self.purge)).await;
    }
}

impl Drop for Purging<'_> {
    fn drop(&mut self) {
        self.purges.0.send_modify(|state| state.end(self.purge));
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.purges.0.send_modify(|state| {
            if let Some(place) = state.publishing.iter().position(|path| *path == self.path) {
                state.publishing.swap_remove(place);
            }
        });
    }
}

impl State {
    fn is_purged(&self, path: &BundlePath) -> bool {
        self.under_way.iter().chain(&self.done).any(|purge| is_meant(purge, path))
    }

    fn is_publishing(&self, purge: &Purge) -> bool {
        self.publishing.iter().any(|path| is_meant(purge, path))
    }

    fn end(&mut self, purge: &Purge) {
        if let Some(place) = self.under_way.iter().position(|one| one == purge) {
            self.under_way.swap_remove(place);
        }
        if self.done.contains(purge) {
            return;
        }
        if self.done.len() == PURGES_PER_RUN_MAX {
            self.done = vec![everything()];
        }
        self.done.push(purge.clone());
    }
}

/// What the daemon takes out.
fn is_meant(purge: &Purge, path: &BundlePath) -> bool {
    if purge.prefix { path.is_within(&purge.path) } else { *path == purge.path }
}

fn everything() -> Purge {
    let path = BundlePath::parse("/").expect("the root is a path");
    Purge { version: DocumentVersion, path, prefix: true }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn path(text: &str) -> BundlePath {
        BundlePath::parse(text).unwrap()
    }

    fn purge(text: &str, prefix: bool) -> Purge {
        Purge { version: DocumentVersion, path: path(text), prefix }
    }

    #[test]
    fn a_purge_means_its_path_and_what_lies_below_it_only_where_that_is_said() {
        let exact = purge("/titles/a", false);
        let below = purge("/titles/a", true);
        assert!(is_meant(&exact, &path("/titles/a")) && is_meant(&below, &path("/titles/a")));
        assert!(!is_meant(&exact, &path("/titles/a/1080p")) && is_meant(&below, &path("/titles/a/1080p")));
        for other in ["/titles/ab", "/titles", "/"] {
            assert!(!is_meant(&exact, &path(other)) && !is_meant(&below, &path(other)), "{other}");
        }
        assert!(is_meant(&purge("/", true), &path("/titles/a")));
        assert!(!is_meant(&purge("/", false), &path("/titles/a")));
    }

    #[test]
    fn what_is_purged_is_published_by_no_run_that_began_before_the_purge_was_done() {
        let (purges, meant, below) = (Arc::<Purges>::default(), path("/a/1"), purge("/a", true));
        purges.begin_run();
        let purging = purges.begin(&below);
        assert!(purges.is_purged(&meant) && purges.may_publish(&meant).is_none());
        assert!(!purges.is_purged(&path("/b")) && purges.may_publish(&path("/b")).is_some());
        drop(purging);
        assert!(purges.may_publish(&meant).is_none(), "it holds for the rest of the run");
        let again = purges.begin(&below);
        purges.begin_run();
        assert!(purges.may_publish(&meant).is_none(), "and for a run that begins beside a purge");
        drop(again);
        assert!(purges.may_publish(&meant).is_none());
        purges.begin_run();
        assert!(purges.may_publish(&meant).is_some(), "a later run goes by its list");
    }

    #[tokio::test]
    async fn a_purge_waits_for_what_is_being_published_of_what_it_means() {
        let (purges, exact) = (Arc::<Purges>::default(), purge("/a", false));
        let (meant, other) = (purges.may_publish(&path("/a")), purges.may_publish(&path("/a/1")));
        let purging = purges.begin(&exact);
        assert!(purging.is_publishing() && purging.until_unpublished().now_or_never().is_none());
        drop(meant);
        purging.until_unpublished().await;
        assert!(!purging.is_publishing());
        drop(other);
    }

    #[tokio::test]
    async fn whoever_brings_what_is_purged_hears_of_it() {
        let (purges, meant, exact) = (Purges::default(), path("/a"), purge("/a", false));
        let mut until = Box::pin(purges.until_purged(&meant));
        assert!(until.as_mut().now_or_never().is_none());
        let _purging = purges.begin(&exact);
        until.await;
    }

    #[test]
    fn a_run_in_which_more_is_purged_than_it_remembers_gives_up_everything() {
        let purges = Purges::default();
        for number in 0..PURGES_PER_RUN_MAX {
            drop(purges.begin(&purge(&format!("/{number}"), false)));
        }
        drop(purges.begin(&purge("/0", false)));
        assert!(!purges.is_purged(&path("/other")), "what was purged twice is remembered once");
        drop(purges.begin(&purge("/a", false)));
        assert!(purges.is_purged(&path("/other")));
        purges.begin_run();
        assert!(!purges.is_purged(&path("/other")));
    }
}
