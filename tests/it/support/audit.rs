//! The rows of the audit log.

use invitations::proto::{ListAuditEventsRequest, ListAuditEventsResponse};
use serde_json::Value;
use time::OffsetDateTime;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::support::world::World;

/// A row of `audit_events`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(crate) struct AuditRow {
    pub(crate) id: Uuid,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) organization_id: String,
    pub(crate) action: String,
    pub(crate) outcome: String,
    pub(crate) caller: String,
    pub(crate) on_behalf_of_user_id: Option<String>,
    pub(crate) subject_user_id: Option<String>,
    pub(crate) invitation_id: Option<Uuid>,
    pub(crate) batch_id: Option<Uuid>,
    pub(crate) request_id: Option<Uuid>,
    pub(crate) counts: Value,
}

/// All rows, oldest first.
pub(crate) async fn audit_rows(world: &World) -> Vec<AuditRow> {
    sqlx::query_as("SELECT * FROM audit_events ORDER BY id")
        .fetch_all(&mut world.database().await)
        .await
        .unwrap()
}

/// The rows that an act adds.
pub(crate) async fn audit_rows_of(world: &World, act: impl Future<Output = ()>) -> Vec<AuditRow> {
    let before = audit_rows(world).await.len();
    act.await;
    audit_rows(world).await.split_off(before)
}

/// Lists the audit log over gRPC.
pub(crate) async fn list_audit_events(
    world: &World,
    caller: &str,
    request: ListAuditEventsRequest,
) -> Result<ListAuditEventsResponse, Status> {
    let response = world.audit_of(caller).list_audit_events(request).await;
    response.map(Response::into_inner)
}
