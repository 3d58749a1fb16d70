//! The `organizations` table.

use std::collections::BTreeMap;

use sqlx::types::Json;
use time::{Date, OffsetDateTime};

use super::{Connection, Result, StoreError, bytes_max, column};
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::domain::organization::Organization;
use crate::domain::organization_record::OrganizationRecord;
use crate::domain::reminder::ReminderLead;
use crate::domain::role::{Role, RoleId, RoleNames};

/// The columns of a row. `role_names` has the names of those roles that have some.
struct OrganizationRow {
    id: String,
    name: String,
    roles: Vec<String>,
    inviting_roles: Vec<String>,
    role_names: Json<BTreeMap<String, RoleNames>>,
    default_role: String,
    allowed_email_domains: Vec<String>,
    redirect_origins: Vec<String>,
    locale: String,
    recheck_inviter: bool,
    reminder_lead_seconds: i32,
    logo_url: String,
    brand_color: String,
    support_email: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    suspended_at: Option<OffsetDateTime>,
    deleted_at: Option<OffsetDateTime>,
}

/// Inserts organizations, or replaces those that are in `stored_ids`, which are no longer deleted then. Returns the ids of
/// the organizations that were written: those that another transaction has inserted meanwhile are left out.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    organizations: &[Organization],
    stored_ids: &[String],
    now: OffsetDateTime,
) -> Result<Vec<String>> {
    // JSON, because UNNEST flattens arrays of arrays.
    let rows = column(organizations, |organization| {
        let brand = &organization.brand;
        let roles = &organization.roles;
        let ids = roles.iter().map(|role| role.id.as_str());
        let inviting = roles.iter().filter(|role| role.can_invite);
        let named = roles.iter().filter(|role| !role.names.is_empty());
        let names = named.map(|role| (role.id.as_str(), &role.names));
        serde_json::json!({
            "id": organization.id.as_str(),
            "name": organization.name,
            "roles": ids.collect::<Vec<_>>(),
            "inviting_roles": inviting.map(|role| role.id.as_str()).collect::<Vec<_>>(),
            "role_names": names.collect::<BTreeMap<_, _>>(),
            "default_role": organization.default_role,
            "allowed_email_domains": organization.allowed_email_domains,
            "redirect_origins": organization.redirect_origins,
            "locale": organization.locale,
            "recheck_inviter": organization.recheck_inviter,
            "logo_url": brand.logo_url.as_deref().unwrap_or_default(),
            "brand_color": brand.color.map(|color| color.to_string()).unwrap_or_default(),
            "support_email": brand.support_email.as_ref().map_or("", EmailAddress::given),
            "reminder_lead_seconds": organization.reminder_lead.seconds(),
        })
    });
    let query = sqlx::query_scalar!(
        r#"-- store::organizations::upsert_many
        WITH item AS (
            SELECT *
              FROM jsonb_to_recordset($1::jsonb)
                   AS t (id text, name text, roles text[], inviting_roles text[], role_names jsonb, default_role text,
                         allowed_email_domains text[], redirect_origins text[], locale text, recheck_inviter boolean, reminder_lead_seconds integer,
                         logo_url text, brand_color text, support_email text)
             ORDER BY id
        ), written AS (
            INSERT INTO organizations
                   (id, name, roles, inviting_roles, role_names, default_role, allowed_email_domains, redirect_origins,
                    locale, recheck_inviter, reminder_lead_seconds, logo_url, brand_color, support_email, created_at,
                    updated_at)
            SELECT *, $2, $2 FROM item
                ON CONFLICT (id) DO UPDATE
               SET name = excluded.name, roles = excluded.roles, inviting_roles = excluded.inviting_roles,
                   role_names = excluded.role_names, default_role = excluded.default_role,
                   allowed_email_domains = excluded.allowed_email_domains,
                   redirect_origins = excluded.redirect_origins, locale = excluded.locale,
                   recheck_inviter = excluded.recheck_inviter,
                   reminder_lead_seconds = excluded.reminder_lead_seconds, logo_url = excluded.logo_url,
                   brand_color = excluded.brand_color, support_email = excluded.support_email,
                   updated_at = excluded.updated_at, deleted_at = NULL
             WHERE excluded.id IN (SELECT stored.id FROM UNNEST($3::text[]) AS stored (id))
            RETURNING id
        )
        SELECT id FROM written"#,
        serde_json::Value::Array(rows),
        now,
        stored_ids,
    );
    connection.fetch_all(query).await
}

/// Returns an organization, even if it is deleted.
pub async fn get(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<OrganizationRecord>> {
    let ids = [id.as_str().to_owned()];
    Ok(get_many(connection, &ids).await?.pop())
}

/// Returns those of the organizations that exist, even if they are deleted, by id.
pub async fn get_many(
    connection: &mut Connection<'_>,
    ids: &[String],
) -> Result<Vec<OrganizationRecord>> {
    let query = sqlx::query_as!(
        OrganizationRow,
        r#"-- store::organizations::get_many
        SELECT id, name, roles, inviting_roles, role_names AS "role_names: Json<BTreeMap<String, RoleNames>>",
               default_role, allowed_email_domains, redirect_origins, locale, recheck_inviter, reminder_lead_seconds,
               logo_url, brand_color, support_email, created_at, updated_at,
               suspended_at, deleted_at
          FROM organizations
         WHERE id = ANY($1)
         ORDER BY id"#,
        ids,
    );
    let rows: Vec<_> = connection.fetch_all(query).await?;
    rows.into_iter().map(OrganizationRow::into_record).collect()
}

/// Does what [`get_many`] does, and keeps other transactions from changing the organizations until this one ends.
pub async fn lock_many(
    connection: &mut Connection<'_>,
    ids: &[String],
) -> Result<Vec<OrganizationRecord>> {
    let query = sqlx::query_as!(
        OrganizationRow,
        r#"-- store::organizations::lock_many
        SELECT id, name, roles, inviting_roles, role_names AS "role_names: Json<BTreeMap<String, RoleNames>>",
               default_role, allowed_email_domains, redirect_origins, locale, recheck_inviter, reminder_lead_seconds,
               logo_url, brand_color, support_email, created_at, updated_at,
               suspended_at, deleted_at
          FROM organizations
         WHERE id = ANY($1)
         ORDER BY id
           FOR NO KEY UPDATE"#,
        ids,
    );
    let rows: Vec<_> = connection.fetch_all(query).await?;
    rows.into_iter().map(OrganizationRow::into_record).collect()
}

/// Does what [`get_many`] does, and prevents that the organizations are deleted until the transaction ends.
pub async fn lock_many_shared(
    connection: &mut Connection<'_>,
    ids: &[String],
) -> Result<Vec<OrganizationRecord>> {
    let query = sqlx::query_scalar!(
        "-- store::organizations::lock_many_shared
        SELECT id FROM organizations WHERE id = ANY($1) ORDER BY id FOR KEY SHARE",
        ids,
    );
    let _: Vec<String> = connection.fetch_all(query).await?;
    get_many(connection, ids).await
}

impl OrganizationRow {
    fn into_record(self) -> Result<OrganizationRecord> {
        let mut names = self.role_names.0;
        let roles = self.roles.iter().map(|id| {
            let can_invite = self.inviting_roles.contains(id);
            let names = names.remove(id).unwrap_or_default();
            let id = RoleId::parse(id).ok_or(StoreError::Inconsistent("organizations.roles"))?;
            Ok(Role::new(id, names, can_invite))
        });
        let organization = Organization {
            id: OrganizationId::parse(&self.id)
                .ok_or(StoreError::Inconsistent("organizations.id"))?,
            name: self.name,
            roles: roles.collect::<Result<_>>()?,
            default_role: self.default_role,
            allowed_email_domains: self.allowed_email_domains,
            redirect_origins: self.redirect_origins,
            locale: self.locale,
            recheck_inviter: self.recheck_inviter,
            brand: Brand::from_stored(&self.logo_url, &self.brand_color, &self.support_email),
            reminder_lead: ReminderLead::from_seconds(self.reminder_lead_seconds),
        };
        Ok(OrganizationRecord {
            organization,
            created_at: self.created_at,
            updated_at: self.updated_at,
            suspended_at: self.suspended_at,
            deleted_at: self.deleted_at,
        })
    }
}

/// The id of an organization of a list.
#[derive(Debug)]
pub struct ListedOrganization {
    pub id: String,
    /// Whether this row and those before it have too many bytes to be read together.
    pub is_beyond_bytes: bool,
}

/// Returns the ids of organizations that are greater than `after`, in order. `only` limits them to some organizations.
pub async fn list_ids(
    connection: &mut Connection<'_>,
    only: Option<&[String]>,
    show_deleted: bool,
    after: &str,
    limit: i64,
) -> Result<Vec<ListedOrganization>> {
    let query = sqlx::query_as!(
        ListedOrganization,
        r#"-- store::organizations::list_ids
        SELECT id, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) > $5 AS "is_beyond_bytes!"
          FROM (SELECT id, octet_length(o::text) AS bytes
                  FROM organizations o
                 WHERE id > $1 AND ($2::text[] IS NULL OR id = ANY($2)) AND ($3 OR deleted_at IS NULL)
                 ORDER BY id
                 LIMIT $4) AS page
         ORDER BY id"#,
        after,
        only,
        show_deleted,
        limit,
        bytes_max(),
    );
    connection.fetch_all(query).await
}

/// Does what [`get`] does, and prevents that the organization is deleted until the transaction ends.
pub async fn lock_shared(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<OrganizationRecord>> {
    let query = sqlx::query!(
        r#"-- store::organizations::lock_shared
        SELECT id FROM organizations WHERE id = $1 FOR KEY SHARE"#,
        id.as_str(),
    );
    connection.fetch_optional(query).await?;
    get(connection, id).await
}

/// Does what [`lock_shared`] does, and also returns how much of the quota of a day the organization has used.
pub async fn lock_shared_with_usage(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    day: Date,
) -> Result<Option<(OrganizationRecord, i64)>> {
    let query = sqlx::query_scalar!(
        r#"-- store::organizations::lock_shared_with_usage
        SELECT coalesce((SELECT q.used FROM organization_quotas q WHERE q.organization_id = $1 AND q.day = $2), 0)
               AS "used!"
          FROM organizations
         WHERE id = $1
           FOR KEY SHARE"#,
        id.as_str(),
        day,
    );
    let used = connection.fetch_optional(query).await?;
    Ok(get(connection, id).await?.zip(used))
}

/// Does what [`get`] does, and locks the organization until the transaction ends. Waits for shared locks too.
pub async fn lock_exclusive(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<OrganizationRecord>> {
    let query = sqlx::query!(
        r#"-- store::organizations::lock_exclusive
        SELECT id FROM organizations WHERE id = $1 FOR UPDATE"#,
        id.as_str(),
    );
    connection.fetch_optional(query).await?;
    get(connection, id).await
}

/// Marks an organization as deleted. Returns `false` if it does not exist or was deleted before. Waits for all locks of
/// other transactions.
pub async fn mark_deleted(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::organizations::mark_deleted
        WITH locked AS (SELECT id FROM organizations WHERE id = $1 AND deleted_at IS NULL FOR UPDATE)
        UPDATE organizations AS o SET deleted_at = $2 FROM locked WHERE o.id = locked.id",
        id.as_str(),
        now,
    );
    Ok(connection.execute(query).await? == 1)
}
