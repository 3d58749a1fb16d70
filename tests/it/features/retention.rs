//! Retention: rows are deleted in small batches when their period is over, beside other replicas, and after a crash too.

use std::time::Duration as StdDuration;

use invitations::clock::{Clock, SystemClock};
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::ids::OrganizationId;
use invitations::domain::invitation::InvitationFilter;
use invitations::domain::keyring::Keyring;
use invitations::proto::{InvitationState, ListRequest};
use invitations::service::Retention;
use invitations::store::listings::{ListQuery, ids_of_address, list_ids};
use invitations::store::planner::force_index_order;
use invitations::store::{Connection, erasures, outbox};
use sqlx::{Connection as _, PgConnection};
use time::Duration;

use crate::support::deadlocks::assert_no_deadlocks;
use crate::support::deployment::Deployment;
use crate::support::page_reads::count_pages_read;
use crate::support::relay::SmtpStep;
use crate::support::waiting::wait_until;
use crate::support::{ACME, KEYS, START, World, created, list_request, reason};

const DAY: StdDuration = StdDuration::from_hours(24);
/// The default settings.
const DEFAULT_PERIODS: Retention = Retention {
    addresses: Some(StdDuration::from_hours(24 * 30)),
    invitations: Some(StdDuration::from_hours(24 * 395)),
    mails: Some(StdDuration::from_hours(24 * 7)),
    dead_mails: Some(StdDuration::from_hours(24 * 30)),
    audit_events: Some(StdDuration::from_hours(24 * 395)),
    events: Some(StdDuration::from_hours(24 * 7)),
    batches: Some(StdDuration::from_hours(24 * 400)),
};

/// Inserts `count` revoked invitations of different addresses, each with a sent message, directly into the database.
async fn insert_ended(database: &mut PgConnection, count: i32, ended_at: time::OffsetDateTime) {
    sqlx::query(
        "WITH made AS (
            INSERT INTO invitations
                   (id, batch_id, created_at, updated_at, expires_at, ended_at, generation, send_seq, delivery_attempts,
                    key_id, state, accept_policy, delivery_state, nonce, organization_id, email, email_normalized, role,
                    inviter_user_id, locale, redirect_url, message)
            SELECT gen_random_uuid(), gen_random_uuid(), $2, $2, $2 + interval '30 days', $2, 1, 1, 1, 1, 'revoked',
                   'invited_email', 'sent', decode(repeat('00', 16), 'hex'), 'acme', 'person' || n || '@b.co',
                   'person' || n || '@b.co', 'member', 'ada', '', '', ''
              FROM generate_series(1, $1) AS n
            RETURNING id)
         INSERT INTO outbox (invitation_id, created_at, next_attempt_at, send_seq, attempts, state, organization_id)
         SELECT id, $2, $2, 1, 1, 'sent', 'acme' FROM made",
    )
    .bind(count)
    .bind(ended_at)
    .execute(database)
    .await
    .unwrap();
}

/// Counts the invitations, those with an address, and the messages.
async fn stored(world: &World) -> (i64, i64, i64) {
    counts(&mut world.database().await).await
}

async fn counts(database: &mut PgConnection) -> (i64, i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations), (SELECT count(email) FROM invitations),
                (SELECT count(*) FROM outbox)",
    )
    .fetch_one(database)
    .await
    .unwrap()
}

/// Advances the clock to a time.
fn set_clock(world: &World, time: time::OffsetDateTime) {
    world.clock.advance(time - Clock::now(&*world.clock));
}

async fn purge(world: &World, retention: &Retention) {
    world.service.sweep().await.unwrap();
    world.service.purge(retention).await.unwrap();
}

#[tokio::test]
async fn audit_events_are_deleted_after_395_days() {
    let world = World::start().await;
    world.add_user("barbara", "Barbara", &[]).await;
    let events = async || world.count("audit_events").await;
    let before = events().await;
    assert!(before > 0);
    set_clock(&world, START + Duration::days(395) - Duration::SECOND);
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(events().await, before);
    set_clock(&world, START + Duration::days(395) + Duration::SECOND);
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(events().await, 0);
}

#[tokio::test]
async fn an_ended_invitation_loses_its_address_after_30_days_and_is_deleted_after_395() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("accepted@b.co").await;
    world.accept(&token, "u-1", "accepted@b.co").await.unwrap();
    let (expired, _) = world.invite_one("expired@b.co").await;
    let (revoked, _) = world.invite_one("revoked@b.co").await;
    world.clock.advance(Duration::days(1));
    world.revoke(&revoked.id).await;
    let emails = async || {
        let mut emails = Vec::new();
        for id in [&accepted.id, &revoked.id, &expired.id] {
            emails.push(world.get(id).await.email);
        }
        emails
    };

    // Each address is deleted 30 days after its invitation has ended, and not a second before.
    set_clock(&world, START + Duration::days(30) - Duration::SECOND);
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(
        emails().await,
        ["accepted@b.co", "revoked@b.co", "expired@b.co"]
    );
    set_clock(&world, START + Duration::days(30));
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(emails().await, ["", "revoked@b.co", "expired@b.co"]);
    set_clock(&world, START + Duration::days(31));
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(emails().await, ["", "", "expired@b.co"]);
    set_clock(&world, START + Duration::days(60));
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(emails().await, ["", "", ""]);
    assert_eq!(
        world.get(&expired.id).await.state(),
        InvitationState::Expired
    );
    let answer = world.accept(&token, "u-1", "accepted@b.co").await;
    assert_eq!(reason(answer), "TOKEN_INVALID");
    let list = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some("expired@b.co".to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let found = world.list(list).await;
    assert_eq!(found.invitations[0].id, expired.id);

    set_clock(&world, START + Duration::days(395) - Duration::SECOND);
    purge(&world, &DEFAULT_PERIODS).await;
    assert_eq!(stored(&world).await, (3, 0, 0));
    for (days, expected) in [(395, 2), (396, 1), (425, 0)] {
        set_clock(&world, START + Duration::days(days));
        purge(&world, &DEFAULT_PERIODS).await;
        assert_eq!(stored(&world).await.0, expected, "{days}");
    }
    assert_eq!(world.count("memberships WHERE user_id = 'u-1'").await, 1);
}

#[tokio::test]
async fn the_outbox_deletes_sent_emails_after_7_days_dead_letters_after_30_and_queued_ones_never() {
    let mut world = World::start().await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
    let dead = created(&world.invite(&["dead@b.co"]).await.results[0]).id;
    world.deliver_all().await;
    world.invite_one("sent@b.co").await;
    world.relay.reply_once(SmtpStep::Rcpt, "450 4.2.1 later");
    world.invite(&["waits@b.co"]).await;
    world.deliver_all().await;
    let states = async || {
        let mut database = world.database().await;
        sqlx::query_scalar::<_, String>("SELECT state FROM outbox ORDER BY state")
            .fetch_all(&mut database)
            .await
            .unwrap()
    };
    let purge_at = async |age: Duration| {
        set_clock(&world, START + age);
        world.service.purge(&DEFAULT_PERIODS).await.unwrap();
    };
    purge_at(Duration::days(7) - Duration::SECOND).await;
    assert_eq!(states().await, ["dead", "queued", "sent"]);
    purge_at(Duration::days(7)).await;
    assert_eq!(states().await, ["dead", "queued"]);
    purge_at(Duration::days(30) - Duration::SECOND).await;
    assert_eq!(states().await, ["dead", "queued"]);
    purge_at(Duration::days(30)).await;
    assert_eq!(states().await, ["queued"]);
    // The invitation still has the result of its delivery.
    let delivery = world.get(&dead).await.delivery.unwrap();
    assert!(delivery.last_error.contains("not from you"));
    world.may_leave_mail();
}

#[tokio::test]
async fn a_purge_without_periods_deletes_nothing_and_each_period_applies_alone() {
    let world = World::start().await;
    insert_ended(&mut world.database().await, 3, START).await;
    world.clock.advance(Duration::days(4_000));
    world.service.purge(&Retention::default()).await.unwrap();
    assert_eq!(stored(&world).await, (3, 3, 3));
    // Without a period for addresses, the address is deleted together with its invitation.
    let invitations_alone = Retention {
        invitations: Some(DAY * 395),
        ..Retention::default()
    };
    world.service.purge(&invitations_alone).await.unwrap();
    assert_eq!(stored(&world).await, (0, 0, 0));
}

#[tokio::test]
async fn replicas_purge_concurrently_without_deadlock() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_ended(&mut database, 3_000, START - Duration::days(100)).await;
    insert_ended(&mut database, 3_000, START - Duration::days(500)).await;
    let replicas: Vec<_> = (0..4).map(|_| world.service_with_keys(KEYS)).collect();
    // A replica skips rows that others have locked, so a second purge may be necessary.
    for _ in 0..2 {
        let purges = replicas
            .iter()
            .map(|service| service.purge(&DEFAULT_PERIODS));
        for purged in futures::future::join_all(purges).await {
            purged.unwrap();
        }
    }
    world.service.purge(&DEFAULT_PERIODS).await.unwrap();
    assert_eq!(counts(&mut database).await, (3_000, 0, 0));
    assert_no_deadlocks(database).await;
}

#[tokio::test]
async fn a_purge_skips_locked_rows_and_handles_them_in_the_next_run() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_ended(&mut database, 5, START - Duration::days(100)).await;
    let mut transaction = database.begin().await.unwrap();
    sqlx::query("SELECT FROM invitations LIMIT 2 FOR UPDATE")
        .execute(&mut *transaction)
        .await
        .unwrap();
    world.service.purge(&DEFAULT_PERIODS).await.unwrap();
    assert_eq!(stored(&world).await, (5, 2, 0));
    transaction.rollback().await.unwrap();
    world.service.purge(&DEFAULT_PERIODS).await.unwrap();
    assert_eq!(stored(&world).await, (5, 0, 0));
}

#[tokio::test]
async fn a_purge_interrupted_by_a_crash_is_continued_by_the_next_process() {
    let deployment = Deployment::create().await;
    let now = SystemClock.now();
    let mut database = deployment.database.connect().await;
    insert_ended(&mut database, 20_000, now - Duration::days(400)).await;
    // So slow that a crash interrupts the purge on every machine.
    sqlx::raw_sql(
        "CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
         CREATE TRIGGER delay AFTER UPDATE ON invitations FOR EACH STATEMENT EXECUTE FUNCTION delay()",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let short_interval = [("INVITATIONS_SWEEP_INTERVAL", "10ms")];
    for _ in 0..2 {
        let (_, erased_before, _) = counts(&mut database).await;
        let running = deployment.start("serve", &short_interval);
        wait_until("the purge to progress", async || {
            counts(&mut deployment.database.connect().await).await.1 < erased_before
        })
        .await;
        let (rows, with_address, _) = counts(&mut database).await;
        assert!(
            rows == 20_000 && with_address > 0 && with_address % 500 == 0,
            "{rows} rows, {with_address} with an address"
        );
        running.crash().await;
    }
    sqlx::query("DROP TRIGGER delay ON invitations")
        .execute(&mut database)
        .await
        .unwrap();
    let running = deployment.start("serve", &short_interval);
    wait_until("the purge to complete", async || {
        counts(&mut deployment.database.connect().await).await == (0, 0, 0)
    })
    .await;
    assert!(running.log().contains("a purge is more than a day late"));
}

/// The most pages that an idle purge or a list by address may read.
const PAGES_MAX: i64 = 40;

/// Asserts that each statement of a purge that finds nothing reads few pages.
async fn assert_idle_purge_is_cheap(database: &mut PgConnection) {
    let by = START - Duration::days(1);
    let (read, locked) = count_pages_read(database, async |connection: &mut Connection| {
        let locked = erasures::lock_ended(connection, by, 500).await;
        locked.unwrap().len()
    })
    .await;
    assert!(locked == 0 && read <= PAGES_MAX, "lock_ended: {read}");
    let (read, deleted) = count_pages_read(database, async |connection: &mut Connection| {
        let deleted = erasures::delete_ended(connection, by, 500).await;
        deleted.unwrap().count
    })
    .await;
    assert!(deleted == 0 && read <= PAGES_MAX, "delete_ended: {read}");
    let (read, purged) = count_pages_read(database, async |connection: &mut Connection| {
        let settled = outbox::purge_settled(connection, by, 500).await.unwrap();
        let dead = outbox::purge_dead(connection, by, 500).await.unwrap();
        settled.count + dead.count
    })
    .await;
    assert!(purged == 0 && read <= PAGES_MAX, "outbox: {read}");
}

/// Asserts that finding the invitations of one address reads few pages.
async fn assert_lookup_by_address_is_cheap(database: &mut PgConnection) {
    let email = "person77777@b.co";
    let (read, locked) = count_pages_read(database, async |connection: &mut Connection| {
        let locked = erasures::lock_of_address(connection, email, 500, START).await;
        locked.unwrap().len()
    })
    .await;
    assert!(locked == 1 && read <= PAGES_MAX, "lock_of_address: {read}");
    let tagger = AddressTagger::new(&Keyring::parse(KEYS).unwrap());
    let tags = [tagger.tag_of_normalized(email)];
    let organization_id = OrganizationId::parse(ACME).unwrap();
    let filter = InvitationFilter::default();
    let (read, found) = count_pages_read(database, async |connection: &mut Connection| {
        force_index_order(connection).await.unwrap();
        let ids = ids_of_address(connection, &organization_id, email, &tags);
        let ids = ids.await.unwrap();
        let page = ListQuery {
            organization_id: &organization_id,
            filter: &filter,
            address_ids: Some(&ids),
            before: None,
            limit: 101,
            now: START,
        };
        list_ids(connection, page).await.unwrap().len()
    })
    .await;
    assert!(found == 1 && read <= PAGES_MAX, "list_ids: {read}");
}

#[tokio::test]
async fn an_idle_purge_and_a_list_by_address_read_few_pages() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_ended(&mut database, 100_000, START).await;
    // The addresses of one half are erased already, and the purge must skip them.
    sqlx::query(
        "UPDATE invitations
            SET email = NULL, email_normalized = NULL, address_tag = sha256(id::text::bytea), address_tag_key_id = 1
          WHERE email_normalized ~ '[02468]@'",
    )
    .execute(&mut database)
    .await
    .unwrap();
    for is_analyzed in [false, true] {
        if is_analyzed {
            sqlx::query("VACUUM ANALYZE")
                .execute(&mut database)
                .await
                .unwrap();
        }
        assert_idle_purge_is_cheap(&mut database).await;
        assert_lookup_by_address_is_cheap(&mut database).await;
        // A purge with work to do costs the size of its batch and not the size of the table.
        let (read, locked) =
            count_pages_read(&mut database, async |connection: &mut Connection| {
                let locked = erasures::lock_ended(connection, START, 500).await;
                locked.unwrap().len()
            })
            .await;
        assert!(locked == 500 && read <= 2_000, "a batch: {read}");
    }
}
