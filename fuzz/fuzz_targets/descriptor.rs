#![no_main]

#[path = "../src/descriptor.rs"]
mod descriptor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| descriptor::check(data));
