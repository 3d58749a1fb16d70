//! The rules of the service, as pure functions and types. Time and randomness are parameters.
//!
//! This module knows no async code, no SQL, no protocol, no email transport and no configuration. `ARCHITECTURE.md` lists
//! the files by subject.

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
pub mod user;
