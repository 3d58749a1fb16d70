//! The `invitations` table page by page: ids of an organization's invitations, newest first, through filters.
//!
//! Each filter that may leave few of many has an index in the order of its pages, so that a page costs the same wherever it
//! is and however few there are. Which index is used is not left to a planner: there is a statement for each, and what else
//! was asked for is looked at on the way. That stands in CASE, of which a planner thinks that half the rows pass: by its own
//! guesses it may think that so few do that it reads all of them and sorts. And the column before the id is compared as a
//! range of one value, in a row with the id. With an equality the order of ids alone would do, and a planner would walk the
//! primary key, in a table that is mostly one organization's, until it comes to what is rare or old. Of the state of its mail
//! an invitation is in no index, because such an index would be written with every mail: that filter alone walks until its
//! page is full.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::address_tag::AddressTag;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{DeliveryState, StateName};

/// What a list of invitations is narrowed to. Not `Debug`: it may hold an address.
#[derive(Default)]
pub struct ListFilter {
    /// Only those in one of these states; none means all.
    pub states: Vec<StateName>,
    /// Only those whose latest mail is in this state.
    pub delivery_state: Option<DeliveryState>,
    /// Only those for this address.
    pub email_normalized: Option<String>,
    /// Only those of this inviter.
    pub inviter_user_id: Option<String>,
    /// Only those of this call.
    pub batch_id: Option<Uuid>,
}

/// A page to find.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    /// Whose invitations.
    pub organization_id: &'a OrganizationId,
    /// Those that pass it. Of its address nothing is known here, see [`among`](Self::among).
    pub filter: &'a ListFilter,
    /// The ids that are for the filter's address; `None` if it does not matter.
    pub among: Option<&'a [Uuid]>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
    /// Now.
    pub now: OffsetDateTime,
}

/// Which rows a filter for states means. The store says `pending` of those that expired since the sweeper last looked.
struct StoredStates {
    /// Rows that say one of these.
    names: Vec<&'static str>,
    /// Whether pending ones count even if they have expired.
    with_overdue: bool,
    /// Whether those count that say `pending` and have expired, and no other pending ones.
    overdue_alone: bool,
}

impl StoredStates {
    fn of(states: &[StateName]) -> Self {
        let has = |state| states.is_empty() || states.contains(&state);
        let names = StateName::ALL.into_iter().filter(|state| has(*state));
        Self {
            names: names.map(StateName::as_str).collect(),
            with_overdue: has(StateName::Pending) && has(StateName::Expired),
            overdue_alone: !has(StateName::Pending) && has(StateName::Expired),
        }
    }
}

impl Page<'_> {
    fn before(&self) -> Uuid {
        self.before.unwrap_or(Uuid::max())
    }

    fn states(&self) -> Vec<&'static str> {
        let states = self.filter.states.iter();
        states.map(|state| state.as_str()).collect()
    }

    fn delivery_state(&self) -> Option<&'static str> {
        self.filter.delivery_state.map(DeliveryState::as_str)
    }
}

/// The ids of an organization's invitations for an address, those whose address was erased too, in no order. A statement of
/// its own, with the organization kept out of the part that reads the table: a planner without statistics would read all of
/// the organization for it.
pub async fn ids_of_address(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    email_normalized: &str,
    tags: &[AddressTag],
) -> Result<Vec<Uuid>, StoreError> {
    let tags: Vec<&[u8]> = tags.iter().map(|tag| tag.bytes.as_slice()).collect();
    let ids = sqlx::query_scalar!(
        r#"-- store::listings::ids_of_address
        SELECT id AS "id!"
          FROM (SELECT id, organization_id FROM invitations WHERE email_normalized = $2
                 UNION ALL
                SELECT id, organization_id FROM invitations WHERE address_tag = ANY($3)
                OFFSET 0) AS i
         WHERE organization_id = $1"#,
        organization_id.as_str(),
        email_normalized,
        &tags as &[&[u8]],
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(ids)
}

/// The ids of a page, newest first. For use in a transaction that is planned afresh.
pub async fn list_ids(
    connection: &mut Connection<'_>,
    page: Page<'_>,
) -> Result<Vec<Uuid>, StoreError> {
    let filter = page.filter;
    match (page.among, filter.batch_id, &filter.inviter_user_id) {
        (Some(ids), _, _) => list_of_ids(connection, page, ids).await,
        (None, Some(id), _) => list_of_batch(connection, page, id).await,
        (None, None, Some(id)) => list_of_inviter(connection, page, id).await,
        (None, None, None) => list_of_states(connection, page).await,
    }
}

/// The few ids that are known to be for an address, and of them those that are asked for.
async fn list_of_ids(
    connection: &mut Connection<'_>,
    page: Page<'_>,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "-- store::listings::list_of_ids
        SELECT i.id
          FROM UNNEST($7::uuid[]) AS asked (id)
         CROSS JOIN LATERAL (
               SELECT *
                 FROM invitations
                WHERE id = asked.id AND organization_id = $1
                LIMIT 1) AS i
         WHERE i.id < $2
           AND CASE WHEN cardinality($3::text[]) = 0 THEN true
                    WHEN i.state = 'pending' AND i.expires_at <= $4 THEN 'expired' = ANY($3)
                    ELSE i.state = ANY($3) END
           AND CASE WHEN $5::text IS NULL THEN true
                    WHEN i.delivery_state <> $5 AND $5 <> 'sending' THEN false
                    WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state = $5
                    ELSE ($5 = 'sending') = EXISTS (SELECT FROM outbox x
                                                     WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq
                                                       AND x.organization_id = i.organization_id AND x.state = 'sending') END
           AND CASE WHEN $8::text IS NULL THEN true ELSE i.inviter_user_id = $8 END
           AND CASE WHEN $9::uuid IS NULL THEN true ELSE i.batch_id = $9 END
         ORDER BY i.id DESC
         LIMIT $6",
        page.organization_id.as_str(),
        page.before(),
        &page.states() as &[&str],
        page.now,
        page.delivery_state(),
        page.limit,
        ids,
        page.filter.inviter_user_id,
        page.filter.batch_id,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(ids)
}

/// Those of one call. The organization stands in CASE too: nothing but the batch's index is left to read the table by. All
/// of a batch are of one organization, so that one look tells whether it is another's, however many it has.
async fn list_of_batch(
    connection: &mut Connection<'_>,
    page: Page<'_>,
    batch_id: Uuid,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "-- store::listings::list_of_batch
        SELECT i.id
          FROM invitations i
         WHERE (i.batch_id, i.id) < ($7, $2) AND i.batch_id >= $7
           AND $1 = (SELECT f.organization_id FROM invitations f WHERE f.batch_id >= $7 AND f.batch_id <= $7
                      ORDER BY f.batch_id DESC, f.id DESC LIMIT 1)
           AND CASE WHEN i.organization_id = $1 THEN true ELSE false END
           AND CASE WHEN cardinality($3::text[]) = 0 THEN true
                    WHEN i.state = 'pending' AND i.expires_at <= $4 THEN 'expired' = ANY($3)
                    ELSE i.state = ANY($3) END
           AND CASE WHEN $5::text IS NULL THEN true
                    WHEN i.delivery_state <> $5 AND $5 <> 'sending' THEN false
                    WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state = $5
                    ELSE ($5 = 'sending') = EXISTS (SELECT FROM outbox x
                                                     WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq
                                                       AND x.organization_id = i.organization_id AND x.state = 'sending') END
           AND CASE WHEN $8::text IS NULL THEN true ELSE i.inviter_user_id = $8 END
         ORDER BY i.batch_id DESC, i.id DESC
         LIMIT $6",
        page.organization_id.as_str(),
        page.before(),
        &page.states() as &[&str],
        page.now,
        page.delivery_state(),
        page.limit,
        batch_id,
        page.filter.inviter_user_id,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(ids)
}

/// Those of one inviter.
async fn list_of_inviter(
    connection: &mut Connection<'_>,
    page: Page<'_>,
    inviter_user_id: &str,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "-- store::listings::list_of_inviter
        SELECT i.id
          FROM invitations i
         WHERE i.organization_id = $1 AND (i.inviter_user_id, i.id) < ($7, $2) AND i.inviter_user_id >= $7
           AND CASE WHEN cardinality($3::text[]) = 0 THEN true
                    WHEN i.state = 'pending' AND i.expires_at <= $4 THEN 'expired' = ANY($3)
                    ELSE i.state = ANY($3) END
           AND CASE WHEN $5::text IS NULL THEN true
                    WHEN i.delivery_state <> $5 AND $5 <> 'sending' THEN false
                    WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state = $5
                    ELSE ($5 = 'sending') = EXISTS (SELECT FROM outbox x
                                                     WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq
                                                       AND x.organization_id = i.organization_id AND x.state = 'sending') END
         ORDER BY i.inviter_user_id DESC, i.id DESC
         LIMIT $6",
        page.organization_id.as_str(),
        page.before(),
        &page.states() as &[&str],
        page.now,
        page.delivery_state(),
        page.limit,
        inviter_user_id,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(ids)
}

/// Those in some states, or in any: a page of each state, and the newest of all of them.
///
/// What expired since the sweeper last looked is found by that, over all organizations, instead of among all that are
/// pending: there are as many as expire between two looks.
async fn list_of_states(
    connection: &mut Connection<'_>,
    page: Page<'_>,
) -> Result<Vec<Uuid>, StoreError> {
    let stored = StoredStates::of(&page.filter.states);
    let ids = sqlx::query_scalar!(
        r#"-- store::listings::list_of_states
        WITH overdue AS MATERIALIZED (
            SELECT id, organization_id, send_seq, delivery_state
              FROM invitations
             WHERE $7::boolean AND state = 'pending' AND expires_at <= $4
             ORDER BY expires_at
        )
        SELECT found.id AS "id!"
          FROM UNNEST($3::text[]) AS stored (state)
         CROSS JOIN LATERAL (
               SELECT i.id
                 FROM invitations i
                WHERE i.organization_id = $1 AND (i.state, i.id) < (stored.state, $2) AND i.state >= stored.state
                  AND CASE WHEN $8 OR i.state <> 'pending' THEN true ELSE i.expires_at > $4 END
                  AND CASE WHEN $5::text IS NULL THEN true
                           WHEN i.delivery_state <> $5 AND $5 <> 'sending' THEN false
                           WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state = $5
                           ELSE ($5 = 'sending') = EXISTS (SELECT FROM outbox x
                                                            WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq
                                                              AND x.organization_id = i.organization_id AND x.state = 'sending') END
                ORDER BY i.state DESC, i.id DESC
                LIMIT $6) AS found
         UNION ALL
        SELECT i.id
          FROM overdue i
         WHERE i.organization_id = $1 AND i.id < $2
           AND CASE WHEN $5::text IS NULL THEN true
                    WHEN i.delivery_state <> $5 AND $5 <> 'sending' THEN false
                    WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state = $5
                    ELSE ($5 = 'sending') = EXISTS (SELECT FROM outbox x
                                                     WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq
                                                       AND x.organization_id = i.organization_id AND x.state = 'sending') END
         ORDER BY 1 DESC
         LIMIT $6"#,
        page.organization_id.as_str(),
        page.before(),
        &stored.names as &[&str],
        page.now,
        page.delivery_state(),
        page.limit,
        stored.overdue_alone,
        stored.with_overdue,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(ids)
}
