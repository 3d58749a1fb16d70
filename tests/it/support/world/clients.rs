//! Clients of a world. The methods without a caller use `all`, which may do everything; see
//! [`callers`](crate::support::callers) for the others.

use invitations::proto::audit_service_client::AuditServiceClient;
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::feedback_service_client::FeedbackServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::mail_service_client::MailServiceClient;
use invitations::proto::suppression_service_client::SuppressionServiceClient;

use super::World;
use crate::support::callers::{
    AuditClient, CallerChannel, DirectoryClient, FeedbackClient, InvitationClient, MailClient,
    SuppressionClient, caller_channel,
};

/// Ten thousand items with everything in them fit into a message of this size.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

impl World {
    pub(crate) fn client(&self) -> InvitationClient {
        self.client_of("all")
    }

    pub(crate) fn client_of(&self, caller: &str) -> InvitationClient {
        InvitationServiceClient::new(self.channel_of(caller))
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn directory(&self) -> DirectoryClient {
        self.directory_of("all")
    }

    pub(crate) fn directory_of(&self, caller: &str) -> DirectoryClient {
        DirectoryServiceClient::new(self.channel_of(caller))
    }

    pub(crate) fn suppressions(&self) -> SuppressionClient {
        self.suppressions_of("all")
    }

    pub(crate) fn suppressions_of(&self, caller: &str) -> SuppressionClient {
        SuppressionServiceClient::new(self.channel_of(caller))
    }

    pub(crate) fn mails(&self) -> MailClient {
        self.mails_of("all")
    }

    pub(crate) fn mails_of(&self, caller: &str) -> MailClient {
        MailServiceClient::new(self.channel_of(caller))
    }

    pub(crate) fn audit_of(&self, caller: &str) -> AuditClient {
        AuditServiceClient::new(self.channel_of(caller))
    }

    pub(crate) fn feedback_of(&self, caller: &str) -> FeedbackClient {
        FeedbackServiceClient::new(self.channel_of(caller))
    }

    fn channel_of(&self, caller: &str) -> CallerChannel {
        caller_channel(&self.channel, caller)
    }
}
