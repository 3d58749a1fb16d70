//! The audit log as it is written: each act is in it, once and with what it did, and nothing of what people wrote.

use std::collections::BTreeMap;

use invitations::domain::actor::Actor;
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::audit::AuditAction as Action;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::keyring::Keyring;
use invitations::domain::unsubscribe_token;
use invitations::proto::{
    AuditServiceListRequest, AuditServiceListResponse, BulkCreateRequest, BulkResendRequest,
    BulkRevokeRequest, DeclineRequest, DeleteMembershipRequest, DeleteOrganizationRequest,
    DeleteUserRequest, EraseAddressRequest, Membership, NewInvitation, Organization,
    RequeueRequest, ResendRequest, ResumeOrganizationRequest, RevokeRequest,
    SuppressionServiceAddRequest, SuppressionServiceLiftRequest, SuspendOrganizationRequest,
    UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertUsersRequest, User,
};
use prost::Message as _;
use serde_json::{Value, json};
use sqlx::Executor as _;
use time::{Duration, OffsetDateTime};
use tonic::Status;
use uuid::Uuid;

use crate::support::{ACME, KEYS, OTHER, START, World, accept_request, created, item, reason};
use crate::support::{create_request, descriptors};

/// Every method, and the action it is written down as. A new method needs a decision.
const DECISIONS: [(&str, Option<Action>); 31] = [
    ("AuditService/List", None),
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
    ("DirectoryService/ListMemberships", None),
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
    // A mail server's word, and nobody's act.
    ("FeedbackService/ReportBounce", None),
    ("InvitationService/Accept", Some(Action::Accept)),
    ("InvitationService/BulkCreate", Some(Action::BulkCreate)),
    // One event for each chunk.
    (
        "InvitationService/BulkCreateStream",
        Some(Action::BulkCreate),
    ),
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
    ("MailService/Requeue", Some(Action::Requeue)),
    ("SuppressionService/Add", Some(Action::AddSuppressions)),
    ("SuppressionService/Lift", Some(Action::LiftSuppressions)),
    ("SuppressionService/List", None),
];
/// Stands in everything that people wrote, and must not stand in the log.
const CANARY: &str = "canary";
const REQUEST_ID: &str = "019aacd0-0000-4000-8000-00000000cafe";

/// A row of the table, in words.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) organization_id: String,
    pub(crate) action: String,
    pub(crate) outcome: String,
    pub(crate) caller: String,
    pub(crate) on_behalf_of_user_id: Option<String>,
    pub(crate) subject_user_id: Option<String>,
    pub(crate) invitation_id: Option<Uuid>,
    pub(crate) batch_id: Option<Uuid>,
    pub(crate) request_id: Option<Uuid>,
    pub(crate) counts: Value,
}

impl Row {
    /// Who, for whom, about whom, and how much.
    fn told(&self) -> (&str, &str, &str, &str, Value) {
        (
            &self.organization_id,
            &self.outcome,
            self.on_behalf_of_user_id.as_deref().unwrap_or_default(),
            self.subject_user_id.as_deref().unwrap_or_default(),
            self.counts.clone(),
        )
    }
}

/// Every event, oldest first.
pub(crate) async fn rows(world: &World) -> Vec<Row> {
    sqlx::query_as("SELECT * FROM audit_events ORDER BY id")
        .fetch_all(&mut world.database().await)
        .await
        .unwrap()
}

/// The events that something writes.
pub(crate) async fn written(world: &World, act: impl Future<Output = ()>) -> Vec<Row> {
    let before = rows(world).await.len();
    act.await;
    rows(world).await.split_off(before)
}

pub(crate) async fn list_as(
    world: &World,
    caller: &str,
    request: AuditServiceListRequest,
) -> Result<AuditServiceListResponse, Status> {
    world
        .audit_of(caller)
        .list(request)
        .await
        .map(tonic::Response::into_inner)
}

/// What acts are about.
struct Prepared {
    ids: BTreeMap<&'static str, String>,
    tokens: BTreeMap<&'static str, String>,
}

const TO_ACCEPT: &str = "canary.accept@b.co";
const TO_DECLINE: &str = "canary.decline@b.co";
const TO_REVOKE: &str = "canary.revoke@b.co";
const TO_BULK_REVOKE: &str = "canary.bulk@b.co";
const TO_RESEND: &str = "canary.resend@b.co";

async fn prepare(world: &mut World) -> Prepared {
    let emails = [TO_ACCEPT, TO_DECLINE, TO_REVOKE, TO_BULK_REVOKE, TO_RESEND];
    let made = world.invite(&emails).await;
    world.deliver_all().await;
    world.may_leave_mail();
    let ids = emails
        .into_iter()
        .zip(made.results.iter().map(|result| created(result).id));
    Prepared {
        ids: ids.collect(),
        tokens: emails
            .into_iter()
            .map(|email| (email, world.mail_to(email).token()))
            .collect(),
    }
}

fn refused(status: &Status) -> String {
    reason(Err::<(), _>(status.clone()))
}

/// Does one act of each kind, as the caller `all`.
async fn act(world: &World, prepared: &Prepared, action: Action) -> Result<(), String> {
    let mut client = world.client();
    let acme = || ACME.to_owned();
    let id = |email| prepared.ids[email].clone();
    let done = match action {
        Action::BulkCreate => {
            let invited = NewInvitation {
                message: format!("{CANARY} note"),
                ..item("canary.new@b.co")
            };
            let denied = NewInvitation {
                inviter_user_id: "grace".to_owned(),
                ..item("canary.denied@b.co")
            };
            let request = BulkCreateRequest {
                request_id: REQUEST_ID.to_owned(),
                invitations: vec![
                    invited,
                    denied,
                    item("canary"),
                    item(TO_RESEND),
                    item(TO_RESEND),
                ],
                on_existing: 2,
                ..create_request(vec![])
            };
            client.bulk_create(request).await.map(drop)
        }
        Action::Accept => {
            let mut request = accept_request(&prepared.tokens[TO_ACCEPT], "new", TO_ACCEPT);
            "Canary Bird".clone_into(&mut request.user_name);
            client.accept(request).await.map(drop)
        }
        Action::Decline => {
            let token = prepared.tokens[TO_DECLINE].clone();
            let suppress = true;
            let request = DeclineRequest { token, suppress };
            client.decline(request).await.map(drop)
        }
        Action::Revoke => {
            let request = RevokeRequest {
                organization_id: acme(),
                invitation_id: id(TO_REVOKE),
                user_id: "ada".to_owned(),
            };
            client.revoke(request).await.map(drop)
        }
        Action::BulkRevoke => {
            let request = BulkRevokeRequest {
                organization_id: acme(),
                invitation_ids: vec![id(TO_REVOKE), id(TO_BULK_REVOKE), CANARY.to_owned()],
                user_id: "ada".to_owned(),
                ..Default::default()
            };
            client.bulk_revoke(request).await.map(drop)
        }
        Action::Resend => {
            let request = ResendRequest {
                organization_id: acme(),
                invitation_id: id(TO_RESEND),
                rotate_token: true,
                ..Default::default()
            };
            client.resend(request).await.map(drop)
        }
        Action::BulkResend => {
            let request = BulkResendRequest {
                request_id: REQUEST_ID.to_owned(),
                organization_id: acme(),
                invitation_ids: vec![id(TO_RESEND), id(TO_REVOKE), CANARY.to_owned()],
                ..Default::default()
            };
            client.bulk_resend(request).await.map(drop)
        }
        Action::Requeue => {
            let request = RequeueRequest {
                organization_id: acme(),
                invitation_ids: vec![id(TO_RESEND)],
                all_dead: false,
            };
            world.mails_of("all").requeue(request).await.map(drop)
        }
        Action::AddSuppressions | Action::LiftSuppressions | Action::Unsubscribe => {
            return suppress(world, action).await;
        }
        _ => direct(world, action).await,
    };
    done.map_err(|status| refused(&status))
}

async fn suppress(world: &World, action: Action) -> Result<(), String> {
    let emails = vec!["canary.one@b.co".to_owned(), CANARY.to_owned()];
    let mut client = world.suppressions();
    let done = match action {
        Action::AddSuppressions => {
            let request = SuppressionServiceAddRequest {
                emails,
                organization_id: ACME.to_owned(),
                expire_time: None,
            };
            client.add(request).await.map(drop)
        }
        Action::LiftSuppressions => {
            let organization_id = ACME.to_owned();
            let request = SuppressionServiceLiftRequest {
                emails,
                organization_id,
            };
            client.lift(request).await.map(drop)
        }
        _ => {
            let keyring = Keyring::parse(KEYS).unwrap();
            let address = EmailAddress::parse("canary.two@b.co").unwrap();
            let tag = AddressTagger::new(&keyring).tag(&address);
            let token = unsubscribe_token::seal(&keyring, &tag).unwrap();
            let reader = Actor::from_outside("http:unsubscribe");
            let done = world.service.unsubscribe(&token, reader).await;
            return done
                .map(drop)
                .map_err(|error| error.reason().code().to_owned());
        }
    };
    done.map_err(|status| refused(&status))
}

async fn direct(world: &World, action: Action) -> Result<(), Status> {
    let mut client = world.directory();
    let (acme, grace) = (ACME.to_owned(), "grace".to_owned());
    match action {
        Action::UpsertOrganizations => {
            let organization = |id: &str, name: &str| Organization {
                id: id.to_owned(),
                name: name.to_owned(),
                ..Default::default()
            };
            let request = UpsertOrganizationsRequest {
                organizations: vec![
                    organization(ACME, "Canary"),
                    organization("third", "Canary"),
                    organization("fourth", ""),
                ],
            };
            client.upsert_organizations(request).await.map(drop)
        }
        Action::UpsertUsers => {
            let user = |id: &str, name: &str| User {
                id: id.to_owned(),
                name: name.to_owned(),
                verified_emails: vec![format!("canary.{id}@example.com")],
            };
            let request = UpsertUsersRequest {
                users: vec![user("barbara", "Canary"), user("mallory", "canary.example")],
            };
            client.upsert_users(request).await.map(drop)
        }
        Action::UpsertMemberships => {
            let membership = |organization_id: &str, user_id: &str| Membership {
                organization_id: organization_id.to_owned(),
                user_id: user_id.to_owned(),
                ..Default::default()
            };
            let request = UpsertMembershipsRequest {
                memberships: vec![
                    membership(ACME, "barbara"),
                    membership(ACME, "eve"),
                    membership(OTHER, "grace"),
                    membership(ACME, CANARY),
                ],
            };
            client.upsert_memberships(request).await.map(drop)
        }
        Action::SuspendOrganization => {
            let organization_id = acme;
            let request = SuspendOrganizationRequest { organization_id };
            client.suspend_organization(request).await.map(drop)
        }
        Action::ResumeOrganization => {
            let organization_id = acme;
            let request = ResumeOrganizationRequest { organization_id };
            client.resume_organization(request).await.map(drop)
        }
        Action::EraseAddress => {
            let request = EraseAddressRequest {
                email: TO_BULK_REVOKE.to_owned(),
                suppress: false,
            };
            client.erase_address(request).await.map(drop)
        }
        Action::DeleteMembership => {
            let request = DeleteMembershipRequest {
                organization_id: acme,
                user_id: grace,
            };
            client.delete_membership(request).await.map(drop)
        }
        Action::DeleteUser => {
            let user_id = "ada".to_owned();
            client
                .delete_user(DeleteUserRequest { user_id })
                .await
                .map(drop)
        }
        Action::DeleteOrganization => {
            let organization_id = acme;
            let request = DeleteOrganizationRequest { organization_id };
            client.delete_organization(request).await.map(drop)
        }
        _ => unreachable!("no act of the directory"),
    }
}

/// What each act writes, in an order in which each can be done: organization, outcome, for whom, about whom, counts.
type Told = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Value,
);

fn expectations() -> Vec<(Action, Vec<Told>)> {
    let acme = |behalf, subject, counts| (ACME, "OK", behalf, subject, counts);
    let none = |behalf, subject, counts| ("", "OK", behalf, subject, counts);
    vec![
        (
            Action::BulkCreate,
            vec![acme(
                "ada",
                "",
                json!({"created": 1, "unchanged": 1, "failed": 3, "role_denied": 1}),
            )],
        ),
        (
            Action::Accept,
            vec![acme("new", "new", json!({"created": 1}))],
        ),
        (
            Action::Decline,
            vec![acme("", "", json!({"suppressed": 1}))],
        ),
        (Action::Revoke, vec![acme("ada", "", json!({}))]),
        (
            Action::BulkRevoke,
            vec![acme(
                "ada",
                "",
                json!({"revoked": 1, "unchanged": 1, "failed": 1}),
            )],
        ),
        (
            Action::Resend,
            vec![acme("", "", json!({"resent": 1, "rotated": 1}))],
        ),
        (
            Action::BulkResend,
            vec![acme("", "", json!({"resent": 1, "failed": 2}))],
        ),
        (Action::Requeue, vec![acme("", "", json!({"failed": 1}))]),
        (
            Action::AddSuppressions,
            vec![acme("", "", json!({"created": 1, "failed": 1}))],
        ),
        (
            Action::LiftSuppressions,
            vec![acme("", "", json!({"deleted": 1, "failed": 1}))],
        ),
        (
            Action::Unsubscribe,
            vec![none("", "", json!({"suppressed": 1}))],
        ),
        (
            Action::UpsertOrganizations,
            vec![
                none("", "", json!({"failed": 1})),
                acme("", "", json!({"updated": 1})),
                ("third", "OK", "", "", json!({"created": 1})),
            ],
        ),
        (
            Action::UpsertUsers,
            vec![none("", "barbara", json!({"created": 1, "failed": 1}))],
        ),
        (
            Action::UpsertMemberships,
            vec![
                none("", "", json!({"failed": 1})),
                acme("", "", json!({"created": 2})),
                (OTHER, "OK", "", "grace", json!({"created": 1})),
            ],
        ),
        (Action::SuspendOrganization, vec![acme("", "", json!({}))]),
        (
            Action::ResumeOrganization,
            vec![acme("", "", json!({"requeued": 2}))],
        ),
        (
            Action::EraseAddress,
            vec![acme("", "", json!({"erased": 1}))],
        ),
        (
            Action::DeleteMembership,
            vec![acme("", "grace", json!({"deleted": 1}))],
        ),
        (
            Action::DeleteUser,
            vec![
                none("", "ada", json!({"deleted": 1, "revoked": 2})),
                acme("", "ada", json!({"deleted": 1, "revoked": 2})),
            ],
        ),
        (
            Action::DeleteOrganization,
            vec![acme("", "", json!({"deleted": 3}))],
        ),
    ]
}

#[test]
fn every_method_is_decided_upon() {
    let mut paths: Vec<String> = descriptors::methods()
        .into_iter()
        .map(|method| method.path.replace("/invitation.v1.", ""))
        .collect();
    paths.sort();
    let decided: Vec<&str> = DECISIONS.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, decided, "decide whether it writes an event");
    // And each decision is kept, by the test below.
    for action in &Action::ALL {
        let is_kept = expectations().iter().any(|(kept, _)| kept == action);
        assert!(is_kept, "{action:?} is not tried");
        let is_method = DECISIONS
            .iter()
            .any(|(_, decided)| *decided == Some(*action));
        assert!(is_method || *action == Action::Unsubscribe, "{action:?}");
    }
}

#[tokio::test]
async fn each_act_writes_one_event_that_tells_what_it_did_and_no_text_of_anybody() {
    let mut world = World::start().await;
    let prepared = prepare(&mut world).await;
    world.clock.advance(Duration::MINUTE);
    for (action, expected) in expectations() {
        let acting = Box::pin(act(&world, &prepared, action));
        let rows = written(&world, async {
            acting.await.unwrap();
        })
        .await;
        let mut told: Vec<_> = rows.iter().map(Row::told).collect();
        told.sort_by_key(|told| told.0);
        assert_eq!(told, expected, "{action:?}");
        for row in &rows {
            assert_eq!(row.action, action.as_str());
            assert_eq!(row.created_at, START + Duration::MINUTE, "{action:?}");
            let caller = if action == Action::Unsubscribe {
                "http:unsubscribe"
            } else {
                "all"
            };
            assert_eq!(row.caller, caller, "{action:?}");
            let about = match action {
                Action::Accept => Some(TO_ACCEPT),
                Action::Decline => Some(TO_DECLINE),
                Action::Revoke => Some(TO_REVOKE),
                Action::Resend => Some(TO_RESEND),
                _ => None,
            };
            let about = about.map(|email| prepared.ids[email].parse().unwrap());
            assert_eq!(row.invitation_id, about, "{action:?}");
            let is_bulk = matches!(action, Action::BulkCreate | Action::BulkResend);
            let request_id = is_bulk.then(|| REQUEST_ID.parse().unwrap());
            assert_eq!(row.request_id, request_id, "{action:?}");
            assert_eq!(row.batch_id.is_some(), action == Action::BulkCreate);
        }
    }
    // Neither the table nor the wire holds what people wrote, or what opens a link.
    let dump: Vec<String> = sqlx::query_scalar("SELECT a::text FROM audit_events a")
        .fetch_all(&mut world.database().await)
        .await
        .unwrap();
    let page = list_as(&world, "all", AuditServiceListRequest::default()).await;
    let wire = String::from_utf8_lossy(&page.unwrap().encode_to_vec()).into_owned();
    assert!(dump.iter().all(|text| !text.contains('@')));
    let secrets = prepared.tokens.values().map(|token| &token[5..]);
    for word in secrets.chain([CANARY, "example.com", "b.co", "inv1_"]) {
        for text in dump.iter().chain([&wire]) {
            let text = text.to_lowercase();
            assert!(!text.contains(&word.to_lowercase()), "{word}: {text}");
        }
    }
}

#[tokio::test]
async fn an_act_that_cannot_be_written_down_is_not_done() {
    let mut world = World::start().await;
    let prepared = prepare(&mut world).await;
    let mut database = world.database().await;
    let refuse = "ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (false) NOT VALID";
    let allow = "ALTER TABLE audit_events DROP CONSTRAINT refuse";
    for (action, _) in expectations() {
        let before = state(&world).await;
        database.execute(refuse).await.unwrap();
        let answer = act(&world, &prepared, action).await;
        assert_eq!(answer, Err("INTERNAL".to_owned()), "{action:?}");
        assert_eq!(state(&world).await, before, "{action:?}");
        database.execute(allow).await.unwrap();
        act(&world, &prepared, action).await.unwrap();
        assert_ne!(state(&world).await, before, "{action:?}");
    }
}

/// Everything but what worker and sweeper write.
async fn state(world: &World) -> String {
    let mut database = world.database().await;
    let mut state = String::new();
    for table in [
        "organizations",
        "users",
        "user_emails",
        "memberships",
        "invitations",
        "outbox",
        "suppressions",
        "idempotency_keys",
        "stream_chunks",
        "batches",
        "audit_events",
    ] {
        let statement = format!(
            "SELECT coalesce(string_agg(t::text, ';' ORDER BY t::text), '') FROM {table} t"
        );
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(&mut database)
            .await
            .unwrap();
        state.push_str(&rows);
    }
    state
}
