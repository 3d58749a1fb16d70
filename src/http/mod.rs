//! The HTTP port: what reaches the service from where nobody speaks gRPC.
//!
//! Readers of mails stop further ones here (`unsubscribe`), mail providers report what became of mails
//! (`webhooks`), and whoever runs the process asks whether it lives (`health`). `server` holds connections and
//! requests to their `limits`. Strangers can reach all of it, so nothing is believed without a proof: a token of ours
//! in a link, a provider's signature or password. Knows no SQL, no store, no mail and no gRPC; TLS is a proxy's work.

mod health;
pub mod limits;
mod page;
mod server;
mod unsubscribe;
mod webhooks;

pub use limits::HttpTimeouts;
pub use server::{HttpConfig, HttpServer};
#[cfg(feature = "fuzzing")]
pub use webhooks::fuzzing;
pub use webhooks::{PostmarkPassword, WebhookSecret, WebhookSecretError};
