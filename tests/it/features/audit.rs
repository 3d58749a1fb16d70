//! What is written to the audit log: one event for each act, with its counts and without any text that a person wrote.

mod acts;
mod expectations;

use invitations::domain::audit::AuditAction as Action;
use invitations::proto::ListAuditEventsRequest;
use prost::Message as _;
use serde_json::Value;
use sqlx::Executor as _;
use time::Duration;

use self::acts::{
    AuditedInvitations, CANARY, REQUEST_ID, TO_ACCEPT, TO_DECLINE, TO_RESEND, TO_REVOKE, perform,
};
use self::expectations::expectations;
use crate::support::audit::{AuditRow, audit_rows_of, list_audit_events};
use crate::support::database_dump::{TABLES, dump_tables};
use crate::support::descriptors;
use crate::support::{START, World};

/// Every method, and the action that it writes to the log. A new method needs a decision.
const DECISIONS: [(&str, Option<Action>); 38] = [
    ("AuditService/ListAuditEvents", None),
    (
        "DirectoryService/BulkDeleteMemberships",
        Some(Action::DeleteMembership),
    ),
    ("DirectoryService/BulkDeleteUsers", Some(Action::DeleteUser)),
    (
        "DirectoryService/DeleteMembership",
        Some(Action::DeleteMembership),
    ),
    (
        "DirectoryService/DeleteOrganization",
        Some(Action::DeleteOrganization),
    ),
    ("DirectoryService/DeleteUser", Some(Action::DeleteUser)),
    ("DirectoryService/EraseAddress", Some(Action::EraseAddress)),
    ("DirectoryService/GetMembership", None),
    ("DirectoryService/GetOrganization", None),
    ("DirectoryService/GetUser", None),
    ("DirectoryService/ListMemberships", None),
    ("DirectoryService/ListOrganizations", None),
    ("DirectoryService/ListUsers", None),
    (
        "DirectoryService/ResumeOrganization",
        Some(Action::ResumeOrganization),
    ),
    (
        "DirectoryService/SuspendOrganization",
        Some(Action::SuspendOrganization),
    ),
    (
        "DirectoryService/UpsertMemberships",
        Some(Action::UpsertMemberships),
    ),
    (
        "DirectoryService/UpsertOrganizations",
        Some(Action::UpsertOrganizations),
    ),
    ("DirectoryService/UpsertUsers", Some(Action::UpsertUsers)),
    // A report of a mail server is not an action of a caller.
    ("FeedbackService/ReportBounce", None),
    ("InvitationService/Accept", Some(Action::Accept)),
    ("InvitationService/BulkCreate", Some(Action::BulkCreate)),
    // One event for each chunk.
    (
        "InvitationService/BulkCreateStream",
        Some(Action::BulkCreate),
    ),
    ("InvitationService/BulkGet", None),
    ("InvitationService/BulkResend", Some(Action::BulkResend)),
    ("InvitationService/BulkRevoke", Some(Action::BulkRevoke)),
    ("InvitationService/Decline", Some(Action::Decline)),
    ("InvitationService/Get", None),
    ("InvitationService/GetBatch", None),
    ("InvitationService/List", None),
    ("InvitationService/Preview", None),
    ("InvitationService/Resend", Some(Action::Resend)),
    ("InvitationService/Revoke", Some(Action::Revoke)),
    ("InvitationService/Watch", None),
    ("MailService/GetBacklog", None),
    ("MailService/RequeueMessages", Some(Action::Requeue)),
    (
        "SuppressionService/AddSuppressions",
        Some(Action::AddSuppressions),
    ),
    (
        "SuppressionService/LiftSuppressions",
        Some(Action::LiftSuppressions),
    ),
    ("SuppressionService/ListSuppressions", None),
];
/// Organization, outcome, user on whose behalf, user concerned, counts.
fn summary(row: &AuditRow) -> (&str, &str, &str, &str, Value) {
    (
        &row.organization_id,
        &row.outcome,
        row.on_behalf_of_user_id.as_deref().unwrap_or_default(),
        row.subject_user_id.as_deref().unwrap_or_default(),
        row.counts.clone(),
    )
}

#[test]
fn every_method_has_a_decision_and_every_action_is_tested() {
    let mut paths: Vec<String> = descriptors::methods()
        .into_iter()
        .map(|method| method.path.replace("/invitation.v1.", ""))
        .collect();
    paths.sort();
    let decided: Vec<&str> = DECISIONS.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, decided, "decide whether the method writes an event");
    // The tests below perform every action.
    for action in Action::ALL {
        let is_tested = expectations().iter().any(|(tested, _)| *tested == action);
        assert!(is_tested, "{action:?} is not tested");
        let is_method = DECISIONS
            .iter()
            .any(|(_, decided)| *decided == Some(action));
        assert!(is_method || action == Action::Unsubscribe, "{action:?}");
    }
}

#[tokio::test]
async fn each_act_writes_one_event_with_its_counts_and_without_texts_of_people() {
    let mut world = World::start().await;
    let invitations = AuditedInvitations::create(&mut world).await;
    world.clock.advance(Duration::MINUTE);
    for (action, expected) in expectations() {
        let performing = Box::pin(perform(&world, &invitations, action));
        let rows = audit_rows_of(&world, async {
            performing.await.unwrap();
        })
        .await;
        let mut summaries: Vec<_> = rows.iter().map(summary).collect();
        summaries.sort_by_key(|summary| summary.0);
        assert_eq!(summaries, expected, "{action:?}");
        for row in &rows {
            assert_row(row, action, &invitations);
        }
    }
    // Neither the table nor a response contains a text of a person or a secret of a link.
    let dump: Vec<String> = sqlx::query_scalar("SELECT a::text FROM audit_events a")
        .fetch_all(&mut world.database().await)
        .await
        .unwrap();
    let page = list_audit_events(&world, "all", ListAuditEventsRequest::default()).await;
    let wire = String::from_utf8_lossy(&page.unwrap().encode_to_vec()).into_owned();
    assert!(dump.iter().all(|text| !text.contains('@')));
    let secrets = invitations.tokens.values().map(|token| &token[5..]);
    for word in secrets.chain([CANARY, "example.com", "b.co", "inv1_"]) {
        for text in dump.iter().chain([&wire]) {
            let text = text.to_lowercase();
            assert!(!text.contains(&word.to_lowercase()), "{word}: {text}");
        }
    }
}

/// Checks what does not depend on the effect of the call.
fn assert_row(row: &AuditRow, action: Action, invitations: &AuditedInvitations) {
    assert_eq!(row.action, action.as_str());
    assert_eq!(row.created_at, START + Duration::MINUTE, "{action:?}");
    let caller = if action == Action::Unsubscribe {
        "http:unsubscribe"
    } else {
        "all"
    };
    assert_eq!(row.caller, caller, "{action:?}");
    let email = match action {
        Action::Accept => Some(TO_ACCEPT),
        Action::Decline => Some(TO_DECLINE),
        Action::Revoke => Some(TO_REVOKE),
        Action::Resend => Some(TO_RESEND),
        _ => None,
    };
    let id = email.map(|email| invitations.ids[email].parse().unwrap());
    assert_eq!(row.invitation_id, id, "{action:?}");
    let has_request_id = matches!(
        action,
        Action::BulkCreate
            | Action::Accept
            | Action::Decline
            | Action::Revoke
            | Action::BulkRevoke
            | Action::Resend
            | Action::BulkResend
            | Action::Requeue
            | Action::AddSuppressions
            | Action::LiftSuppressions
    );
    let request_id = has_request_id.then(|| REQUEST_ID.parse().unwrap());
    assert_eq!(row.request_id, request_id, "{action:?}");
    assert_eq!(row.batch_id.is_some(), action == Action::BulkCreate);
}

#[tokio::test]
async fn an_act_whose_event_cannot_be_written_has_no_effect() {
    let mut world = World::start().await;
    let invitations = AuditedInvitations::create(&mut world).await;
    let mut database = world.database().await;
    let refuse = "ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (false) NOT VALID";
    let allow = "ALTER TABLE audit_events DROP CONSTRAINT refuse";
    for (action, _) in expectations() {
        let before = dump_tables(&mut world.database().await, &TABLES).await;
        database.execute(refuse).await.unwrap();
        let answer = perform(&world, &invitations, action).await;
        assert_eq!(answer, Err("INTERNAL".to_owned()), "{action:?}");
        assert_eq!(
            dump_tables(&mut world.database().await, &TABLES).await,
            before,
            "{action:?}"
        );
        database.execute(allow).await.unwrap();
        perform(&world, &invitations, action).await.unwrap();
        assert_ne!(
            dump_tables(&mut world.database().await, &TABLES).await,
            before,
            "{action:?}"
        );
    }
}
