#![no_main]

#[path = "../src/outbox.rs"]
mod outbox;

libfuzzer_sys::fuzz_target!(|data: &[u8]| outbox::check(data));
