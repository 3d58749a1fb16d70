//! Any mail is a report or none, and what is kept of it names nobody.
#![no_main]

use invitations::domain::dsn::{self, Dsn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Dsn::parse(bytes) {
        assert!(!report.diagnostic.contains('@') && report.diagnostic.chars().count() <= 300);
        let _ = report.verdict();
    }
    assert!(dsn::envelope_recipients(bytes).len() <= 100);
});
