//! Any bytes are a request or none, and every item of it holds or does not.
#![no_main]

use invitations::grpc::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzing::bulk_create(bytes);
});
