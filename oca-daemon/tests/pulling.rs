//! What no bundle holds, from the worker's side: a real worker and real sockets, and a script where the pull service is.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "pulling/answers.rs"]
mod answers;
#[path = "pulling/client.rs"]
mod client;
#[path = "pulling/failures.rs"]
mod failures;
#[path = "pulling/leaving.rs"]
mod leaving;
#[path = "pulling/requests.rs"]
mod requests;
#[path = "pulling/waiting.rs"]
mod waiting;
#[path = "pulling/worker.rs"]
mod worker;

/// Under this rule everything is pulled.
const EVERYTHING: &str = "rules = [{ prefix = \"/\", on_miss = \"pull\" }]\n";

/// The bytes of every body: no two places of it look alike.
fn noise(length: usize) -> Vec<u8> {
    support::tls::noise(length)
}
