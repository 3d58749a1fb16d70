//! Decoding and checking a request never panics.
#![no_main]

use invitations::grpc::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzing::bulk_create(bytes);
});
