//! Requests that would use much memory. The server refuses them before it uses the memory, and answers other callers.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use h2::RecvStream;
use invitations::domain::new_invitation::ITEMS_MAX;
use invitations::domain::scope::Scope;
use invitations::grpc::limits::{MEMORY_BUDGET_DEFAULT, MEMORY_BUDGET_MIN};
use invitations::identity::CallerEntry;
use invitations::settings::callers_file::to_toml;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::background_calls::{print_line, with_background_calls};
use crate::support::callers::token_credential;
use crate::support::deployment::{Deployment, TOKEN};
use crate::support::raw_grpc;
use crate::support::server_process::ServerProcess;
use crate::support::unfinished_call::{RawConnection, UnfinishedCall};
use crate::support::user_issuer::UserIssuer;
use crate::support::{UNKNOWN_ID, World, bulk_get_request, create_request, item, status_reason};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const BULK_GET: &str = "/invitation.v1.InvitationService/BulkGet";
const UPSERT_ORGANIZATIONS: &str = "/invitation.v1.DirectoryService/UpsertOrganizations";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const ATTACKER: &str = "attacker-access-token";
const MIB: usize = 1024 * 1024;
/// How much memory an attack may use: the share of a service, and what the connections and the allocator add.
const GROWTH_MAX: usize = 112 * MIB;
/// How long the process may take to return memory.
const RETURN_MAX: Duration = Duration::from_mins(1);

/// Open connections, and the calls on them with the bodies of their responses.
type UnreadResponses = (Vec<RawConnection>, Vec<(Status, RecvStream)>);

/// A server process with a caller that attacks it, and another one.
struct AttackedServer {
    _deployment: Deployment,
    process: ServerProcess,
}

impl AttackedServer {
    async fn start() -> Self {
        Self::start_with(MEMORY_BUDGET_DEFAULT).await
    }

    async fn start_with(memory_budget: usize) -> Self {
        let deployment = Deployment::create().await;
        let callers = [("all", TOKEN), ("attacker", ATTACKER)].map(|(name, token)| {
            to_toml(&CallerEntry {
                name: name.to_owned(),
                credential: token_credential(token),
                scopes: Scope::ALL.to_vec(),
                organizations: None,
            })
        });
        deployment.write("callers", &callers.concat());
        let memory_budget = format!("{}MiB", memory_budget / MIB);
        let settings = [
            ("INVITATIONS_ROLE", "api"),
            ("INVITATIONS_MEMORY_BUDGET", memory_budget.as_str()),
        ];
        let (process, _) = deployment.serve_populated(&settings).await;
        Self {
            _deployment: deployment,
            process,
        }
    }

    fn address(&self) -> SocketAddr {
        self.process.address().parse().unwrap()
    }

    /// Runs an attack beside calls of the other caller, and checks the memory that the process used.
    async fn attack<T>(&self, name: &str, attack: impl Future<Output = T>) -> T {
        let before = self.process.peak_memory();
        let outcome = with_background_calls(name, &self.process, attack).await;
        let peak = self.process.peak_memory();
        print_line(&format!(
            "{name}: peak {} MiB then {} MiB",
            before / MIB,
            peak / MIB
        ));
        assert!(peak < before + GROWTH_MAX, "{name}: {before} then {peak}");
        outcome
    }

    /// Begins calls of the attacker, 100 on each connection.
    async fn begin(&self, path: &str, count: usize) -> (Vec<RawConnection>, Vec<UnfinishedCall>) {
        let token = if path == REFLECTION { "" } else { ATTACKER };
        let (mut connections, mut calls) = (Vec::new(), Vec::new());
        for number in 0..count {
            if number % 100 == 0 {
                connections.push(RawConnection::open(self.address()).await);
            }
            let connection = connections.last().unwrap();
            calls.push(connection.begin(path, token).await);
        }
        (connections, calls)
    }
}

/// The attacks. Each returns how its calls ended.
impl AttackedServer {
    async fn send_empty_items(&self, size: usize) {
        let organization = [0x0a, 4, b'a', b'c', b'm', b'e'];
        let items = [0x22, 0].repeat(size / 2);
        let message = [organization.as_slice(), &items].concat();
        let status = call(self.address(), BULK_CREATE, &message).await;
        assert_too_many_items(&status, "invitations");
        let message = [0x0a, 0].repeat(size / 2);
        let status = call(self.address(), UPSERT_ORGANIZATIONS, &message).await;
        assert_too_many_items(&status, "organizations");
    }

    async fn send_large_calls(&self, count: usize) -> Vec<Status> {
        let message = large_batch();
        let calls = (0..count).map(|_| call(self.address(), BULK_CREATE, &message));
        join_all(calls).await
    }

    async fn begin_large_messages(&self) -> Vec<Status> {
        let (_connections, mut calls) = self.begin(BULK_CREATE, 60).await;
        let text = prefixed(0x0a, &vec![b'a'; 8 * MIB]);
        join_all(calls.iter_mut().map(async |call| {
            call.send_prefix(12 * MIB).await;
            call.send(&text).await;
        }))
        .await;
        join_all(calls.into_iter().map(UnfinishedCall::status)).await
    }

    /// Each response has about two megabytes: an error for each id.
    async fn leave_responses_unread(&self, count: usize) -> UnreadResponses {
        let message = bulk_get_request(&vec![UNKNOWN_ID; ITEMS_MAX]).encode_to_vec();
        let (mut connections, mut responses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (connection, mut calls) = self.begin(BULK_GET, 1).await;
            let mut call = calls.remove(0);
            call.send_prefix(message.len()).await;
            call.send(&message).await;
            responses.push(call.unread_response().await);
            connections.extend(connection);
        }
        (connections, responses)
    }

    async fn begin_reflection(&self) -> Vec<Status> {
        let (_connections, mut calls) = self.begin(REFLECTION, 240).await;
        let text = vec![b'a'; 4_000_000];
        join_all(calls.iter_mut().map(async |call| {
            call.send_prefix(4_100_000).await;
            call.send(&text).await;
        }))
        .await;
        join_all(calls.into_iter().map(UnfinishedCall::status)).await
    }
}

#[tokio::test]
async fn empty_items_are_refused_before_they_are_decoded() {
    let server = AttackedServer::start().await;
    for size in [4 * MIB, 15 * MIB] {
        let attack = server.send_empty_items(size);
        server.attack("empty items", attack).await;
    }
}

#[tokio::test]
async fn lists_inside_of_a_message_are_refused_before_they_are_decoded() {
    let server = AttackedServer::start().await;
    let paths = prefixed(0x12, &[0x0a, 0].repeat(2 * MIB));
    let paths = call(server.address(), UPSERT_ORGANIZATIONS, &paths);
    let status = server.attack("paths of a mask", paths).await;
    assert_too_many_items(&status, "update_mask.paths");
    // Each level of metadata is a map of its own.
    let mut fields = prefixed(0x0a, &[0x0a, 1, b'k', 0x12, 2, 0x20, 1]);
    for _ in 0..14 {
        let value = prefixed(0x2a, &fields);
        let entry = [&[0x0a, 1, b'k'], prefixed(0x12, &value).as_slice()].concat();
        fields = prefixed(0x0a, &entry);
    }
    let items = prefixed(0x22, &prefixed(0x2a, &fields)).repeat(ITEMS_MAX);
    let nested = call(server.address(), BULK_CREATE, &items);
    let status = server.attack("nested metadata", nested).await;
    assert_too_many_items(&status, "invitations");
}

#[tokio::test]
async fn a_method_is_refused_before_its_message_is_sent() {
    let users = UserIssuer::start().await;
    let world = World::builder().issuers(&users.table()).start().await;
    let connection = RawConnection::open(world.address()).await;
    let user = users.token(&world, "ada");
    for (path, token, reason) in [
        (UPSERT_ORGANIZATIONS, user.as_str(), "METHOD_DENIED"),
        (UPSERT_ORGANIZATIONS, "only-audit:read", "SCOPE_MISSING"),
        (BULK_CREATE, "only-audit:read", "SCOPE_MISSING"),
        (BULK_CREATE, "unknown", "CREDENTIALS_INVALID"),
    ] {
        let call = connection.begin(path, token).await;
        assert_eq!(status_reason(&call.status().await), reason);
    }
}

#[tokio::test]
async fn large_calls_of_one_caller_leave_memory_for_others() {
    let server = AttackedServer::start().await;
    let attack = server.send_large_calls(12);
    let statuses = server.attack("large calls", attack).await;
    assert!(statuses.iter().any(|status| status.code() == Code::Ok));
    for status in statuses.iter().filter(|status| status.code() != Code::Ok) {
        assert_eq!(status_reason(status), "OVERLOADED", "{status:?}");
        assert!(status.get_details_retry_info().is_some());
    }
    let status = call(server.address(), BULK_CREATE, &large_batch()).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test]
async fn unfinished_messages_of_one_caller_leave_memory_for_others() {
    let server = AttackedServer::start().await;
    let attack = server.begin_large_messages();
    let statuses = server.attack("unfinished messages", attack).await;
    // The calls that were not refused end because nothing follows.
    let mut reasons: Vec<_> = statuses.iter().map(status_reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons, ["DEADLINE_EXCEEDED", "OVERLOADED"]);
    let message = create_request(vec![item("ada@after.example")]).encode_to_vec();
    let status = call(server.address(), BULK_CREATE, &message).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn responses_that_one_caller_does_not_read_leave_memory_for_others() {
    let server = AttackedServer::start_with(MEMORY_BUDGET_MIN).await;
    let attack = server.leave_responses_unread(40);
    let (_connections, responses) = server.attack("unread responses", attack).await;
    let is_refused = |(status, _): &&(Status, RecvStream)| status.code() != Code::Ok;
    let refused: Vec<_> = responses.iter().filter(is_refused).collect();
    assert!((1..30).contains(&refused.len()), "{}", refused.len());
    for (status, _) in refused {
        assert_eq!(status_reason(status), "OVERLOADED", "{status:?}");
    }
}

#[tokio::test]
async fn reflection_streams_without_credentials_use_little_memory_and_end() {
    let server = AttackedServer::start().await;
    for status in server.attack("reflection", server.begin_reflection()).await {
        let code = status.code();
        // Reflection ends a stream whose request cannot be read without an error.
        let is_refused = matches!(code, Code::OutOfRange | Code::Unavailable | Code::Ok);
        assert!(is_refused, "{status:?}");
    }
    // A stream that asks nothing ends, too.
    let (_connections, mut silent) = server.begin(REFLECTION, 1).await;
    assert_eq!(silent.remove(0).status().await.code(), Code::Ok);
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn all_attacks_together_leave_memory_for_others_and_it_is_returned() {
    let server = AttackedServer::start().await;
    let before = server.process.memory_kib();
    let attacks = async {
        tokio::join!(
            server.send_empty_items(4 * MIB),
            server.send_empty_items(15 * MIB),
            server.send_large_calls(12),
            server.begin_large_messages(),
            server.begin_reflection(),
        )
    };
    Box::pin(server.attack("all attacks", attacks)).await;
    let deadline = Instant::now() + RETURN_MAX;
    let mut after = server.process.memory_kib();
    while after > before * 6 / 5 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_secs(1)).await;
        after = server.process.memory_kib();
    }
    print_line(&format!("memory {before} KiB, later {after} KiB"));
    assert!(after <= before * 6 / 5, "{before} then {after}");
}

/// A batch of almost the largest size.
fn large_batch() -> Vec<u8> {
    let text = "x".repeat(1_400);
    let items = (0..ITEMS_MAX).map(|number| {
        let mut item = item(&format!("person{number}@large.example"));
        item.message.clone_from(&text);
        item
    });
    create_request(items.collect()).encode_to_vec()
}

async fn call(address: SocketAddr, path: &str, message: &[u8]) -> Status {
    let authorization = format!("Bearer {ATTACKER}");
    let headers = [("authorization", authorization.as_str())];
    match raw_grpc::call(address, path, &headers, message).await {
        Ok(_) => Status::ok(""),
        Err(status) => status,
    }
}

fn assert_too_many_items(status: &Status, field: &str) {
    assert_eq!(status_reason(status), "TOO_MANY_ITEMS", "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, field);
}

/// A field of the wire format with its length.
fn prefixed(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    prost::encoding::encode_varint(u64::try_from(content.len()).unwrap(), &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}
