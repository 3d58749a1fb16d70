//! Email: renders an invitation and hands it to an SMTP relay, to an HTTP provider or to a folder.
//!
//! Nothing outside this folder uses `lettre`. This module has no access to the outbox, the store or a clock. It never
//! retries: the caller decides when to send, whether to retry and what to record. In reading order:
//!
//! * An `invitation_email` is the data of one email. `templates` renders subject, text and HTML in the recipient's
//!   language, with `clean_text` for the words of other people; `message` builds the message around them.
//! * `transport` chooses between `smtp` and a folder of files; `providers` sends many emails in one HTTP call.
//! * `send_error` says why an email was not accepted; `retry_hint` reads how long a server asks to wait.

mod clean_text;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod invitation_email;
pub mod message;
pub mod providers;
mod retry_hint;
pub mod send_error;
pub mod smtp;
pub mod templates;
pub mod transport;
mod trusted_roots;
