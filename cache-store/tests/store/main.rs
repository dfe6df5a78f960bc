//! The store against a real file system. Read it as the document of what a store promises: `publishing` (how
//! bundles come in), `incoming` (how they come in part by part, over several runs), `serving` (how they are found and
//! read), `leaving` (how they go), `unadopted` (how those go that never served), `recovery` (what a restart finds),
//! `failing` (what becomes of damage), `hanging` (of a disk that does not answer), `model` (all of that at random, against
//! a map).

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod failing;
mod hang;
mod hanging;
mod incoming;
mod leaving;
mod model;
mod publishing;
mod recovery;
mod serving;
mod support;
mod unadopted;
