//! The HTTP port, for clients that do not use gRPC.
//!
//! Readers of emails unsubscribe, mail providers report deliveries (`webhooks`), and orchestrators probe the process.
//! `server` applies the `limits` to connections and `router` to requests. The port is public, so every request needs a
//! proof: a signed token, or the signature or the password of a provider. TLS is left to a proxy. This module knows no
//! SQL, no store, no email and no gRPC.

mod body_memory;
mod config;
pub mod limits;
mod page;
mod request_body;
mod router;
mod server;
mod state;
mod unsubscribe;
mod webhooks;

pub use config::{HttpConfig, HttpTimeouts};
pub use server::HttpServer;
#[cfg(feature = "fuzzing")]
pub use webhooks::fuzzing;
pub use webhooks::{PostmarkPassword, WebhookSecret};
