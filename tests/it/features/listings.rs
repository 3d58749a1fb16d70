//! The cost of listing a page and of canceling a message, in pages of tables and indexes: it depends on the rows found and not
//! on the size of the tables.

use invitations::domain::ids::OrganizationId;
use invitations::domain::invitation::{DeliveryState, InvitationFilter, StateName};
use invitations::store::Connection;
use invitations::store::invitations::{EndReason, ResendItem, end_many, resend_many};
use invitations::store::listings::{ListQuery, list_ids};
use invitations::store::planner::force_index_order;
use invitations::store::stored_invitations;
use sqlx::{Executor as _, PgConnection};
use time::Duration;
use uuid::Uuid;

use crate::support::page_reads::{count_pages_read, count_pages_read_with_kept_plans};
use crate::support::{ACME, START, World};

/// A batch of 20 invitations in the middle of the table.
const MIDDLE: Uuid = Uuid::from_u128(7);
/// A batch of the oldest two fifths of the table.
const FORMER: Uuid = Uuid::from_u128(9);
/// A batch of another organization, as large as the rest of the table.
const OTHERS: Uuid = Uuid::from_u128(8);
const COUNT: i32 = 60_000;
/// For 101 rows, each with its message, and for finding the first row of each state.
const PAGES_MAX: i64 = 5 * 101 + 200;

/// Inserts the invitations of one organization. Most are accepted, the oldest are declined or have a rare inviter, and few are
/// pending. The oldest two fifths have one batch and one inviter, who has no later invitations.
async fn insert_invitations(database: &mut PgConnection) {
    sqlx::query(
        "INSERT INTO invitations
                (id, batch_id, created_at, updated_at, expires_at, generation, send_seq, delivery_attempts, key_id, state,
                 accept_policy, delivery_state, nonce, organization_id, email, email_normalized, role, inviter_user_id,
                 locale, redirect_url, message)
         SELECT lpad(to_hex(n + 10), 32, '0')::uuid,
                CASE WHEN n < 24000 THEN $4 WHEN n BETWEEN 30000 AND 30019 THEN $2
                     ELSE lpad(to_hex(n / 100 + 10), 32, '0')::uuid END,
                $3, $3, $3 + CASE WHEN n % 1000 = 7 THEN interval '-1 day' ELSE interval '1 day' END, 1, 1, 1, 1,
                CASE WHEN n < 50 THEN 'declined' WHEN n % 1000 IN (7, 8) THEN 'pending' ELSE 'accepted' END,
                'invited_email', 'sent', decode(repeat('00', 16), 'hex'), 'acme', 'person' || n || '@b.co',
                'person' || n || '@b.co', 'member', CASE WHEN n < 40 THEN 'rare' WHEN n < 24000 THEN 'bob' ELSE 'ada' END,
                '', '', ''
           FROM generate_series(0, $1 - 1) AS n",
    )
    .bind(COUNT)
    .bind(MIDDLE)
    .bind(START)
    .bind(FORMER)
    .execute(&mut *database)
    .await
    .unwrap();
}

/// Copies all invitations into one batch of another organization.
async fn insert_others(database: &mut PgConnection) {
    sqlx::query(
        "INSERT INTO invitations
                (id, batch_id, created_at, updated_at, expires_at, generation, send_seq, delivery_attempts, key_id, state,
                 accept_policy, delivery_state, nonce, organization_id, email, email_normalized, role, inviter_user_id,
                 locale, redirect_url, message)
         SELECT gen_random_uuid(), $1, created_at, updated_at, expires_at, generation, send_seq, delivery_attempts, key_id,
                state, accept_policy, delivery_state, nonce, 'globex', email, email_normalized, role, inviter_user_id,
                locale, redirect_url, message
           FROM invitations",
    )
    .bind(OTHERS)
    .execute(database)
    .await
    .unwrap();
}

#[tokio::test]
async fn every_page_and_every_filter_reads_a_bounded_number_of_pages() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_invitations(&mut database).await;
    let organization_id = OrganizationId::parse(ACME).unwrap();
    let states = |states: &[StateName]| InvitationFilter {
        states: states.to_vec(),
        ..InvitationFilter::default()
    };
    let inviter = |id: &str| InvitationFilter {
        inviter_user_id: Some(id.to_owned()),
        ..InvitationFilter::default()
    };
    let batch = InvitationFilter {
        batch_id: Some(MIDDLE),
        ..InvitationFilter::default()
    };
    let former = InvitationFilter {
        batch_id: Some(FORMER),
        ..InvitationFilter::default()
    };
    let accepted = |inviter_user_id, batch_id| InvitationFilter {
        inviter_user_id,
        batch_id,
        ..states(&[StateName::Accepted])
    };
    let others = InvitationFilter {
        batch_id: Some(OTHERS),
        ..InvitationFilter::default()
    };
    let sent = |inviter_user_id| InvitationFilter {
        delivery_states: vec![DeliveryState::Sent, DeliveryState::Bounced],
        inviter_user_id,
        ..InvitationFilter::default()
    };
    let middle = Some(Uuid::from_u128(30_000));
    let cases = [
        (states(&[]), None, 101),
        (states(&[]), middle, 101),
        (states(&[StateName::Accepted]), middle, 101),
        (states(&[StateName::Declined]), None, 50),
        (states(&[StateName::Pending]), None, 59),
        (states(&[StateName::Expired]), None, 59),
        (states(&[StateName::Expired, StateName::Pending]), None, 101),
        (
            states(&[StateName::Declined, StateName::Pending]),
            None,
            101,
        ),
        (states(&[StateName::Declined, StateName::Revoked]), None, 50),
        (states(&[StateName::Revoked]), None, 0),
        (inviter("ada"), middle, 101),
        (inviter("bob"), None, 101),
        (inviter("rare"), None, 40),
        (inviter("nobody"), None, 0),
        (batch, None, 20),
        (former, None, 101),
        (accepted(Some("ada".to_owned()), None), middle, 101),
        (accepted(None, Some(MIDDLE)), None, 18),
        (others, None, 0),
        (sent(None), middle, 101),
        (sent(Some("ada".to_owned())), middle, 101),
    ];
    // Without and with the other organization, before and after ANALYZE.
    for (with_others, is_analyzed) in [(false, false), (false, true), (true, false), (true, true)] {
        if with_others && !is_analyzed {
            insert_others(&mut database).await;
        }
        if is_analyzed {
            database.execute("VACUUM ANALYZE").await.unwrap();
        }
        for (number, (filter, before, count)) in cases.iter().enumerate() {
            let page = ListQuery {
                organization_id: &organization_id,
                filter,
                address_ids: None,
                before: *before,
                limit: 101,
                now: START,
            };
            let (read, found) =
                count_pages_read(&mut database, async |connection: &mut Connection| {
                    force_index_order(connection).await.unwrap();
                    list_ids(connection, page).await.unwrap()
                })
                .await;
            assert!(
                found.len() == *count && found.is_sorted_by(|one, next| one > next),
                "case {number}: {}",
                found.len()
            );
            assert!(
                read <= PAGES_MAX,
                "case {number}: {read} pages, with others: {with_others}, analyzed: {is_analyzed}"
            );
        }
    }
}

#[tokio::test]
async fn an_invitation_is_read_by_its_key_with_a_plan_made_for_an_empty_table() {
    let world = World::start().await;
    let mut database = world.database().await;
    for table in [
        "invitations",
        "organizations",
        "users",
        "user_emails",
        "outbox",
    ] {
        let statement = format!("ALTER TABLE {table} SET (autovacuum_enabled = off)");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut database)
            .await
            .unwrap();
    }
    // A pending invitation.
    let id = Uuid::from_u128(30_018);
    // After five executions, Postgres may switch to a generic plan.
    for _ in 0..10 {
        let found = stored_invitations::find(&mut Connection::new(&mut database), id, START)
            .await
            .unwrap();
        assert!(found.is_none());
    }
    insert_invitations(&mut database).await;
    let (read, found) =
        count_pages_read_with_kept_plans(&mut database, async |connection: &mut Connection| {
            stored_invitations::find(connection, id, START)
                .await
                .unwrap()
        })
        .await;
    assert!(found.is_some());
    assert!(read <= 40, "{read} pages");
}

#[tokio::test]
async fn a_message_to_cancel_is_found_by_its_key_among_many_queued_messages() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut database = world.database().await;
    insert_invitations(&mut database).await;
    // The statistics are gathered while no message is queued, so the planner believes that the index of queued messages is empty.
    sqlx::query("INSERT INTO outbox (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
                 SELECT id, organization_id, 0, 'sent', 1, created_at, created_at FROM invitations")
        .execute(&mut database)
        .await
        .unwrap();
    database.execute("VACUUM ANALYZE").await.unwrap();
    database
        .execute("ALTER TABLE outbox SET (autovacuum_enabled = off)")
        .await
        .unwrap();
    database
        .execute("UPDATE outbox SET send_seq = 1, state = 'queued'")
        .await
        .unwrap();
    let organization_id = OrganizationId::parse(ACME).unwrap();
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM invitations WHERE state = 'pending' ORDER BY id")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let items: Vec<ResendItem> = ids
        .iter()
        .map(|id| ResendItem {
            id: *id,
            expires_at: START + Duration::days(9),
            nonce: None,
            send_seq: None,
        })
        .collect();
    let (read, resent) = count_pages_read(&mut database, async |connection: &mut Connection| {
        force_index_order(connection).await.unwrap();
        resend_many(connection, &organization_id, &items, 1, START)
            .await
            .unwrap()
            .len()
    })
    .await;
    let pages_max = 118 * 60;
    assert!(
        resent == 118 && read <= pages_max,
        "resend_many: {resent}, {read}"
    );
    let targets: Vec<_> = ids.iter().map(|id| (*id, ACME.to_owned())).collect();
    let (read, ended) = count_pages_read(&mut database, async |connection: &mut Connection| {
        force_index_order(connection).await.unwrap();
        let end = EndReason::Revoked { by_user_id: None };
        end_many(connection, &targets, end, START)
            .await
            .unwrap()
            .len()
    })
    .await;
    assert!(
        ended == 118 && read <= pages_max,
        "end_many: {ended}, {read}"
    );
}
