//! The methods of the services. Each converts the request, runs one use case and converts the result.

mod audit_service;
mod directory_service;
mod feedback_service;
mod invitations;
mod mail_service;
mod suppression_service;

pub(super) use audit_service::AuditApi;
pub(super) use directory_service::DirectoryApi;
pub(super) use feedback_service::FeedbackApi;
pub(super) use invitations::InvitationApi;
pub(super) use mail_service::MailApi;
pub(super) use suppression_service::SuppressionApi;
