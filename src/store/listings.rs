//! Lists of an organization's invitations, newest first, page by page and with filters. The functions return ids.
//!
//! For each filter that may leave few of many invitations there is an index in the order of the pages, so that a page
//! costs the same however few invitations match. One statement for each index leaves the planner no other choice:
//!
//! * The other filters are `CASE` expressions. The planner assumes that half of the rows pass those. With plain
//!   conditions its estimate may be so low that it reads and sorts all rows.
//! * The column before the id is compared as a range of one value, in a row with the id. With an equality, the planner
//!   may walk the primary key, in a table that is mostly one organization's, until it comes to a rare invitation.
//!
//! No index contains the delivery state, because every email would have to update it. A page with only that filter
//! walks the invitations until it is full.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Result, column};
use crate::domain::address_tag::AddressTag;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{InvitationFilter, StateName};

#[derive(Clone, Copy)]
pub struct ListQuery<'a> {
    pub organization_id: &'a OrganizationId,
    /// The address in it is ignored in favor of `address_ids`.
    pub filter: &'a InvitationFilter,
    /// The result of [`ids_of_address`] if the filter has an address.
    pub address_ids: Option<&'a [Uuid]>,
    /// Only invitations older than this one.
    pub before: Option<Uuid>,
    pub limit: i64,
    pub now: OffsetDateTime,
}

/// Calls `sqlx::query_scalar!` with a statement over invitations `i`. The macro replaces `FILTERS` by the filters for
/// states and for delivery states, and `DELIVERY_FILTER` by the latter only. It adds the common parameters: `$1`
/// organization, `$2` id before which the page begins, `$3` states, `$4` time, `$5` delivery states and `$6` limit.
///
/// Only `outbox` says whether an email is being sent, so it is read where that decides: if either `sending` or the stored
/// state is wanted.
macro_rules! list_query {
    ($query:ident, $before:literal + FILTERS + $after:literal, $($arguments:tt)*) => {
        list_query!(@ $query, &column(&$query.filter.states, |state| state.as_str()), [$before + "
           AND CASE WHEN cardinality($3::text[]) = 0 THEN true
                    WHEN i.state = 'pending' AND i.expires_at <= $4 THEN 'expired' = ANY($3)
                    ELSE i.state = ANY($3) END"], [$after]; $($arguments)*)
    };
    ($query:ident, states = $states:expr, $first:literal $(+ DELIVERY_FILTER + $next:literal)+, $($arguments:tt)*) => {
        list_query!(@ $query, $states, [$first], $([$next]),+; $($arguments)*)
    };
    (@ $query:ident, $states:expr, [$($first:tt)+], $([$($next:tt)+]),+; $($arguments:tt)*) => {
        sqlx::query_scalar!(
            $($first)+ $(+ "
           AND CASE WHEN cardinality($5::text[]) = 0 THEN true
                    WHEN i.delivery_state IN ('bounced', 'complained')
                         OR ('sending' = ANY($5)) = (i.delivery_state = ANY($5)) THEN i.delivery_state = ANY($5)
                    ELSE ('sending' = ANY($5)) = EXISTS (SELECT FROM outbox x
                                                          WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq
                                                            AND x.organization_id = i.organization_id
                                                            AND x.state = 'sending') END" + $($next)+)+,
            $query.organization_id.as_str(),
            $query.before.unwrap_or(Uuid::max()),
            $states as &[&str],
            $query.now,
            &column(&$query.filter.delivery_states, |state| state.as_str()) as &[&str],
            $query.limit,
            $($arguments)*
        )
    };
}

/// Returns the ids of an organization's invitations for an address, including those whose address was erased.
///
/// `OFFSET 0` keeps the subquery over all organizations apart. A planner without statistics would otherwise read all
/// invitations of the organization.
pub async fn ids_of_address(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    email_normalized: &str,
    tags: &[AddressTag],
) -> Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        r#"-- store::listings::ids_of_address
        SELECT id AS "id!"
          FROM (SELECT id, organization_id FROM invitations WHERE email_normalized = $2
                 UNION ALL
                SELECT id, organization_id FROM invitations WHERE address_tag = ANY($3)
                OFFSET 0) AS i
         WHERE organization_id = $1"#,
        organization_id.as_str(),
        email_normalized,
        &column(tags, |tag| tag.bytes.as_slice()) as &[&[u8]],
    );
    connection.fetch_all(query).await
}

/// Returns the ids of a page, newest first. Call [`force_index_order`](super::planner::force_index_order) first.
pub async fn list_ids(connection: &mut Connection<'_>, query: ListQuery<'_>) -> Result<Vec<Uuid>> {
    let filter = query.filter;
    match (query.address_ids, filter.batch_id, &filter.inviter_user_id) {
        (Some(ids), _, _) => list_of_ids(connection, query, ids).await,
        (None, Some(id), _) => list_of_batch(connection, query, id).await,
        (None, None, Some(id)) => list_of_inviter(connection, query, id).await,
        (None, None, None) => list_of_states(connection, query).await,
    }
}

/// Lists the few invitations of an address.
async fn list_of_ids(
    connection: &mut Connection<'_>,
    query: ListQuery<'_>,
    ids: &[Uuid],
) -> Result<Vec<Uuid>> {
    let query = list_query!(
        query,
        "-- store::listings::list_of_ids
        SELECT i.id
          FROM UNNEST($7::uuid[]) AS requested (id)
         CROSS JOIN LATERAL (
               SELECT *
                 FROM invitations
                WHERE id = requested.id AND organization_id = $1
                LIMIT 1) AS i
         WHERE i.id < $2"
            + FILTERS
            + "
           AND CASE WHEN $8::text IS NULL THEN true ELSE i.inviter_user_id = $8 END
           AND CASE WHEN $9::uuid IS NULL THEN true ELSE i.batch_id = $9 END
         ORDER BY i.id DESC
         LIMIT $6",
        ids,
        query.filter.inviter_user_id,
        query.filter.batch_id,
    );
    connection.fetch_all(query).await
}

/// Lists the invitations of one batch. The organization is a `CASE` too, so that only the index over batches remains.
/// The newest invitation of the batch tells whether the batch is another organization's.
async fn list_of_batch(
    connection: &mut Connection<'_>,
    query: ListQuery<'_>,
    batch_id: Uuid,
) -> Result<Vec<Uuid>> {
    let query = list_query!(
        query,
        "-- store::listings::list_of_batch
        SELECT i.id
          FROM invitations i
         WHERE (i.batch_id, i.id) < ($7, $2) AND i.batch_id >= $7
           AND $1 = (SELECT f.organization_id FROM invitations f WHERE f.batch_id >= $7 AND f.batch_id <= $7
                      ORDER BY f.batch_id DESC, f.id DESC LIMIT 1)
           AND CASE WHEN i.organization_id = $1 THEN true ELSE false END" + FILTERS
            + "
           AND CASE WHEN $8::text IS NULL THEN true ELSE i.inviter_user_id = $8 END
         ORDER BY i.batch_id DESC, i.id DESC
         LIMIT $6",
        batch_id,
        query.filter.inviter_user_id,
    );
    connection.fetch_all(query).await
}

async fn list_of_inviter(
    connection: &mut Connection<'_>,
    query: ListQuery<'_>,
    inviter_user_id: &str,
) -> Result<Vec<Uuid>> {
    let query = list_query!(
        query,
        "-- store::listings::list_of_inviter
        SELECT i.id
          FROM invitations i
         WHERE i.organization_id = $1 AND (i.inviter_user_id, i.id) < ($7, $2) AND i.inviter_user_id >= $7"
            + FILTERS
            + "
         ORDER BY i.inviter_user_id DESC, i.id DESC
         LIMIT $6",
        inviter_user_id,
    );
    connection.fetch_all(query).await
}

/// Lists the invitations in some states, or in any: the newest invitations of a page of each state.
///
/// `overdue` reads the pending rows that have expired of all organizations: only as many as expire between two runs of
/// the sweeper.
async fn list_of_states(connection: &mut Connection<'_>, page: ListQuery<'_>) -> Result<Vec<Uuid>> {
    let wanted = &page.filter.states;
    let has = |state: &StateName| wanted.is_empty() || wanted.contains(state);
    let (pending, expired) = (has(&StateName::Pending), has(&StateName::Expired));
    let states = StateName::ALL.into_iter().filter(has);
    let names: Vec<&str> = states.map(StateName::as_str).collect();
    // A row says `pending` until the sweeper ends it, even if the invitation must be listed as expired.
    let (overdue_only, with_overdue) = (!pending && expired, pending && expired);
    let query = list_query!(
        page,
        states = &names,
        r#"-- store::listings::list_of_states
        WITH overdue AS MATERIALIZED (
            SELECT id, organization_id, send_seq, delivery_state
              FROM invitations
             WHERE $7::boolean AND state = 'pending' AND expires_at <= $4
             ORDER BY expires_at
        )
        SELECT page.id AS "id!"
          FROM UNNEST($3::text[]) AS stored (state)
         CROSS JOIN LATERAL (
               SELECT i.id
                 FROM invitations i
                WHERE i.organization_id = $1 AND (i.state, i.id) < (stored.state, $2) AND i.state >= stored.state
                  AND CASE WHEN $8 OR i.state <> 'pending' THEN true ELSE i.expires_at > $4 END"#
            + DELIVERY_FILTER
            + "
                ORDER BY i.state DESC, i.id DESC
                LIMIT $6) AS page
         UNION ALL
        SELECT i.id
          FROM overdue i
         WHERE i.organization_id = $1 AND i.id < $2"
            + DELIVERY_FILTER
            + "
         ORDER BY 1 DESC
         LIMIT $6",
        overdue_only,
        with_overdue,
    );
    connection.fetch_all(query).await
}
