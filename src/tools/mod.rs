//! The commands of an operator that need no running server: keys, callers and the templates of emails.

pub mod caller;
pub mod key;
pub mod mail;
