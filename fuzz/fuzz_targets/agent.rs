#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| polydev_sandbox::fuzz::agent(data));
