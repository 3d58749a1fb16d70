//! Calls that fail inside the service, so that it logs errors.

use invitations::proto::{BulkCreateResponse, GetResponse};
use sqlx::Executor as _;
use tonic::Code;

use super::canary_deployment::{CanaryDeployment, canary_item};
use crate::support::database_access::DatabaseAccess;
use crate::support::{create_request, get_request};

impl CanaryDeployment {
    /// Causes a violated constraint, a panic while a row is read, and an outage of the database.
    pub(super) async fn cause_internal_errors(&mut self, invitation_id: &str) {
        let mut database = self.deployment.database.connect().await;
        database
            .execute("ALTER TABLE invitations ADD CONSTRAINT closed CHECK (false) NOT VALID")
            .await
            .unwrap();
        assert_eq!(self.create().await, Some(Code::Internal));
        // The service cannot convert an infinite time and panics.
        let statement = "ALTER TABLE invitations DROP CONSTRAINT closed;
                         UPDATE invitations SET updated_at = 'infinity'";
        sqlx::raw_sql(statement)
            .execute(&mut database)
            .await
            .unwrap();
        let get = get_request(invitation_id);
        let failed = self.try_call::<GetResponse>("InvitationService/Get", get);
        assert_eq!(failed.await.err(), Some(Code::Internal));

        let mut access = DatabaseAccess::of(&self.deployment.database).await;
        access.deny().await;
        access.end_sessions().await;
        let code = self.create().await;
        assert!(matches!(code, Some(Code::Unavailable | Code::Internal)));
        access.allow().await;
    }

    /// Tries to create an invitation. Returns the code of the refusal.
    async fn create(&mut self) -> Option<Code> {
        let request = create_request(vec![canary_item(3)]);
        self.try_call::<BulkCreateResponse>("InvitationService/BulkCreate", request)
            .await
            .err()
    }
}
