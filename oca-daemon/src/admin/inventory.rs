//! `GET /inventory`: every bundle, or a page of them, written in pieces while it is sent.
//!
//! The list is taken and written on a thread for what can block, and handed over a piece at a time; so a long
//! inventory takes memory for the list and a few pieces, never for its text, and a slow reader holds up
//! nobody else.
//!
//! A page (`?after=/path&limit=n`) is in the order of paths, and ends between two paths. `next` is the
//! `after` of the next page; without it the page was the last.

use std::sync::Arc;

use cache_store::{BundleState as StoreState, Store};
use control_client::content::BundlePath;
use control_client::inventory::{BundleState, InventoryEntry};
use control_client::wire::DocumentVersion;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::answers::{self, Body};
use super::connection::Desk;
use super::limits;
use super::routes::Page;

/// Answers with `page` of the inventory.
pub(super) fn answer(desk: &Desk, page: Page) -> Response<Body> {
    let Ok(place) = Arc::clone(&desk.inventories).try_acquire_owned() else {
        return answers::failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many inventories are being sent; ask again in a few seconds",
        );
    };
    let store = Arc::clone(&desk.appliance.store);
    let (sender, pieces) = mpsc::channel(limits::PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let (entries, next) = cut(entries(&store), &page);
        // An error means that the reader is gone.
        let _ = write(&entries, next.as_ref(), &sender);
    });
    answers::pieces(pieces)
}

/// What the store holds, as it is told.
fn entries(store: &Store) -> Vec<InventoryEntry> {
    let held = store.inventory().into_iter().map(|entry| {
        let record = entry.bundle.record();
        InventoryEntry {
            path: record.key.path.clone(),
            generation: record.key.generation,
            volume: entry.bundle.volume().0,
            objects: record.object_count.into(),
            bytes: record.file_bytes,
            state: match entry.state {
                StoreState::Serving => BundleState::Published,
                StoreState::Leaving => BundleState::Retiring,
            },
        }
    });
    let quarantined = store.volumes().into_iter().flat_map(|volume| {
        let index = volume.index.0;
        volume.quarantined.into_iter().filter_map(move |bundle| {
            Some(InventoryEntry {
                path: bundle.path?,
                generation: bundle.generation,
                volume: index,
                objects: 0,
                bytes: 0,
                state: BundleState::Quarantined,
            })
        })
    });
    held.chain(quarantined).collect()
}

/// Sorts `entries`, keeps those of `page`, and says where the next page starts.
fn cut(mut entries: Vec<InventoryEntry>, page: &Page) -> (Vec<InventoryEntry>, Option<BundlePath>) {
    entries.sort_unstable_by(|one, other| (&one.path, one.generation).cmp(&(&other.path, other.generation)));
    if let Some(after) = &page.after {
        let start = entries.partition_point(|entry| entry.path <= *after);
        entries.drain(..start);
    }
    let Some(last) = page.limit.and_then(|limit| entries.get(limit.checked_sub(1)?)) else {
        return (entries, None);
    };
    let last = last.path.clone();
    let end = entries.partition_point(|entry| entry.path <= last);
    if end == entries.len() {
        return (entries, None);
    }
    entries.truncate(end);
    (entries, Some(last))
}

/// Writes the document of `control_client::inventory::Inventory`, in pieces.
fn write(
    entries: &[InventoryEntry],
    next: Option<&BundlePath>,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    let mut piece = format!("{{\"version\":{},\"bundles\":[", DocumentVersion::NUMBER).into_bytes();
    for (place, entry) in entries.iter().enumerate() {
        if place > 0 {
            piece.push(b',');
        }
        append_json(&mut piece, entry);
        if piece.len() >= limits::PIECE_BYTES {
            sender.blocking_send(std::mem::take(&mut piece).into())?;
        }
    }
    piece.push(b']');
    if let Some(next) = next {
        piece.extend_from_slice(b",\"next\":");
        append_json(&mut piece, next);
    }
    piece.extend_from_slice(b"}\n");
    sender.blocking_send(piece.into())
}

fn append_json(piece: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(piece, value)
        .expect("names and numbers are always JSON, and memory always takes it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_client::content::Generation;
    use control_client::inventory::Inventory;

    fn entry(path: &str, generation: u64) -> InventoryEntry {
        InventoryEntry {
            path: BundlePath::parse(path).unwrap(),
            generation: Generation::new(generation),
            volume: 0,
            objects: 1,
            bytes: 2,
            state: BundleState::Published,
        }
    }

    fn page(after: Option<&str>, limit: Option<usize>) -> Page {
        Page { after: after.map(|path| BundlePath::parse(path).unwrap()), limit }
    }

    fn held() -> Vec<InventoryEntry> {
        vec![entry("/c", 1), entry("/a", 1), entry("/b", 2), entry("/b", 1), entry("/d", 1)]
    }

    fn written(entries: &[InventoryEntry], next: Option<&BundlePath>) -> Vec<Bytes> {
        let (sender, mut pieces) = mpsc::channel(1_000_000);
        write(entries, next, &sender).unwrap();
        drop(sender);
        std::iter::from_fn(|| pieces.blocking_recv()).collect()
    }

    #[test]
    fn pages_together_are_the_inventory_and_never_cut_a_path() {
        for limit in 1..=6 {
            let mut collected = Vec::new();
            let mut after: Option<BundlePath> = None;
            loop {
                let page = Page { after: after.clone(), limit: Some(limit) };
                let (entries, next) = cut(held(), &page);
                assert!(entries.len() <= limit + 1, "one path more than asked for, at most");
                collected.extend(entries);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(collected, cut(held(), &page(None, None)).0, "limit {limit}");
        }
    }

    #[test]
    fn a_page_starts_after_its_path_even_where_that_is_not_held() {
        let paths =
            |page: &Page| cut(held(), page).0.iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>();
        assert_eq!(paths(&page(Some("/b"), None)), ["/c", "/d"]);
        assert_eq!(paths(&page(Some("/bb"), Some(1))), ["/c"]);
        assert!(paths(&page(Some("/z"), Some(1))).is_empty());
    }

    #[test]
    fn the_document_is_the_one_that_clients_read() {
        let (entries, _) = cut(held(), &page(None, None));
        let text = written(&entries, None).concat();
        let inventory: Inventory = serde_json::from_slice(&text).unwrap();
        assert_eq!(inventory.bundles, entries);
        let empty: Inventory = serde_json::from_slice(&written(&[], None).concat()).unwrap();
        assert!(empty.bundles.is_empty());

        let next = BundlePath::parse("/a\"b").unwrap();
        let value: serde_json::Value =
            serde_json::from_slice(&written(&entries, Some(&next)).concat()).unwrap();
        assert_eq!(value["next"], "/a\"b");
    }

    #[test]
    fn forty_thousand_bundles_are_sent_in_small_pieces() {
        let entries: Vec<_> =
            (0..40_000).map(|number| entry(&format!("/titles/{number}/1080p"), 1)).collect();
        let pieces = written(&entries, None);
        assert!(pieces.iter().all(|piece| piece.len() < limits::PIECE_BYTES + 4096));
        let inventory: Inventory = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(inventory.bundles.len(), 40_000);
    }
}
