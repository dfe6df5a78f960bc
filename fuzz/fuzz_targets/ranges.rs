#![no_main]

#[path = "../src/answer.rs"]
mod answer;
#[path = "../src/ranges.rs"]
mod ranges;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ranges::check(data));
