//! A server process, and the attacks of one of its callers on memory and connections. Another caller is served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use h2::RecvStream;
use invitations::domain::new_invitation::ITEMS_MAX;
use invitations::domain::scope::Scope;
use invitations::grpc::limits::MEMORY_BUDGET_DEFAULT;
use invitations::identity::CallerEntry;
use invitations::proto::{BulkCreateStreamRequest, NewInvitation};
use invitations::settings::callers_file::to_toml;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::support::background_calls::{print_line, with_background_calls};
use crate::support::callers::token_credential;
use crate::support::deployment::{Deployment, TOKEN};
use crate::support::http_port::http_address;
use crate::support::server_process::ServerProcess;
use crate::support::streams::header;
use crate::support::unfinished_call::{RawConnection, UnfinishedCall};
use crate::support::watch_stream::watch_request;
use crate::support::{UNKNOWN_ID, bulk_get_request, create_request, item, metadata, raw_grpc};

pub(crate) const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const BULK_GET: &str = "/invitation.v1.InvitationService/BulkGet";
const BULK_CREATE_STREAM: &str = "/invitation.v1.InvitationService/BulkCreateStream";
const WATCH: &str = "/invitation.v1.InvitationService/Watch";
pub(crate) const UPSERT_ORGANIZATIONS: &str = "/invitation.v1.DirectoryService/UpsertOrganizations";
pub(crate) const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const ATTACKER: &str = "attacker-access-token";
pub(crate) const MIB: usize = 1024 * 1024;
/// How much memory an attack may use: one and a half times the share of a service.
const GROWTH_MAX: usize = 144 * MIB;
/// How long attackers keep what they have opened.
const HOLD: Duration = Duration::from_secs(8);

/// Open connections, and the calls on them with the bodies of their responses.
type UnreadResponses = (Vec<RawConnection>, Vec<(Status, RecvStream)>);

pub(crate) struct AttackedServer {
    _deployment: Deployment,
    pub(crate) process: ServerProcess,
}

impl AttackedServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(MEMORY_BUDGET_DEFAULT).await
    }

    pub(crate) async fn start_with(memory_budget: usize) -> Self {
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
            ("INVITATIONS_HTTP_LISTEN", "127.0.0.1:0"),
            ("INVITATIONS_PUBLIC_URL", "https://invitations.example.com"),
        ];
        let (process, _) = deployment.serve_populated(&settings).await;
        Self {
            _deployment: deployment,
            process,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address().parse().unwrap()
    }

    /// Runs an attack beside calls of the other caller, and checks the memory that the process used.
    pub(crate) async fn attack<T>(&self, name: &str, attack: impl Future<Output = T>) -> T {
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

    /// Calls a method as the attacker.
    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Status {
        let authorization = format!("Bearer {ATTACKER}");
        let headers = [("authorization", authorization.as_str())];
        match raw_grpc::call(self.address(), path, &headers, message).await {
            Ok(_) => Status::ok(""),
            Err(status) => status,
        }
    }

    /// Begins calls of the attacker, 100 on each connection.
    pub(crate) async fn begin(
        &self,
        path: &str,
        count: usize,
    ) -> (Vec<RawConnection>, Vec<UnfinishedCall>) {
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

/// The attacks on memory. Each returns how its calls ended.
impl AttackedServer {
    /// Lists of `size` bytes whose entries are empty.
    pub(crate) async fn send_empty_items(&self, size: usize) -> [(&'static str, Status); 2] {
        let organization = [0x0a, 4, b'a', b'c', b'm', b'e'];
        let items = [0x22, 0].repeat(size / 2);
        let items = [organization.as_slice(), &items].concat();
        let organizations = [0x0a, 0].repeat(size / 2);
        [
            ("invitations", self.call(BULK_CREATE, &items).await),
            (
                "organizations",
                self.call(UPSERT_ORGANIZATIONS, &organizations).await,
            ),
        ]
    }

    pub(crate) async fn send_large_calls(&self, count: usize) -> Vec<Status> {
        let message = large_batch();
        join_all((0..count).map(|_| self.call(BULK_CREATE, &message))).await
    }

    pub(crate) async fn begin_large_messages(&self) -> Vec<Status> {
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
    pub(crate) async fn leave_responses_unread(&self, count: usize) -> UnreadResponses {
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

    pub(crate) async fn begin_reflection(&self) -> Vec<Status> {
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

/// The attacks on connections and streams.
impl AttackedServer {
    /// Connections that are complete and begin no call.
    pub(crate) async fn hold_idle_connections(&self) {
        let mut connections = Vec::new();
        for _ in 0..600 {
            connections.push(RawConnection::open(self.address()).await);
        }
        sleep(HOLD).await;
    }

    /// HTTP connections that send the same bytes again and again.
    async fn hold_http_connections(&self, bytes: &[u8]) {
        let address = http_address(&self.process);
        let until = Instant::now() + HOLD;
        let peers = (0..600).map(async |_| {
            let mut stream = TcpStream::connect(address).await?;
            while Instant::now() < until {
                stream.write_all(bytes).await?;
                let mut answer = [0; 512];
                let answer = timeout(Duration::from_secs(3), stream.read(&mut answer));
                if matches!(answer.await, Ok(Ok(0) | Err(_))) {
                    break;
                }
                sleep(Duration::from_secs(3)).await;
            }
            std::io::Result::Ok(())
        });
        // The server closes some of them.
        join_all(peers).await;
    }

    pub(crate) async fn hold_keep_alive(&self) {
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        self.hold_http_connections(request).await;
    }

    pub(crate) async fn hold_posts(&self) {
        let request = b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
        self.hold_http_connections(request).await;
    }

    /// Streams of items whose header was sent, and nothing else.
    pub(crate) async fn hold_silent_streams(&self) {
        let header = BulkCreateStreamRequest {
            header: Some(header()),
            ..Default::default()
        };
        self.hold(BULK_CREATE_STREAM, 32, &header.encode_to_vec())
            .await;
    }

    pub(crate) async fn hold_watches(&self) {
        let request = watch_request().encode_to_vec();
        self.hold(WATCH, 250, &request).await;
    }

    async fn hold(&self, path: &str, count: usize, message: &[u8]) {
        let (_connections, mut calls) = self.begin(path, count).await;
        for call in &mut calls {
            call.send_prefix(message.len()).await;
            call.send(message).await;
        }
        sleep(HOLD).await;
    }
}

/// A batch of almost the largest size.
pub(crate) fn large_batch() -> Vec<u8> {
    let items = (0..ITEMS_MAX).map(|number| NewInvitation {
        message: "x".repeat(500),
        public_metadata: Some(metadata("key", &"x".repeat(900))),
        ..item(&format!("person{number}@large.example"))
    });
    create_request(items.collect()).encode_to_vec()
}

/// A field of the wire format with its length.
pub(crate) fn prefixed(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    prost::encoding::encode_varint(u64::try_from(content.len()).unwrap(), &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}
