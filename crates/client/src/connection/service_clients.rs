//! An open connection, which makes the clients of the server's services and runs their calls.

use invitations_command::error::CommandError;
use invitations_command::server::ServerArgs;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::connection::credentials::Credentials;
use crate::connection::retry::with_retries;
use crate::connection::status_text;
use crate::proto::audit_service_client::AuditServiceClient;
use crate::proto::directory_service_client::DirectoryServiceClient;
use crate::proto::feedback_service_client::FeedbackServiceClient;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::mail_service_client::MailServiceClient;
use crate::proto::suppression_service_client::SuppressionServiceClient;

/// Largest request. The server has the same limit.
const SEND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest response. It is larger than a request, because results repeat the items of the request.
const RECEIVE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A channel that adds [`Credentials`] to every call.
pub(crate) type AuthenticatedChannel = InterceptedService<Channel, Credentials>;
pub(crate) type InvitationClient = InvitationServiceClient<AuthenticatedChannel>;

pub(crate) struct Connection {
    channel: AuthenticatedChannel,
    server: ServerArgs,
}

impl Connection {
    pub(crate) fn new(channel: Channel, credentials: Credentials, server: ServerArgs) -> Self {
        Self {
            channel: InterceptedService::new(channel, credentials),
            server,
        }
    }

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
        with_retries(method, call)
            .await
            .map_err(|status| self.refused(method, &status))
    }

    /// The error for a call that the server rejected.
    pub(crate) fn refused(&self, method: &str, status: &Status) -> CommandError {
        CommandError::Refused(self.describe(method, status))
    }

    /// Several lines about a rejected call, without a line break at the end.
    pub(crate) fn describe(&self, method: &str, status: &Status) -> String {
        status_text::describe(method, &self.server, status)
    }
}
