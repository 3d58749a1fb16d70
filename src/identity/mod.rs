//! Who calls: configured tokens, JWTs of configured issuers, and what either kind of caller is.
//!
//! `callers` is the door: it takes the headers of a call and answers with a [`Caller`] or with why there is none. A JWT
//! goes through `jwt` (its form), `issuer` (whose it is), `key_source` (the issuer's keys, cached) and `claims` (what it
//! says). Knows no gRPC, no store and no use case: what a caller may do with which method is decided elsewhere.

mod caller;
mod callers;
mod claims;
mod issuer;
mod issuer_entry;
mod jwt;
mod key_origin;
mod key_set;
mod key_source;

pub use caller::{Caller, Principal, SignedInUser};
pub use callers::Callers;
pub use claims::{LEEWAY, LIFETIME_MAX};
pub use issuer_entry::{IssuerEntry, IssuerKind, KeysAt, RawIssuer, ServiceTerms, check_issuers};
pub use key_origin::{FETCH_TIMEOUT, KEY_SET_BYTES_MAX};
pub use key_source::{KEYS_FRESH_FOR, KEYS_KEPT_FOR, REFRESH_PAUSE, UNKNOWN_KEY_PAUSE};
