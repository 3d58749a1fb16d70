//! What was kept for long enough goes: a little at a time, beside other replicas, and on after a crash.

use std::time::Duration as StdDuration;

use invitations::clock::{Clock, SystemClock};
use invitations::domain::ids::OrganizationId;
use invitations::proto::{InvitationState, ListRequest, RevokeRequest};
use invitations::service::Retention;
use invitations::store::listings::{InvitationFilter, ListQuery, ids_of_address, list_ids};
use invitations::store::planner::{force_custom_plans, force_index_order};
use invitations::store::{Connection, erasures, outbox};
use sqlx::{Connection as _, PgConnection};
use time::Duration;

use crate::support::deployment::Deployment;
use crate::support::relay::SmtpStep;
use crate::support::waiting::wait_until;
use crate::support::{ACME, START, World, created, reason};

const DAY: StdDuration = StdDuration::from_hours(24);
/// As the settings have it by default.
const USUAL: Retention = Retention {
    addresses: Some(StdDuration::from_hours(24 * 30)),
    invitations: Some(StdDuration::from_hours(24 * 395)),
    mails: Some(StdDuration::from_hours(24 * 7)),
    dead_mails: Some(StdDuration::from_hours(24 * 30)),
    audit_events: Some(StdDuration::from_hours(24 * 395)),
    events: Some(StdDuration::from_hours(24 * 7)),
    batches: Some(StdDuration::from_hours(24 * 400)),
};

/// Writes invitations past the service: those of one address each that ended at a time, with a settled mail.
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

/// Invitations in all, those with an address, and mails.
async fn left(world: &World) -> (i64, i64, i64) {
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

/// Moves the clock to a time.
fn set(world: &World, time: time::OffsetDateTime) {
    world.clock.advance(time - Clock::now(&*world.clock));
}

async fn purge(world: &World, retention: &Retention) {
    world.service.sweep().await.unwrap();
    world.service.purge(retention).await.unwrap();
}

#[tokio::test]
async fn an_act_is_forgotten_after_a_year_and_a_month() {
    let world = World::start().await;
    world.add_user("barbara", "Barbara", &[]).await;
    let events = async || {
        let count = "SELECT count(*) FROM audit_events";
        let mut database = world.database().await;
        let count: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut database)
            .await
            .unwrap();
        count
    };
    let before = events().await;
    assert!(before > 0);
    set(&world, START + Duration::days(395) - Duration::SECOND);
    purge(&world, &USUAL).await;
    assert_eq!(events().await, before);
    set(&world, START + Duration::days(395) + Duration::SECOND);
    purge(&world, &USUAL).await;
    assert_eq!(events().await, 0);
}

#[tokio::test]
async fn an_ended_invitation_loses_its_address_after_a_while_and_is_deleted_after_a_long_one() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("accepted@b.co").await;
    world.accept(&token, "u-1", "accepted@b.co").await.unwrap();
    let (expired, _) = world.invite_one("expired@b.co").await;
    let (revoked, _) = world.invite_one("revoked@b.co").await;
    world.clock.advance(Duration::days(1));
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: revoked.id.clone(),
        user_id: String::new(),
    };
    world.client().revoke(revoke).await.unwrap();
    let emails = async || {
        let mut emails = Vec::new();
        for id in [&accepted.id, &revoked.id, &expired.id] {
            emails.push(world.get(id).await.email);
        }
        emails
    };

    // 30 days after each ended, and not a second before.
    set(&world, START + Duration::days(30) - Duration::SECOND);
    purge(&world, &USUAL).await;
    assert_eq!(
        emails().await,
        ["accepted@b.co", "revoked@b.co", "expired@b.co"]
    );
    set(&world, START + Duration::days(30));
    purge(&world, &USUAL).await;
    assert_eq!(emails().await, ["", "revoked@b.co", "expired@b.co"]);
    set(&world, START + Duration::days(31));
    purge(&world, &USUAL).await;
    assert_eq!(emails().await, ["", "", "expired@b.co"]);
    set(&world, START + Duration::days(60));
    purge(&world, &USUAL).await;
    assert_eq!(emails().await, ["", "", ""]);
    assert_eq!(
        world.get(&expired.id).await.state(),
        InvitationState::Expired
    );
    let answer = world.accept(&token, "u-1", "accepted@b.co").await;
    assert_eq!(reason(answer), "TOKEN_INVALID");
    let list = ListRequest {
        organization_id: ACME.to_owned(),
        email: "expired@b.co".to_owned(),
        ..Default::default()
    };
    let found = world.client().list(list).await.unwrap().into_inner();
    assert_eq!(found.invitations[0].id, expired.id);

    set(&world, START + Duration::days(395) - Duration::SECOND);
    purge(&world, &USUAL).await;
    assert_eq!(left(&world).await, (3, 0, 0));
    for (days, expected) in [(395, 2), (396, 1), (425, 0)] {
        set(&world, START + Duration::days(days));
        purge(&world, &USUAL).await;
        assert_eq!(left(&world).await.0, expected, "{days}");
    }
    let mut database = world.database().await;
    let members: i64 = sqlx::query_scalar("SELECT count(*) FROM memberships WHERE user_id = 'u-1'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(members, 1);
}

#[tokio::test]
async fn the_queue_forgets_what_was_sent_before_what_was_given_up_and_never_what_waits() {
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
        set(&world, START + age);
        world.service.purge(&USUAL).await.unwrap();
    };
    purge_at(Duration::days(7) - Duration::SECOND).await;
    assert_eq!(states().await, ["dead", "queued", "sent"]);
    purge_at(Duration::days(7)).await;
    assert_eq!(states().await, ["dead", "queued"]);
    purge_at(Duration::days(30) - Duration::SECOND).await;
    assert_eq!(states().await, ["dead", "queued"]);
    purge_at(Duration::days(30)).await;
    assert_eq!(states().await, ["queued"]);
    // The invitation still says what became of its mail.
    let delivery = world.get(&dead).await.delivery.unwrap();
    assert!(delivery.last_error.contains("not from you"));
    world.may_leave_mail();
}

#[tokio::test]
async fn what_is_kept_for_ever_stays_and_what_is_erased_is_deleted_on_its_own_time() {
    let world = World::start().await;
    insert_ended(&mut world.database().await, 3, START).await;
    world.clock.advance(Duration::days(4_000));
    world.service.purge(&Retention::default()).await.unwrap();
    assert_eq!(left(&world).await, (3, 3, 3));
    // Whose address is kept for ever, but not the invitation, has it as long as that.
    let invitations_alone = Retention {
        invitations: Some(DAY * 395),
        ..Retention::default()
    };
    world.service.purge(&invitations_alone).await.unwrap();
    assert_eq!(left(&world).await, (0, 0, 0));
}

#[tokio::test]
async fn replicas_purge_beside_each_other() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_ended(&mut database, 3_000, START - Duration::days(100)).await;
    insert_ended(&mut database, 3_000, START - Duration::days(500)).await;
    let replicas: Vec<_> = (0..4)
        .map(|_| world.service_with_keys(crate::support::KEYS))
        .collect();
    // Whoever finds everything held passes over it; so it may take a second turn.
    for _ in 0..2 {
        let purges = replicas.iter().map(|service| service.purge(&USUAL));
        for purged in futures::future::join_all(purges).await {
            purged.unwrap();
        }
    }
    world.service.purge(&USUAL).await.unwrap();
    assert_eq!(counts(&mut database).await, (3_000, 0, 0));
    let deadlocks: i64 = sqlx::query_scalar(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

#[tokio::test]
async fn a_purge_waits_for_nobody_and_comes_back_for_what_was_held() {
    let world = World::start().await;
    let mut database = world.database().await;
    insert_ended(&mut database, 5, START - Duration::days(100)).await;
    let mut holding = database.begin().await.unwrap();
    sqlx::query("SELECT FROM invitations LIMIT 2 FOR UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    world.service.purge(&USUAL).await.unwrap();
    assert_eq!(left(&world).await, (5, 2, 0));
    holding.rollback().await.unwrap();
    world.service.purge(&USUAL).await.unwrap();
    assert_eq!(left(&world).await, (5, 0, 0));
}

#[tokio::test]
async fn a_process_that_dies_in_the_middle_leaves_the_rest_to_the_next_one() {
    let deployment = Deployment::create().await;
    let now = SystemClock.now();
    let mut database = deployment.database.connect().await;
    insert_ended(&mut database, 20_000, now - Duration::days(400)).await;
    // Slow enough to be killed in the middle, on whatever machine.
    sqlx::raw_sql(
        "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
         CREATE TRIGGER nap AFTER UPDATE ON invitations FOR EACH STATEMENT EXECUTE FUNCTION nap()",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let quickly = [("INVITATIONS_SWEEP_INTERVAL", "10ms")];
    for _ in 0..2 {
        let (_, erased_before, _) = counts(&mut database).await;
        let running = deployment.start("serve", &quickly);
        wait_until("some progress", async || {
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
    sqlx::query("DROP TRIGGER nap ON invitations")
        .execute(&mut database)
        .await
        .unwrap();
    let running = deployment.start("serve", &quickly);
    wait_until("the end", async || {
        counts(&mut deployment.database.connect().await).await == (0, 0, 0)
    })
    .await;
    assert!(running.log().contains("a purge is more than a day late"));
}

/// Pages that a unit of work reads, in all tables and indexes, planned for what is there.
pub(crate) async fn pages<T>(
    database: &mut PgConnection,
    work: impl AsyncFnOnce(&mut Connection) -> T,
) -> (i64, T) {
    let planned = async |connection: &mut Connection| {
        force_custom_plans(connection).await.unwrap();
        work(connection).await
    };
    pages_as_usual(database, planned).await
}

/// The same by plans that the connection has kept.
pub(crate) async fn pages_as_usual<T>(
    database: &mut PgConnection,
    work: impl AsyncFnOnce(&mut Connection) -> T,
) -> (i64, T) {
    // Of its own transaction alone: others, such as autovacuum, are at work in the same database.
    const PAGES: &str =
        "SELECT coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::bigint FROM pg_class
                          WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')";
    async fn fetched(connection: &mut PgConnection) -> i64 {
        sqlx::query_scalar(PAGES)
            .fetch_one(connection)
            .await
            .unwrap()
    }
    let mut transaction = database.begin().await.unwrap();
    let before = fetched(&mut transaction).await;
    let done = work(&mut Connection::new(&mut transaction)).await;
    let after = fetched(&mut transaction).await;
    transaction.rollback().await.unwrap();
    (after - before, done)
}

#[tokio::test]
async fn a_purge_with_nothing_to_do_and_a_list_by_address_read_a_handful_of_pages() {
    let world = World::start().await;
    let mut database = world.database().await;
    let (count, pages_max) = (100_000, 40);
    insert_ended(&mut database, count, START).await;
    // The half that has no address any more is passed over too.
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
        let by = START - Duration::days(1);
        let (read, locked) = pages(&mut database, async |connection: &mut Connection| {
            erasures::lock_ended(connection, by, 500)
                .await
                .unwrap()
                .len()
        })
        .await;
        assert!(locked == 0 && read <= pages_max, "lock_ended: {read}");
        let (read, deleted) = pages(&mut database, async |connection: &mut Connection| {
            erasures::delete_ended(connection, by, 500)
                .await
                .unwrap()
                .count
        })
        .await;
        assert!(deleted == 0 && read <= pages_max, "delete_ended: {read}");
        let (read, purged) = pages(&mut database, async |connection: &mut Connection| {
            let settled = outbox::purge_settled(connection, by, 500).await.unwrap();
            let dead = outbox::purge_dead(connection, by, 500).await.unwrap();
            settled.count + dead.count
        })
        .await;
        assert!(purged == 0 && read <= pages_max, "outbox: {read}");

        let (read, locked) = pages(&mut database, async |connection: &mut Connection| {
            let locked = erasures::lock_of_address(connection, "person77777@b.co", 500, START);
            locked.await.unwrap().len()
        })
        .await;
        assert!(locked == 1 && read <= pages_max, "lock_of_address: {read}");
        let tagger = invitations::domain::address_tag::AddressTagger::new(
            &invitations::domain::keyring::Keyring::parse(crate::support::KEYS).unwrap(),
        );
        let organization_id = OrganizationId::parse(ACME).unwrap();
        let (email, filter) = ("person77777@b.co", InvitationFilter::default());
        let tags = [tagger.tag_of_normalized(email)];
        let (read, found) = pages(&mut database, async |connection: &mut Connection| {
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
        assert!(found == 1 && read <= pages_max, "list_ids: {read}");

        // And where there is something to do, it costs what it does and not what there is.
        let (read, locked) = pages(&mut database, async |connection: &mut Connection| {
            erasures::lock_ended(connection, START, 500)
                .await
                .unwrap()
                .len()
        })
        .await;
        assert!(locked == 500 && read <= 2_000, "a batch: {read}");
    }
}
