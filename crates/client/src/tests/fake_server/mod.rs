//! An invitation service for the tests of commands. It stores everything in memory and has no business rules.
//!
//! It knows three kinds of rows: valid ones, addresses without an at sign, and duplicates. Each read of a batch or a list
//! delivers some of the queued emails.

mod events;
pub(crate) mod memory;
pub(crate) mod service;
mod stream;
