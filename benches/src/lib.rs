//! What the programs in `src/bin` share. [`rounds`] says who has a turn when, [`statistics`] what is made of what they gave, [`run`] when and
//! where that was; [`core_ticks`] what the machine's cores did meanwhile; [`client`] asks for objects; [`interrupt`] leaves nothing behind.

pub mod client;
pub mod core_ticks;
pub mod interrupt;
pub mod rounds;
pub mod run;
pub mod statistics;
