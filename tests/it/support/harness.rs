//! The world a test lives in: the service on a real socket, a real Postgres, a real SMTP conversation, and a clock that
//! stands still until it is moved. A test sees what a caller and a mail server see.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use invitations::clock::{Clock, MockClock};
use invitations::delivery::{
    Ambiguous, DeliveryConfig, DomainCaps, LaneConfig, Mailroom, Reaper, Route, Worker,
};
use invitations::domain::actor::Actor;
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::domain::public_url::PublicUrl;
use invitations::domain::quota::QuotaLimits;
use invitations::domain::scope::Scope;
use invitations::grpc::{GrpcConfig, GrpcServer, TrustedProxies};
use invitations::identity::{CallerCredential, CallerEntry, Callers};
use invitations::mail::message::{Composer, Sender};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::Transport;
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::mail_service_client::MailServiceClient;
use invitations::proto::suppression_service_client::SuppressionServiceClient;
use invitations::proto::{
    AcceptRequest, AcceptResponse, BulkCreateRequest, BulkCreateResponse, BulkCreateResult,
    CreateOutcome, ErrorReason, GetRequest, Invitation, Membership, NewInvitation, Organization,
    UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertUsersRequest, User,
};
use invitations::service::{Context, Service};
use invitations::settings::callers_file::CallersFile;
use invitations::store::{Listener, Store, StoreConfig};
use mail_parser::MessageParser;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::support::database::Database;
use crate::support::relay::{Encryption, Relay};

/// The organization of most tests; its admin is `ada`, its other member `grace` (`grace@example.com`).
pub(crate) const ACME: &str = "acme";
/// An organization of somebody else; its admin is `eve`.
pub(crate) const OTHER: &str = "other";
/// How long the events of every test are kept.
pub(crate) const EVENTS_KEPT: Duration = Duration::from_hours(24 * 7);
/// When every test begins.
pub(crate) const START: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);
/// A ring that signs with key 1.
pub(crate) const KEYS: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";

pub(crate) type Invitations = InvitationServiceClient<InterceptedService<Channel, Bearer>>;
pub(crate) type Mails = MailServiceClient<InterceptedService<Channel, Bearer>>;
pub(crate) type Directory = DirectoryServiceClient<InterceptedService<Channel, Bearer>>;
pub(crate) type Suppressions = SuppressionServiceClient<InterceptedService<Channel, Bearer>>;

/// Sends a token with each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A mail as its reader sees it.
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) message_id: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) raw: Vec<u8>,
}

impl Mail {
    /// The token in its link.
    pub(crate) fn token(&self) -> String {
        let start = self.text.find("#token=").unwrap() + "#token=".len();
        self.text[start..]
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    }
}

/// Another process over the same database.
pub(crate) struct Neighbor {
    pub(crate) client: Invitations,
    pub(crate) store: Store,
}

/// The service and everything around it.
pub(crate) struct World {
    pub(crate) clock: Arc<MockClock>,
    pub(crate) relay: Relay,
    pub(crate) service: Service,
    pub(crate) store: Store,
    worker: Option<Worker>,
    reaper: Reaper,
    address: SocketAddr,
    channel: Channel,
    database: Database,
    stopping: CancellationToken,
    may_leave_mail: bool,
}

impl World {
    /// A world with the organizations, the admins and the member above.
    pub(crate) async fn start() -> Self {
        Self::with_lanes(|relay| vec![lane(relay)]).await
    }

    /// The same with these ways out; the relay is the world's own.
    pub(crate) async fn with_lanes(lanes: impl FnOnce(&Relay) -> Vec<LaneConfig>) -> Self {
        Self::with_delivery(|relay| delivery_config(lanes(relay))).await
    }

    /// The same with mails delivered in this way.
    pub(crate) async fn with_delivery(delivery: impl FnOnce(&Relay) -> DeliveryConfig) -> Self {
        Self::with(delivery, QuotaLimits::OFF, None, "").await
    }

    /// The same with quotas, of which other tests know nothing.
    pub(crate) async fn with_quotas(quotas: QuotaLimits) -> Self {
        let delivery = |relay: &Relay| delivery_config(vec![lane(relay)]);
        Self::with(delivery, quotas, None, "").await
    }

    /// The same with so many recipients a second for each caller.
    pub(crate) async fn with_caller_rate(rate: u32) -> Self {
        let delivery = |relay: &Relay| delivery_config(vec![lane(relay)]);
        Self::with(delivery, QuotaLimits::OFF, NonZeroU32::new(rate), "").await
    }

    /// The same where the issuers of a callers file count besides.
    pub(crate) async fn with_issuers(issuers: &str) -> Self {
        let delivery = |relay: &Relay| delivery_config(vec![lane(relay)]);
        Self::with(delivery, QuotaLimits::OFF, None, issuers).await
    }

    async fn with(
        delivery: impl FnOnce(&Relay) -> DeliveryConfig,
        quotas: QuotaLimits,
        caller_rate: Option<NonZeroU32>,
        issuers: &str,
    ) -> Self {
        let database = Database::create().await;
        let relay = Relay::start(Encryption::None).await;
        let clock = Arc::new(MockClock::new(START));
        let keyring = Arc::new(Keyring::parse(KEYS).unwrap());
        let links = Arc::new(
            LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment).unwrap(),
        );
        let store = Store::new(&database.url(), store_config()).unwrap();
        let as_clock = || Arc::clone(&clock) as Arc<dyn Clock>;
        let context = Context::new(as_clock(), Arc::clone(&keyring), Arc::clone(&links))
            .with_quotas(quotas)
            .with_events_kept(Some(EVENTS_KEPT));
        let service = Service::new(store.clone(), context);
        let server = GrpcServer::bind(
            GrpcConfig {
                caller_rate,
                ..grpc_config()
            },
            service.clone(),
            callers(issuers, as_clock()),
            Arc::clone(&keyring),
        )
        .await
        .unwrap();
        let address = server.local_addr().unwrap();
        let stopping = CancellationToken::new();
        tokio::spawn(server.run(stopping.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let sender = Sender::parse("Invitations", "invitations@example.com", None).unwrap();
        let mailroom = Mailroom {
            tagger: AddressTagger::new(&keyring),
            store: store.clone(),
            clock: as_clock(),
            keyring,
            links,
            composer: Composer::new(sender).unwrap(),
            message_id_domain: "example.com".to_owned(),
            bounce_mailbox: Some("bounces@example.com".to_owned()),
            public_url: PublicUrl::parse("https://invitations.example.com"),
        };
        let delivery = delivery(&relay);
        let world = Self {
            reaper: Reaper::new(store.clone(), as_clock(), delivery.lease_duration),
            worker: Some(Worker::new(mailroom, delivery)),
            store,
            clock,
            relay,
            service,
            address,
            channel,
            database,
            stopping,
            may_leave_mail: false,
        };
        populate(&world.directory()).await;
        world
    }

    /// A client that may do everything.
    pub(crate) fn client(&self) -> Invitations {
        self.client_of("all")
    }

    /// A client of another caller; see [`callers`].
    pub(crate) fn client_of(&self, caller: &str) -> Invitations {
        InvitationServiceClient::with_interceptor(self.channel.clone(), bearer(caller))
            .max_encoding_message_size(64 << 20)
            .max_decoding_message_size(64 << 20)
    }

    /// A directory client that may do everything.
    pub(crate) fn directory(&self) -> Directory {
        self.directory_of("all")
    }

    /// A directory client of another caller.
    pub(crate) fn directory_of(&self, caller: &str) -> Directory {
        DirectoryServiceClient::with_interceptor(self.channel.clone(), bearer(caller))
    }

    /// A client of the suppression list that may do everything.
    pub(crate) fn suppressions(&self) -> Suppressions {
        self.suppressions_of("all")
    }

    /// A client of the suppression list of another caller.
    pub(crate) fn suppressions_of(&self, caller: &str) -> Suppressions {
        SuppressionServiceClient::with_interceptor(self.channel.clone(), bearer(caller))
    }

    /// The use cases of a process that holds other keys, over the same database.
    pub(crate) fn service_with_keys(&self, keys: &str) -> Service {
        self.service_with(keys, QuotaLimits::OFF)
    }

    /// The use cases of a process with other keys and quotas, over the same database.
    pub(crate) fn service_with(&self, keys: &str, quotas: QuotaLimits) -> Service {
        let links = LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment).unwrap();
        let context = Context::new(
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(Keyring::parse(keys).unwrap()),
            Arc::new(links),
        );
        let store = Store::new(&self.database.url(), store_config()).unwrap();
        Service::new(store, context.with_quotas(quotas))
    }

    /// A client of the operator's methods, of a caller.
    pub(crate) fn mails_of(&self, caller: &str) -> Mails {
        MailServiceClient::with_interceptor(self.channel.clone(), bearer(caller))
    }

    /// The bare way to the server, without a token.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Has the world tell other processes what is committed and hear from them, with so long between looks for what nobody
    /// told of. Other worlds do without: it takes a connection and statements of its own.
    pub(crate) fn listen(&self, look_interval: Duration) {
        let listener = Listener::new(self.store.clone());
        let listener = listener.with_look_interval(look_interval);
        tokio::spawn(listener.run(self.stopping.clone()));
    }

    /// Another process over the same database, which listens too.
    pub(crate) async fn neighbor(&self, look_interval: Duration) -> Neighbor {
        let store = Store::new(&self.database.url(), store_config()).unwrap();
        let keyring = Arc::new(Keyring::parse(KEYS).unwrap());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let links = LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment).unwrap();
        let context = Context::new(Arc::clone(&clock), Arc::clone(&keyring), Arc::new(links));
        let service = Service::new(store.clone(), context.with_events_kept(Some(EVENTS_KEPT)));
        let callers = callers("", clock);
        let server = GrpcServer::bind(grpc_config(), service, callers, keyring);
        let server = server.await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(server.run(self.stopping.clone()));
        let listener = Listener::new(store.clone());
        let listener = listener.with_look_interval(look_interval);
        tokio::spawn(listener.run(self.stopping.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        Neighbor {
            client: InvitationServiceClient::with_interceptor(channel, bearer("all")),
            store,
        }
    }

    /// Ends every server of the world, as SIGTERM does.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the database is.
    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    /// A look at the database, past the service.
    pub(crate) async fn database(&self) -> PgConnection {
        self.database.connect().await
    }

    /// Says that mail may be left in the queue when the test ends.
    pub(crate) fn may_leave_mail(&mut self) {
        self.may_leave_mail = true;
    }

    /// Delivers everything that is due; returns how many mails were tried.
    pub(crate) async fn deliver_all(&mut self) -> usize {
        let worker = self.worker.as_mut().unwrap();
        worker.deliver_all().await.unwrap()
    }

    /// The worker, for a test that runs it itself.
    pub(crate) fn take_worker(&mut self) -> Worker {
        self.worker.take().unwrap()
    }

    /// Queues again what dead workers held; returns how many.
    pub(crate) async fn reap(&self) -> u64 {
        self.reaper.reap().await.unwrap()
    }

    /// Every mail that arrived, in the order it did.
    pub(crate) fn mailbox(&self) -> Vec<Mail> {
        self.relay
            .taken()
            .iter()
            .map(|taken| read(&taken.rcpt, taken.unstuffed()))
            .collect()
    }

    /// The newest mail to an address.
    pub(crate) fn mail_to(&self, address: &str) -> Mail {
        self.mailbox()
            .into_iter()
            .rfind(|mail| mail.to == address)
            .unwrap()
    }

    /// Invites addresses into ACME on behalf of `ada`.
    pub(crate) async fn invite(&self, emails: &[&str]) -> BulkCreateResponse {
        self.client()
            .bulk_create(invite_request(emails))
            .await
            .unwrap()
            .into_inner()
    }

    /// Invites one address, delivers its mail and returns the invitation and the token.
    pub(crate) async fn invite_one(&mut self, email: &str) -> (Invitation, String) {
        let invitation = created(&self.invite(&[email]).await.results[0]);
        self.deliver_all().await;
        let token = self.mail_to(email).token();
        (invitation, token)
    }

    /// Reads an invitation of ACME back.
    pub(crate) async fn get(&self, invitation_id: &str) -> Invitation {
        let request = GetRequest {
            organization_id: ACME.to_owned(),
            invitation_id: invitation_id.to_owned(),
        };
        self.client()
            .get(request)
            .await
            .unwrap()
            .into_inner()
            .invitation
            .unwrap()
    }

    /// Accepts as a user whose verified address is the given one.
    pub(crate) async fn accept(
        &self,
        token: &str,
        user_id: &str,
        email: &str,
    ) -> Result<AcceptResponse, Status> {
        let request = accept_request(token, user_id, email);
        self.client()
            .accept(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Tells the directory of a user.
    pub(crate) async fn add_user(&self, id: &str, name: &str, emails: &[&str]) {
        add_user(&self.directory(), id, name, emails).await;
    }

    /// Tells the directory of a membership.
    pub(crate) async fn add_member(&self, organization_id: &str, user_id: &str, role: &str) {
        add_member(&self.directory(), organization_id, user_id, role).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stopping.cancel();
        if self.may_leave_mail || std::thread::panicking() {
            return;
        }
        let url = self.database.url();
        let left = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    let mut database = <PgConnection as sqlx::Connection>::connect(&url)
                        .await
                        .unwrap();
                    sqlx::query_scalar::<_, i64>(
                        "SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')",
                    )
                    .fetch_one(&mut database)
                    .await
                    .unwrap()
                })
        });
        assert_eq!(
            left.join().unwrap(),
            0,
            "mails were left in the queue; deliver them or say may_leave_mail"
        );
    }
}

/// Tells of the organizations, the admins and the member above.
pub(crate) async fn populate(directory: &Directory) {
    let organization = |id: &str, name: &str| Organization {
        id: id.to_owned(),
        name: name.to_owned(),
        redirect_origins: vec!["https://app.example.com".to_owned()],
        ..Default::default()
    };
    let organizations = vec![
        organization(ACME, "Acme Engines"),
        organization(OTHER, "Other Works"),
    ];
    let request = UpsertOrganizationsRequest { organizations };
    let answer = directory.clone().upsert_organizations(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
    for (id, name) in [
        ("ada", "Ada Lovelace"),
        ("grace", "Grace Hopper"),
        ("eve", "Eve"),
    ] {
        add_user(directory, id, name, &[&format!("{id}@example.com")]).await;
    }
    add_member(directory, ACME, "ada", "admin").await;
    add_member(directory, ACME, "grace", "member").await;
    add_member(directory, OTHER, "eve", "admin").await;
}

async fn add_user(directory: &Directory, id: &str, name: &str, emails: &[&str]) {
    let user = User {
        id: id.to_owned(),
        name: name.to_owned(),
        verified_emails: emails.iter().map(|email| (*email).to_owned()).collect(),
    };
    let request = UpsertUsersRequest { users: vec![user] };
    let answer = directory.clone().upsert_users(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
}

async fn add_member(directory: &Directory, organization_id: &str, user_id: &str, role: &str) {
    let membership = Membership {
        organization_id: organization_id.to_owned(),
        user_id: user_id.to_owned(),
        role: role.to_owned(),
        ..Default::default()
    };
    let request = UpsertMembershipsRequest {
        memberships: vec![membership],
    };
    let answer = directory.clone().upsert_memberships(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
}

/// A request that invites addresses into ACME on behalf of `ada`.
pub(crate) fn invite_request(emails: &[&str]) -> BulkCreateRequest {
    BulkCreateRequest {
        organization_id: ACME.to_owned(),
        inviter_user_id: "ada".to_owned(),
        invitations: emails.iter().map(|email| item(email)).collect(),
        ..Default::default()
    }
}

/// Somebody who calls a use case past the API.
pub(crate) fn anybody() -> Actor {
    Actor::from_outside("test")
}

/// An item with nothing but an address.
pub(crate) fn item(email: &str) -> NewInvitation {
    NewInvitation {
        email: email.to_owned(),
        ..Default::default()
    }
}

/// A request to accept as a user whose verified address is the given one.
pub(crate) fn accept_request(token: &str, user_id: &str, email: &str) -> AcceptRequest {
    AcceptRequest {
        token: token.to_owned(),
        user_id: user_id.to_owned(),
        user_emails: vec![email.to_owned()],
        user_name: String::new(),
    }
}

/// The invitation of a result that made one.
pub(crate) fn created(result: &BulkCreateResult) -> Invitation {
    assert_eq!(
        result.outcome(),
        CreateOutcome::Created,
        "{:?}",
        result.error.as_ref().map(|error| &error.message)
    );
    result.invitation.clone().unwrap()
}

/// The reason an item failed for.
pub(crate) fn item_reason(result: &BulkCreateResult) -> ErrorReason {
    assert_eq!(result.outcome(), CreateOutcome::Failed);
    result.error.as_ref().unwrap().reason()
}

/// The reason a call was refused for.
pub(crate) fn reason<T>(answer: Result<T, Status>) -> String {
    let status = answer.err().expect("the call was expected to be refused");
    let details = status.get_error_details();
    let info = details
        .error_info()
        .expect("every refusal carries ErrorInfo");
    assert_eq!(info.domain, "invitation.v1");
    info.reason.clone()
}

fn read(rcpt: &str, raw: Vec<u8>) -> Mail {
    let message = MessageParser::default().parse(&raw).unwrap();
    let (text, html) = (
        message.body_text(0).unwrap().into_owned(),
        message.body_html(0).unwrap().into_owned(),
    );
    let subject = message.subject().unwrap().to_owned();
    let message_id = message.message_id().unwrap().to_owned();
    Mail {
        to: rcpt
            .trim_start_matches("RCPT TO:<")
            .split('>')
            .next()
            .unwrap()
            .to_owned(),
        subject,
        message_id,
        text,
        html,
        raw,
    }
}

/// Callers by name, the token of each its name; and issuers.
fn callers(issuers: &str, clock: Arc<dyn Clock>) -> Callers {
    let caller = |name: &str, scopes: &[Scope], organizations: Option<&str>| CallerEntry {
        name: name.to_owned(),
        credential: CallerCredential::TokenSha256(Sha256::digest(name).into()),
        scopes: scopes.to_vec(),
        organizations: organizations.map(|id| vec![id.to_owned()]),
    };
    let mut callers = vec![
        caller("all", &Scope::ALL, None),
        caller("acme-only", &Scope::ALL, Some(ACME)),
        caller("other-only", &Scope::ALL, Some(OTHER)),
    ];
    for scope in Scope::ALL {
        let others = Scope::ALL.into_iter().filter(|other| *other != scope);
        let others: Vec<_> = others.collect();
        callers.push(caller(&format!("only-{scope}"), &[scope], None));
        callers.push(caller(&format!("all-but-{scope}"), &others, None));
    }
    let issuers = CallersFile::parse(issuers).unwrap().issuers;
    Callers::new(callers, issuers, clock).unwrap()
}

/// Sends this token.
pub(crate) fn bearer(caller: &str) -> Bearer {
    Bearer((!caller.is_empty()).then(|| format!("Bearer {caller}").parse().unwrap()))
}

/// Generous where a busy machine could make a test fail that found nothing wrong.
pub(crate) fn store_config() -> StoreConfig {
    StoreConfig {
        connections_max: 8,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(10),
    }
}

fn grpc_config() -> GrpcConfig {
    GrpcConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        serves_api: true,
        reflection: true,
        caller_rate: None,
        drain_timeout: Duration::from_secs(1),
        tls: None,
        trusted_proxies: TrustedProxies::default(),
    }
}

/// The way to a relay.
pub(crate) fn lane(relay: &Relay) -> LaneConfig {
    LaneConfig {
        name: "relay".to_owned(),
        weight: 1,
        route: Route::Each {
            transport: transport(relay),
            connections: 4,
        },
        rate_max: None,
        domain_caps: DomainCaps::default(),
        // The clock of a test does not move by itself, and neither should its relay stay closed.
        pause: Duration::ZERO,
    }
}

/// Mails delivered over these lanes.
pub(crate) fn delivery_config(lanes: Vec<LaneConfig>) -> DeliveryConfig {
    DeliveryConfig {
        lanes,
        lease_duration: Duration::from_mins(2),
        poll_interval: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(5),
        ambiguous: Ambiguous::Retry,
    }
}

fn transport(relay: &Relay) -> Transport {
    let config = SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port: relay.port(),
        tls: SmtpTls::None,
        extra_roots_pem: None,
        credentials: None,
        hello_name: "invitations.example.com".to_owned(),
        pipelining: true,
        timeouts: SmtpTimeouts::default(),
        limits: SmtpLimits::default(),
    };
    Transport::Smtp(SmtpTransport::new(config).unwrap())
}
