//! Pull-through: what no bundle holds is fetched from upstream while it is sent, and held for the next who asks.
//!
//! # Reading order
//!
//! A worker never waits. It hands a request over (`connection/pulling`) and sends what comes back:
//!
//! 1. [`request`]: what is handed over, and the key that its answer is kept under;
//! 2. [`handle`]: where it is put, within a bound;
//! 3. [`pipe`]: the way back, bounded in bytes; [`answer`] is the head that comes first, [`cache_status`] what it says of itself,
//!    and [`failure`] why there is none, or no end.
//!
//! Between them the service answers, on threads of its own:
//!
//! 4. [`service`]: what its tasks share; `answering` is the life of one request, from top to bottom;
//! 5. [`caching`] decides, purely, by what is `held` of a key: in the `memory_store` or, through the `demand_store`, on a volume;
//! 6. `flight`: one request to upstream and all who wait for what it brings; `leading` is its life: it asks an `upstream`, sees what
//!    arrives, and files it away in `blocks`;
//! 7. `content`: the bytes of one answer, wherever they are; `habits`, `absences` and `clients` say for whom not to wait, or not to ask.
//!
//! [`stats`] is what is counted, [`purge`] what an operator can have dropped.

mod absences;
pub mod answer;
mod answering;
mod blocks;
pub mod cache_status;
pub mod caching;
mod clients;
mod content;
mod demand_store;
pub mod failure;
mod flight;
mod habits;
pub mod handle;
mod held;
mod leading;
mod memory_store;
pub mod pipe;
pub mod purge;
pub mod request;
pub mod service;
pub mod stats;
mod upstream;

pub use answer::AnswerHead;
pub use cache_status::{CacheStatus, Forwarded};
pub use demand_store::DormantPurges;
pub use failure::PullFailure;
pub use handle::{PullHandle, Question, Questions, questions};
pub use purge::{PurgeSelector, Purged};
pub(crate) use purge::{plain_path, resolved, unescaped};
pub use request::PullRequest;
pub use service::{PullError, PullService};
pub use stats::{PullStats, UpstreamResult};
