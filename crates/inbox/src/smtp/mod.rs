//! An SMTP server (RFC 5321) that accepts every message and delivers none.
//!
//! It offers PIPELINING, 8BITMIME and SIZE. It has no AUTH, no STARTTLS and no relaying.

mod command;
pub(crate) mod session;
mod smtp_stream;
