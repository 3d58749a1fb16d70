//! Command line options that all commands with a call share, and the connection that they open. It makes the clients of the
//! server's services, and adds the bearer token and the deadline to every call.

use std::path::PathBuf;
use std::time::Duration;

use invitations_command::bounded_file::{self, FILE_BYTES_MAX};
use invitations_command::error::CommandError;
use invitations_command::server::ServerArgs;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::connection::retry::with_retries;
use crate::connection::status_text;
use crate::proto::audit_service_client::AuditServiceClient;
use crate::proto::directory_service_client::DirectoryServiceClient;
use crate::proto::feedback_service_client::FeedbackServiceClient;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::mail_service_client::MailServiceClient;
use crate::proto::suppression_service_client::SuppressionServiceClient;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// File with the bearer token; required unless --token or a client certificate is given
    #[arg(
        long,
        env = "INVITATIONS_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,
    /// Bearer token; a file is safer, because other users of this machine can see the arguments of a process
    #[arg(
        long,
        env = "INVITATIONS_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
}

impl ConnectionArgs {
    pub(crate) async fn connect(&self) -> Result<Connection, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(Connection {
            channel: InterceptedService::new(channel, credentials),
            server: self.server.clone(),
        })
    }

    fn credentials(&self) -> Result<Credentials, CommandError> {
        // Without a token, the client certificate identifies the caller.
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => {
                let text = bounded_file::read(path, FILE_BYTES_MAX)
                    .and_then(bounded_file::into_text)
                    .map_err(|source| CommandError::file("read", path, source))?;
                Some(text.into())
            }
            (None, None) if self.server.client_certificate_file.is_some() => None,
            (None, None) => {
                let message = "no token is given: use --token-file (INVITATIONS_TOKEN_FILE) or --token \
                               (INVITATIONS_TOKEN); `invitations caller new` creates a token";
                return Err(CommandError::Usage(message.to_owned()));
            }
        };
        Ok(Credentials {
            authorization: token.as_ref().map(authorization).transpose()?,
            timeout: self.server.timeout(),
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

/// Request extension that marks a call without a deadline.
#[derive(Debug, Clone, Copy)]
struct NoDeadline;

/// A request without a deadline, for a stream that is open as long as it has something to transfer. The code that reads
/// the stream checks that the server still answers.
pub(crate) fn without_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(NoDeadline);
    request
}

fn authorization(token: &SecretString) -> Result<MetadataValue<Ascii>, CommandError> {
    // A token file ends with a line break, and so may a variable that was filled from one.
    let token = token.expose_secret().trim();
    let is_valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = is_valid.then(|| MetadataValue::try_from(format!("Bearer {token}")));
    let Some(Ok(mut authorization)) = header else {
        let message = "the token must be one word of visible ASCII characters, as `invitations caller new` writes it";
        return Err(CommandError::Usage(message.to_owned()));
    };
    // Keeps the token out of Debug output and out of HTTP/2 header compression tables.
    authorization.set_sensitive(true);
    Ok(authorization)
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = self.authorization.clone() {
            request
                .metadata_mut()
                .insert("authorization", authorization);
        }
        if request.extensions().get::<NoDeadline>().is_none() {
            request.set_timeout(self.timeout);
        }
        Ok(request)
    }
}

/// Largest request. The server has the same limit.
const SEND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest response. It is larger than a request, because the view FULL repeats the items of the request.
const RECEIVE_BYTES_MAX: usize = 32 * 1024 * 1024;

pub(crate) type AuthenticatedChannel = InterceptedService<Channel, Credentials>;
pub(crate) type InvitationClient = InvitationServiceClient<AuthenticatedChannel>;

pub(crate) struct Connection {
    channel: AuthenticatedChannel,
    server: ServerArgs,
}

impl Connection {
    pub(crate) fn invitations(&self) -> InvitationClient {
        InvitationServiceClient::new(self.channel.clone())
            .max_encoding_message_size(SEND_BYTES_MAX)
            .max_decoding_message_size(RECEIVE_BYTES_MAX)
    }

    pub(crate) fn mails(&self) -> MailServiceClient<AuthenticatedChannel> {
        MailServiceClient::new(self.channel.clone())
            .max_encoding_message_size(SEND_BYTES_MAX)
            .max_decoding_message_size(RECEIVE_BYTES_MAX)
    }

    pub(crate) fn directory(&self) -> DirectoryServiceClient<AuthenticatedChannel> {
        DirectoryServiceClient::new(self.channel.clone())
            .max_encoding_message_size(SEND_BYTES_MAX)
            .max_decoding_message_size(RECEIVE_BYTES_MAX)
    }

    pub(crate) fn suppressions(&self) -> SuppressionServiceClient<AuthenticatedChannel> {
        SuppressionServiceClient::new(self.channel.clone())
            .max_encoding_message_size(SEND_BYTES_MAX)
            .max_decoding_message_size(RECEIVE_BYTES_MAX)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<AuthenticatedChannel> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(RECEIVE_BYTES_MAX)
    }

    pub(crate) fn feedback(&self) -> FeedbackServiceClient<AuthenticatedChannel> {
        FeedbackServiceClient::new(self.channel.clone())
    }

    /// Runs a call with retries. Only for calls that are safe to repeat.
    pub(crate) async fn call<T>(
        &self,
        method: &str,
        call: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, CommandError> {
        let result = with_retries(method, call).await;
        result.map_err(|status| self.refused(method, &status))
    }

    pub(crate) fn refused(&self, method: &str, status: &Status) -> CommandError {
        CommandError::Refused(self.describe(method, status))
    }

    pub(crate) fn describe(&self, method: &str, status: &Status) -> String {
        status_text::describe(method, &self.server, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::server_args;

    fn args(token: Option<&str>) -> ConnectionArgs {
        ConnectionArgs {
            server: server_args("http://127.0.0.1:1"),
            token_file: None,
            token: token.map(SecretString::from),
        }
    }

    #[test]
    fn a_token_is_required_without_a_certificate() {
        assert!(args(Some("invc_abc")).credentials().is_ok());
        assert!(args(None).credentials().is_err());
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let text = format!("{:?}", args(Some("invc_abc")));
        assert!(!text.contains("invc_abc"), "{text}");
    }

    #[tokio::test]
    async fn an_unreachable_server_is_named() {
        let failure = args(Some("x")).connect().await.err().unwrap();
        assert_eq!(failure.to_string(), "cannot connect to http://127.0.0.1:1");
        assert!(failure.advice().is_some());
        let failure = server_args("ftp://x").connect().await;
        let failure = failure.unwrap_err().to_string();
        assert!(failure.contains("must be an address"), "{failure}");
    }

    fn credentials(token: &str) -> Result<Credentials, CommandError> {
        args(Some(token)).credentials()
    }

    #[test]
    fn a_token_is_one_word() {
        for (token, is_valid) in [
            ("invc_abc", true),
            ("invc_abc\n", true),
            ("", false),
            ("two words", false),
            ("a\nb", false),
            ("é", false),
        ] {
            assert_eq!(credentials(token).is_ok(), is_valid, "{token:?}");
        }
    }

    #[test]
    fn the_token_is_not_in_debug_output_of_credentials() {
        let text = format!("{:?}", credentials("invc_abc").unwrap());
        assert!(!text.contains("invc_abc"), "{text}");
    }
}
