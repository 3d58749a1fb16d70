//! Canaries: every secret and everything of a person, in every field of every call, and then the search for them in
//! whatever leaves the process unasked.
//!
//! The real binary, at its most talkative, in both formats, with a relay that quotes, a database that goes away, rows
//! that break and a task that panics.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use invitations::domain::keyring::{Keyring, Purpose};
use invitations::domain::scope::Scope;
use invitations::identity::{CallerCredential, CallerEntry};
use invitations::proto::*;
use invitations::settings::callers_file::to_toml;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tonic::{Code, Status};
use url::Url;

use crate::support::ACME;
use crate::support::deployment::Deployment;
use crate::support::http_server::exchange;
use crate::support::relay::{Encryption, Relay};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{descriptors, raw_grpc};

/// Of people and their organizations; answers to those who may ask may hold these.
const PERSONAL: [&str; 20] = [
    "qzlocal1",
    "qzdomain1",
    "qzlocal2",
    "qzdomain2",
    "qzlocal3",
    "qzdomain3",
    "qzlocal4",
    "qzdomain4",
    "qzadalocal",
    "qzadadomain",
    "qzsupport",
    "qznoteword",
    "qzorgname",
    "qzinviter",
    "qzpublicvalue",
    "qzprivatevalue",
    "qzmetaname",
    "qzredirectpath",
    "qzusername",
    "qzmalformed",
];
/// Of the service; no answer and nothing else holds these.
const SECRETS: [&str; 6] = [
    "qzbearertoken",
    "qzstranger",
    "qzdatabasepassword",
    "qzsmtppassword",
    "qzwebhookpassword",
    "qzquoted",
];
const PASSWORD: &str = "qzwebhookpassword";
/// 32 bytes that say so: what the keys file holds.
const MASTER: &[u8; 32] = b"qzmasterkeyqzmasterkeyqzmasterke";

/// What was said to a caller.
#[derive(Default)]
struct Heard {
    answers: Vec<(String, Vec<u8>)>,
    statuses: Vec<(String, Status)>,
    /// Methods that were called and said yes.
    done: BTreeSet<String>,
}

struct Scene {
    deployment: Deployment,
    running: ServerProcess,
    heard: Heard,
}

/// A canary in the forms it may be hidden in.
struct Canary {
    plain: String,
    coded: Vec<String>,
}

impl Canary {
    fn new(bytes: &[u8]) -> Self {
        let mut coded = Vec::new();
        // In base64 a text looks three ways, by where it begins; the ends depend on the neighbors.
        for shift in 0..3 {
            let shifted = [&vec![0; shift], bytes].concat();
            for engine in [&STANDARD, &URL_SAFE] {
                let text = engine.encode(&shifted);
                let text = text.trim_end_matches('=');
                let begin = if shift == 0 { 0 } else { 4 };
                coded.push(text[begin..text.len() - 2].to_owned());
            }
        }
        let joined = |separator: &str, is_upper: bool| {
            let pairs = bytes.iter().map(|byte| {
                if is_upper {
                    format!("{separator}{byte:02X}")
                } else {
                    format!("{separator}{byte:02x}")
                }
            });
            pairs.collect::<String>()
        };
        for separator in ["", "%", "=", "\\x"] {
            coded.extend([joined(separator, false), joined(separator, true)]);
        }
        // As Debug prints bytes.
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        coded.push(numbers.join(", "));
        coded.push(numbers.join(","));
        let plain = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        Self { plain, coded }
    }

    fn is_in(&self, text: &str, lowered: &str) -> bool {
        (self.plain.is_ascii() && lowered.contains(&self.plain))
            || self.coded.iter().any(|coded| text.contains(coded))
    }
}

/// Fails where a text holds a canary, and shows the line without which nobody would find it.
fn assert_clean(place: &str, text: &str, canaries: &[Canary]) {
    // Neither cut by quoted-printable nor by its spelling.
    let text = text.replace("=\r\n", "").replace("=\n", "");
    let lowered = text.to_ascii_lowercase();
    let found = canaries.iter().find(|canary| canary.is_in(&text, &lowered));
    if let Some(canary) = found {
        let mut lines = text.lines();
        let line = lines.find(|line| canary.is_in(line, &line.to_ascii_lowercase()));
        panic!(
            "{place} holds {:?}: {}",
            canary.plain,
            line.unwrap_or(&text)
        );
    }
}

fn canaries(words: &[&str]) -> Vec<Canary> {
    words
        .iter()
        .map(|word| Canary::new(word.as_bytes()))
        .collect()
}

fn metadata(value: &str) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    };
    Struct {
        fields: [("qzmetaname".to_owned(), value)].into(),
    }
}

fn full_item(number: u32) -> NewInvitation {
    NewInvitation {
        email: format!("qzlocal{number}@qzdomain{number}.example"),
        message: "qznoteword".to_owned(),
        redirect_url: "https://app.example.com/qzredirectpath?x=qzredirectpath".to_owned(),
        public_metadata: Some(metadata("qzpublicvalue")),
        private_metadata: Some(metadata("qzprivatevalue")),
        ..Default::default()
    }
}

impl Scene {
    async fn start(format: &str) -> Self {
        let mut deployment = Deployment::create().await;
        deployment.relay = Relay::start(Encryption::Implicit).await;
        deployment.write("roots", deployment.relay.certificate_pem());
        let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(MASTER);
        deployment.write("keys", &format!("1 {key}\n"));
        let caller = CallerEntry {
            name: "all".to_owned(),
            credential: CallerCredential::TokenSha256(Sha256::digest("qzbearertoken").into()),
            scopes: Scope::ALL.to_vec(),
            organizations: None,
        };
        deployment.write("callers", &to_toml(&caller));
        let mut url = Url::parse(&deployment.database.url()).unwrap();
        url.set_password(Some("qzdatabasepassword")).unwrap();
        let roots = deployment.path("roots");
        let settings = [
            ("INVITATIONS_LOG", "trace"),
            ("INVITATIONS_LOG_FORMAT", format),
            ("INVITATIONS_DATABASE_URL", url.as_str()),
            ("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "1s"),
            ("INVITATIONS_SMTP_HOST", "localhost"),
            ("INVITATIONS_SMTP_TLS", "implicit"),
            ("INVITATIONS_SMTP_ROOTS_FILE", roots.to_str().unwrap()),
            ("INVITATIONS_SMTP_USERNAME", "invitations"),
            ("INVITATIONS_SMTP_PASSWORD", "qzsmtppassword"),
            ("INVITATIONS_HTTP_LISTEN", "127.0.0.1:0"),
            ("INVITATIONS_PUBLIC_URL", "https://invitations.example.com"),
            ("INVITATIONS_MAIL_ENVELOPE_FROM", "bounces@example.com"),
            ("INVITATIONS_POSTMARK_WEBHOOK_PASSWORD", PASSWORD),
            ("INVITATIONS_QUOTA_RESEND_PAUSE", "0s"),
        ];
        let (running, _) = deployment.serve(&settings).await;
        Self {
            deployment,
            running,
            heard: Heard::default(),
        }
    }

    /// Calls a method as the caller.
    async fn call<T: Message + Default>(
        &mut self,
        method: &str,
        request: impl Message,
    ) -> Result<T, Code> {
        let path = format!("/invitation.v1.{method}");
        let bytes = self
            .bytes(&path, "qzbearertoken", &request.encode_to_vec())
            .await?;
        self.heard.done.insert(path);
        Ok(T::decode(bytes.as_slice()).unwrap())
    }

    async fn bytes(&mut self, path: &str, token: &str, message: &[u8]) -> Result<Vec<u8>, Code> {
        let address = self.running.address().parse().unwrap();
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        match raw_grpc::call(address, path, &headers, message).await {
            Ok(bytes) => {
                self.heard.answers.push((path.to_owned(), bytes.clone()));
                Ok(bytes)
            }
            Err(status) => {
                let code = status.code();
                self.heard.statuses.push((path.to_owned(), status));
                Err(code)
            }
        }
    }

    /// The directory, with something of a person in every field.
    async fn tell(&mut self) {
        let organization = |id: &str| Organization {
            id: id.to_owned(),
            name: "Qzorgname".to_owned(),
            redirect_origins: vec!["https://app.example.com".to_owned()],
            support_email: "qzsupport@example.com".to_owned(),
            ..Default::default()
        };
        let organizations = vec![organization(ACME), organization("other")];
        let request = UpsertOrganizationsRequest { organizations };
        let told: UpsertOrganizationsResponse = self
            .call("DirectoryService/UpsertOrganizations", request)
            .await
            .unwrap();
        assert_eq!(told.failed_count, 0);
        let user = |id: &str, name: &str, email: &str| User {
            id: id.to_owned(),
            name: name.to_owned(),
            verified_emails: vec![email.to_owned()],
        };
        let users = vec![
            user("ada", "Qzinviter", "qzadalocal@qzadadomain.example"),
            user("gone", "Qzusername", "qzlocal9@example.com"),
            user(
                "bad",
                "Qzusername https://qzmalformed.example",
                "qzmalformed",
            ),
        ];
        let request = UpsertUsersRequest { users };
        let told: UpsertUsersResponse = self
            .call("DirectoryService/UpsertUsers", request)
            .await
            .unwrap();
        assert_eq!(told.failed_count, 1);
        let membership = |user_id: &str| Membership {
            organization_id: ACME.to_owned(),
            user_id: user_id.to_owned(),
            role: "admin".to_owned(),
            public_metadata: Some(metadata("qzpublicvalue")),
            private_metadata: Some(metadata("qzprivatevalue")),
            ..Default::default()
        };
        let memberships = vec![membership("ada"), membership("gone")];
        let request = UpsertMembershipsRequest { memberships };
        let told: UpsertMembershipsResponse = self
            .call("DirectoryService/UpsertMemberships", request)
            .await
            .unwrap();
        assert_eq!(told.failed_count, 0);
    }

    fn batch(items: Vec<NewInvitation>) -> BulkCreateRequest {
        BulkCreateRequest {
            organization_id: ACME.to_owned(),
            inviter_user_id: "ada".to_owned(),
            invitations: items,
            ..Default::default()
        }
    }

    /// Invites, has one mail taken and one refused, and returns the ids and the token of the one that was taken.
    async fn invite(&mut self) -> (Vec<String>, String) {
        let quoting = "550-5.1.1 <qzlocal2@qzdomain2.example>: no mailbox QZLocal2 here\r\n\
                       550 5.1.1 see https://x.example/?to=qzlocal2%40qzdomain2.example, qzlocal2=qzdomain2.example";
        self.deployment
            .relay
            .refuse("qzlocal2@qzdomain2.example", quoting);
        let mut items: Vec<NewInvitation> = (1..=4).map(full_item).collect();
        items[2].notify = Some(false);
        items[3].notify = Some(false);
        for (email, message) in [
            ("qzmalformed", "qznoteword"),
            ("qzmalformed qzmalformed@example.com", "qznoteword"),
            ("qzlocal8@example.com", "https://qzmalformed.example"),
        ] {
            items.push(NewInvitation {
                email: email.to_owned(),
                message: message.to_owned(),
                redirect_url: "https://qzmalformed.example/".to_owned(),
                ..full_item(5)
            });
        }
        let request = BulkCreateRequest {
            request_id: "019aacd0-0000-4000-8000-000000000001".to_owned(),
            ..Self::batch(items)
        };
        let made: BulkCreateResponse = self
            .call("InvitationService/BulkCreate", request.clone())
            .await
            .unwrap();
        assert_eq!((made.created_count, made.failed_count), (4, 3));
        let replay =
            self.call::<BulkCreateResponse>("InvitationService/BulkCreate", request.clone());
        assert!(replay.await.is_ok());
        let atomic = BulkCreateRequest {
            atomic: true,
            ..request
        };
        let reused =
            self.call::<BulkCreateResponse>("InvitationService/BulkCreate", atomic.clone());
        assert!(reused.await.is_err());
        let atomic = BulkCreateRequest {
            request_id: String::new(),
            ..atomic
        };
        let failing = self.call::<BulkCreateResponse>("InvitationService/BulkCreate", atomic);
        assert!(failing.await.is_err());
        wait_until("the mail", async || {
            self.deployment.relay.received_count() == 1
        })
        .await;
        let ids: Vec<String> = made
            .results
            .iter()
            .filter_map(|result| Some(result.invitation.as_ref()?.id.clone()))
            .collect();
        let mut database = self.deployment.database.connect().await;
        loop {
            let state: String = sqlx::query_scalar(
                "SELECT delivery_state FROM invitations WHERE email LIKE 'qzlocal2@%'",
            )
            .fetch_one(&mut database)
            .await
            .unwrap();
            if state == "bounced" {
                break;
            }
            tokio::task::yield_now().await;
        }
        (ids, self.token())
    }

    /// The token in the newest mail.
    fn token(&self) -> String {
        let mail = self.deployment.relay.received().pop().unwrap().unstuffed();
        let text = String::from_utf8(mail).unwrap().replace("=\r\n", "");
        let token = text.split("inv1_").nth(1).unwrap();
        format!("inv1_{}", &token[..67])
    }

    /// Every method that reads or changes an invitation.
    async fn live(&mut self, ids: &[String], token: &str) {
        let organization_id = || ACME.to_owned();
        let get = GetRequest {
            organization_id: organization_id(),
            invitation_id: ids[0].clone(),
        };
        let _: GetResponse = self.call("InvitationService/Get", get).await.unwrap();
        let list = ListRequest {
            organization_id: organization_id(),
            email: "qzlocal1@qzdomain1.example".to_owned(),
            ..Default::default()
        };
        let _: ListResponse = self.call("InvitationService/List", list).await.unwrap();
        let preview = PreviewRequest {
            token: token.to_owned(),
        };
        let _: PreviewResponse = self
            .call("InvitationService/Preview", preview)
            .await
            .unwrap();
        let bulk_resend = BulkResendRequest {
            organization_id: organization_id(),
            invitation_ids: vec![ids[0].clone(), "qzmalformed".to_owned()],
            ..Default::default()
        };
        let _: BulkResendResponse = self
            .call("InvitationService/BulkResend", bulk_resend)
            .await
            .unwrap();
        let resend = ResendRequest {
            organization_id: organization_id(),
            invitation_id: ids[0].clone(),
            ..Default::default()
        };
        let _: ResendResponse = self.call("InvitationService/Resend", resend).await.unwrap();
        let requeue = RequeueRequest {
            organization_id: organization_id(),
            invitation_ids: vec![ids[1].clone()],
            all_dead: false,
        };
        let _: RequeueResponse = self.call("MailService/Requeue", requeue).await.unwrap();
        let _: GetBacklogResponse = self
            .call("MailService/GetBacklog", GetBacklogRequest {})
            .await
            .unwrap();
        let get = GetRequest {
            organization_id: organization_id(),
            invitation_id: ids[0].clone(),
        };
        let got: GetResponse = self.call("InvitationService/Get", get).await.unwrap();
        let get_batch = GetBatchRequest {
            organization_id: organization_id(),
            batch_id: got.invitation.unwrap().batch_id,
        };
        let _: GetBatchResponse = self
            .call("InvitationService/GetBatch", get_batch)
            .await
            .unwrap();
        let watch = WatchRequest {
            organization_id: organization_id(),
            ..Default::default()
        };
        let told: WatchResponse = self.call("InvitationService/Watch", watch).await.unwrap();
        assert!(!told.events.is_empty());
        let accept = |email: &str| AcceptRequest {
            token: token.to_owned(),
            user_id: "new".to_owned(),
            user_emails: vec![email.to_owned()],
            user_name: "Qzusername".to_owned(),
        };
        for wrong in ["qzlocal3@qzdomain3.example", "qzmalformed"] {
            let refused = self.call::<AcceptResponse>("InvitationService/Accept", accept(wrong));
            assert!(refused.await.is_err());
        }
        let right = accept("qzlocal1@qzdomain1.example");
        let _: AcceptResponse = self.call("InvitationService/Accept", right).await.unwrap();
        let revoke = RevokeRequest {
            organization_id: organization_id(),
            invitation_id: ids[2].clone(),
            user_id: String::new(),
        };
        let _: RevokeResponse = self.call("InvitationService/Revoke", revoke).await.unwrap();
        let bulk_revoke = BulkRevokeRequest {
            organization_id: organization_id(),
            invitation_ids: vec![ids[2].clone(), "qzmalformed".to_owned()],
            ..Default::default()
        };
        let _: BulkRevokeResponse = self
            .call("InvitationService/BulkRevoke", bulk_revoke)
            .await
            .unwrap();
    }

    /// Streams: a header and items, sent twice and then otherwise.
    async fn stream(&mut self) {
        let item = |number| BulkCreateStreamItem {
            key: "qzmalformed".to_owned(),
            invitation: Some(NewInvitation {
                notify: Some(false),
                ..full_item(number)
            }),
        };
        let mut request = BulkCreateStreamRequest {
            header: Some(BulkCreateStreamHeader {
                request_id: "019aacd0-0000-4000-8000-000000000002".to_owned(),
                organization_id: ACME.to_owned(),
                inviter_user_id: "ada".to_owned(),
                ..Default::default()
            }),
            items: vec![item(1), item(2)],
        };
        let method = "InvitationService/BulkCreateStream";
        for _ in 0..2 {
            let made: BulkCreateStreamResponse = self.call(method, request.clone()).await.unwrap();
            assert_eq!(made.results.len(), 2);
        }
        request.items.swap(0, 1);
        request.items[1].key = "qzmalformed".repeat(10);
        let refused = self.call::<BulkCreateStreamResponse>(method, request);
        assert!(refused.await.is_err());
    }

    /// The one answer that may hold a link, and what declines it.
    async fn decline(&mut self) -> String {
        let request = BulkCreateRequest {
            return_link: true,
            on_existing: OnExisting::Replace.into(),
            ..Self::batch(vec![NewInvitation {
                notify: Some(false),
                ..full_item(4)
            }])
        };
        let made: BulkCreateResponse = self
            .call("InvitationService/BulkCreate", request)
            .await
            .unwrap();
        self.heard.answers.pop();
        let link = made.results[0].link.clone();
        let token = link.split_once("#token=").unwrap().1.to_owned();
        let decline = DeclineRequest {
            token: token.clone(),
            suppress: true,
        };
        let _: DeclineResponse = self
            .call("InvitationService/Decline", decline)
            .await
            .unwrap();
        token
    }

    /// What operators do: the log, the switch, and erasing.
    async fn operate(&mut self) {
        let list = AuditServiceListRequest::default();
        let _: AuditServiceListResponse = self.call("AuditService/List", list).await.unwrap();
        let organization_id = || "other".to_owned();
        let suspend = SuspendOrganizationRequest {
            organization_id: organization_id(),
        };
        let _: SuspendOrganizationResponse = self
            .call("DirectoryService/SuspendOrganization", suspend)
            .await
            .unwrap();
        let resume = ResumeOrganizationRequest {
            organization_id: organization_id(),
        };
        let _: ResumeOrganizationResponse = self
            .call("DirectoryService/ResumeOrganization", resume)
            .await
            .unwrap();
        let erase = EraseAddressRequest {
            email: "qzlocal7@qzdomain7.example".to_owned(),
            suppress: true,
        };
        let _: EraseAddressResponse = self
            .call("DirectoryService/EraseAddress", erase)
            .await
            .unwrap();
    }

    /// The list of suppressions, reports of bounces and the directory's other half.
    async fn report_and_forget(&mut self) {
        let emails = || {
            vec![
                "qzlocal3@qzdomain3.example".to_owned(),
                "qzmalformed".to_owned(),
            ]
        };
        let add = SuppressionServiceAddRequest {
            emails: emails(),
            ..Default::default()
        };
        let _: SuppressionServiceAddResponse =
            self.call("SuppressionService/Add", add).await.unwrap();
        let list = SuppressionServiceListRequest {
            email: "qzlocal3@qzdomain3.example".to_owned(),
            ..Default::default()
        };
        let _: SuppressionServiceListResponse =
            self.call("SuppressionService/List", list).await.unwrap();
        let lifting = SuppressionServiceLiftRequest {
            emails: emails(),
            ..Default::default()
        };
        let _: SuppressionServiceLiftResponse =
            self.call("SuppressionService/Lift", lifting).await.unwrap();
        let report = include_str!("../../fixtures/dsn/postfix.eml")
            .replace("example.net", "qzdomain1.example");
        let seen = self.deployment.relay.connections();
        let conversation = String::from_utf8_lossy(&seen[0].bytes).into_owned();
        let sender = conversation.split("MAIL FROM:<").nth(1).unwrap();
        for envelope_recipient in [
            "qzlocal1@qzdomain1.example",
            sender.split('>').next().unwrap(),
        ] {
            let request = ReportBounceRequest {
                message: report.clone().into_bytes(),
                envelope_recipient: envelope_recipient.to_owned(),
            };
            let _: ReportBounceResponse = self
                .call("FeedbackService/ReportBounce", request)
                .await
                .unwrap();
        }
        let of = |user_id: &str| (ACME.to_owned(), user_id.to_owned());
        let (organization_id, user_id) = of("new");
        let request = GetMembershipRequest {
            organization_id,
            user_id,
        };
        let _: GetMembershipResponse = self
            .call("DirectoryService/GetMembership", request)
            .await
            .unwrap();
        let request = ListMembershipsRequest {
            organization_id: ACME.to_owned(),
            ..Default::default()
        };
        let _: ListMembershipsResponse = self
            .call("DirectoryService/ListMemberships", request)
            .await
            .unwrap();
        let (organization_id, user_id) = of("gone");
        let request = DeleteMembershipRequest {
            organization_id,
            user_id: user_id.clone(),
        };
        let _: DeleteMembershipResponse = self
            .call("DirectoryService/DeleteMembership", request)
            .await
            .unwrap();
        let request = DeleteUserRequest { user_id };
        let _: DeleteUserResponse = self
            .call("DirectoryService/DeleteUser", request)
            .await
            .unwrap();
        let request = DeleteOrganizationRequest {
            organization_id: "other".to_owned(),
        };
        let _: DeleteOrganizationResponse = self
            .call("DirectoryService/DeleteOrganization", request)
            .await
            .unwrap();
    }

    /// Every method with a canary in every text, from the caller, from a stranger, and in bytes that are no message.
    async fn pester(&mut self) {
        for method in descriptors::methods() {
            let text = "qzmalformed https://qzmalformed.example qzmalformed@qzmalformed";
            // The organization is needed still.
            let is_deadly = method.path.ends_with("/DeleteOrganization");
            for organization_id in [if is_deadly { "qzmalformed" } else { ACME }, "qzmalformed"] {
                let message = descriptors::filled(&method.input, text, organization_id);
                let _ = self.bytes(&method.path, "qzbearertoken", &message).await;
                let refused = self.bytes(&method.path, "qzstranger", &message).await;
                assert_eq!(refused, Err(Code::Unauthenticated));
            }
            let _ = self
                .bytes(&method.path, "qzbearertoken", b"\x0aqzmalformed")
                .await;
            let _ = self
                .bytes(&method.path, "qzbearertoken", b"qzmalformed")
                .await;
        }
    }

    /// What comes in over HTTP: secrets in paths, headers and bodies.
    async fn browse(&self, token: &str) {
        let log = self.running.log();
        let (_, rest) = log
            .split_once("http.address=")
            .or_else(|| log.split_once("\"http.address\":\""))
            .unwrap();
        let address = rest
            .split([' ', '"', '\n'])
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let body =
            r#"{"RecordType":"Bounce","Email":"qzlocal1@qzdomain1.example","Details":"qzquoted"}"#;
        let basic = STANDARD.encode(format!("postmark:{PASSWORD}"));
        let length = body.len();
        for request in [
            format!("GET /u/{token} HTTP/1.1\r\n"),
            format!("GET /qzquoted?token={token} HTTP/1.1\r\nCookie: qzquoted\r\n"),
            format!(
                "POST /webhooks/postmark HTTP/1.1\r\nAuthorization: Basic {basic}\r\nContent-Length: {length}\r\n"
            ),
            format!(
                "POST /webhooks/postmark HTTP/1.1\r\nAuthorization: Basic qzquoted\r\nContent-Length: {length}\r\n"
            ),
        ] {
            let request = format!("{request}Host: x\r\nConnection: close\r\n\r\n{body}");
            let answer = exchange(address, request.as_bytes()).await;
            assert!((200..500).contains(&answer.status), "{}", answer.status);
            assert!(!answer.body.contains("qz") && !answer.head.contains("qz"));
        }
    }

    /// Faults: rows that break a rule, a row that makes its reader panic, a database that is away.
    async fn break_things(&mut self, id: &str) {
        let mut database = self.deployment.database.connect().await;
        database
            .execute("ALTER TABLE invitations ADD CONSTRAINT closed CHECK (false) NOT VALID")
            .await
            .unwrap();
        let request = Self::batch(vec![full_item(3)]);
        let failed = self.call::<BulkCreateResponse>("InvitationService/BulkCreate", request);
        assert_eq!(failed.await.err(), Some(Code::Internal));
        let statement = "ALTER TABLE invitations DROP CONSTRAINT closed;
                         UPDATE invitations SET updated_at = 'infinity'";
        sqlx::raw_sql(statement)
            .execute(&mut database)
            .await
            .unwrap();
        let get = GetRequest {
            organization_id: ACME.to_owned(),
            invitation_id: id.to_owned(),
        };
        let failed = self.call::<GetResponse>("InvitationService/Get", get.clone());
        assert_eq!(failed.await.err(), Some(Code::Internal));
        let name: String = sqlx::query_scalar("SELECT current_database()")
            .fetch_one(&mut database)
            .await
            .unwrap();
        let connections = |are_allowed: bool| {
            AssertSqlSafe(format!(
                "ALTER DATABASE {name} ALLOW_CONNECTIONS {are_allowed}"
            ))
        };
        // From beside: a database cannot be closed from within.
        drop(database);
        let server = std::env::var("DATABASE_URL").unwrap();
        let mut server = PgConnection::connect(&server).await.unwrap();
        server.execute(connections(false)).await.unwrap();
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&name)
            .execute(&mut server)
            .await
            .unwrap();
        let request = Self::batch(vec![full_item(3)]);
        let failed = self.call::<BulkCreateResponse>("InvitationService/BulkCreate", request);
        let code = failed.await.err();
        assert!(matches!(code, Some(Code::Unavailable | Code::Internal)));
        server.execute(connections(true)).await.unwrap();
    }
}

/// All that a table holds, as text.
async fn dump(deployment: &Deployment) -> Vec<(String, String)> {
    let mut database = deployment.database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let mut dumps = Vec::new();
    for table in tables {
        let statement = format!("SELECT t::text FROM {table} t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(&mut database)
            .await
            .unwrap();
        dumps.push((table, rows.join("\n")));
    }
    let errors =
        "SELECT coalesce(delivery_error, '') || coalesce(last_accept_error, '') FROM invitations";
    let errors: Vec<String> = sqlx::query_scalar(errors)
        .fetch_all(&mut database)
        .await
        .unwrap();
    dumps.push(("errors".to_owned(), errors.join("\n")));
    dumps
}

/// The keys, and everything that is derived from them.
fn key_canaries() -> Vec<Canary> {
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(MASTER);
    let keyring = Keyring::parse(&format!("1 {text}\n")).unwrap();
    let mut canaries = vec![Canary::new(MASTER), Canary::new(b"qzmasterkey")];
    for purpose in [
        Purpose::Accept,
        Purpose::Page,
        Purpose::AddressTag,
        Purpose::Unsubscribe,
        Purpose::Bounce,
    ] {
        canaries.push(Canary::new(&keyring.derive(1, purpose).unwrap()));
    }
    canaries
}

async fn nothing_gets_out(format: &str) {
    let mut scene = Scene::start(format).await;
    scene.tell().await;
    let (ids, first) = scene.invite().await;
    scene.live(&ids, &first).await;
    scene.stream().await;
    let second = scene.decline().await;
    scene.report_and_forget().await;
    scene.operate().await;
    scene.pester().await;
    scene.browse(&first).await;
    // All methods, those of tomorrow included: one that is new needs its call above.
    let methods: BTreeSet<String> = descriptors::methods()
        .into_iter()
        .map(|method| method.path)
        .collect();
    assert_eq!(
        scene.heard.done, methods,
        "a method was never called with canaries and a yes"
    );
    scene.break_things(&ids[0]).await;

    scene.running.terminate().await;
    scene.running.wait_for_exit().await;
    let mut secrets = canaries(&SECRETS);
    secrets.extend(key_canaries());
    for token in [&first, &second] {
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(&token[5..])
            .unwrap();
        secrets.extend([Canary::new(token.as_bytes()), Canary::new(&secret[18..])]);
    }
    let personal = canaries(&PERSONAL);
    let log = scene.running.log();
    for word in ["panicked", "DEBUG", "sqlx::query", "a call failed"] {
        assert!(log.contains(word), "the log tells of nothing: {word}");
    }
    for (place, text) in [("the log", log), ("the output", scene.running.output())] {
        assert_clean(place, &text, &secrets);
        assert_clean(place, &text, &personal);
        assert!(!text.contains("inv1_"), "{place} holds a token");
    }
    assert!(scene.heard.statuses.len() > 100);
    for (path, status) in &scene.heard.statuses {
        let details = String::from_utf8_lossy(status.details()).into_owned();
        let text = format!("{}\n{details}\n{:?}", status.message(), status.metadata());
        assert_clean(path, &text, &secrets);
        assert_clean(path, &text, &personal);
    }
    for (path, bytes) in &scene.heard.answers {
        assert_clean(path, &String::from_utf8_lossy(bytes), &secrets);
    }
    for (table, rows) in dump(&scene.deployment).await {
        assert_clean(&table, &rows, &secrets);
        // Those tables are there to hold them.
        let holds_people = [
            "invitations",
            "memberships",
            "organizations",
            "user_emails",
            "users",
        ]
        .contains(&table.as_str());
        if !holds_people {
            assert_clean(&table, &rows, &personal);
        }
    }
}

#[tokio::test]
async fn no_canary_gets_out_as_text() {
    nothing_gets_out("text").await;
}

#[tokio::test]
async fn no_canary_gets_out_as_json() {
    nothing_gets_out("json").await;
}

#[test]
fn a_canary_is_found_in_every_form_it_may_hide_in() {
    let hidden = |text: &str| {
        let found = std::panic::catch_unwind(|| {
            assert_clean("a test", text, &[Canary::new(b"qzlocal1")]);
        });
        found.is_err()
    };
    for text in [
        "x qzlocal1 y".to_owned(),
        "QZLocal1".to_owned(),
        "qzloc=\r\nal1".to_owned(),
        STANDARD.encode("qzlocal1"),
        STANDARD.encode("a qzlocal1 b"),
        STANDARD.encode("ab qzlocal1, c"),
        URL_SAFE.encode("abc qzlocal1"),
        "717a6c6f63616c31".to_owned(),
        "%71%7A%6C%6F%63%61%6C%31".to_owned(),
        "=71=7A=6C=6F=63=61=6C=31".to_owned(),
        format!("{:?}", b"qzlocal1"),
    ] {
        assert!(hidden(&text), "{text}");
    }
    assert!(!hidden("qzlocal2 cXps"));
}
