//! Builds messages. The same data always gives the same bytes.
//!
//! The [`Composer`] renders an [`InvitationEmail`] into a [`RenderedMessage`], which providers take, and into a
//! [`ComposedMessage`], which SMTP and files take.

mod composer;
mod sender;

pub use super::invitation_email::{EmailKind, InvitationEmail};
pub use composer::{
    ComposeError, ComposedMessage, Composer, RenderedMessage, UNSUBSCRIBE_URL_BYTES_MAX,
};
pub use sender::{Sender, SenderError};

#[cfg(test)]
pub(super) use composer::tests as samples;
