//! One call of each method that writes, and what it writes to. `BulkCreateStream` commits several times, and has tests
//! in `crash_stream`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use invitations::proto::suppression_service_client::SuppressionServiceClient;
use invitations::proto::{
    AcceptRequest, AddSuppressionsRequest, BulkCreateRequest, BulkDeleteMembershipsRequest,
    BulkDeleteUsersRequest, BulkResendRequest, BulkRevokeRequest, DeclineRequest,
    DeleteMembershipRequest, DeleteOrganizationRequest, DeleteUserRequest, EraseAddressRequest,
    LiftSuppressionsRequest, ReportBounceRequest, RequeueMessagesRequest, ResendRequest,
    ResumeOrganizationRequest, RevokeRequest, SuspendOrganizationRequest, UpsertMembershipsRequest,
    UpsertOrganizationsRequest, UpsertUsersRequest,
};
use prost::Message;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::callers::caller_channel;
use crate::support::database::count;
use crate::support::deployment::{Deployment, TOKEN, client, directory_client};
use crate::support::directory::{
    assert_upserted, membership, organization, upsert_memberships, upsert_organizations,
    upsert_users, user,
};
use crate::support::feedback::{bounce_address, sent_mail};
use crate::support::relay::SmtpStep;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{
    ACME, accept_request, bulk_delete_memberships_request, bulk_delete_users_request,
    bulk_resend_request, bulk_revoke_request, created_ids, decline_request,
    delete_membership_request, delete_user_request, invite_request, new_request_id,
    new_suppressions, raw_grpc, requeue_request, resend_request, revoke_request, token_of_link,
};

/// The invitations that exist before the calls. Their emails were sent, except for that to `requeue@b.co`.
const INVITED: [&str; 8] = [
    "accept@b.co",
    "bounce@b.co",
    "bulk-resend@b.co",
    "bulk-revoke@b.co",
    "decline@b.co",
    "erase@b.co",
    "resend@b.co",
    "revoke@b.co",
];
const REFUSED: &str = "requeue@b.co";
/// The recipients of the emails that the calls queue, sorted.
pub(super) const QUEUED: [&str; 5] = [
    "bulk-resend@b.co",
    "created-without-id@b.co",
    "created@b.co",
    "requeue@b.co",
    "resend@b.co",
];

/// A call that the caller may repeat.
pub(super) struct WritingCall {
    pub(super) name: String,
    pub(super) path: String,
    /// The rows that exist once the call has committed, as in `SELECT count(*) FROM {committed}`.
    pub(super) committed: String,
    message: Vec<u8>,
    /// Whether its repetition returns the same response. Otherwise only the effect is the same.
    pub(super) has_request_id: bool,
}

impl WritingCall {
    /// A call that has an id in the audit log.
    fn new<M: Message>(name: &str, request: impl FnOnce(String) -> M) -> Self {
        let id = new_request_id();
        let committed = format!("audit_events WHERE request_id = '{id}'");
        Self {
            has_request_id: true,
            ..Self::with_effect(name, &request(id), committed)
        }
    }

    fn with_effect(name: &str, request: &impl Message, committed: String) -> Self {
        Self {
            name: name.to_owned(),
            path: format!("/invitation.v1.{name}"),
            committed,
            message: request.encode_to_vec(),
            has_request_id: false,
        }
    }

    /// Whether the call commits with its only statement that writes.
    pub(super) fn is_one_statement(&self) -> bool {
        self.name == "InvitationService/Accept"
    }

    /// Whether a repetition changes rows: a batch without a request id is a batch of its own, which invites nobody, and an
    /// upsert renews the time of its row.
    pub(super) fn repetition_writes(&self) -> bool {
        !self.has_request_id || self.name.contains("/Upsert")
    }

    /// Makes the call at a process. Returns the response as bytes.
    pub(super) fn send(
        &self,
        process: &ServerProcess,
    ) -> BoxFuture<'static, Result<Vec<u8>, Status>> {
        let address: SocketAddr = process.address().parse().unwrap();
        let (path, message) = (self.path.clone(), self.message.clone());
        async move {
            let authorization = format!("Bearer {TOKEN}");
            let headers = [("authorization", authorization.as_str())];
            raw_grpc::call(address, &path, &headers, &message).await
        }
        .boxed()
    }
}

/// The invitations, users and organizations that the calls need.
#[derive(Default)]
pub(super) struct Subjects {
    /// The ids of the invitations by address.
    ids: BTreeMap<&'static str, String>,
    tokens: BTreeMap<&'static str, String>,
}

impl Subjects {
    pub(super) async fn create(deployment: &Deployment, channel: &Channel) -> Self {
        create_directory(channel).await;
        let mut subjects = Self::default();
        let _worker = deployment.start("serve", &[("INVITATIONS_ROLE", "worker")]);
        let relay = &deployment.relay;
        relay.reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
        subjects.invite(channel, &[REFUSED]).await;
        let count_emails = async |state: &str| {
            let mut database = deployment.database.connect().await;
            count(&mut database, &format!("outbox WHERE state = '{state}'")).await
        };
        wait_until("the dead letter", async || count_emails("dead").await == 1).await;
        subjects.invite(channel, &INVITED).await;
        wait_until("the emails to be sent", async || {
            usize::try_from(count_emails("sent").await).unwrap() == INVITED.len()
        })
        .await;
        subjects
    }

    async fn invite(&mut self, channel: &Channel, emails: &[&'static str]) {
        let request = BulkCreateRequest {
            return_link: true,
            ..invite_request(emails)
        };
        let response = client(channel).bulk_create(request).await.unwrap();
        let response = response.into_inner();
        let links = response.results.iter().map(|it| token_of_link(&it.link));
        self.tokens.extend(emails.iter().copied().zip(links));
        let ids = created_ids(&response).into_iter();
        self.ids.extend(emails.iter().copied().zip(ids));
    }

    fn id(&self, email: &str) -> &str {
        self.ids.get(email).map_or("", String::as_str)
    }

    fn token(&self, email: &str) -> &str {
        self.tokens.get(email).map_or("", String::as_str)
    }

    /// The calls. None changes what another one needs.
    pub(super) fn calls(&self) -> Vec<WritingCall> {
        let mut calls = creating_calls();
        calls.extend(self.calls_about_invitations());
        calls.extend(self.calls_about_addresses());
        calls.extend(upserts());
        calls.extend(deletes());
        calls
    }

    fn calls_about_invitations(&self) -> Vec<WritingCall> {
        vec![
            WritingCall::new("InvitationService/Accept", |request_id| AcceptRequest {
                request_id,
                ..accept_request(self.token("accept@b.co"), "newcomer", "accept@b.co")
            }),
            WritingCall::new("InvitationService/Decline", |request_id| DeclineRequest {
                request_id,
                suppress: true,
                ..decline_request(self.token("decline@b.co"))
            }),
            WritingCall::new("InvitationService/Revoke", |request_id| RevokeRequest {
                request_id,
                ..revoke_request(self.id("revoke@b.co"))
            }),
            WritingCall::new("InvitationService/BulkRevoke", |request_id| {
                BulkRevokeRequest {
                    request_id,
                    ..bulk_revoke_request(&[self.id("bulk-revoke@b.co")])
                }
            }),
            WritingCall::new("InvitationService/Resend", |request_id| ResendRequest {
                request_id,
                ..resend_request(self.id("resend@b.co"))
            }),
            WritingCall::new("InvitationService/BulkResend", |request_id| {
                BulkResendRequest {
                    request_id,
                    ..bulk_resend_request(&[self.id("bulk-resend@b.co")])
                }
            }),
            WritingCall::new("MailService/RequeueMessages", |request_id| {
                RequeueMessagesRequest {
                    request_id,
                    ..requeue_request(&[self.id(REFUSED)])
                }
            }),
        ]
    }

    fn calls_about_addresses(&self) -> Vec<WritingCall> {
        let bounced = self.ids.get("bounce@b.co");
        let report = ReportBounceRequest {
            message: include_bytes!("../../../../fixtures/dsn/postfix.eml").to_vec(),
            envelope_recipient: bounced
                .map_or_else(String::new, |id| bounce_address(sent_mail(id, 1))),
        };
        let reported = "feedback_events".to_owned();
        vec![
            WritingCall::with_effect("FeedbackService/ReportBounce", &report, reported),
            WritingCall::new("SuppressionService/AddSuppressions", |request_id| {
                AddSuppressionsRequest {
                    request_id,
                    organization_id: ACME.to_owned(),
                    suppressions: new_suppressions(vec!["suppress@b.co".to_owned()], None),
                    ..Default::default()
                }
            }),
            WritingCall::new("SuppressionService/LiftSuppressions", |request_id| {
                LiftSuppressionsRequest {
                    request_id,
                    organization_id: ACME.to_owned(),
                    emails: vec!["lift@b.co".to_owned()],
                    ..Default::default()
                }
            }),
            WritingCall::new("DirectoryService/EraseAddress", |request_id| {
                EraseAddressRequest {
                    request_id,
                    email: "erase@b.co".to_owned(),
                    ..Default::default()
                }
            }),
        ]
    }
}

fn creating_calls() -> Vec<WritingCall> {
    let without_id = "created-without-id@b.co";
    let committed = format!("invitations WHERE email = '{without_id}'");
    let request = invite_request(&[without_id]);
    vec![
        WritingCall::new("InvitationService/BulkCreate", |request_id| {
            BulkCreateRequest {
                request_id,
                ..invite_request(&["created@b.co"])
            }
        }),
        WritingCall::with_effect("InvitationService/BulkCreate", &request, committed),
    ]
}

fn upserts() -> Vec<WritingCall> {
    vec![
        WritingCall::new("DirectoryService/UpsertOrganizations", |request_id| {
            UpsertOrganizationsRequest {
                request_id,
                organizations: vec![organization("new", "New Works")],
                ..Default::default()
            }
        }),
        WritingCall::new("DirectoryService/UpsertUsers", |request_id| {
            UpsertUsersRequest {
                request_id,
                users: vec![user("new", "New User", &["new@example.com"])],
                ..Default::default()
            }
        }),
        WritingCall::new("DirectoryService/UpsertMemberships", |request_id| {
            UpsertMembershipsRequest {
                request_id,
                memberships: vec![membership(ACME, "eve", "member")],
                ..Default::default()
            }
        }),
        WritingCall::new("DirectoryService/SuspendOrganization", |request_id| {
            SuspendOrganizationRequest {
                request_id,
                organization_id: "to-suspend".to_owned(),
                ..Default::default()
            }
        }),
        WritingCall::new("DirectoryService/ResumeOrganization", |request_id| {
            ResumeOrganizationRequest {
                request_id,
                organization_id: "suspended".to_owned(),
                ..Default::default()
            }
        }),
    ]
}

/// Deletes that succeed if the row is missing, as a caller needs who repeats them.
fn deletes() -> Vec<WritingCall> {
    vec![
        WritingCall::new("DirectoryService/DeleteOrganization", |request_id| {
            DeleteOrganizationRequest {
                request_id,
                organization_id: "to-delete".to_owned(),
                allow_missing: true,
                ..Default::default()
            }
        }),
        WritingCall::new("DirectoryService/DeleteUser", |request_id| {
            DeleteUserRequest {
                request_id,
                allow_missing: true,
                ..delete_user_request("user1")
            }
        }),
        WritingCall::new("DirectoryService/BulkDeleteUsers", |request_id| {
            BulkDeleteUsersRequest {
                request_id,
                allow_missing: true,
                ..bulk_delete_users_request(&["user2"])
            }
        }),
        WritingCall::new("DirectoryService/DeleteMembership", |request_id| {
            DeleteMembershipRequest {
                request_id,
                allow_missing: true,
                ..delete_membership_request("user3")
            }
        }),
        WritingCall::new("DirectoryService/BulkDeleteMemberships", |request_id| {
            BulkDeleteMembershipsRequest {
                request_id,
                allow_missing: true,
                ..bulk_delete_memberships_request(&[(ACME, "user4")])
            }
        }),
    ]
}

async fn create_directory(channel: &Channel) {
    let directory = directory_client(channel);
    let organizations = ["to-delete", "to-suspend", "suspended"];
    let organizations = organizations.map(|id| organization(id, "Short Lived"));
    assert_upserted(&upsert_organizations(&directory, organizations.into()).await);
    let ids = ["user1", "user2", "user3", "user4"];
    let users = ids.map(|id| user(id, "Somebody", &[]));
    assert_upserted(&upsert_users(&directory, users.into()).await);
    let memberships = ids.map(|id| membership(ACME, id, "member"));
    assert_upserted(&upsert_memberships(&directory, memberships.into()).await);
    let suspend = SuspendOrganizationRequest {
        organization_id: "suspended".to_owned(),
        ..Default::default()
    };
    let mut suspending = directory.clone();
    suspending.suspend_organization(suspend).await.unwrap();
    let request = AddSuppressionsRequest {
        organization_id: ACME.to_owned(),
        suppressions: new_suppressions(vec!["lift@b.co".to_owned()], None),
        ..Default::default()
    };
    let mut suppressions = SuppressionServiceClient::new(caller_channel(channel, TOKEN));
    suppressions.add_suppressions(request).await.unwrap();
}
