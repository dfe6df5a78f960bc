//! The nightly fill of an appliance: fetches bundles by a signed manifest, verifies and publishes them, and reports. It is
//! also the appliance's only voice to the control plane.
//!
//! Reading order:
//!
//! 1. [`run`](mod@run): a run from top to bottom, `window → manifest → inventory → plan → per bundle: sources → fetch →
//!    verify → publish → report`; with what is `unadopted` still, its `queue` (several bundles at once), what these share (`places` for
//!    objects, `room`), its `watch` (what ends it early), and its `ledger` (what a kill must not forget).
//! 2. What it decides, purely: [`window`] (when), [`plan`](mod@plan) (what and where to), [`escalation`] (from whom),
//!    [`control_client::breaker`] (and from whom not), [`pace`] and [`yielding`] (how fast), [`night_budget`] (how much).
//! 3. What it decides upon: [`manifest`], [`planning`], [`sources`], [`descriptors`], [`licences`], [`volumes`].
//!    What blocks on a volume goes through the latter's calls, so that a disk that hangs holds up nobody else.
//! 4. [`bundle`]: one bundle's way in, with its room, its objects and what is read back; [`retiring`]: several bundles' way out;
//!    [`purges`]: which bundles may not come in any more.
//! 5. [`fetch`]: one object from one source, and everything that a source can do wrong; [`shared_pace`], [`breakers`], [`tally`]:
//!    what all connections share.
//! 6. [`disk`]: the ring of one volume. [`pieces`]: how what comes and what is read back is digested beside the daemon.
//! 7. [`process`], [`agent`], [`service`]: the life of the process, and what its parts share; [`reporter`] (the control
//!    plane), [`socket`] and [`progress`] (the operator), [`watchdog`] (the service manager), [`expiry`] (licences), [`daemon`]
//!    (the other process on this machine).
//! 8. [`state`], [`history`], [`run_record`]: what outlives the process. [`limits`]: every bound, with its reason.
//!
//! What holds everywhere: nothing serves that was not read back from the disk and compared with the manifest's descriptor;
//! whatever a source does costs it this bundle, and never the night; killed at any moment, the agent goes on with what
//! is on the disks, and believes only its digests.

pub mod agent;
pub mod breakers;
pub mod bundle;
pub mod clock;
pub mod daemon;
pub mod descriptors;
pub mod disk;
pub mod escalation;
pub mod expiry;
pub mod fetch;
pub mod history;
pub mod licences;
pub mod limits;
pub mod manifest;
pub mod night_budget;
pub mod pace;
pub mod pieces;
pub mod plan;
pub mod planning;
pub mod process;
pub mod progress;
pub mod purges;
pub mod random;
pub mod reporter;
pub mod retiring;
pub mod run;
pub mod run_record;
pub mod service;
pub mod shared_pace;
pub mod socket;
pub mod sources;
pub mod state;
pub mod tally;
pub mod volumes;
pub mod watchdog;
pub mod window;
pub mod yielding;
