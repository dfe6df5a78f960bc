//! `GET /demand`: what clients asked for since the daemon started, gathered from the workers when it is asked.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::answers::{self, Body};
use super::connection::Desk;
use super::limits;

/// Answers with the totals. Their text is made, and held while it is sent, on a thread for what can block; its length
/// follows from how many bundles were asked for.
pub(super) async fn answer(desk: &Desk) -> Response<Body> {
    let Ok(place) = Arc::clone(&desk.demands).try_acquire_owned() else {
        return answers::failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many answers of this kind are being sent; ask again in a few seconds",
        );
    };
    let collected = desk.appliance.demand.collect().await;
    let (sender, pieces) = mpsc::channel(limits::PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let demand = collected.tell();
        let mut text = serde_json::to_vec(&demand).expect("names and numbers are always JSON");
        drop(demand);
        text.push(b'\n');
        let mut text = Bytes::from(text);
        while !text.is_empty() {
            let piece = text.split_to(text.len().min(limits::PIECE_BYTES));
            if sender.blocking_send(piece).is_err() {
                return; // the reader is gone
            }
        }
    });
    answers::pieces(pieces)
}
