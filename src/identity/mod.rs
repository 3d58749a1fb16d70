//! Authentication: which caller the credentials of a call belong to.
//!
//! [`Callers`] maps a bearer token or a client certificate to a [`Caller`]. A JWT passes through `jwt` (its form),
//! `key_cache` (the keys of its issuer) and `claims` (the caller it names). `grpc` and the use cases decide what the
//! caller may do. This module knows no gRPC, no store and no settings.

mod caller;
mod callers;
mod claims;
mod entries;
mod jwt;
mod key_cache;
mod key_origin;
mod key_set;

pub use caller::{Caller, Principal, SignedInUser};
pub use callers::Callers;
pub use claims::{LEEWAY, LIFETIME_MAX};
pub use entries::{
    CallerCredential, CallerEntry, IssuerEntry, IssuerKind, KeyLocation, ServicePermissions,
};
pub use key_cache::{KEYS_FRESH_FOR, KEYS_KEPT_FOR, REFRESH_PAUSE, UNKNOWN_KEY_PAUSE};
pub use key_origin::{FETCH_TIMEOUT, KEY_SET_BYTES_MAX};
