//! The gRPC server: its services, its limits, and its graceful shutdown in bounded time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tower::Layer as _;

use crate::capacity::Capacity;
use crate::connections::ConnectionLimiter;
use crate::domain::keyring::Keyring;
use crate::entropy;
use crate::grpc::admission::authentication::Authenticated;
use crate::grpc::admission::caller_rates::CallerRates;
use crate::grpc::admission::control::{AdmissionControl, Method};
use crate::grpc::admission::peer::PeerLayer;
use crate::grpc::admission::permitted_calls::PermittedCalls;
use crate::grpc::admission::ready::WhenReady;
use crate::grpc::admission::trusted_proxies::TrustedProxies;
use crate::grpc::methods::{
    Api, audit_service, directory_service, feedback_service, invitations, mail_service,
    suppression_service,
};
use crate::grpc::wire::connection::ConnectionServer;
use crate::grpc::wire::deadline::DeadlineLayer;
use crate::grpc::wire::health::Health;
use crate::grpc::wire::limits::{
    CONNECTION_AGE_JITTER, CONNECTION_AGE_MAX, CONNECTION_LIMITS, PUBLIC_REQUEST_BYTES_MAX,
    REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX,
};
use crate::grpc::wire::public_calls::{PublicCalls, PublicLimits};
use crate::grpc::wire::tls::ServerTls;
use crate::identity::Callers;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::audit_service_server::AuditServiceServer;
use crate::proto::directory_service_server::DirectoryServiceServer;
use crate::proto::feedback_service_server::FeedbackServiceServer;
use crate::proto::invitation_service_server::InvitationServiceServer;
use crate::proto::mail_service_server::MailServiceServer;
use crate::proto::suppression_service_server::SuppressionServiceServer;
use crate::service::{Readiness, Service};
use crate::shutdown::Tasks;

#[derive(Debug, Clone)]
pub struct GrpcConfig {
    pub listen: SocketAddr,
    /// Whether the server answers calls, or only health checks.
    pub serves_api: bool,
    pub reflection: bool,
    /// The memory of the process for messages.
    pub memory: Capacity,
    /// Recipients per second that one caller may invite or resend to; `None` for no limit.
    pub caller_rate: Option<NonZeroU32>,
    /// How long running calls may take to finish at shutdown.
    pub drain_timeout: Duration,
    /// `None` if connections are not encrypted.
    pub tls: Option<ServerTls>,
    pub trusted_proxies: TrustedProxies,
}

/// A server that listens. [`GrpcServer::run`] starts to serve.
pub struct GrpcServer {
    listener: TcpListener,
    config: GrpcConfig,
    routes: Routes,
    health: Health,
    closing: CancellationToken,
}

impl GrpcServer {
    /// Listens, with the health NOT_SERVING.
    pub async fn bind(
        config: GrpcConfig,
        service: Service,
        callers: Callers,
        keyring: Arc<Keyring>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let listener = TcpListener::bind(config.listen).await?;
        let (health, health_service) = Health::new().await;
        let closing = CancellationToken::new();
        let health_service =
            HealthServer::new(health_service).max_decoding_message_size(PUBLIC_REQUEST_BYTES_MAX);
        let health_service = PublicCalls::new(health_service, PublicLimits::of_health());
        let mut routes = Routes::new(health_service);
        if config.serves_api {
            let api = Api {
                admission: AdmissionControl::new(closing.clone()),
                keyring,
                rates: Arc::new(CallerRates::new(&service.clock(), config.caller_rate)),
                service,
            };
            let wrapper = ServiceWrapper {
                callers,
                memory: config.memory.clone(),
                readiness: api.service.readiness().clone(),
            };
            routes = add_api(routes, &api, &wrapper);
        }
        if config.reflection {
            routes = add_reflection(routes)?;
        }
        Ok(Self {
            listener,
            config,
            routes,
            health,
            closing,
        })
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Serves until `stopping` is cancelled, then lets running calls finish for at most the configured drain timeout. A
    /// graceful shutdown alone would wait forever for a silent peer.
    pub async fn run(self, stopping: CancellationToken) {
        let tls = self.config.tls;
        let layers = (DeadlineLayer, PeerLayer::new(self.config.trusted_proxies));
        let server = Arc::new(ConnectionServer {
            tls: tls.clone(),
            routes: layers.layer(self.routes.prepare()),
            age_max: entropy::jittered(CONNECTION_AGE_MAX, CONNECTION_AGE_JITTER),
        });
        let connections = Tasks::default();
        tokio::select! {
            never = keep_fresh(tls) => match never {},
            never = accept_all(&self.listener, &server, &connections) => match never {},
            () = stopping.cancelled() => {}
        }
        // From here on no connection is accepted.
        drop(self.listener);
        self.closing.cancel();
        if !connections.stop(self.config.drain_timeout).await {
            tracing::warn!("gRPC connections did not end in time and are closed");
        }
    }
}

async fn accept_all(
    listener: &TcpListener,
    server: &Arc<ConnectionServer>,
    connections: &Tasks,
) -> Infallible {
    let limiter = ConnectionLimiter::new(CONNECTION_LIMITS);
    loop {
        let (stream, ip, connection) = limiter.accept(listener).await;
        let (server, stopping) = (Arc::clone(server), connections.stopping().clone());
        connections.spawn("grpc", async move {
            server
                .serve(stream, ip, Arc::new(connection), stopping)
                .await;
        });
    }
}

async fn keep_fresh(tls: Option<ServerTls>) -> Infallible {
    match tls {
        Some(tls) => tls.keep_fresh().await,
        None => std::future::pending().await,
    }
}

/// What every service of the API is wrapped in: readiness, authentication, then permission and memory.
struct ServiceWrapper {
    callers: Callers,
    memory: Capacity,
    readiness: Readiness,
}

impl ServiceWrapper {
    fn wrap<S: NamedService>(
        &self,
        service: S,
        methods: &'static [Method],
    ) -> WhenReady<Authenticated<PermittedCalls<S>>> {
        let permitted = PermittedCalls::new(service, methods, self.memory.clone());
        let authenticated = Authenticated::new(permitted, self.callers.clone());
        WhenReady::new(authenticated, &self.readiness)
    }
}

fn add_api(routes: Routes, api: &Api, wrapper: &ServiceWrapper) -> Routes {
    let invitations = InvitationServiceServer::new(api.clone())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let directory = DirectoryServiceServer::new(api.clone())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let mail = MailServiceServer::new(api.clone())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let suppressions = SuppressionServiceServer::new(api.clone())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let audit = AuditServiceServer::new(api.clone()).max_encoding_message_size(RESPONSE_BYTES_MAX);
    let feedback = FeedbackServiceServer::new(api.clone());
    routes
        .add_service(wrapper.wrap(invitations, invitations::service::METHODS))
        .add_service(wrapper.wrap(mail, mail_service::METHODS))
        .add_service(wrapper.wrap(directory, directory_service::METHODS))
        .add_service(wrapper.wrap(suppressions, suppression_service::METHODS))
        .add_service(wrapper.wrap(audit, audit_service::METHODS))
        .add_service(wrapper.wrap(feedback, feedback_service::METHODS))
}

fn add_reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1()?;
    let v1 = v1.max_decoding_message_size(PUBLIC_REQUEST_BYTES_MAX);
    let v1alpha = builder().build_v1alpha()?;
    let v1alpha = v1alpha.max_decoding_message_size(PUBLIC_REQUEST_BYTES_MAX);
    let limits = PublicLimits::of_reflection();
    Ok(routes
        .add_service(PublicCalls::new(v1, limits.clone()))
        .add_service(PublicCalls::new(v1alpha, limits)))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    use super::*;

    #[test]
    fn every_method_is_permitted_before_its_message_is_read() {
        let listed = [
            ("InvitationService", invitations::service::METHODS),
            ("MailService", mail_service::METHODS),
            ("DirectoryService", directory_service::METHODS),
            ("SuppressionService", suppression_service::METHODS),
            ("AuditService", audit_service::METHODS),
            ("FeedbackService", feedback_service::METHODS),
        ];
        let listed = listed.iter().flat_map(|(service, methods)| {
            let names = methods.iter().map(|method| method.name);
            names.map(move |name| format!("{service}/{name}"))
        });
        let mut listed: Vec<_> = listed.collect();
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services = files.file.iter().flat_map(|file| &file.service);
        let described = services.flat_map(|service| {
            let names = service.method.iter().map(MethodDescriptorProto::name);
            names.map(move |name| format!("{}/{name}", service.name()))
        });
        let mut described: Vec<_> = described.collect();
        listed.sort_unstable();
        described.sort_unstable();
        assert_eq!(listed, described);
    }
}
