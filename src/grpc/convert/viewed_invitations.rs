//! The invitations of one response: in the view that the request asks for, and within a size.

use prost::Message as _;
use prost_types::FieldMask;

use crate::domain::invitation::{Invitation, InvitationView};
use crate::grpc::wire::limits::{METADATA_IN_RESPONSE_BYTES_MAX, TEXTS_IN_RESPONSE_BYTES_MAX};
use crate::identity::Caller;
use crate::proto::Invitation as InvitationMessage;

use super::viewer::Viewer;

/// Converts the invitations of one response, in their order. The metadata and the texts of an invitation are left out, and
/// named in `omitted_fields`, if the response has no room for them. A small request that names only ids could otherwise get
/// a response of any size.
pub(in crate::grpc) struct ViewedInvitations<'a> {
    viewer: Viewer<'a>,
    view: InvitationView,
    metadata_bytes_left: usize,
    text_bytes_left: usize,
}

impl<'a> ViewedInvitations<'a> {
    pub(in crate::grpc) const fn new(caller: &'a Caller, view: InvitationView) -> Self {
        Self {
            viewer: Viewer::new(caller),
            view,
            metadata_bytes_left: METADATA_IN_RESPONSE_BYTES_MAX,
            text_bytes_left: TEXTS_IN_RESPONSE_BYTES_MAX,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.view == InvitationView::Full
    }

    pub(in crate::grpc) fn convert(&mut self, input: Invitation) -> InvitationMessage {
        if !self.is_full() {
            return Viewer::basic_invitation(input);
        }
        let mut message = self.viewer.invitation(input);
        let mut omitted = self.omit_metadata(&mut message);
        omitted.extend(self.omit_texts(&mut message));
        if !omitted.is_empty() {
            let paths = omitted.into_iter().map(str::to_owned).collect();
            message.omitted_fields = Some(FieldMask { paths });
        }
        message
    }

    /// Leaves the metadata out if they do not fit. Returns the names of the fields that were left out.
    fn omit_metadata(&mut self, message: &mut InvitationMessage) -> Vec<&'static str> {
        let fields = [
            ("public_metadata", &mut message.public_metadata),
            ("private_metadata", &mut message.private_metadata),
        ];
        let sizes = fields
            .iter()
            .map(|(_, field)| field.as_ref().map_or(0, prost_types::Struct::encoded_len));
        if take(&mut self.metadata_bytes_left, sizes.sum()) {
            return Vec::new();
        }
        let omitted = fields
            .into_iter()
            .filter_map(|(name, field)| field.take().map(|_| name));
        omitted.collect()
    }

    /// As [`Self::omit_metadata`], for the redirect URL and the message.
    fn omit_texts(&mut self, message: &mut InvitationMessage) -> Vec<&'static str> {
        let fields = [
            ("redirect_url", &mut message.redirect_url),
            ("message", &mut message.message),
        ];
        let sizes = fields.iter().map(|(_, field)| field.len());
        if take(&mut self.text_bytes_left, sizes.sum()) {
            return Vec::new();
        }
        let omitted = fields
            .into_iter()
            .filter_map(|(name, field)| (!std::mem::take(field).is_empty()).then_some(name));
        omitted.collect()
    }
}

/// Takes bytes from what is left. Returns false, and takes nothing, if there are too few.
fn take(left: &mut usize, bytes: usize) -> bool {
    let rest = left.checked_sub(bytes);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}
