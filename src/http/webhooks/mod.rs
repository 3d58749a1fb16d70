//! Webhooks: reports of mail providers about emails that they accepted.
//!
//! Each provider has a file with its authentication, the format of its reports and their meaning. A provider repeats a
//! report for days until the answer is 2xx. So every genuine report is answered with 204, even if it concerns no email
//! of this service. Other answers mean that the request is not genuine, or (503) that the report must be repeated.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(super) mod postmark_webhook;
mod report;
pub(super) mod resend_webhook;
mod signature;

pub use postmark_webhook::PostmarkPassword;
pub use signature::WebhookSecret;
