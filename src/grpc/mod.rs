//! The gRPC surface: the only place, besides the command line's client, that knows tonic and prost.
//!
//! A call goes through `authentication` (who calls) and `gate` (which kind of caller, with which scope, how long, how many
//! at once), is turned into domain words by `convert`, runs one use case, and is turned back; `status` is the one place
//! where refusals become codes. Knows no SQL, no store and no mail.

mod admission;
mod convert;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod methods;
mod status;
mod wire;

pub use admission::trusted_proxies::TrustedProxies;
pub use wire::health::Health;
pub use wire::limits;
pub use wire::server::{GrpcConfig, Server};
pub use wire::tls::{ClientCertificates, Tls, TlsFiles};
