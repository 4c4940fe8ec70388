#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kevy_elect_fuzz::codec::check(bytes));
