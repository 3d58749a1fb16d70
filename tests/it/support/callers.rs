//! The callers that the server of a test knows, and the clients that call as one of them.

use std::sync::Arc;

use invitations::clock::Clock;
use invitations::domain::scope::Scope;
use invitations::identity::{CallerCredential, CallerEntry, Callers};
use invitations::proto::audit_service_client::AuditServiceClient;
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::feedback_service_client::FeedbackServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::mail_service_client::MailServiceClient;
use invitations::proto::suppression_service_client::SuppressionServiceClient;
use invitations::settings::callers_file::CallersFile;
use sha2::{Digest as _, Sha256};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::support::documented_reasons::DocumentedChannel;
use crate::support::fixtures::{ACME, OTHER};

/// A channel whose calls carry the token of a caller, and whose refusals must be documented.
pub(crate) type CallerChannel = InterceptedService<DocumentedChannel, Bearer>;

pub(crate) type AuditClient = AuditServiceClient<CallerChannel>;
pub(crate) type DirectoryClient = DirectoryServiceClient<CallerChannel>;
pub(crate) type FeedbackClient = FeedbackServiceClient<CallerChannel>;
pub(crate) type InvitationClient = InvitationServiceClient<CallerChannel>;
pub(crate) type MailClient = MailServiceClient<CallerChannel>;
pub(crate) type SuppressionClient = SuppressionServiceClient<CallerChannel>;

/// Sends a bearer token with each call.
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

/// Calls over `channel` with this token; with an empty one, without credentials.
pub(crate) fn caller_channel(channel: &Channel, token: &str) -> CallerChannel {
    let value = (!token.is_empty()).then(|| format!("Bearer {token}").parse().unwrap());
    InterceptedService::new(DocumentedChannel(channel.clone()), Bearer(value))
}

/// The callers of every [`World`](crate::support::World), each with its name as its token:
///
/// - `all`: every scope in every organization,
/// - `acme-only`, `other-only` and `acme-and-other`: every scope in one or two organizations,
/// - `only-SCOPE` and `all-but-SCOPE`: for each scope.
///
/// `issuers` are further tables of the callers file.
pub(super) fn callers(issuers: &str, clock: Arc<dyn Clock>) -> Callers {
    let mut callers = vec![
        caller("all", &Scope::ALL, None),
        caller("acme-only", &Scope::ALL, Some(&[ACME])),
        caller("other-only", &Scope::ALL, Some(&[OTHER])),
        caller("acme-and-other", &Scope::ALL, Some(&[ACME, OTHER])),
    ];
    for scope in Scope::ALL {
        let name = scope.as_str();
        let others = Scope::ALL.into_iter().filter(|other| *other != scope);
        let others: Vec<_> = others.collect();
        callers.push(caller(&format!("only-{name}"), &[scope], None));
        callers.push(caller(&format!("all-but-{name}"), &others, None));
    }
    let issuers = CallersFile::parse(issuers).unwrap().issuers;
    Callers::new(callers, issuers, clock).unwrap()
}

fn caller(name: &str, scopes: &[Scope], organization_ids: Option<&[&str]>) -> CallerEntry {
    CallerEntry {
        name: name.to_owned(),
        credential: token_credential(name),
        scopes: scopes.to_vec(),
        organizations: organization_ids.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()),
    }
}

pub(crate) fn token_credential(token: &str) -> CallerCredential {
    CallerCredential::TokenSha256(Sha256::digest(token).into())
}
