//! Admission: who calls, what the caller may do, and how much of it.

pub(crate) mod acting_user;
pub(crate) mod authentication;
pub(crate) mod caller_rates;
pub(crate) mod control;
pub(crate) mod failed_accepts;
pub(crate) mod peer;
pub(crate) mod peer_identities;
pub(crate) mod permission;
pub(crate) mod permitted_calls;
pub(crate) mod ready;
pub(crate) mod trusted_proxies;
pub(crate) mod xfcc;
