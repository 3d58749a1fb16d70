//! The rules, pure: what an address, a role, a token and an invitation are, and what a bulk request may ask.
//!
//! Knows no async, no SQL, no protocol, no mail and no configuration. Time and chance come in as parameters.

pub mod access;
pub mod actor;
pub mod address_hash;
pub mod address_tag;
pub mod audit;
pub mod batch;
pub mod bounce_address;
pub mod brand;
pub mod certificate_identity;
pub mod color;
pub mod diagnostic;
pub mod display_name;
pub mod dsn;
pub mod email_address;
pub mod enhanced_code;
pub mod event;
pub mod event_cursor;
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
