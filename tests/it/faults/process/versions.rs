//! Two versions side by side, as in every deployment without downtime.
//!
//! Before the first release there is no earlier program to start. So this program takes the part of the earlier version:
//! the test migrates the schema and writes rows as the next version may. The later version is this program with other
//! settings, keys and texts of emails. Each process works on what the other one has written, while both send emails.

use std::fs;

use invitations::proto::audit_service_client::AuditServiceClient;
use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, ListAuditEventsRequest, ResendRequest,
};
use sqlx::{Executor as _, PgConnection};
use tonic::transport::Channel;

use crate::support::callers::caller_channel;
use crate::support::database::count;
use crate::support::deployment::{Deployment, TOKEN, client};
use crate::support::invariants::assert_invariants;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::watch_stream::{WatchStream, watch_request};
use crate::support::{
    KEY_2, KEYS, accept_request, created_ids, invite_request, new_request_id, resend_request,
    revoke_request, token_of_link,
};

/// What a migration of the next version may do: it only adds.
const LATER_MIGRATION: [&str; 7] = [
    "ALTER TABLE invitations ADD COLUMN department text",
    "ALTER TABLE outbox ADD COLUMN priority smallint NOT NULL DEFAULT 0",
    "ALTER TABLE memberships ADD COLUMN department text CHECK (department <> '')",
    "ALTER TABLE organizations ADD COLUMN departments text[] NOT NULL DEFAULT '{}'",
    "CREATE INDEX invitations_department_idx ON invitations (organization_id, department)",
    "CREATE TABLE departments (id text PRIMARY KEY)",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
     VALUES (9999, 'departments', true, '', 0)",
];
/// An event and an audit event of kinds that only the next version knows.
const LATER_ROWS: &str = "
    INSERT INTO invitation_events (batch_id, created_at, event_type, old_state, old_delivery_state, new_state,
                                   new_delivery_state, organization_id, invitation_ids)
    SELECT batch_id, now(), 'moved', state, delivery_state, state, delivery_state, organization_id, ARRAY[id]
      FROM invitations LIMIT 1;
    INSERT INTO audit_events (id, created_at, organization_id, action, outcome, caller, counts)
    VALUES (gen_random_uuid(), now(), 'acme', 'move_invitation', 'OK', 'all', '{}')";
/// An email may be sent again at once.
const NO_PAUSE: (&str, &str) = ("INVITATIONS_QUOTA_RESEND_PAUSE", "0s");
const BUTTON: &str = "View the invitation";
const LATER_BUTTON: &str = "Look at the invitation";

/// A process and the channel to it.
type RunningVersion = (ServerProcess, Channel);

/// A deployment whose processes are replaced while it works.
struct RollingDeployment {
    deployment: Deployment,
    /// How many rounds of calls were made.
    rounds: usize,
}

impl RollingDeployment {
    async fn create() -> Self {
        let deployment = Deployment::create().await;
        // Both versions know both keys, as a rotation of keys requires.
        deployment.write("keys", &format!("{KEYS}{KEY_2}"));
        deployment.write("later-keys", &format!("{KEY_2}{KEYS}"));
        fs::create_dir(deployment.path("templates")).unwrap();
        let texts = include_str!("../../../../templates/en.toml").replace(BUTTON, LATER_BUTTON);
        deployment.write("templates/en.toml", &texts);
        Self {
            deployment,
            rounds: 0,
        }
    }

    async fn start_earlier(&self) -> RunningVersion {
        self.deployment.serve(&[NO_PAUSE]).await
    }

    async fn start_later(&self) -> RunningVersion {
        let (keys, templates) = (
            self.deployment.path("later-keys"),
            self.deployment.path("templates"),
        );
        let settings = [
            NO_PAUSE,
            ("INVITATIONS_KEYS_FILE", keys.to_str().unwrap()),
            ("INVITATIONS_TEMPLATES_FOLDER", templates.to_str().unwrap()),
            ("INVITATIONS_LEASE_DURATION", "30s"),
            ("INVITATIONS_SMTP_CONNECTIONS", "2"),
        ];
        self.deployment.serve(&settings).await
    }

    /// Makes calls at two processes: each uses what the other one has written. Returns the id of an invitation.
    async fn work(&mut self, one: &Channel, other: &Channel) -> String {
        let number = self.rounds;
        self.rounds += 1;
        let emails = ["accept", "revoke", "resend", "stay"].map(|it| format!("{it}{number}@b.co"));
        let request = BulkCreateRequest {
            request_id: new_request_id(),
            return_link: true,
            ..invite_request(&emails)
        };
        let (created, repeated) =
            tokio::join!(create(one, request.clone()), create(other, request));
        assert!(
            created == repeated,
            "the two processes answered differently"
        );
        let ids = created_ids(&created);

        let token = token_of_link(&created.results[0].link);
        let accept = accept_request(&token, &format!("user{number}"), &emails[0]);
        client(other).accept(accept.clone()).await.unwrap();
        let again = client(one).accept(accept).await.unwrap().into_inner();
        assert!(again.already_member);
        client(one).revoke(revoke_request(&ids[1])).await.unwrap();
        client(other).revoke(revoke_request(&ids[1])).await.unwrap();
        let resend = ResendRequest {
            request_id: new_request_id(),
            ..resend_request(&ids[2])
        };
        for channel in [other, one] {
            client(channel).resend(resend.clone()).await.unwrap();
        }
        ids[3].clone()
    }

    /// Makes calls at two processes while a third one shuts down.
    async fn replace(&mut self, mut old: ServerProcess, one: &Channel, other: &Channel) {
        old.terminate().await;
        for _ in 0..3 {
            self.work(one, other).await;
        }
        assert!(old.wait_for_exit().await.success(), "{}", old.log());
    }

    /// Sends all emails, and checks what must always hold.
    async fn finish(self) {
        wait_until("every email to be sent", async || {
            let mut database = self.deployment.database.connect().await;
            count(&mut database, "outbox WHERE state IN ('queued', 'sending')").await == 0
        })
        .await;
        let received = self.deployment.relay.received();
        let mut database = self.deployment.database.connect().await;
        assert_eq!(count(&mut database, "outbox WHERE state = 'dead'").await, 0);
        assert_invariants(&mut database, &received, 0).await;
        for number in 0..self.rounds {
            let recipient = format!("stay{number}@b.co");
            let copies = received.iter().filter(|it| it.address() == recipient);
            assert_eq!(copies.count(), 1, "{recipient}");
        }
        for button in [BUTTON, LATER_BUTTON] {
            let has_button = |wire: &[u8]| String::from_utf8_lossy(wire).contains(button);
            assert!(received.iter().any(|it| has_button(&it.wire)), "{button}");
        }
    }
}

async fn create(channel: &Channel, request: BulkCreateRequest) -> BulkCreateResponse {
    let response = client(channel).bulk_create(request).await.unwrap();
    response.into_inner()
}

async fn migrate(database: &mut PgConnection) {
    for statement in LATER_MIGRATION {
        database.execute(statement).await.unwrap();
    }
}

async fn assert_lists_audit_events(channel: &Channel) {
    let mut audit = AuditServiceClient::new(caller_channel(channel, TOKEN));
    let request = ListAuditEventsRequest::default();
    let page = audit.list_audit_events(request).await.unwrap();
    assert!(!page.into_inner().events.is_empty());
}

/// Replaces two processes of one version by two of another, `times` there and back.
async fn roll(times: usize) {
    let mut rolling = RollingDeployment::create().await;
    let (first, one) = rolling.deployment.serve_populated(&[NO_PAUSE]).await;
    let (second, other) = rolling.start_earlier().await;
    rolling.work(&one, &other).await;

    // The earlier version works while the schema is migrated, and afterwards.
    let mut watch = WatchStream::begin(client(&one), watch_request()).await;
    let mut database = rolling.deployment.database.connect().await;
    tokio::join!(rolling.work(&one, &other), migrate(&mut database));
    database.execute(LATER_ROWS).await.unwrap();
    let id = rolling.work(&one, &other).await;
    while watch.events.iter().all(|event| event.invitation_id != id) {
        watch.next().await.unwrap();
    }
    assert_lists_audit_events(&one).await;
    let mut migrate = rolling.deployment.start("migrate", &[]);
    assert!(migrate.wait_for_exit().await.success(), "{}", migrate.log());

    let mut earlier = [(first, one), (second, other)];
    for _ in 0..times {
        let [(first, one), (second, other)] = earlier;
        let (third, later) = rolling.start_later().await;
        rolling.work(&one, &later).await;
        rolling.replace(first, &later, &other).await;
        let (fourth, latest) = rolling.start_later().await;
        rolling.replace(second, &latest, &later).await;
        // And back: the earlier version starts on the later schema.
        let (first, one) = rolling.start_earlier().await;
        rolling.work(&one, &later).await;
        rolling.replace(third, &one, &latest).await;
        let (second, other) = rolling.start_earlier().await;
        rolling.replace(fourth, &one, &other).await;
        assert_lists_audit_events(&one).await;
        earlier = [(first, one), (second, other)];
    }
    rolling.finish().await;
}

/// F32 of the fault plan.
#[tokio::test]
async fn two_versions_side_by_side_lose_and_duplicate_nothing() {
    roll(1).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn two_versions_that_replace_each_other_many_times_lose_and_duplicate_nothing() {
    roll(20).await;
}
