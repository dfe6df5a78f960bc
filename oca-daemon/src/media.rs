//! What players say of themselves and what they are told: CMCD (CTA-5004) in requests, CMSD (CTA-5006) in responses, and the
//! pace at which a response is sent, and what to bring into memory ahead. All of it is decided here, without I/O; `connection/player.rs`
//! and `connection/prefetching.rs` act on it.
//!
//! In the order of a request: [`Cmcd::read`] takes what the player says, [`pace`] decides how fast the response may be sent,
//! [`resolve`] finds out where the object is that it names as its next, [`cmsd::append_line`] tells the player how the connection and
//! the appliance do. [`PlayerStats`] counts what was said.
//!
//! A request without CMCD pays for a look whether its target has a query, and no more.

pub mod cmcd;
pub mod cmsd;
mod counters;
mod duress;
mod pacing;
mod reference;

pub use cmcd::Cmcd;
pub use counters::{HintFate, PlayerStats, PlayerTotals};
pub use duress::is_in_duress;
pub use pacing::{Pace, PaceCause, PacingLimits, pace};
pub use reference::{Place, PlaceBuffer, Unresolved, resolve};
