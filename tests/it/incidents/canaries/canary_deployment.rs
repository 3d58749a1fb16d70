//! A server process whose secrets are canaries, and a record of what it answered.

use std::collections::BTreeSet;

use invitations::domain::scope::Scope;
use invitations::identity::CallerEntry;
use invitations::proto::NewInvitation;
use invitations::settings::callers_file::to_toml;
use prost::Message;
use tonic::{Code, Status};
use url::Url;

use super::canary::keys_file;
use crate::support::callers::token_credential;
use crate::support::deployment::Deployment;
use crate::support::relay::{Encryption, Relay};
use crate::support::server_process::ServerProcess;
use crate::support::{metadata, raw_grpc};

/// The token of the caller, which has every scope.
pub(super) const CALLER_TOKEN: &str = "qzbearertoken";
pub(super) const WEBHOOK_PASSWORD: &str = "qzwebhookpassword";

/// What the service answered.
#[derive(Default)]
pub(super) struct RecordedCalls {
    /// The path of each call and its response.
    pub(super) responses: Vec<(String, Vec<u8>)>,
    /// The path of each call and its status.
    pub(super) refusals: Vec<(String, Status)>,
    /// The paths of the methods that the caller called successfully.
    pub(super) succeeded_methods: BTreeSet<String>,
}

pub(super) struct CanaryDeployment {
    pub(super) deployment: Deployment,
    pub(super) process: ServerProcess,
    pub(super) calls: RecordedCalls,
}

impl CanaryDeployment {
    /// Starts a process that logs everything.
    pub(super) async fn start(log_format: &str) -> Self {
        let mut deployment = Deployment::create().await;
        deployment.relay = Relay::start(Encryption::Implicit).await;
        deployment.write("roots", deployment.relay.certificate_pem());
        deployment.write("keys", &keys_file());
        let caller = CallerEntry {
            name: "all".to_owned(),
            credential: token_credential(CALLER_TOKEN),
            scopes: Scope::ALL.to_vec(),
            organizations: None,
        };
        deployment.write("callers", &to_toml(&caller));
        let mut url = Url::parse(&deployment.database.url()).unwrap();
        url.set_password(Some("qzdatabasepassword")).unwrap();
        let roots = deployment.path("roots");
        let settings = [
            ("INVITATIONS_LOG", "trace"),
            ("INVITATIONS_LOG_FORMAT", log_format),
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
            ("INVITATIONS_POSTMARK_WEBHOOK_PASSWORD", WEBHOOK_PASSWORD),
            ("INVITATIONS_QUOTA_RESEND_PAUSE", "0s"),
        ];
        let (process, _) = deployment.serve(&settings).await;
        Self {
            deployment,
            process,
            calls: RecordedCalls::default(),
        }
    }

    /// Calls a method such as `InvitationService/Get` as the caller, and expects success.
    pub(super) async fn call<T: Message + Default>(
        &mut self,
        method: &str,
        request: impl Message,
    ) -> T {
        self.try_call(method, request).await.unwrap()
    }

    /// Calls a method as the caller.
    pub(super) async fn try_call<T: Message + Default>(
        &mut self,
        method: &str,
        request: impl Message,
    ) -> Result<T, Code> {
        let path = format!("/invitation.v1.{method}");
        let message = request.encode_to_vec();
        let bytes = self.call_with_bytes(&path, CALLER_TOKEN, &message).await?;
        self.calls.succeeded_methods.insert(path);
        Ok(T::decode(bytes.as_slice()).unwrap())
    }

    /// Calls a method with a token and a message that may be malformed.
    pub(super) async fn call_with_bytes(
        &mut self,
        path: &str,
        token: &str,
        message: &[u8],
    ) -> Result<Vec<u8>, Code> {
        let address = self.process.address().parse().unwrap();
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        match raw_grpc::call(address, path, &headers, message).await {
            Ok(bytes) => {
                self.calls.responses.push((path.to_owned(), bytes.clone()));
                Ok(bytes)
            }
            Err(status) => {
                let code = status.code();
                self.calls.refusals.push((path.to_owned(), status));
                Err(code)
            }
        }
    }
}

/// An item with a canary in every field.
pub(super) fn canary_item(number: u32) -> NewInvitation {
    NewInvitation {
        email: format!("qzlocal{number}@qzdomain{number}.example"),
        message: "qznoteword".to_owned(),
        redirect_url: "https://app.example.com/qzredirectpath?x=qzredirectpath".to_owned(),
        public_metadata: Some(metadata("qzmetaname", "qzpublicvalue")),
        private_metadata: Some(metadata("qzmetaname", "qzprivatevalue")),
        ..Default::default()
    }
}

/// The same item, but no email is sent for it.
pub(super) fn canary_item_without_email(number: u32) -> NewInvitation {
    NewInvitation {
        notify: Some(false),
        ..canary_item(number)
    }
}
