//! How long events are stored, and what reading them costs.

use invitations::domain::actor::Access;
use invitations::domain::event::{EventFilter, EventPosition, EventType};
use invitations::domain::ids::OrganizationId;
use invitations::service::Retention;
use invitations::store::batches;
use invitations::store::invitation_events::{self, EventQuery};
use uuid::Uuid;

use super::{all_event_ids, begin_transaction, commit, invite_many};
use crate::support::batch_counts::{assert_batch_counts, wait_until_events_are_final};
use crate::support::page_reads::count_pages_read;
use crate::support::{ACME, EVENTS_KEPT, START, World};

#[tokio::test]
async fn events_are_kept_until_they_are_counted_and_their_retention_has_passed() {
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
    let events = all_event_ids(&mut database).await;
    assert_eq!(
        events.len(),
        3,
        "events were deleted before they were counted"
    );
    wait_until_events_are_final(&world).await;
    // An event that is not final is neither counted nor deleted.
    let mut slow = world.database().await;
    begin_transaction(&mut slow).await;
    invite_many(&world, "late", 2).await;
    world.clock.advance(time::Duration::days(8));
    assert_eq!(world.service.fold().await.unwrap(), 1);
    world.service.purge(&retention).await.unwrap();
    assert_eq!(all_event_ids(&mut database).await.len(), 2);
    commit(&mut slow).await;
    wait_until_events_are_final(&world).await;
    world.service.fold().await.unwrap();
    let forever = Retention::default();
    world.service.purge(&forever).await.unwrap();
    assert_eq!(all_event_ids(&mut database).await.len(), 2);
    world.service.purge(&retention).await.unwrap();
    assert!(all_event_ids(&mut database).await.is_empty());
    assert_batch_counts(&world).await;
}

#[tokio::test]
async fn reading_a_page_of_events_costs_the_size_of_the_page() {
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
    let organization_id = OrganizationId::parse(ACME).unwrap();
    let batch_id = Uuid::parse_str(&batch_id).unwrap();
    let of_types = |organizations, types| EventFilter {
        organizations,
        batch_id: None,
        types,
    };
    let acme = || Access::Only([ACME.to_owned()].into());
    let filters = [
        of_types(acme(), Vec::new()),
        of_types(acme(), vec![EventType::Accepted]),
        of_types(Access::Every, Vec::new()),
        of_types(Access::Every, vec![EventType::Accepted]),
    ];
    for is_analyzed in [false, true] {
        if is_analyzed {
            sqlx::query("VACUUM ANALYZE")
                .execute(&mut database)
                .await
                .unwrap();
        }
        for (number, filter) in filters.iter().enumerate() {
            let (read, page) = count_pages_read(&mut database, async |connection| {
                let reading = EventQuery {
                    filter,
                    from: EventPosition::of_transaction(300),
                    already_read: &[(1, 1), (2, 1)],
                    rows_max: 101,
                    events_max: 100,
                };
                let page = invitation_events::read_page(connection, reading);
                page.await.unwrap()
            })
            .await;
            let found = page.rows.len();
            assert_eq!(found, if filter.types.is_empty() { 101 } else { 0 });
            assert!(page.truncated_at.is_some());
            assert!(read <= 250, "page {number}: {read}");
        }
        let (read, counted) = count_pages_read(&mut database, async |connection| {
            let counted = batches::counts(connection, &organization_id, batch_id, START);
            counted.await.unwrap().len()
        })
        .await;
        assert_eq!(counted, 1);
        assert!(read <= 100, "the counts: {read}");
        let (read, news) = count_pages_read(&mut database, async |connection| {
            let news = invitation_events::changed_organizations(connection, Some(590));
            news.await.unwrap().organization_ids.len()
        })
        .await;
        assert_eq!(news, 2);
        assert!(read <= 150, "the news: {read}");
    }
}
