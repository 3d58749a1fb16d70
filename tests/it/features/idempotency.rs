//! Request ids: a call that is repeated is one call.

use invitations::proto::{BulkCreateRequest, OnExisting};
use time::Duration;
use tonic_types::StatusExt as _;

use crate::support::{OTHER, World, invite_request, reason};

const REQUEST_ID: &str = "0c7b8a52-9ad6-4fd5-9a2a-07f1c6a0b1d3";

fn request() -> BulkCreateRequest {
    let mut emails: Vec<String> = (0..1_000)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    for index in (0..1_000).step_by(10) {
        emails[index] = format!("broken {index}");
    }
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        ..invite_request(&emails)
    }
}

#[tokio::test]
async fn the_answer_of_the_first_call_is_replayed_whatever_happened_since() {
    let mut world = World::start().await;
    let first = world
        .client()
        .bulk_create(request())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.created_count, first.failed_count), (900, 100));
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

    let second = world
        .client()
        .bulk_create(request())
        .await
        .unwrap()
        .into_inner();
    assert!(
        first == second,
        "the same batch, ids, outcomes, states and names"
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
    let first = world
        .client()
        .bulk_create(request.clone())
        .await
        .unwrap()
        .into_inner();
    world.deliver_all().await;
    world.clock.advance(Duration::hours(24));
    world.service.sweep().await.unwrap();
    let second = world
        .client()
        .bulk_create(request)
        .await
        .unwrap()
        .into_inner();
    assert_ne!(first.batch_id, second.batch_id);
    assert_eq!(second.failed_count, 1, "still pending");
}

#[tokio::test]
async fn two_and_thirty_twins_at_once_are_one_call() {
    let mut world = World::start().await;
    let calls = (0..32).map(|_| {
        let mut client = world.client();
        tokio::spawn(async move { client.bulk_create(request()).await.unwrap().into_inner() })
    });
    let answers: Vec<_> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap())
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].created_count, 900);
    assert_eq!(world.deliver_all().await, 900);
}

#[tokio::test]
async fn a_request_id_belongs_to_its_caller_organization_and_body() {
    let mut world = World::start().await;
    let request = BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        ..invite_request(&["a@b.co"])
    };
    world.client().bulk_create(request.clone()).await.unwrap();

    let bodies = [
        BulkCreateRequest {
            on_existing: OnExisting::Return.into(),
            ..request.clone()
        },
        BulkCreateRequest {
            invitations: vec![crate::support::item("b@b.co")],
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
        "a call of its own, which finds the address invited"
    );
    let of_another_organization = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..request
    };
    let made = world
        .client()
        .bulk_create(of_another_organization)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.created_count, 1);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_call_that_failed_may_be_corrected_under_its_request_id() {
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
    let made = world
        .client()
        .bulk_create(corrected)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.created_count, 2);
    world.deliver_all().await;
}

#[tokio::test]
async fn what_is_no_uuid_is_refused() {
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
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "REQUEST_ID_INVALID");
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            "request_id"
        );
    }
}

#[tokio::test]
async fn no_address_note_or_token_is_kept_with_a_request_id() {
    let mut world = World::start().await;
    let mut request = invite_request(&["canary@example.com"]);
    request.request_id = REQUEST_ID.to_owned();
    request.return_link = true;
    request.invitations[0].message = "canary note".to_owned();
    let first = world
        .client()
        .bulk_create(request.clone())
        .await
        .unwrap()
        .into_inner();
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
    let second = world
        .client()
        .bulk_create(request)
        .await
        .unwrap()
        .into_inner();
    assert!(first == second, "the link is derived again");
    world.deliver_all().await;
}
