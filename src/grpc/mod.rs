//! The gRPC API.
//!
//! A call passes [`wire`] (connections, TLS, deadlines) and [`admission`] (who calls, and may they), which counts the [`memory`] of messages. [`methods`] runs one use
//! case for each method and uses [`convert`] for messages. [`status`] is the one place where errors become status codes.

mod admission;
mod convert;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod memory;
mod methods;
mod status;
mod wire;

pub use admission::trusted_proxies::TrustedProxies;
pub use wire::health::Health;
pub use wire::limits;
pub use wire::server::{GrpcConfig, GrpcServer};
pub use wire::tls::ServerTls;
pub use wire::tls_files::{ClientCertificates, TlsFiles};
