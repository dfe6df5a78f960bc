//! Replays the inputs that fuzzing found worth keeping. `fuzz/README.md` says how they came about.

#[path = "../../fuzz/src/answer.rs"]
mod answer;
#[path = "../../fuzz/src/ranges.rs"]
mod ranges;
#[path = "../../fuzz/src/reference.rs"]
mod reference;
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/request.rs"]
mod request;
#[path = "../../fuzz/src/tls.rs"]
mod tls;

#[test]
fn every_request_of_the_corpus_is_answered_or_refused_as_the_grammar_says() {
    replay::replay("request", request::check);
}

#[test]
fn every_range_field_of_the_corpus_selects_what_a_second_reading_selects() {
    replay::replay("ranges", ranges::check);
}

#[test]
fn no_client_of_the_corpus_has_a_tls_session_do_more_than_fail() {
    replay::replay("tls", tls::check);
}
