//! Request ids: a repeated call is executed once.

use invitations::proto::{BulkCreateRequest, OnExisting};
use time::Duration;

use crate::support::{
    OTHER, World, field_violations, invite_request, item, numbered_emails, reason,
    run_concurrently, status_reason,
};

const REQUEST_ID: &str = "0c7b8a52-9ad6-4fd5-9a2a-07f1c6a0b1d3";

fn request() -> BulkCreateRequest {
    let mut emails = numbered_emails("person", "example.com", 0..1_000);
    for index in (0..1_000).step_by(10) {
        emails[index] = format!("broken {index}");
    }
    BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        ..invite_request(&emails)
    }
}

#[tokio::test]
async fn a_repeated_call_returns_the_first_response_whatever_changed_since() {
    let mut world = World::start().await;
    let first = world.bulk_create(request()).await;
    assert_eq!((first.succeeded_count, first.failed_count), (900, 100));
    assert_eq!(world.deliver_all().await, 900);
    let token = world.mail_to("person1@example.com").token();
    world
        .accept(&token, "one", "person1@example.com")
        .await
        .unwrap();
    world.clock.advance(Duration::hours(23));
    world
        .add_user("ada", "Ada King", &["ada@example.com"])
        .await;

    let second = world.bulk_create(request()).await;
    assert!(
        first == second,
        "the repeated response differs in a batch, id, outcome, state or name"
    );
    assert_eq!(world.deliver_all().await, 0);
    assert_eq!(world.mailbox().len(), 900);
}

#[tokio::test]
async fn a_request_id_is_forgotten_after_a_day() {
    let mut world = World::start().await;
    let request = BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        ..invite_request(&["a@b.co"])
    };
    let first = world.bulk_create(request.clone()).await;
    world.deliver_all().await;
    world.clock.advance(Duration::hours(24));
    world.service.sweep().await.unwrap();
    let second = world.bulk_create(request).await;
    assert_ne!(first.batch_id, second.batch_id);
    assert_eq!(second.failed_count, 1, "the address is still invited");
}

#[tokio::test]
async fn concurrent_calls_with_one_request_id_are_executed_once() {
    let mut world = World::start().await;
    let calls = (0..32).map(|_| {
        let mut client = world.client();
        async move { client.bulk_create(request()).await.unwrap().into_inner() }
    });
    let answers = run_concurrently(calls).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].succeeded_count, 900);
    assert_eq!(world.deliver_all().await, 900);
}

#[tokio::test]
async fn a_request_id_is_scoped_to_its_caller_organization_and_body() {
    let mut world = World::start().await;
    let request = BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        ..invite_request(&["a@b.co"])
    };
    world.bulk_create(request.clone()).await;

    let bodies = [
        BulkCreateRequest {
            on_existing: OnExisting::Return.into(),
            ..request.clone()
        },
        BulkCreateRequest {
            invitations: vec![item("b@b.co")],
            ..request.clone()
        },
        BulkCreateRequest {
            atomic: true,
            ..request.clone()
        },
        BulkCreateRequest {
            validate_only: true,
            atomic: true,
            ..request.clone()
        },
    ];
    for other in bodies {
        assert_eq!(
            reason(world.client().bulk_create(other).await),
            "REQUEST_ID_REUSED"
        );
    }
    let of_another_caller = world
        .client_of("acme-only")
        .bulk_create(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        of_another_caller.failed_count, 1,
        "a new call finds the address invited"
    );
    let of_another_organization = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..request
    };
    let created = world.bulk_create(of_another_organization).await;
    assert_eq!(created.succeeded_count, 1);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_refused_call_can_be_corrected_under_the_same_request_id() {
    let mut world = World::start().await;
    let broken = BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        atomic: true,
        ..invite_request(&["a@b.co", "broken"])
    };
    assert_eq!(
        reason(world.client().bulk_create(broken).await),
        "ITEMS_FAILED"
    );
    let corrected = BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        atomic: true,
        ..invite_request(&["a@b.co", "b@b.co"])
    };
    let created = world.bulk_create(corrected).await;
    assert_eq!(created.succeeded_count, 2);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_request_id_that_is_not_a_uuid_is_refused() {
    let world = World::start().await;
    let long = "x".repeat(10 << 10);
    for id in [
        "abc",
        "0c7b8a529ad64fd59a2a07f1c6a0b1d3",
        "{0c7b8a52-9ad6-4fd5-9a2a-07f1c6a0b1d3}",
        &long,
    ] {
        let request = BulkCreateRequest {
            request_id: id.to_owned(),
            ..invite_request(&["a@b.co"])
        };
        let status = world.client().bulk_create(request).await.err().unwrap();
        assert_eq!(status_reason(&status), "REQUEST_ID_INVALID");
        assert_eq!(field_violations(&status)[0].0, "request_id");
    }
}

#[tokio::test]
async fn the_stored_response_contains_no_address_message_or_token() {
    let mut world = World::start().await;
    let mut request = invite_request(&["canary@example.com"]);
    request.request_id = REQUEST_ID.to_owned();
    request.return_link = true;
    request.invitations[0].message = "canary note".to_owned();
    let first = world.bulk_create(request.clone()).await;
    let mut database = world.database().await;
    let kept: Vec<u8> = sqlx::query_scalar("SELECT response FROM idempotency_keys")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let kept = String::from_utf8(kept).unwrap();
    assert!(
        !kept.contains("canary") && !kept.contains("inv1_"),
        "{kept}"
    );
    let second = world.bulk_create(request).await;
    assert!(first == second, "the repeated response has the same link");
    world.deliver_all().await;
}
