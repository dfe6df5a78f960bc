//! The nouns that every process of the appliance shares, the documents that they exchange, and the clients
//! of their APIs. This crate depends on no other crate of the project.
//!
//! Reading order:
//!
//! 1. [`units`] and [`content`]: quantities with their units; bundles and objects by name. Everything else is made of these.
//! 2. [`config`]: the one configuration file, its defaults, and what is said of mistakes in it.
//! 3. The wire documents: [`wire`] (what they share), [`health`], [`inventory`], [`status`] (what the daemon tells),
//!    [`admin`] (what it can be told).
//!    With the control plane: [`fleet`] (names), [`descriptor`], [`fill_manifest`], [`sources`] (what to fill, and from where),
//!    [`load`], [`demand`], [`fill`], [`report`] (what is told), [`steering`] (where clients go).
//! 4. What makes them trustworthy: [`digest`], [`signature`] (of manifests), [`token`] (who asks).
//! 5. The clients, each call bounded in time and bytes: [`admin_client`] (of the daemon), [`agent_client`] (of the fill agent),
//!    `control_plane_client` (of the control plane, behind the feature of that name), with [`backoff`] between two attempts
//!    and a [`breaker`] for whom it is in vain to ask.
//! 6. [`outbox`]: what the control plane has not heard yet, told exactly once.
//! 7. `process`, behind the feature of that name: what a process that serves needs of its machine, a log and a private socket.
//! 8. [`limits`]: every bound, with its reason.
//!
//! `src/bin/oca` is the operator's command. It asks the daemon through [`admin_client`], and the agent through
//! [`agent_client`]; commands that need the format of the store are executed by the store's own program, `oca-store`.

pub mod admin;
pub mod admin_client;
pub mod agent_client;
pub mod backoff;
pub mod breaker;
pub mod config;
pub mod content;
#[cfg(feature = "control-plane-client")]
pub mod control_plane_client;
pub mod demand;
pub mod descriptor;
pub mod digest;
pub mod fill;
pub mod fill_manifest;
pub mod fleet;
pub mod health;
mod hex;
pub mod inventory;
pub mod limits;
pub mod load;
pub mod media_type;
pub mod outbox;
#[cfg(feature = "process")]
pub mod process;
pub mod report;
pub mod signature;
pub mod sources;
pub mod status;
pub mod steering;
pub mod token;
pub mod units;
pub mod web_url;
pub mod wire;
