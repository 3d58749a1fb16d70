//! The rules of the service, as types and functions without input or output. Time and random numbers are parameters.
//! The exception is [`ids::IdSource`], which keeps a counter and gets random numbers from the crate uuid.
//!
//! This module has no async code, no SQL, no messages of the protocol, no email transport and no settings.
//! `ARCHITECTURE.md` lists the files by subject.

pub mod actor;
pub mod address_tag;
pub mod audit;
pub mod batch;
pub mod bounce_address;
pub mod brand;
pub mod certificate_identity;
pub mod diagnostic;
pub mod display_name;
pub mod dsn;
pub mod email_address;
pub mod event;
pub mod expiry;
pub mod ids;
pub mod invitation;
pub mod keyring;
pub mod link;
pub mod locale;
pub mod logo_url;
pub mod masking;
pub mod membership;
pub mod metadata;
mod named_enum;
pub mod new_invitation;
pub mod organization;
pub mod organization_record;
pub mod page_token;
pub mod personal_message;
pub mod public_url;
pub mod quota;
pub mod reason;
pub mod redirect_url;
pub mod reminder;
pub mod role;
pub mod scope;
pub mod suppression;
pub mod token;
pub mod unsubscribe_token;
pub mod update_mask;
pub mod user;
