//! What clients ask for, by directory: what the control plane's popularity is made of.
//!
//! Reading order: each worker counts in a table of its own (`demand/table.rs`), where a request costs one look-up and
//! nobody else looks. `demand/collector.rs` asks the workers for their tables when somebody wants to know, and
//! `demand/totals.rs` adds them up; both run on the admin API's threads.
//!
//! A request counts once, at its end, whatever its end is:
//! * one for an object of a bundle that is held, with the bytes of the object that the kernel took: none where the answer
//!   was a 304, a HEAD, or a 503 because the bundle could not be read;
//! * one for a directory without a bundle, without bytes. Clients choose these names, so only so many are kept.
//!
//! No demand is what asks for no content (OPTIONS, a broken request), what asks a bundle for an object that
//! it does not have, and what a peer's fill agent asks for, which says so in its User-Agent.

mod collector;
mod table;
mod totals;

pub use self::collector::{Collected, DemandCollector, DemandFigures, WorkerDemand};
pub use self::table::{Asked, Counted, DemandTable};
pub use self::totals::DemandTotals;
