//! The reference control plane: it knows what there is to watch, what viewers asked for, which appliances
//! there are and how they stand; it decides what each appliance should hold, from where it fetches that, and
//! where clients go.
//!
//! Reading order:
//!
//! 1. What is kept: [`database`] (one layer over SQLite and PostgreSQL), [`catalogue`] and [`publish`] (titles), [`registry`] (sites,
//!    appliances, reports, orders), [`keys`] (secrets in files).
//! 2. What is decided, by pure functions that take their inputs and the time: [`popularity`] → [`ranking`] (worth in a region) → [`assignment`]
//!    (which appliance of a site); [`fill_sources`] (from where); [`footprint`] → [`steering`] → [`content_steering`] → [`media_manifest`] (where a client goes);
//!    [`hysteresis`] (how an appliance stands); [`title_purge`] (what a title is on them). [`rendezvous`] is the one hash that they share.
//! 3. What is in memory: [`fleet`] (what steering reads, without a lock), [`mirror`] (keeps it as the database is), [`standings`].
//! 4. What is done: [`planning`] (manifests), [`poll`] (health), [`plane`] (all of it together), [`api`] (HTTP), [`server`] (sockets),
//!    [`service`] (the process's life), [`metrics`].
//! 5. [`limits`]: every bound, with its reason.
//!
//! `src/bin/control-plane` is the program: `serve`, and the operator's commands. These work on the database
//! directly, so that they need no control plane that runs; one that runs sees within a second what they
//! changed.

pub mod api;
pub mod assignment;
pub mod catalogue;
pub mod content_steering;
pub mod database;
pub mod fill_sources;
pub mod fleet;
pub mod footprint;
pub mod hysteresis;
pub mod keys;
pub mod limits;
pub mod media_manifest;
pub mod metrics;
pub mod mirror;
pub mod plane;
pub mod planning;
pub mod poll;
pub mod popularity;
pub mod publish;
pub mod ranking;
pub mod registry;
pub mod rendezvous;
pub mod server;
pub mod service;
pub mod standings;
pub mod steering;
pub mod title_purge;
