//! The commands of an operator that need no running server: keys, callers and email templates.

pub mod caller;
pub mod key;
pub mod mail;
