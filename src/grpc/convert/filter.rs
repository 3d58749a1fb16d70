//! Which invitations a call is about: the filter of a list, and the ids, the filter or `all` of a bulk call.

use crate::domain::ids::UserId;
use crate::domain::invitation::{DeliveryState, InvitationFilter, StateName};
use crate::domain::keyring::Keyring;
use crate::domain::reason::{Reason, Violation};
use crate::proto;
use crate::service::InvitationSelection;

use super::enums;
use super::fields::{self, Field, Fields as _};
use super::list_token::ListToken;

/// What the filter of a method can select.
pub(in crate::grpc) struct FilterRules {
    /// The page tokens of the method. One method refuses those of another.
    token_kind: &'static str,
    /// A filter that names other states is refused.
    states: &'static [StateName],
    /// Used if the filter names no state. Empty for any state.
    default_states: &'static [StateName],
    delivery_states: &'static [DeliveryState],
}

pub(in crate::grpc) const LIST: FilterRules = FilterRules {
    token_kind: "invitations",
    states: &StateName::ALL,
    default_states: &[],
    delivery_states: &DeliveryState::ALL,
};

pub(super) const BULK_RESEND: FilterRules = FilterRules {
    token_kind: "resend",
    states: &[StateName::Pending, StateName::Expired],
    default_states: &[StateName::Pending],
    delivery_states: &DeliveryState::ALL,
};

pub(super) const BULK_REVOKE: FilterRules = FilterRules {
    token_kind: "revoke",
    states: &[StateName::Pending],
    default_states: &[StateName::Pending],
    delivery_states: &DeliveryState::ALL,
};

pub(super) const REQUEUE: FilterRules = FilterRules {
    token_kind: "requeue",
    states: &[StateName::Pending],
    default_states: &[StateName::Pending],
    delivery_states: &[DeliveryState::Failed],
};

/// The fields with which a bulk call selects invitations: ids, a filter, or `all`.
pub(super) struct SelectionFields<'a> {
    organization_id: &'a str,
    invitation_ids: &'a [String],
    filter: Option<&'a proto::InvitationFilter>,
    all: bool,
    page_size: i32,
    page_token: &'a str,
}

impl FilterRules {
    /// The page tokens of the invitations of an organization that match a filter.
    pub(in crate::grpc) fn token<'a>(
        &self,
        keyring: &'a Keyring,
        organization_id: &str,
        filter: Option<&proto::InvitationFilter>,
    ) -> ListToken<'a> {
        let list = proto::ListRequest {
            organization_id: organization_id.to_owned(),
            filter: Some(filter.cloned().unwrap_or_default()),
            ..Default::default()
        };
        ListToken::new(keyring, self.token_kind, &list)
    }

    /// A filter, which stands in the field `filter`. Reports every violation.
    pub(in crate::grpc) fn parse(
        &self,
        input: Option<&proto::InvitationFilter>,
    ) -> Field<InvitationFilter> {
        let default = proto::InvitationFilter::default();
        let input = input.unwrap_or(&default);
        let inviter = |id: &str| fields::required("inviter_user_id", id, UserId::parse(id));
        let (mut states, delivery_states, email, batch_id, inviter) = (
            enums::states(&input.states, self.states),
            enums::delivery_states(&input.delivery_states, self.delivery_states),
            fields::set(input.email.as_deref(), fields::email),
            fields::set(input.batch_id.as_deref(), fields::batch_id),
            fields::set(input.inviter_user_id.as_deref(), inviter),
        )
            .all()
            .map_err(|violations| within("filter", violations))?;
        if states.is_empty() {
            states = self.default_states.to_vec();
        }
        Ok(InvitationFilter {
            states,
            delivery_states,
            email_normalized: email.map(|email| email.normalized().to_owned()),
            inviter_user_id: inviter.map(|id| id.as_str().to_owned()),
            batch_id,
        })
    }
}

impl SelectionFields<'_> {
    pub(super) fn parse(
        &self,
        rules: &FilterRules,
        keyring: &Keyring,
    ) -> Field<InvitationSelection> {
        let page_size = fields::bulk_page_size(self.page_size);
        if self.filter.is_none() && !self.all {
            let ids = fields::invitation_ids(self.invitation_ids);
            let (ids, _, ()) = (ids, page_size, self.no_page_token()).all()?;
            return Ok(InvitationSelection::Ids(ids));
        }
        let token = rules.token(keyring, self.organization_id, self.filter);
        let (filter, before, page_size, ()) = (
            rules.parse(self.filter),
            token.open_id(self.page_token),
            page_size,
            self.one_selection(),
        )
            .all()?;
        Ok(InvitationSelection::Filter {
            filter,
            before,
            page_size,
        })
    }

    /// A list of ids has one page.
    fn no_page_token(&self) -> Field<()> {
        if self.page_token.is_empty() {
            Ok(())
        } else {
            Err(vec![Violation::new("page_token", Reason::PageTokenInvalid)])
        }
    }

    /// Refuses two selections at once, and a filter without any field: a caller whose variable is unset must not select
    /// every invitation (AIP-165).
    fn one_selection(&self) -> Field<()> {
        let is_listed = !self.invitation_ids.is_empty();
        match self.filter {
            Some(_) if is_listed => Err(fields::invalid("filter")),
            Some(_) if self.all => Err(fields::invalid("all")),
            Some(filter) if *filter == proto::InvitationFilter::default() => {
                Err(vec![Violation::new("filter", Reason::FieldRequired)])
            }
            None if is_listed => Err(fields::invalid("all")),
            _ => Ok(()),
        }
    }
}

macro_rules! selection_fields {
    ($($request:ident),+) => {
        $(impl<'a> From<&'a proto::$request> for SelectionFields<'a> {
            fn from(request: &'a proto::$request) -> Self {
                Self {
                    organization_id: &request.organization_id,
                    invitation_ids: &request.invitation_ids,
                    filter: request.filter.as_ref(),
                    all: request.all,
                    page_size: request.page_size,
                    page_token: &request.page_token,
                }
            }
        })+
    };
}
selection_fields!(BulkResendRequest, BulkRevokeRequest, RequeueMessagesRequest);

/// The violations of fields of a message that stands in a field.
pub(super) fn within(field: &str, violations: Vec<Violation>) -> Vec<Violation> {
    let name = |it: Violation| Violation::new(format!("{field}.{}", it.field), it.reason);
    violations.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{BulkRevokeRequest, InvitationState};

    fn keyring() -> Keyring {
        Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n").unwrap()
    }

    fn violation(request: &BulkRevokeRequest) -> Option<(String, &'static str)> {
        let parsed = SelectionFields::from(request).parse(&BULK_REVOKE, &keyring());
        let first = parsed.err()?.swap_remove(0);
        Some((first.field, first.reason.code()))
    }

    #[test]
    fn a_bulk_call_needs_exactly_one_of_ids_a_filter_and_all() {
        let ids = vec!["x".to_owned()];
        let empty = Some(proto::InvitationFilter::default());
        let pending = Some(proto::InvitationFilter {
            states: vec![InvitationState::Pending.into()],
            ..Default::default()
        });
        let violation = |invitation_ids: &[String], filter, all| {
            let request = BulkRevokeRequest {
                invitation_ids: invitation_ids.to_vec(),
                filter,
                all,
                ..Default::default()
            };
            violation(&request)
        };
        let refused = |field: &str, reason| Some((field.to_owned(), reason));
        assert_eq!(violation(&ids, None, false), None);
        assert_eq!(violation(&[], pending.clone(), false), None);
        assert_eq!(violation(&[], None, true), None);
        let nothing = violation(&[], None, false);
        assert_eq!(nothing, refused("invitation_ids", "ITEMS_EMPTY"));
        let unset = violation(&[], empty.clone(), false);
        assert_eq!(unset, refused("filter", "FIELD_REQUIRED"));
        for filter in [empty, pending] {
            let listed = violation(&ids, filter.clone(), false);
            assert_eq!(listed, refused("filter", "FIELD_INVALID"));
            let all = violation(&[], filter, true);
            assert_eq!(all, refused("all", "FIELD_INVALID"));
        }
        let all = violation(&ids, None, true);
        assert_eq!(all, refused("all", "FIELD_INVALID"));
    }

    #[test]
    fn a_field_that_is_set_to_an_empty_text_selects_nothing() {
        let set = || Some(String::new());
        for (field, [email, inviter_user_id, batch_id]) in [
            ("filter.email", [set(), None, None]),
            ("filter.inviter_user_id", [None, set(), None]),
            ("filter.batch_id", [None, None, set()]),
        ] {
            let filter = proto::InvitationFilter {
                states: vec![InvitationState::Pending.into()],
                email,
                inviter_user_id,
                batch_id,
                ..Default::default()
            };
            let request = BulkRevokeRequest {
                filter: Some(filter.clone()),
                ..Default::default()
            };
            let refused = Some((field.to_owned(), "FIELD_REQUIRED"));
            assert_eq!(violation(&request), refused);
            let listed = LIST.parse(Some(&filter)).err();
            assert_eq!(listed.map(|violations| violations.len()), Some(1));
        }
    }

    #[test]
    fn states_are_distinct_and_only_those_that_a_method_can_act_on() {
        let parse = |rules: &FilterRules, states: &[i32]| {
            let filter = proto::InvitationFilter {
                states: states.to_vec(),
                ..Default::default()
            };
            rules.parse(Some(&filter)).map(|filter| filter.states)
        };
        let (pending, expired) = (1, 5);
        assert_eq!(InvitationState::Expired as i32, expired);
        let both = vec![StateName::Pending, StateName::Expired];
        assert_eq!(parse(&LIST, &[expired, pending, expired]), Ok(both.clone()));
        assert_eq!(parse(&LIST, &[]), Ok(vec![]));
        assert_eq!(parse(&BULK_RESEND, &[expired, pending]), Ok(both));
        assert_eq!(parse(&BULK_RESEND, &[]), Ok(vec![StateName::Pending]));
        let refused = Err(fields::invalid("filter.states"));
        assert_eq!(parse(&BULK_REVOKE, &[expired]), refused);
        assert_eq!(parse(&LIST, &[0]), refused, "an unset variable");
        assert_eq!(parse(&LIST, &[99]), refused);
    }
}
