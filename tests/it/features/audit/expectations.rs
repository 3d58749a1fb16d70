//! The events that each action writes.

use invitations::domain::audit::AuditAction as Action;
use serde_json::{Value, json};

use crate::support::{ACME, OTHER};

/// What an event records: organization, outcome, user on whose behalf, user concerned, counts.
pub(super) type ExpectedEvent = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Value,
);

/// The events of every action, in an order in which one world can perform all of them.
pub(super) fn expectations() -> Vec<(Action, Vec<ExpectedEvent>)> {
    let mut expected = invitation_actions();
    expected.extend(other_actions());
    expected
}

fn in_acme(on_behalf_of: &'static str, subject: &'static str, counts: Value) -> ExpectedEvent {
    (ACME, "OK", on_behalf_of, subject, counts)
}

fn without_organization(subject: &'static str, counts: Value) -> ExpectedEvent {
    ("", "OK", "", subject, counts)
}

fn invitation_actions() -> Vec<(Action, Vec<ExpectedEvent>)> {
    let created = json!({"created": 1, "unchanged": 1, "failed": 3, "role_denied": 1});
    let revoked = json!({"revoked": 1, "unchanged": 1, "failed": 1});
    [
        (Action::BulkCreate, in_acme("ada", "", created)),
        (Action::Accept, in_acme("new", "new", json!({"created": 1}))),
        (Action::Decline, in_acme("", "", json!({"suppressed": 1}))),
        (Action::Revoke, in_acme("ada", "", json!({}))),
        (Action::BulkRevoke, in_acme("ada", "", revoked)),
        (
            Action::Resend,
            in_acme("ada", "", json!({"resent": 1, "rotated": 1})),
        ),
        (
            Action::BulkResend,
            in_acme("ada", "", json!({"resent": 1, "failed": 2})),
        ),
        (Action::Requeue, in_acme("ada", "", json!({"failed": 1}))),
    ]
    .map(|(action, event)| (action, vec![event]))
    .into()
}

fn other_actions() -> Vec<(Action, Vec<ExpectedEvent>)> {
    let deleted_user = json!({"deleted": 1, "revoked": 2});
    vec![
        (
            Action::AddSuppressions,
            vec![in_acme("ada", "", json!({"created": 1, "failed": 1}))],
        ),
        (
            Action::LiftSuppressions,
            vec![in_acme("ada", "", json!({"deleted": 1, "failed": 1}))],
        ),
        (
            Action::Unsubscribe,
            vec![without_organization("", json!({"suppressed": 1}))],
        ),
        (
            Action::UpsertOrganizations,
            vec![
                without_organization("", json!({"failed": 1})),
                in_acme("", "", json!({"updated": 1})),
                ("third", "OK", "", "", json!({"created": 1})),
            ],
        ),
        (
            Action::UpsertUsers,
            vec![without_organization(
                "barbara",
                json!({"created": 1, "failed": 1}),
            )],
        ),
        (
            Action::UpsertMemberships,
            vec![
                without_organization("", json!({"failed": 1})),
                in_acme("", "", json!({"created": 2})),
                (OTHER, "OK", "", "grace", json!({"created": 1})),
            ],
        ),
        (
            Action::SuspendOrganization,
            vec![in_acme("", "", json!({}))],
        ),
        (
            Action::ResumeOrganization,
            vec![in_acme("", "", json!({"requeued": 2}))],
        ),
        (
            Action::EraseAddress,
            vec![in_acme("", "", json!({"erased": 1}))],
        ),
        (
            Action::DeleteMembership,
            vec![in_acme("", "grace", json!({"deleted": 1}))],
        ),
        (
            Action::DeleteUser,
            vec![
                without_organization("ada", deleted_user.clone()),
                in_acme("", "ada", deleted_user),
            ],
        ),
        (
            Action::DeleteOrganization,
            vec![in_acme("", "", json!({"deleted": 3}))],
        ),
    ]
}
