//! Who may call: the caller of a request, what it may do, and how much of it.

pub(crate) mod actor;
pub(crate) mod authentication;
pub(crate) mod failed_accepts;
pub(crate) mod gate;
pub(crate) mod peer;
pub(crate) mod peer_identities;
pub(crate) mod rates;
pub(crate) mod trusted_proxies;
pub(crate) mod user;
pub(crate) mod xfcc;
