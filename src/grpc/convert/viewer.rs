//! Invitations and memberships as a caller may see them.
//!
//! Only a viewer builds these messages, so no method can forget to hide something. A test checks that.

use prost_types::FieldMask;
use uuid::Uuid;

use crate::domain::email_address::EmailAddress;
use crate::domain::invitation::{Delivery, Invitation, InvitationState};
use crate::domain::membership::Membership;
use crate::domain::scope::Scope;
use crate::identity::Caller;
use crate::proto;
use crate::service::InvitationPreview;

use super::{enums, error, metadata, times};

pub(in crate::grpc) struct Viewer<'a> {
    caller: &'a Caller,
}

impl<'a> Viewer<'a> {
    pub(in crate::grpc) const fn new(caller: &'a Caller) -> Self {
        Self { caller }
    }

    fn is_user(&self) -> bool {
        self.caller.as_user().is_some()
    }

    /// An invitation of an organization that the caller acts for. Users do not see private metadata. Only callers with
    /// `directory:read` see who has an account.
    pub(in crate::grpc) fn invitation(&self, input: Invitation) -> proto::Invitation {
        let sees_accounts = self.caller.holds(Scope::DirectoryRead);
        let accounts = sees_accounts.then_some((input.inviter_name, input.invited_user_id));
        let (inviter_name, invited_user_id) = accounts.unwrap_or_default();
        let private_metadata = input.private_metadata.filter(|_| !self.is_user());
        let message = proto::Invitation {
            id: id(input.id),
            organization_id: input.organization_id,
            organization_name: input.organization_name,
            email: input.email,
            role: input.role,
            state: enums::state(input.state.name()).into(),
            inviter_user_id: input.inviter_user_id,
            inviter_name,
            registered: sees_accounts.then_some(invited_user_id.is_some()),
            invited_user_id: invited_user_id.unwrap_or_default(),
            redirect_url: input.redirect_url,
            public_metadata: metadata::structure(input.public_metadata.as_deref()),
            private_metadata: metadata::structure(private_metadata.as_deref()),
            locale: input.locale,
            message: input.message,
            batch_id: id(input.batch_id),
            accept_policy: enums::accept_policy(input.accept_policy).into(),
            create_time: Some(times::timestamp(input.created_at)),
            update_time: Some(times::timestamp(input.updated_at)),
            expire_time: Some(times::timestamp(input.expires_at)),
            last_accept_error: input
                .last_accept_error
                .map(error::reason)
                .unwrap_or_default()
                .into(),
            delivery: Some(delivery(input.delivery)),
            remind_time: input.remind_at.map(times::timestamp),
            reminder_lead: times::lead_duration(input.reminder_lead),
            omitted_fields: self.omitted_fields(input.omitted_fields),
            ..Default::default()
        };
        with_end(message, input.state)
    }

    /// The fields that were not read. Users do not learn whether there are private metadata.
    fn omitted_fields(&self, mut paths: Vec<String>) -> Option<FieldMask> {
        paths.retain(|path| !(self.is_user() && path == "private_metadata"));
        Some(FieldMask { paths }).filter(|mask| !mask.paths.is_empty())
    }

    /// The view BASIC of an invitation, which every caller who may see the invitation sees alike.
    pub(in crate::grpc) fn basic_invitation(input: Invitation) -> proto::Invitation {
        let message = proto::Invitation {
            id: id(input.id),
            role: input.role,
            state: enums::state(input.state.name()).into(),
            create_time: Some(times::timestamp(input.created_at)),
            update_time: Some(times::timestamp(input.updated_at)),
            expire_time: Some(times::timestamp(input.expires_at)),
            remind_time: input.remind_at.map(times::timestamp),
            ..Default::default()
        };
        proto::Invitation {
            accepted_by_user_id: String::new(),
            revoked_by_user_id: String::new(),
            ..with_end(message, input.state)
        }
    }

    /// The invitation of a link. A user who was not invited, and may accept because anybody may, does not see whom the
    /// invitation was for.
    pub(in crate::grpc) fn invitation_of_link(&self, input: Invitation) -> proto::Invitation {
        let is_hidden = self.caller.as_user().is_some_and(|user| {
            let invited = EmailAddress::parse(&input.email).ok();
            user.email
                .as_ref()
                .zip(invited.as_ref())
                .is_none_or(|(own, invited)| own.normalized() != invited.normalized())
        });
        let mut message = self.invitation(input);
        if is_hidden {
            message.email.clear();
            message.message.clear();
            if let Some(delivery) = &mut message.delivery {
                delivery.last_error.clear();
            }
        }
        message
    }

    /// What a landing page may show. Users do not see whether the address has an account.
    pub(in crate::grpc) fn preview(&self, preview: InvitationPreview) -> proto::PreviewResponse {
        let input = preview.invitation;
        let email = EmailAddress::parse(&input.email).ok();
        proto::PreviewResponse {
            organization_id: input.organization_id,
            organization_name: input.organization_name,
            inviter_name: input.inviter_name,
            role: input.role,
            masked_email: email.map(|email| email.masked()).unwrap_or_default(),
            expire_time: Some(times::timestamp(input.expires_at)),
            state: enums::state(input.state.name()).into(),
            registered: (!self.is_user()).then_some(input.invited_user_id.is_some()),
            redirect_url: input.redirect_url,
            role_display_name: preview.role_display_name,
        }
    }

    /// A membership. Users do not see private metadata.
    pub(in crate::grpc) fn membership(&self, input: Membership) -> proto::Membership {
        let private_metadata = input.private_metadata.filter(|_| !self.is_user());
        proto::Membership {
            organization_id: input.organization_id,
            user_id: input.user_id,
            role: Some(input.role),
            public_metadata: metadata::structure(input.public_metadata.as_deref()),
            private_metadata: metadata::structure(private_metadata.as_deref()),
            invitation_id: input.invitation_id.map(id).unwrap_or_default(),
            create_time: Some(times::timestamp(input.created_at)),
            update_time: Some(times::timestamp(input.updated_at)),
        }
    }
}

/// An id. Empty for the nil id of what was not created.
pub(in crate::grpc) fn id(id: Uuid) -> String {
    if id.is_nil() {
        String::new()
    } else {
        id.to_string()
    }
}

fn with_end(message: proto::Invitation, state: InvitationState) -> proto::Invitation {
    match state {
        InvitationState::Pending | InvitationState::Expired => message,
        InvitationState::Accepted { at, by_user_id } => proto::Invitation {
            accept_time: Some(times::timestamp(at)),
            accepted_by_user_id: by_user_id,
            ..message
        },
        InvitationState::Declined { at } => proto::Invitation {
            decline_time: Some(times::timestamp(at)),
            ..message
        },
        InvitationState::Revoked { at, by_user_id } => proto::Invitation {
            revoke_time: Some(times::timestamp(at)),
            revoked_by_user_id: by_user_id.unwrap_or_default(),
            ..message
        },
    }
}

fn delivery(input: Delivery) -> proto::Delivery {
    proto::Delivery {
        state: enums::delivery_state(input.state).into(),
        attempt_count: i32::try_from(input.attempts).unwrap_or(i32::MAX),
        last_error: input.last_error.unwrap_or_default(),
        last_reply_code: input.last_reply_code.map_or(0, i32::from),
        queue_time: input.queued_at.map(times::timestamp),
        next_attempt_time: input.next_attempt_at.map(times::timestamp),
        send_time: input.sent_at.map(times::timestamp),
    }
}
