//! Replays the inputs that fuzzing found worth keeping. `fuzz/README.md` says how they came about.

#[path = "../../fuzz/src/config.rs"]
mod config;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn every_configuration_of_the_corpus_is_read_or_refused_clearly() {
    replay::replay("config", config::check);
}
