#![no_main]
#![allow(dead_code)] // a target is one of the checks

#[path = "../../tests/fuzz/bytes.rs"]
mod bytes;
#[path = "../../tests/fuzz/checks.rs"]
mod checks;
#[path = "../../tests/fuzz/merges.rs"]
mod merges;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::merge(bytes));
