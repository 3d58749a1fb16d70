//! The `organizations` table.

use time::{Date, OffsetDateTime};

use super::{Connection, StoreError};
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::domain::organization::Organization;
use crate::domain::reminder::ReminderLead;

pub struct StoredOrganization {
    pub organization: Organization,
    pub is_deleted: bool,
    pub is_suspended: bool,
}

/// Inserts or replaces organizations, and returns the ids of those that were inserted. The rows are locked in the order
/// of their ids, so that overlapping calls do not deadlock.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    organizations: &[Organization],
    now: OffsetDateTime,
) -> Result<Vec<String>, StoreError> {
    // JSON, because UNNEST flattens arrays of arrays.
    let rows: Vec<serde_json::Value> = organizations
        .iter()
        .map(|organization| {
            serde_json::json!({
                "id": organization.id.as_str(),
                "name": organization.name,
                "roles": organization.roles,
                "default_role": organization.default_role,
                "allowed_email_domains": organization.allowed_email_domains,
                "redirect_origins": organization.redirect_origins,
                "locale": organization.locale,
                "recheck_inviter": organization.recheck_inviter,
                "logo_url": organization.brand.logo_url.as_deref().unwrap_or_default(),
                "brand_color": organization.brand.color.map(|color| color.to_string()).unwrap_or_default(),
                "support_email": organization.brand.support_email.as_ref().map_or("", EmailAddress::given),
                "reminder_lead_seconds": organization.reminder_lead.seconds(),
            })
        })
        .collect();
    Ok(sqlx::query_scalar!(
        r#"-- store::organizations::upsert_many
        WITH item AS (
            SELECT value ->> 'id' AS id,
                   value ->> 'name' AS name,
                   ARRAY(SELECT jsonb_array_elements_text(value -> 'roles')) AS roles,
                   value ->> 'default_role' AS default_role,
                   ARRAY(SELECT jsonb_array_elements_text(value -> 'allowed_email_domains')) AS domains,
                   ARRAY(SELECT jsonb_array_elements_text(value -> 'redirect_origins')) AS origins,
                   value ->> 'locale' AS locale,
                   (value ->> 'recheck_inviter')::boolean AS recheck_inviter,
                   (value ->> 'reminder_lead_seconds')::integer AS reminder_lead_seconds,
                   value ->> 'logo_url' AS logo_url,
                   value ->> 'brand_color' AS brand_color,
                   value ->> 'support_email' AS support_email
              FROM jsonb_array_elements($1::jsonb) AS value
             ORDER BY 1
        ), written AS (
            INSERT INTO organizations
                   (id, name, roles, default_role, allowed_email_domains, redirect_origins, locale, recheck_inviter,
                    reminder_lead_seconds, logo_url, brand_color, support_email, created_at, updated_at)
            SELECT id, name, roles, default_role, domains, origins, locale, recheck_inviter, reminder_lead_seconds,
                   logo_url, brand_color, support_email, $2, $2
              FROM item
                ON CONFLICT (id) DO UPDATE
               SET name = excluded.name, roles = excluded.roles, default_role = excluded.default_role,
                   allowed_email_domains = excluded.allowed_email_domains,
                   redirect_origins = excluded.redirect_origins, locale = excluded.locale,
                   recheck_inviter = excluded.recheck_inviter,
                   reminder_lead_seconds = excluded.reminder_lead_seconds, logo_url = excluded.logo_url,
                   brand_color = excluded.brand_color, support_email = excluded.support_email,
                   updated_at = excluded.updated_at, deleted_at = NULL
            RETURNING id, (xmax = 0) AS is_added
        )
        SELECT id FROM written WHERE is_added"#,
        serde_json::Value::Array(rows),
        now,
    )
    .fetch_all(connection.driver())
    .await?)
}

/// Returns an organization, even if it is deleted.
pub async fn get(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<StoredOrganization>, StoreError> {
    let ids = [id.as_str().to_owned()];
    Ok(get_many(connection, &ids).await?.pop())
}

/// Returns those of the organizations that exist, even if they are deleted, in no order.
pub async fn get_many(
    connection: &mut Connection<'_>,
    ids: &[String],
) -> Result<Vec<StoredOrganization>, StoreError> {
    let rows = sqlx::query!(
        "-- store::organizations::get_many
        SELECT id, name, roles, default_role, allowed_email_domains, redirect_origins, locale, recheck_inviter,
               reminder_lead_seconds, logo_url, brand_color, support_email, deleted_at, suspended_at
          FROM organizations
         WHERE id = ANY($1)",
        ids,
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| {
            let id = OrganizationId::parse(&row.id)
                .ok_or(StoreError::Inconsistent("organizations.id"))?;
            let organization = Organization {
                id,
                name: row.name,
                roles: row.roles,
                default_role: row.default_role,
                allowed_email_domains: row.allowed_email_domains,
                redirect_origins: row.redirect_origins,
                locale: row.locale,
                recheck_inviter: row.recheck_inviter,
                brand: Brand::from_stored(&row.logo_url, &row.brand_color, &row.support_email),
                reminder_lead: ReminderLead::from_seconds(row.reminder_lead_seconds),
            };
            Ok(StoredOrganization {
                organization,
                is_deleted: row.deleted_at.is_some(),
                is_suspended: row.suspended_at.is_some(),
            })
        })
        .collect()
}

/// Does what [`get`] does, and prevents that the organization is deleted until the transaction ends. Several
/// transactions can hold this lock.
pub async fn lock_shared(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<StoredOrganization>, StoreError> {
    sqlx::query!(
        r#"-- store::organizations::lock_shared
        SELECT id FROM organizations WHERE id = $1 FOR KEY SHARE"#,
        id.as_str(),
    )
    .fetch_optional(connection.driver())
    .await?;
    get(connection, id).await
}

/// Does what [`lock_shared`] does, and also returns how much of the quota of a day the organization has used.
pub async fn lock_shared_with_usage(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    day: Date,
) -> Result<Option<(StoredOrganization, i64)>, StoreError> {
    let used = sqlx::query_scalar!(
        r#"-- store::organizations::lock_shared_with_usage
        SELECT coalesce((SELECT q.used FROM organization_quotas q WHERE q.organization_id = $1 AND q.day = $2), 0)
               AS "used!"
          FROM organizations
         WHERE id = $1
           FOR KEY SHARE"#,
        id.as_str(),
        day,
    )
    .fetch_optional(connection.driver())
    .await?;
    let stored = get(connection, id).await?;
    Ok(stored.zip(used))
}

/// Does what [`get`] does, and locks the organization until the transaction ends. Waits for all locks of other
/// transactions, shared or exclusive.
pub async fn lock_exclusive(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<StoredOrganization>, StoreError> {
    sqlx::query!(
        r#"-- store::organizations::lock_exclusive
        SELECT id FROM organizations WHERE id = $1 FOR UPDATE"#,
        id.as_str(),
    )
    .fetch_optional(connection.driver())
    .await?;
    get(connection, id).await
}

/// Marks an organization as deleted. Returns `false` if it does not exist. Waits for all locks of other transactions.
pub async fn mark_deleted(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let marked = sqlx::query!(
        "-- store::organizations::mark_deleted
        WITH locked AS (SELECT id FROM organizations WHERE id = $1 FOR UPDATE)
        UPDATE organizations AS o SET deleted_at = coalesce(o.deleted_at, $2) FROM locked WHERE o.id = locked.id",
        id.as_str(),
        now,
    )
    .execute(connection.driver())
    .await?;
    Ok(marked.rows_affected() == 1)
}
