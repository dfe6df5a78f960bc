//! Replays the inputs that fuzzing found worth keeping. `fuzz/README.md` says how they came about.

#[path = "../../fuzz/src/config.rs"]
mod config;
#[path = "../../fuzz/src/descriptor.rs"]
mod descriptor;
#[path = "../../fuzz/src/fill_manifest.rs"]
mod fill_manifest;
#[path = "../../fuzz/src/outbox.rs"]
mod outbox;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn every_configuration_of_the_corpus_is_read_or_refused_clearly() {
    replay::replay("config", config::check);
}

#[test]
fn every_fill_manifest_of_the_corpus_is_obeyed_as_it_was_signed_or_refused() {
    replay::replay("fill_manifest", fill_manifest::check);
}

#[test]
fn every_descriptor_of_the_corpus_is_taken_for_its_bundle_alone_or_refused() {
    replay::replay("descriptor", descriptor::check);
}

#[test]
fn every_outbox_of_the_corpus_opens_and_tells_everything_once() {
    replay::replay("outbox", outbox::check);
}
