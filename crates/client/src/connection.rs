//! The way to the server: address, bearer token, deadlines and message limits, the same for every client command.
//!
//! An `https` address is spoken to over TLS, by the words of [`tls`](super::tls). It knows no method of the service.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use invitations_command::error::CommandError;
use invitations_command::server::ServerArgs;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::proto::audit_service_client::AuditServiceClient;
use crate::proto::directory_service_client::DirectoryServiceClient;
use crate::proto::feedback_service_client::FeedbackServiceClient;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::mail_service_client::MailServiceClient;
use crate::proto::suppression_service_client::SuppressionServiceClient;

/// Largest request, as the service has it.
const SEND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest response: results repeat what was sent and add to it.
const RECEIVE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Where the server is, and who calls.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// File that holds the bearer token; needed, or --token, unless a client certificate says who calls
    #[arg(
        long,
        env = "INVITATIONS_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,
    /// The bearer token itself; other users of this machine can see it in the list of processes, a file is better
    #[arg(
        long,
        env = "INVITATIONS_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
}

/// Marks a call that has no deadline, because it goes on for as long as there is something to say.
#[derive(Debug, Clone, Copy)]
pub struct Endless;

/// A request of a call without a deadline; whoever makes it watches that it gets on.
pub fn endless<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Endless);
    request
}

/// Puts the bearer token and the deadline on every call but [`Endless`] ones.
#[derive(Debug, Clone)]
pub struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

/// A connection that puts [`Credentials`] on every call.
pub type Connection = InterceptedService<Channel, Credentials>;

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = self.authorization.clone() {
            request
                .metadata_mut()
                .insert("authorization", authorization);
        }
        if request.extensions().get::<Endless>().is_none() {
            request.set_timeout(self.timeout);
        }
        Ok(request)
    }
}

impl ConnectionArgs {
    /// Where the server is.
    #[must_use]
    pub const fn server(&self) -> &ServerArgs {
        &self.server
    }

    /// A connected client of the invitation service.
    pub async fn invitations(&self) -> Result<InvitationServiceClient<Connection>, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(
            InvitationServiceClient::with_interceptor(channel, credentials)
                .max_encoding_message_size(SEND_BYTES_MAX)
                .max_decoding_message_size(RECEIVE_BYTES_MAX),
        )
    }

    /// A connected client of the mail service.
    pub async fn mails(&self) -> Result<MailServiceClient<Connection>, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(MailServiceClient::with_interceptor(channel, credentials)
            .max_encoding_message_size(SEND_BYTES_MAX)
            .max_decoding_message_size(RECEIVE_BYTES_MAX))
    }

    /// A connected client of the directory service.
    pub async fn directory(&self) -> Result<DirectoryServiceClient<Connection>, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(
            DirectoryServiceClient::with_interceptor(channel, credentials)
                .max_encoding_message_size(SEND_BYTES_MAX)
                .max_decoding_message_size(RECEIVE_BYTES_MAX),
        )
    }

    /// A connected client of the suppression service.
    pub async fn suppressions(&self) -> Result<SuppressionServiceClient<Connection>, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(
            SuppressionServiceClient::with_interceptor(channel, credentials)
                .max_encoding_message_size(SEND_BYTES_MAX)
                .max_decoding_message_size(RECEIVE_BYTES_MAX),
        )
    }

    /// A connected client of the audit service.
    pub async fn audit(&self) -> Result<AuditServiceClient<Connection>, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(AuditServiceClient::with_interceptor(channel, credentials)
            .max_decoding_message_size(RECEIVE_BYTES_MAX))
    }

    /// A connected client of the feedback service.
    pub async fn feedback(&self) -> Result<FeedbackServiceClient<Connection>, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(FeedbackServiceClient::with_interceptor(
            channel,
            credentials,
        ))
    }

    fn credentials(&self) -> Result<Credentials, CommandError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => fs::read_to_string(path)
                .map_err(|source| CommandError::file("read", path, source))?
                .into(),
            (None, None) if self.server.has_client_certificate() => {
                return Ok(Credentials {
                    authorization: None,
                    timeout: self.server.timeout(),
                });
            }
            (None, None) => {
                let message = "a token is needed: give --token-file (INVITATIONS_TOKEN_FILE) or --token \
                               (INVITATIONS_TOKEN); invitations caller new makes one";
                return Err(CommandError::Usage(message.to_owned()));
            }
        };
        // A file ends with a line break, and a variable filled from one may too.
        let token = token.expose_secret().trim();
        let is_sendable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let header = is_sendable.then(|| MetadataValue::try_from(format!("Bearer {token}")));
        let Some(Ok(mut authorization)) = header else {
            let message = "the token must be one word of visible ASCII characters, as invitations caller new makes it";
            return Err(CommandError::Usage(message.to_owned()));
        };
        // Keeps it out of Debug output and out of HTTP/2 header compression tables.
        authorization.set_sensitive(true);
        Ok(Credentials {
            authorization: Some(authorization),
            timeout: self.server.timeout(),
        })
    }

    /// A caller at this address.
    #[cfg(test)]
    pub(crate) fn for_tests(address: &str, token: Option<&str>) -> Self {
        Self {
            server: ServerArgs::at(address),
            token_file: None,
            token: token.map(SecretString::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        for (token, is_good) in [
            (Some("invc_abc"), true),
            (Some("invc_abc\n"), true),
            (Some(""), false),
            (Some("two words"), false),
            (Some("a\nb"), false),
            (Some("é"), false),
            (None, false),
        ] {
            let args = ConnectionArgs::for_tests("http://127.0.0.1:1", token);
            assert_eq!(args.credentials().is_ok(), is_good, "{token:?}");
        }
    }

    #[test]
    fn the_token_is_never_printed() {
        let args = ConnectionArgs::for_tests("http://127.0.0.1:1", Some("invc_abc"));
        let shown = format!("{args:?} {:?}", args.credentials().unwrap());
        assert!(!shown.contains("invc_abc"), "{shown}");
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named() {
        let failure = ServerArgs::at("http://127.0.0.1:1")
            .connect()
            .await
            .unwrap_err();
        assert_eq!(failure.to_string(), "no answer from http://127.0.0.1:1");
        assert!(failure.advice().is_some());
        let failure = ServerArgs::at("ftp://x").connect().await;
        let failure = failure.unwrap_err().to_string();
        assert!(failure.contains("must be an address"), "{failure}");
    }
}
