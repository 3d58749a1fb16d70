//! The methods of the services. Each converts the request, runs one use case and converts the result.

mod api;
mod audit_service;
mod directory_deletes;
mod directory_reads;
mod directory_service;
mod feedback_service;
mod invitations;
mod mail_service;
mod suppression_service;

pub(super) use api::Api;
