//! Mail: composing an invitation and handing it to a relay, a provider or a folder.
//!
//! This is the only place that knows `lettre`. It turns one [`message::InvitationMail`] into bytes that are the same
//! every time ([`message::Composer`]) and carries them over a lane's own connection ([`transport::Session`]); each
//! failure says what becomes of the message ([`outcome::Fate`]). It knows no queue, no store and no clock: when to
//! send, whether to try again and what to write down belong to whoever holds the session.
//!
//! In reading order: `untrusted` tames other people's text, `templates` words the mail, `message` builds it,
//! `outcome` names what can happen to it and `retry_hint` what a server asks for, `transport` chooses between `smtp` and
//! `file`, and `connection`, over `tls` and `stream`, is what `smtp` holds between two messages; `reply` judges what it
//! hears. Beside them, `provider` hands many mails at once to an HTTP API, in the words of `resend` or `postmark`;
//! `provider_fault` says what is known of them when that fails.

mod connection;
pub mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod message;
pub mod outcome;
mod postmark;
pub mod provider;
mod provider_fault;
mod reply;
mod resend;
mod retry_hint;
pub mod smtp;
mod stream;
pub mod templates;
mod tls;
pub mod transport;
mod untrusted;
