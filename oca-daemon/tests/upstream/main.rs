//! Pulling through, from what a worker asks to what an origin on a real socket is asked: who waits for whom, what is stored, what is
//! asked for again, and what is sent when upstream fails.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(unreachable_pub, reason = "the modules are of this test only")]

mod breaks;
mod bucket;
mod clients;
mod edge;
mod errors;
mod for_whom;
mod holding;
mod joining;
mod order;
mod origin;
mod passing;
mod popular;
mod purging;
mod ranges;
mod request_fields;
mod scripts;
mod sharing;
mod slow;
mod stale;

const MIB: usize = 1 << 20;
