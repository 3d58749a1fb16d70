//! The methods of the services: each checks permission, converts messages and runs one use case.

pub(crate) mod audit_service;
pub(crate) mod bulk_create_stream;
pub(crate) mod chunks;
pub(crate) mod directory_service;
pub(crate) mod feedback_service;
pub(crate) mod invitation_service;
pub(crate) mod mail_service;
pub(crate) mod suppression_service;
pub(crate) mod watch;
