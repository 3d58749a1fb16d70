//! An invitation service for the tests of commands. It stores everything in memory and has no business rules.
//!
//! It knows four kinds of rows: valid ones, addresses without an at sign, duplicates, and addresses that start with
//! "resent" and have the first stored invitation. Each read of invitations delivers some of the queued emails.

mod directory;
mod events;
mod lists;
pub(crate) mod memory;
mod recorded_requests;
pub(crate) mod service;
mod stream;
