//! Failures of SMTP relays and of providers with an HTTP API.

mod endless_replies;
mod long_outage;
mod provider_calls;
mod provider_results;
mod recovery;
mod slow_down;
mod smtp_session;
mod smtp_stages;
