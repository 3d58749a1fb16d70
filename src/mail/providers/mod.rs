//! Email over HTTP: many emails in one call to the batch API of a provider.
//!
//! [`ProviderTransport`] makes the calls. `resend_api` and `postmark_api` write the requests and read the responses of
//! one provider each. [`BatchError`] says what is known after a failed call.

mod postmark_api;
mod provider_batch;
mod provider_transport;
mod resend_api;

pub use provider_batch::{BatchError, BatchOutcome, BatchResults, ProviderMessage};
pub use provider_transport::{
    ProviderConfig, ProviderConfigError, ProviderKind, ProviderTransport,
};
