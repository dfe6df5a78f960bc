//! The nouns that every process of the appliance shares, the documents that they exchange, and the client of
//! the daemon's admin API. This crate depends on no other crate of the project.
//!
//! Reading order:
//!
//! 1. [`units`] and [`content`]: quantities with their units; bundles and objects by name. Everything else is made of these.
//! 2. [`config`]: the one configuration file, its defaults, and what is said of mistakes in it.
//! 3. The wire documents: [`wire`] (what they share), [`health`], [`inventory`], [`status`] (what the daemon tells),
//!    [`admin`] (what it can be told).
//!    With the control plane: [`fleet`] (names), [`descriptor`], [`fill_manifest`], [`sources`] (what to fill, and from where),
//!    [`load`], [`demand`], [`fill`], [`report`] (what is told), [`steering`] (where clients go).
//! 4. [`admin_client`]: one exchange with a daemon, bounded in time and bytes.
//! 5. [`limits`]: every bound, with its reason.
//!
//! `src/bin/oca` is the operator's command. It asks the daemon through [`admin_client`]; commands that need
//! the format of the store are executed by the store's own program, `oca-store`.

pub mod admin;
pub mod admin_client;
pub mod config;
pub mod content;
pub mod demand;
pub mod descriptor;
pub mod fill;
pub mod fill_manifest;
pub mod fleet;
pub mod health;
pub mod inventory;
pub mod limits;
pub mod load;
pub mod report;
pub mod sources;
pub mod status;
pub mod steering;
pub mod units;
pub mod wire;
