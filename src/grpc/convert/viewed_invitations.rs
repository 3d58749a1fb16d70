//! The invitations of one response: in the view that the request asks for, and within a size.

use prost::Message;
use prost_types::FieldMask;

use crate::domain::invitation::{Invitation, InvitationView};
use crate::grpc::wire::limits::{LARGE_FIELDS_BYTES_MAX, ROWS_BYTES_MAX};
use crate::identity::Caller;
use crate::proto::{self, Invitation as InvitationMessage};

use super::metadata;
use super::page::FittingRows;
use super::viewer::Viewer;

/// The path that stands for all fields that are not in the view BASIC. Their names would be longer than some of them.
const EVERY_FIELD: &str = "*";

/// Converts the invitations of one response, in their order. The large fields of an invitation are left out, and named in
/// `omitted_fields`, if the response has no room for them. A small request that names only ids could otherwise get a
/// response of any size.
pub(in crate::grpc) struct ViewedInvitations<'a> {
    viewer: Viewer<'a>,
    view: InvitationView,
    bytes_left: usize,
}

/// A response with a result for each invitation.
pub(super) trait InvitationResults: Message {
    type Item: InvitationResult;

    fn results(&mut self) -> &mut [Self::Item];
}

pub(super) trait InvitationResult: Message {
    /// Leaves out what the view BASIC does not have.
    fn reduce(&mut self);
}

macro_rules! invitation_results {
    ($($response:ident of $result:ident),+) => {$(
        impl InvitationResults for proto::$response {
            type Item = proto::$result;

            fn results(&mut self) -> &mut [proto::$result] {
                &mut self.results
            }
        }
    )+};
}

invitation_results!(
    BulkCreateResponse of CreateResult,
    BulkCreateStreamResponse of CreateResult,
    BulkGetResponse of GetResult,
    BulkResendResponse of ResendResult,
    BulkRevokeResponse of RevokeResult
);

impl InvitationResult for proto::CreateResult {
    fn reduce(&mut self) {
        self.email.clear();
        self.invitation = self.invitation.take().map(reduced);
    }
}

macro_rules! invitation_result {
    ($($result:ident),+) => {$(
        impl InvitationResult for proto::$result {
            fn reduce(&mut self) {
                self.invitation = self.invitation.take().map(reduced);
            }
        }
    )+};
}

invitation_result!(GetResult, ResendResult, RevokeResult);

impl<'a> ViewedInvitations<'a> {
    pub(in crate::grpc) const fn new(caller: &'a Caller, view: InvitationView) -> Self {
        Self {
            viewer: Viewer::new(caller),
            view,
            bytes_left: LARGE_FIELDS_BYTES_MAX,
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
        self.omit_large_fields(&mut message);
        message
    }

    /// The invitations of a page, which ends before the first invitation that does not fit. Each invitation is complete.
    pub(in crate::grpc) fn page(
        &mut self,
        input: Vec<Invitation>,
    ) -> FittingRows<InvitationMessage> {
        let row_count = input.len();
        let complete = input.into_iter().map(|found| self.convert(found));
        let complete = complete.take_while(|message| message.omitted_fields.is_none());
        let mut page = FittingRows::of(complete);
        page.is_cut = page.rows.len() < row_count;
        page
    }

    /// Makes a response as small as clients receive by default: the last results are reduced to the view BASIC.
    pub(super) fn fit<R: InvitationResults>(&self, mut response: R) -> R {
        if !self.is_full() {
            return response;
        }
        let mut bytes = response.encoded_len();
        for result in response.results().iter_mut().rev() {
            if bytes <= ROWS_BYTES_MAX {
                break;
            }
            bytes -= result.encoded_len();
            result.reduce();
            bytes += result.encoded_len();
        }
        response
    }

    /// Leaves out metadata, redirect URL and message if they do not fit together.
    fn omit_large_fields(&mut self, message: &mut InvitationMessage) {
        let metadata = [&message.public_metadata, &message.private_metadata];
        let metadata = metadata.into_iter().flatten().map(metadata::response_bytes);
        let bytes = metadata.sum::<usize>() + message.redirect_url.len() + message.message.len();
        if let Some(left) = self.bytes_left.checked_sub(bytes) {
            self.bytes_left = left;
            return;
        }
        // As in the store, the invitations after one without room have no room either.
        self.bytes_left = 0;
        let texts = [&mut message.redirect_url, &mut message.message].map(std::mem::take);
        let metadata = [&mut message.public_metadata, &mut message.private_metadata];
        let [has_public, has_private] = metadata.map(|field| field.take().is_some());
        // In the order of the store, so that a repeated call returns the same response.
        let fields = [
            ("redirect_url", !texts[0].is_empty()),
            ("public_metadata", has_public),
            ("private_metadata", has_private),
            ("message", !texts[1].is_empty()),
        ];
        let omitted = fields.into_iter().filter(|(_, is_set)| *is_set);
        let paths = omitted.map(|(name, _)| name.to_owned()).collect();
        message.omitted_fields = Some(FieldMask { paths });
    }
}

/// An invitation without the fields that are not in the view BASIC.
fn reduced(input: InvitationMessage) -> InvitationMessage {
    InvitationMessage {
        id: input.id,
        role: input.role,
        state: input.state,
        create_time: input.create_time,
        update_time: input.update_time,
        expire_time: input.expire_time,
        accept_time: input.accept_time,
        decline_time: input.decline_time,
        revoke_time: input.revoke_time,
        remind_time: input.remind_time,
        omitted_fields: Some(FieldMask {
            paths: vec![EVERY_FIELD.to_owned()],
        }),
        ..Default::default()
    }
}
