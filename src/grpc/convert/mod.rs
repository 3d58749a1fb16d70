//! Between the protocol's words and the domain's. Checks nothing but what a protocol type can hold and a domain type
//! cannot.

pub(super) mod audit;
pub(super) mod batch;
pub(super) mod bulk;
pub(super) mod directory;
pub(super) mod error;
pub(super) mod event;
pub(super) mod fields;
pub(super) mod invitation;
pub(super) mod mail;
pub(super) mod metadata;
pub(super) mod resend;
pub(super) mod revoke;
pub(super) mod stream;
pub(super) mod suppression;
pub(super) mod times;
