#![no_main]

libfuzzer_sys::fuzz_target!(|script: kevy_elect_fuzz::elector::Script| kevy_elect_fuzz::elector::check(
    script
));
