//! The rules, pure: what an address, a role, a token and an invitation are, and what a bulk request may ask.
//!
//! Knows no async, no SQL, no protocol, no mail and no configuration. Time and chance come in as parameters.

pub mod email_address;
pub mod scope;
