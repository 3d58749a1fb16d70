//! Reading a delivery status notification never panics, and the stored text contains no address.
#![no_main]

use invitations::domain::dsn::{self, Dsn};
use invitations_fuzz::assert_anonymous;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(report) = Dsn::parse(bytes) {
        assert_anonymous(&report.diagnostic);
        let _ = report.verdict();
    }
    assert!(dsn::envelope_recipients(bytes).len() <= 100);
});
