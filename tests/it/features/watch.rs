//! Watch: events come as they are committed, once in a stream, and again after a break rather than never.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{
    BulkRevokeRequest, DeleteMembershipRequest, DeleteOrganizationRequest, Event, EventType,
    RevokeFilter, WatchRequest, WatchResponse,
};
use invitations::service::Retention;
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::support::batch_counts::{assert_batch_counts, wait_until_events_are_final};
use crate::support::callers::caller_channel;
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    ACME, EVENTS_KEPT, InvitationClient, OTHER, START, World, created, invite_request, reason,
};

/// So soon that no test waits for it, and so late that no test is helped by it.
const SOON: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_hours(1);
/// Longer than anything takes that works, and shorter than the silence of a watch.
const PATIENCE: Duration = Duration::from_secs(15);

/// A stream and all that came of it.
pub(crate) struct Watching {
    stream: Streaming<WatchResponse>,
    pub(crate) events: Vec<Event>,
    /// Each cursor, with how many events had come by then.
    pub(crate) cursors: Vec<(String, usize)>,
}

/// Everything of ACME, from the oldest on.
pub(crate) fn acme() -> WatchRequest {
    WatchRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    }
}

fn from_now() -> WatchRequest {
    WatchRequest {
        from_now: true,
        ..acme()
    }
}

fn after(cursor: &str) -> WatchRequest {
    WatchRequest {
        cursor: cursor.to_owned(),
        ..acme()
    }
}

impl Watching {
    /// Begins, and waits for the first response.
    pub(crate) async fn begin(client: InvitationClient, request: WatchRequest) -> Self {
        let stream = begin(client, request).await.unwrap();
        let mut watching = Self {
            stream,
            events: Vec::new(),
            cursors: Vec::new(),
        };
        watching.next().await.unwrap();
        watching
    }

    /// The next response.
    async fn next(&mut self) -> Result<(), Status> {
        let response = tokio::time::timeout(PATIENCE, self.stream.message());
        let response = response.await.expect("there was nothing to hear")?;
        let response = response.expect("a watch does not end by itself");
        assert!(response.events.len() <= 1_000);
        self.events.extend(response.events);
        self.cursors.push((response.cursor, self.events.len()));
        Ok(())
    }

    /// Waits for so many events in all.
    pub(crate) async fn until(&mut self, count: usize) {
        while self.events.len() < count {
            self.next().await.unwrap();
        }
    }

    fn ids(&self) -> Vec<String> {
        self.events.iter().map(|event| event.id.clone()).collect()
    }
}

async fn begin(
    mut client: InvitationClient,
    request: WatchRequest,
) -> Result<Streaming<WatchResponse>, Status> {
    let answer = client.watch(request).await?;
    Ok(answer.into_inner())
}

/// Why a watch is refused, before or after it began.
async fn refused(client: InvitationClient, request: WatchRequest) -> (Code, String) {
    let status = match begin(client, request).await {
        Ok(mut stream) => loop {
            match stream.message().await {
                Ok(response) => assert!(response.is_some()),
                Err(status) => break status,
            }
        },
        Err(status) => status,
    };
    (status.code(), reason(Err::<(), _>(status)))
}

/// The names of all events of ACME, as the log has them.
async fn all_ids(database: &mut PgConnection) -> BTreeSet<String> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT transaction_id || '-' || seq || '-' || (ordinal - 1)
           FROM invitation_events, UNNEST(invitation_ids) WITH ORDINALITY AS t (id, ordinal)
          WHERE organization_id = 'acme'",
    )
    .fetch_all(database)
    .await
    .unwrap();
    ids.into_iter().collect()
}

/// Writes a row of events past the service.
async fn insert(database: &mut PgConnection, batch_id: Uuid, count: i32) {
    sqlx::query(
        "INSERT INTO invitation_events
                (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
         SELECT $1, 'acme', $2, 'created', 'pending', 'queued', array_agg(gen_random_uuid())
           FROM generate_series(1, $3)",
    )
    .bind(START)
    .bind(batch_id)
    .bind(count)
    .execute(database)
    .await
    .unwrap();
}

/// Begins a transaction that has a place in the log, and nothing in it yet.
async fn hold(database: &mut PgConnection) {
    sqlx::query("BEGIN").execute(&mut *database).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(database)
        .await
        .unwrap();
}

async fn commit(database: &mut PgConnection) {
    sqlx::query("COMMIT").execute(database).await.unwrap();
}

fn emails(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}@b.co"))
        .collect()
}

async fn invite_many(world: &World, prefix: &str, count: usize) -> String {
    let emails = emails(prefix, count);
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    world.invite(&emails).await.batch_id
}

#[tokio::test]
async fn what_happens_comes_at_once_and_in_its_order() {
    let mut world = World::start().await;
    let mut watching = Watching::begin(world.client(), acme()).await;
    assert!(watching.events.is_empty());
    // Nobody listens to the database here: the world itself wakes whoever waits in it.
    let batch_id = invite_many(&world, "person", 3).await;
    watching.until(3).await;
    world.deliver_all().await;
    watching.until(6).await;
    let types: Vec<_> = watching.events.iter().map(Event::r#type).collect();
    assert_eq!(types[..3], [EventType::Created; 3]);
    assert_eq!(types[3..], [EventType::Sent; 3]);
    for event in &watching.events {
        assert_eq!(event.batch_id, batch_id);
        assert_eq!(event.organization_id, ACME);
        let time = event.event_time.unwrap();
        assert_eq!(time.seconds, START.unix_timestamp());
    }
    let all = all_ids(&mut world.database().await).await;
    assert_eq!(watching.ids().into_iter().collect::<BTreeSet<_>>(), all);
}

#[tokio::test]
async fn from_now_on_is_what_was_not_committed_before() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "before", 3).await;
    // Somebody's slow transaction holds the horizon, and what follows it is not final.
    let mut slow = world.database().await;
    hold(&mut slow).await;
    invite_many(&world, "beyond", 3).await;
    let mut watching = Watching::begin(world.client(), from_now()).await;
    assert!(watching.events.is_empty());
    invite_many(&world, "after", 2).await;
    watching.until(2).await;
    assert_eq!(watching.events.len(), 2);
    // From its cursor on nothing is missed, though some may come again.
    let cursor = watching.cursors[0].0.clone();
    let resumed = Watching::begin(world.client(), after(&cursor)).await;
    let resumed: BTreeSet<_> = resumed.ids().into_iter().collect();
    assert!(watching.ids().iter().all(|id| resumed.contains(id)));
    commit(&mut slow).await;
}

#[tokio::test]
async fn from_every_cursor_on_no_event_is_lost_whatever_transactions_are_open() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(SOON);
    let batch_id = Uuid::new_v4();
    let mut watching = Watching::begin(world.client(), acme()).await;
    let mut open = Vec::new();
    let mut expected = 0;
    for step in 0..30 {
        let mut held = world.database().await;
        hold(&mut held).await;
        open.push(held);
        invite_many(&world, &format!("step{step}x"), 2).await;
        expected += 2;
        if open.len() == 4 {
            // One that began before ends now, and others stay open.
            let mut ending = open.remove(step % 2);
            insert(&mut ending, batch_id, 1 + i32::try_from(step % 4).unwrap()).await;
            insert(&mut ending, batch_id, 1).await;
            commit(&mut ending).await;
            expected += 2 + step % 4;
        }
        watching.until(expected).await;
    }
    for mut held in open {
        commit(&mut held).await;
    }
    // Once all is final the cursor says so, without another event.
    wait_until_events_are_final(&world).await;
    loop {
        let last = watching.cursors.last().unwrap().0.clone();
        let resumed = Watching::begin(world.client(), after(&last)).await;
        if resumed.events.is_empty() {
            break;
        }
        watching.next().await.unwrap();
    }
    let all = all_ids(&mut world.database().await).await;
    let ids = watching.ids();
    assert_eq!(ids.len(), all.len(), "once in one stream");
    assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), all);
    let cursors: BTreeMap<String, usize> = watching.cursors.iter().cloned().rev().collect();
    // Transactions of other tests hold the horizon too.
    assert!(cursors.len() > 2, "{}", cursors.len());
    for (cursor, count) in cursors {
        let mut together: BTreeSet<_> = ids[..count].iter().cloned().collect();
        let mut resumed = Watching::begin(world.client(), after(&cursor)).await;
        let missing = all.len() - together.len();
        resumed.until(missing).await;
        together.extend(resumed.ids());
        assert_eq!(together, all);
    }
}

#[tokio::test]
async fn a_row_of_thousands_comes_in_parts_and_goes_on_from_any_of_them() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "one", 1).await;
    let batch_id = invite_many(&world, "person", 2_500).await;
    invite_many(&world, "last", 1).await;
    wait_until_events_are_final(&world).await;
    let mut watching = Watching::begin(world.client(), acme()).await;
    watching.until(2_502).await;
    let ids = watching.ids();
    assert!(watching.cursors.len() >= 3);
    for (cursor, count) in watching.cursors {
        let mut resumed = Watching::begin(world.client(), after(&cursor)).await;
        resumed.until(ids.len() - count).await;
        assert_eq!(
            resumed.ids(),
            ids[count..],
            "nothing twice where all is final"
        );
    }
    let request = WatchRequest {
        batch_id: batch_id.clone(),
        ..acme()
    };
    let mut of_batch = Watching::begin(world.client(), request).await;
    of_batch.until(2_500).await;
    assert_eq!(of_batch.ids(), ids[1..2_501]);
    assert!(
        of_batch
            .events
            .iter()
            .all(|event| event.batch_id == batch_id)
    );
}

#[tokio::test]
async fn a_batch_is_found_in_the_log_of_a_busy_organization() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let batch_id = invite_many(&world, "person", 2).await;
    let mut database = world.database().await;
    sqlx::query(
        "INSERT INTO invitation_events
                (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
         SELECT $1, 'acme', gen_random_uuid(), 'created', 'pending', 'queued', ARRAY[gen_random_uuid()]
           FROM generate_series(1, 7000)",
    )
    .bind(START)
    .execute(&mut database)
    .await
    .unwrap();
    let request = WatchRequest {
        batch_id: batch_id.clone(),
        ..acme()
    };
    let mut watching = Watching::begin(world.client(), request).await;
    watching.until(2).await;
    let revoke = BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        filter: Some(RevokeFilter {
            batch_id,
            ..Default::default()
        }),
        ..Default::default()
    };
    world.client().bulk_revoke(revoke).await.unwrap();
    watching.until(4).await;
    assert_eq!(watching.events.len(), 4);
    assert_eq!(watching.events[3].r#type(), EventType::Revoked);
}

#[tokio::test]
async fn another_process_wakes_whoever_watches_here_long_before_it_would_look() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(NEVER);
    let second = world.start_second_server(NEVER).await;
    until_listening(&world, 2).await;
    let mut watching = Watching::begin(second.client.clone(), acme()).await;
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        let begin = Instant::now();
        invite_many(&world, &format!("person{number}x"), 1).await;
        watching.until(number + 1).await;
        longest = longest.max(begin.elapsed());
    }
    eprintln!("the slowest of 20 took {longest:?} from call to event");
    assert!(longest < PATIENCE, "{longest:?}");
    // And its worker, of mail that was queued here.
    let queued = second.store.notifier().mail_queued();
    tokio::time::timeout(PATIENCE, queued).await.unwrap();
}

/// Waits until so many processes listen; returns who does.
async fn until_listening(world: &World, count: usize) -> Vec<i32> {
    let mut database = world.database().await;
    let begin = Instant::now();
    loop {
        let pids: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'invitations-listener'
                AND query LIKE 'LISTEN%'",
        )
        .fetch_all(&mut database)
        .await
        .unwrap();
        if pids.len() == count {
            return pids;
        }
        assert!(begin.elapsed() < PATIENCE, "{pids:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_the_listening_connection_events_come_all_the_same_and_it_comes_back() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let second = world.start_second_server(SOON).await;
    // Nobody tells here, so all that comes was looked for.
    let mut watching = Watching::begin(second.client.clone(), acme()).await;
    invite_many(&world, "untold", 1).await;
    watching.until(1).await;
    let mut database = world.database().await;
    let mut last = until_listening(&world, 1).await[0];
    for number in 0..3 {
        sqlx::query("SELECT pg_terminate_backend($1)")
            .bind(last)
            .execute(&mut database)
            .await
            .unwrap();
        invite_many(&world, &format!("broken{number}x"), 1).await;
        watching.until(number + 2).await;
        let begin = Instant::now();
        loop {
            let pids = until_listening(&world, 1).await;
            if pids[0] != last {
                last = pids[0];
                break;
            }
            assert!(begin.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn one_who_does_not_read_holds_nobody_up_and_misses_nothing() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let slow = begin(world.client(), acme()).await.unwrap();
    let mut quick = Watching::begin(world.client(), acme()).await;
    // More than what fits on the way to one who does not read.
    for number in 0..3 {
        invite_many(&world, &format!("person{number}x"), 5_000).await;
    }
    quick.until(15_000).await;
    let mut slow = Watching {
        stream: slow,
        events: Vec::new(),
        cursors: Vec::new(),
    };
    slow.until(15_000).await;
    assert_eq!(slow.ids(), quick.ids());
}

#[tokio::test]
async fn watches_take_no_place_of_calls_and_are_bounded_themselves() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut streams = Vec::new();
    for _ in 0..invitations::grpc::limits::WATCHES_AT_ONCE_MAX {
        // A connection takes 128 streams.
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{}", world.address()))
                .unwrap()
                .connect_lazy();
        let client = InvitationServiceClient::new(caller_channel(&channel, "all"));
        streams.push(begin(client, from_now()).await.unwrap());
        if streams.len() % 64 == 0 {
            invite_many(&world, &format!("person{}x", streams.len()), 1).await;
        }
    }
    let status = begin(world.client(), from_now()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(Err::<(), _>(status)), "OVERLOADED");
    // One that goes makes room.
    drop(streams.pop());
    let started = Instant::now();
    while begin(world.client(), from_now()).await.is_err() {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_stop_ends_watches_at_once_and_says_to_come_again() {
    let world = World::start().await;
    let mut watching = Watching::begin(world.client(), from_now()).await;
    let begin = Instant::now();
    world.stop();
    let status = watching.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert_eq!(details.error_info().unwrap().reason, "OVERLOADED");
    assert!(begin.elapsed() < PATIENCE);
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_its_reason() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let batch_id = invite_many(&world, "person", 1).await;
    let of = |organization_id: &str, batch_id: &str| WatchRequest {
        organization_id: organization_id.to_owned(),
        batch_id: batch_id.to_owned(),
        ..Default::default()
    };
    let told = async |caller: &str, request: WatchRequest| {
        let (code, reason) = refused(world.client_of(caller), request).await;
        (code, reason)
    };
    let unknown = Uuid::new_v4().to_string();
    for (caller, request, code, reason) in [
        (
            "all",
            of("unknown", ""),
            Code::NotFound,
            "ORGANIZATION_NOT_FOUND",
        ),
        ("all", of(ACME, &unknown), Code::NotFound, "BATCH_NOT_FOUND"),
        (
            "all",
            of(OTHER, &batch_id),
            Code::NotFound,
            "BATCH_NOT_FOUND",
        ),
        ("all", of("", ""), Code::InvalidArgument, "FIELD_REQUIRED"),
        ("all", of(ACME, "x"), Code::InvalidArgument, "FIELD_INVALID"),
        (
            "other-only",
            of(ACME, ""),
            Code::PermissionDenied,
            "ORGANIZATION_DENIED",
        ),
        (
            "other-only",
            of("unknown", ""),
            Code::PermissionDenied,
            "ORGANIZATION_DENIED",
        ),
        (
            "all-but-invitations:read",
            of(ACME, ""),
            Code::PermissionDenied,
            "SCOPE_MISSING",
        ),
    ] {
        assert_eq!(told(caller, request).await, (code, reason.to_owned()));
    }
    let watching = Watching::begin(world.client(), acme()).await;
    let cursor = watching.cursors[0].0.clone();
    let foreign = WatchRequest {
        cursor: cursor.clone(),
        ..of(OTHER, "")
    };
    let of_batch = WatchRequest {
        cursor: cursor.clone(),
        ..of(ACME, &batch_id)
    };
    let mut changed = cursor.clone().into_bytes();
    changed[30] = if changed[30] == b'A' { b'B' } else { b'A' };
    let changed = after(&String::from_utf8(changed).unwrap());
    for request in [foreign, of_batch, changed, after("x"), after(&cursor[1..])] {
        let expected = (Code::InvalidArgument, "CURSOR_INVALID".to_owned());
        assert_eq!(told("all", request).await, expected);
    }
    let delete = DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
    };
    world.directory().delete_organization(delete).await.unwrap();
    let expected = (Code::NotFound, "ORGANIZATION_NOT_FOUND".to_owned());
    assert_eq!(told("all", acme()).await, expected);
}

#[tokio::test]
async fn a_cursor_is_taken_as_long_as_what_follows_it_is_kept_for_certain() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "person", 1).await;
    let kept = time::Duration::try_from(EVENTS_KEPT).unwrap();
    let watching = Watching::begin(world.client(), acme()).await;
    let cursor = watching.cursors[0].0.clone();
    world.clock.advance(kept - time::Duration::hours(1));
    Watching::begin(world.client(), after(&cursor)).await;
    world.clock.advance(time::Duration::seconds(2));
    let expected = (Code::FailedPrecondition, "CURSOR_EXPIRED".to_owned());
    assert_eq!(refused(world.client(), after(&cursor)).await, expected);
    // Whoever begins anew gets what is left.
    let anew = Watching::begin(world.client(), acme()).await;
    assert_eq!(anew.events.len(), 1);
}

#[tokio::test]
async fn a_cursor_of_another_cluster_is_expired_and_not_waited_for() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut database = world.database().await;
    let ahead = "INSERT INTO invitation_events
                        (transaction_id, created_at, organization_id, batch_id, event_type, new_state,
                         new_delivery_state, invitation_ids)
                 VALUES ('4611686018427387904', $1, 'acme', gen_random_uuid(), 'created', 'pending', 'queued',
                         (SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 3)))";
    sqlx::query(ahead)
        .bind(START)
        .execute(&mut database)
        .await
        .unwrap();
    // Such a row is one of a dump: it is told, and is never final.
    let watching = Watching::begin(world.client(), acme()).await;
    assert_eq!(watching.events.len(), 3);
    let ring = invitations::domain::keyring::Keyring::parse(crate::support::KEYS).unwrap();
    let cursor = invitations::domain::event_cursor::EventCursor {
        position: invitations::domain::event::EventPosition {
            transaction_id: 4_611_686_018_427_387_904,
            seq: 1,
        },
        ordinal: 1,
        time: START,
    };
    let cursor = invitations::domain::page_token::seal(&ring, b"events\0acme\0", &cursor.encode());
    let expected = (Code::FailedPrecondition, "CURSOR_EXPIRED".to_owned());
    assert_eq!(refused(world.client(), after(&cursor)).await, expected);
}

#[tokio::test]
async fn events_are_kept_until_they_are_counted_and_their_time_is_over() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "person", 3).await;
    let retention = Retention {
        events: Some(EVENTS_KEPT),
        ..Retention::default()
    };
    let mut database = world.database().await;
    world.clock.advance(time::Duration::days(8));
    world.service.purge(&retention).await.unwrap();
    assert_eq!(all_ids(&mut database).await.len(), 3, "not folded");
    wait_until_events_are_final(&world).await;
    // What is not final is not folded, and so not deleted either.
    let mut slow = world.database().await;
    hold(&mut slow).await;
    invite_many(&world, "late", 2).await;
    world.clock.advance(time::Duration::days(8));
    assert_eq!(world.service.fold().await.unwrap(), 1);
    world.service.purge(&retention).await.unwrap();
    assert_eq!(all_ids(&mut database).await.len(), 2);
    commit(&mut slow).await;
    wait_until_events_are_final(&world).await;
    world.service.fold().await.unwrap();
    let forever = Retention::default();
    world.service.purge(&forever).await.unwrap();
    assert_eq!(all_ids(&mut database).await.len(), 2);
    world.service.purge(&retention).await.unwrap();
    assert!(all_ids(&mut database).await.is_empty());
    assert_batch_counts(&world).await;
}

#[tokio::test]
async fn a_user_watches_as_long_as_they_are_an_admin() {
    let accounts = UserIssuer::start().await;
    let world = World::builder().issuers(&accounts.table()).start().await;
    let ada = world.client_of(&accounts.token(&world, "ada"));
    let grace = world.client_of(&accounts.token(&world, "grace"));
    let denied = (Code::PermissionDenied, "ORGANIZATION_DENIED".to_owned());
    assert_eq!(refused(grace, acme()).await, denied);
    let mut watching = Watching::begin(ada.clone(), acme()).await;
    let delete = DeleteMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: "ada".to_owned(),
    };
    world.directory().delete_membership(delete).await.unwrap();
    assert_eq!(refused(ada, acme()).await, denied);
    // The one that runs is asked again when its time has come.
    pass(&world, Duration::from_secs(31)).await;
    watching.next().await.unwrap();
    pass(&world, Duration::from_secs(31)).await;
    let status = watching.next().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason(Err::<(), _>(status)), "ORGANIZATION_DENIED");
}

/// Waits until the database has had nothing to do for a while.
async fn quiet(world: &World) {
    let mut database = world.database().await;
    let is_quiet = "SELECT coalesce(bool_and(state = 'idle' AND state_change < clock_timestamp() - interval '300 ms'), true)
                      FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'invitations'";
    while !sqlx::query_scalar::<_, bool>(is_quiet)
        .fetch_one(&mut database)
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has time pass while nothing else is under way.
async fn pass(world: &World, time: Duration) {
    quiet(world).await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_silent_watch_gives_a_sign_of_life() {
    let world = World::start().await;
    let mut stream = begin(world.client(), from_now()).await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    pass(&world, Duration::from_secs(24)).await;
    let second = tokio::time::timeout(Duration::from_secs(6), stream.message()).await;
    let second = second.unwrap().unwrap().unwrap();
    assert!(first.events.is_empty() && second.events.is_empty() && !second.cursor.is_empty());
}

#[tokio::test]
async fn a_page_of_the_log_costs_what_it_holds_and_not_what_there_is() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let batch_id = invite_many(&world, "person", 5).await;
    world.service.fold().await.unwrap();
    let mut database = world.database().await;
    sqlx::query(
        "INSERT INTO invitation_events
                (transaction_id, created_at, organization_id, batch_id, event_type, new_state, new_delivery_state,
                 invitation_ids)
         SELECT (n / 100)::text::xid8, $1, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'other' END, gen_random_uuid(),
                'created', 'pending', 'queued', ARRAY[gen_random_uuid()]
           FROM generate_series(1, 60000) AS n",
    )
    .bind(START)
    .execute(&mut database)
    .await
    .unwrap();
    let organization_id = invitations::domain::ids::OrganizationId::parse(ACME).unwrap();
    let batch_id = Uuid::parse_str(&batch_id).unwrap();
    for is_analyzed in [false, true] {
        if is_analyzed {
            sqlx::query("VACUUM ANALYZE")
                .execute(&mut database)
                .await
                .unwrap();
        }
        let (read, found) = crate::features::retention::pages(&mut database, async |connection| {
            let reading = invitations::store::invitation_events::EventQuery {
                organization_id: &organization_id,
                batch_id: None,
                from: invitations::domain::event::EventPosition::of_transaction(300),
                already_read: &[(1, 1), (2, 1)],
                rows_max: 101,
                events_max: 100,
            };
            let page = invitations::store::invitation_events::read_page(connection, reading);
            page.await.unwrap().rows.len()
        })
        .await;
        assert_eq!(found, 101);
        assert!(read <= 250, "a page: {read}");
        let (read, counted) =
            crate::features::retention::pages(&mut database, async |connection| {
                let counted = invitations::store::batches::counts(
                    connection,
                    &organization_id,
                    batch_id,
                    START,
                );
                counted.await.unwrap().len()
            })
            .await;
        assert_eq!(counted, 1);
        assert!(read <= 100, "the counts: {read}");
        let (read, news) = crate::features::retention::pages(&mut database, async |connection| {
            let news =
                invitations::store::invitation_events::changed_organizations(connection, Some(590));
            news.await.unwrap().organization_ids.len()
        })
        .await;
        assert_eq!(news, 2);
        assert!(read <= 150, "the news: {read}");
    }
}

/// How many events a second, and for how many seconds.
fn load() -> (usize, usize) {
    let of = |name: &str, usual: usize| {
        let value = std::env::var(name).ok();
        value.and_then(|value| value.parse().ok()).unwrap_or(usual)
    };
    (
        of("INVITATIONS_TEST_EVENT_RATE", 200),
        of("INVITATIONS_TEST_EVENT_SECONDS", 2),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_under_load_all_come_and_soon() {
    let (rate, seconds) = load();
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(Duration::from_secs(1));
    let second = world.start_second_server(Duration::from_secs(1)).await;
    until_listening(&world, 2).await;
    let mut watching = Watching::begin(second.client.clone(), acme()).await;
    // Twenty calls a second, whatever they hold: more of them are another test's matter.
    let per_call = (rate / 20).max(1);
    let (calls, pause) = (rate * seconds / per_call, Duration::from_millis(50));
    let calling = async {
        let mut running = tokio::task::JoinSet::new();
        let mut ticks = tokio::time::interval(pause);
        for call in 0..calls {
            ticks.tick().await;
            let mut client = world.client();
            running.spawn(async move {
                let emails = emails(&format!("load{call}x"), per_call);
                let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
                let answer = client.bulk_create(invite_request(&emails)).await.unwrap();
                let answered_at = Instant::now();
                (created(&answer.into_inner().results[0]).id, answered_at)
            });
        }
        running.join_all().await
    };
    let mut heard = BTreeMap::new();
    let listening = async {
        while watching.events.len() < calls * per_call {
            let known = watching.events.len();
            watching.next().await.unwrap();
            for event in &watching.events[known..] {
                heard.insert(event.invitation_id.clone(), Instant::now());
            }
        }
    };
    let (answered, ()) = tokio::join!(calling, listening);
    let mut latencies: Vec<Duration> = answered
        .iter()
        .map(|(id, answered_at)| heard[id].saturating_duration_since(*answered_at))
        .collect();
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    eprintln!(
        "{} events, {rate} a second: from answer to event in another process p50 {:?}, p99 {:?}, at most {:?}",
        calls * per_call,
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(watching.events.len(), calls * per_call);
    let ids: BTreeSet<_> = watching.ids().into_iter().collect();
    assert_eq!(ids.len(), calls * per_call);
    drop(world.database().await.close().await);
}
