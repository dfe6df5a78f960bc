#![no_main]

#[path = "../src/answer.rs"]
mod answer;
#[path = "../src/reference.rs"]
mod reference;
#[path = "../src/request.rs"]
mod request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| request::check(data));
