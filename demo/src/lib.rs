//! The whole system on a sample title. Each role is a process of its own: the program starts itself once per role.
//!
//! [`title`] is what is served; [`certificate`] what TLS needs; [`appliance`] prepares a store and runs a
//! daemon over it; [`tour`] prints what to try; [`check`] tries it unattended. The whole-system tests in
//! `tests/` use the same pieces.

pub mod appliance;
pub mod certificate;
pub mod check;
pub mod failure;
pub mod table;
pub mod title;
pub mod tour;
