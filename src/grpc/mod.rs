//! The gRPC surface: the only place, besides the command line's client, that knows tonic and prost.
//!
//! A call goes through `authentication` (who calls) and `gate` (which kind of caller, with which scope, how long, how many
//! at once), is turned into domain words by `convert`, runs one use case, and is turned back; `status` is the one place
//! where refusals become codes. Knows no SQL, no store and no mail.

mod actor;
mod audit_service;
mod authentication;
mod bulk_create_stream;
mod chunks;
mod connection;
mod convert;
mod deadline;
mod directory_service;
mod encryption;
mod failed_accepts;
mod feedback_service;
mod fields;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod health;
mod invitation_service;
pub mod limits;
mod mail_service;
mod peer;
mod peer_identities;
mod rates;
mod server;
mod status;
mod suppression_service;
mod tls;
mod trusted_proxies;
mod user;
mod watch;
mod xfcc;

pub use health::Health;
pub use server::{GrpcConfig, Server};
pub use tls::{ClientCertificates, Tls, TlsFiles};
pub use trusted_proxies::TrustedProxies;
