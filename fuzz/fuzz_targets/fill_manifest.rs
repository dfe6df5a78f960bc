#![no_main]

#[path = "../src/fill_manifest.rs"]
mod fill_manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fill_manifest::check(data));
