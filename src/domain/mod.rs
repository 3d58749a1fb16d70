//! The rules of the service, as pure functions and types. Time and randomness are parameters.
//!
//! This module knows no async code, no SQL, no protocol, no email transport and no configuration. Its files by subject:
//!
//! - addresses: [`email_address`], [`address_tag`], [`address_hash`], [`bounce_address`], [`masking`]
//! - invitations: [`new_invitation`], [`invitation`], [`batch`], [`expiry`], [`reminder`], [`quota`], [`suppression`]
//! - organizations and users: [`organization`], [`brand`], [`color`], [`membership`], [`role`], [`user`], [`ids`]
//! - texts of callers: [`display_name`], [`personal_message`], [`metadata`], [`locale`]
//! - URLs: [`link`], [`redirect_url`], [`logo_url`], [`public_url`], [`secure_url`]
//! - keys and tokens: [`keyring`], [`token`], [`page_token`], [`unsubscribe_token`]
//! - reports of mail servers: [`dsn`], [`diagnostic`], [`enhanced_code`]
//! - callers: [`actor`], [`access`], [`scope`], [`certificate_identity`], [`plain_name`]
//! - the audit log and events: [`audit`], [`event`], [`event_cursor`]
//! - refusals: [`reason`]

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
pub mod invitation_filter;
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
pub mod plain_name;
pub mod public_url;
pub mod quota;
pub mod reason;
pub mod redirect_url;
pub mod reminder;
pub mod role;
pub mod scope;
pub mod secure_url;
pub mod suppression;
pub mod token;
pub mod unsubscribe_token;
pub mod user;
