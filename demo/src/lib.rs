//! The whole system. Each role is a process of its own: the program starts itself once per role.
//!
//! Reading order:
//!
//! 1. What there is to serve: [`title`] (the sample title), [`catalogue`] (synthetic ones beside it), [`popularity`] (who is watched
//!    how much), [`random`] (what both follow from).
//! 2. The roles: [`role`] (what the program starts itself as), [`process`] (one of them, started and ended), [`origin`], [`control_plane`], [`appliance`] (daemon and agent),
//!    [`member`] (both, in the fleet), and [`certificate`].
//! 3. [`system`]: all of them together. [`viewer`]: somebody who watches.
//! 4. [`page`]: plays the title in a browser, shows what the appliances say, and kills, drains and starts them.
//! 5. [`night`]: a night and an evening, with the bars of [`progress`]; [`tour`] shows them, [`check`] tries everything unattended.
//!
//! The whole-system tests in `tests/` use the same pieces.

pub mod appliance;
pub mod catalogue;
pub mod certificate;
pub mod check;
pub mod control_plane;
pub mod failure;
pub mod member;
pub mod night;
pub mod origin;
pub mod page;
pub mod popularity;
pub mod process;
pub mod progress;
pub mod random;
pub mod role;
pub mod system;
pub mod table;
pub mod title;
pub mod tour;
pub mod viewer;
