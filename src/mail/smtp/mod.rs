//! SMTP: one relay, one session per connection, one email at a time.
//!
//! `smtp_config` holds the settings. `smtp_session` keeps one connection between emails; `relay_connect` opens it over
//! a `relay_stream` with `limited_replies`, and `relay_connection` sends the commands. `relay_reply` decides what a reply
//! means.

mod limited_replies;
mod relay_connect;
mod relay_connection;
pub(super) mod relay_reply;
mod relay_stream;
mod smtp_config;
mod smtp_session;

pub use smtp_config::{SmtpConfig, SmtpConfigError, SmtpLimits, SmtpTimeouts, SmtpTls};
pub use smtp_session::{SmtpSession, SmtpTransport};
