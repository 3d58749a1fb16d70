//! The server: services, limits, and an end that comes in bounded time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_server::HealthServer;
use tower::layer::util::{Identity, Stack};

use crate::domain::keyring::Keyring;
use crate::entropy;
use crate::grpc::admission::authentication::Authenticated;
use crate::grpc::admission::caller_rates::CallerRates;
use crate::grpc::admission::control::AdmissionControl;
use crate::grpc::admission::peer::PeerLayer;
use crate::grpc::admission::trusted_proxies::TrustedProxies;
use crate::grpc::methods::{
    AuditApi, DirectoryApi, FeedbackApi, InvitationApi, MailApi, SuppressionApi,
};
use crate::grpc::wire::connection;
use crate::grpc::wire::deadline::DeadlineLayer;
use crate::grpc::wire::health::Health;
use crate::grpc::wire::limits::{
    CALL_WINDOW_BYTES, CONCURRENT_STREAMS_MAX, CONNECTION_AGE_JITTER, CONNECTION_AGE_MAX,
    CONNECTION_WINDOW_BYTES, HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    LOCAL_ERROR_RESETS_MAX, PENDING_ACCEPT_RESETS_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX,
};
use crate::grpc::wire::tls::Tls;
use crate::identity::Callers;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::audit_service_server::AuditServiceServer;
use crate::proto::directory_service_server::DirectoryServiceServer;
use crate::proto::feedback_service_server::FeedbackServiceServer;
use crate::proto::invitation_service_server::InvitationServiceServer;
use crate::proto::mail_service_server::MailServiceServer;
use crate::proto::suppression_service_server::SuppressionServiceServer;
use crate::service::Service;

/// What the server answers, with its layers around it.
type Router = tonic::transport::server::Router<Layers>;
/// What every request passes, the outermost last.
type Layers = Stack<PeerLayer, Stack<DeadlineLayer, Identity>>;

/// How the server listens.
#[derive(Debug, Clone)]
pub struct GrpcConfig {
    /// Where.
    pub listen: SocketAddr,
    /// Whether it answers calls, or health checks alone.
    pub serves_api: bool,
    /// Whether it tells callers its protocol.
    pub reflection: bool,
    /// Recipients a second that one caller may invite or mail again; without end if not set.
    pub caller_rate: Option<NonZeroU32>,
    /// How long calls in flight may take to end when the process does.
    pub drain_timeout: Duration,
    /// Whether and how connections are encrypted.
    pub tls: Option<Tls>,
    /// Who is believed when they tell of the certificates of others.
    pub trusted_proxies: TrustedProxies,
}

/// A server that listens, and serves when it is told to.
pub struct GrpcServer {
    listener: TcpListener,
    config: GrpcConfig,
    router: Router,
    health: Health,
    closing: CancellationToken,
}

impl GrpcServer {
    /// Listens, NOT_SERVING.
    pub async fn bind(
        config: GrpcConfig,
        service: Service,
        callers: Callers,
        keyring: Arc<Keyring>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let listener = TcpListener::bind(config.listen).await?;
        let (health, health_service) = Health::new().await;
        let closing = CancellationToken::new();
        let mut router =
            limited(config.trusted_proxies.clone()).add_service(HealthServer::new(health_service));
        if config.serves_api {
            let admission = AdmissionControl::new(closing.clone());
            let invitations = InvitationServiceServer::new(InvitationApi::new(
                service.clone(),
                admission.clone(),
                Arc::clone(&keyring),
                Arc::new(CallerRates::new(&service.clock(), config.caller_rate)),
            ))
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX);
            let directory = DirectoryServiceServer::new(DirectoryApi::new(
                service.clone(),
                admission.clone(),
                Arc::clone(&keyring),
            ))
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX);
            let mail = MailServiceServer::new(MailApi::new(service.clone(), admission.clone()))
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(RESPONSE_BYTES_MAX);
            let suppressions = SuppressionServiceServer::new(SuppressionApi::new(
                service.clone(),
                admission.clone(),
                Arc::clone(&keyring),
            ))
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX);
            let audit = AuditServiceServer::new(AuditApi::new(
                service.clone(),
                admission.clone(),
                Arc::clone(&keyring),
            ))
            .max_encoding_message_size(RESPONSE_BYTES_MAX);
            let feedback =
                FeedbackServiceServer::new(FeedbackApi::new(service, admission, keyring));
            router = router
                .add_service(Authenticated::new(invitations, callers.clone()))
                .add_service(Authenticated::new(mail, callers.clone()))
                .add_service(Authenticated::new(directory, callers.clone()))
                .add_service(Authenticated::new(suppressions, callers.clone()))
                .add_service(Authenticated::new(audit, callers.clone()))
                .add_service(Authenticated::new(feedback, callers));
        }
        if config.reflection {
            router = router
                .add_service(reflection().build_v1()?)
                .add_service(reflection().build_v1alpha()?);
        }
        Ok(Self {
            listener,
            config,
            router,
            health,
            closing,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What tells callers whether to come.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Serves until told to stop, then lets calls in flight end for as long as the configuration gives them. A peer
    /// that is silent would hold a graceful end for ever.
    pub async fn run(self, stopping: CancellationToken) -> Result<(), tonic::transport::Error> {
        let serving = self.router.serve_with_incoming_shutdown(
            connection::incoming(self.listener, self.config.tls.clone()),
            stopping.clone().cancelled_owned(),
        );
        let overdue = async {
            stopping.cancelled().await;
            self.closing.cancel();
            tokio::time::sleep(self.config.drain_timeout).await;
        };
        tokio::select! {
            never = keep_fresh(self.config.tls) => match never {},
            ended = serving => ended,
            () = overdue => {
                tracing::warn!("connections did not end in time and are cut off");
                Ok(())
            }
        }
    }
}

async fn keep_fresh(tls: Option<Tls>) -> Infallible {
    match tls {
        Some(tls) => tls.keep_fresh().await,
        None => std::future::pending().await,
    }
}

fn limited(trusted_proxies: TrustedProxies) -> tonic::transport::Server<Layers> {
    tonic::transport::Server::builder()
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS_MAX))
        .http2_max_pending_accept_reset_streams(Some(PENDING_ACCEPT_RESETS_MAX))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(entropy::jittered(CONNECTION_AGE_MAX, CONNECTION_AGE_JITTER))
        .layer(DeadlineLayer)
        .layer(PeerLayer::new(trusted_proxies))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
