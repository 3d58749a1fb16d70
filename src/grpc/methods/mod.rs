//! The methods of the services. Each converts the request, runs one use case and converts the result.

mod api;
pub(super) mod audit_service;
mod directory_deletes;
mod directory_reads;
pub(super) mod directory_service;
pub(super) mod feedback_service;
pub(super) mod invitations;
pub(super) mod mail_service;
pub(super) mod suppression_service;

pub(super) use api::Api;
