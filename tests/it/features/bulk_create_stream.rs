//! `BulkCreateStream`: the results of items, chunk by chunk, and who may send them.

use invitations::grpc::limits::{CALLER_BURST, CHUNK_ITEMS};
use invitations::proto::{
    BulkCreateRequest, BulkCreateStreamHeader, BulkCreateStreamRequest, CreateOutcome,
    CreateResult, ErrorReason, NewInvitation, OnExisting,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::audit::audit_rows;
use crate::support::streams::{
    CreateStream, StreamResponses, header, result_ids, resumable_header, send_all, stream_item,
    stream_items,
};
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    OTHER, World, create_request, field_violations, get_batch_request, item, new_request_id,
    reason, status_reason,
};

fn count_of(results: &[CreateResult], outcome: CreateOutcome) -> usize {
    let results = results.iter();
    results.filter(|it| it.outcome() == outcome).count()
}

/// The reason of a failure and the index of the first item with the same address.
fn error(result: &CreateResult) -> (ErrorReason, String) {
    let error = result.error.as_ref().unwrap();
    let first_index = error.metadata.get("first_index").cloned();
    (error.reason(), first_index.unwrap_or_default())
}

/// The reason for which a stream was refused.
fn refusal(answer: StreamResponses) -> String {
    reason(answer.end)
}

#[tokio::test]
async fn items_of_a_stream_have_the_same_outcomes_as_items_of_a_call() {
    let (mut of_call, mut of_stream) = (World::start().await, World::start().await);
    let mut items: Vec<NewInvitation> = [
        "fine@b.co",
        "invited@b.co",
        "broken",
        "grace@example.com",
        "FINE@b.co",
        "",
        "ada@example.com",
    ]
    .map(item)
    .to_vec();
    items.push(NewInvitation {
        role: "emperor".to_owned(),
        redirect_url: "https://elsewhere.example/".to_owned(),
        ..item("role@b.co")
    });
    items.push(NewInvitation {
        notify: Some(false),
        message: "Welcome!".to_owned(),
        inviter_user_id: "grace".to_owned(),
        ..item("silent@b.co")
    });
    for on_existing in [
        OnExisting::Fail,
        OnExisting::Return,
        OnExisting::Resend,
        OnExisting::Replace,
    ] {
        let mut expected = Vec::new();
        for world in [&of_call, &of_stream] {
            world.invite(&["invited@b.co"]).await;
        }
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            ..create_request(items.clone())
        };
        let answer = of_call.client().bulk_create(request).await.unwrap();
        for result in answer.into_inner().results {
            expected.push((
                result.email,
                result.outcome,
                result.invitation,
                result.error,
            ));
        }
        let header = BulkCreateStreamHeader {
            on_existing: on_existing.into(),
            ..header()
        };
        let keyed: Vec<NewInvitation> = items
            .iter()
            .enumerate()
            .map(|(number, item)| NewInvitation {
                key: format!("row {number}"),
                ..item.clone()
            })
            .collect();
        let answer = send_all(&of_stream.client(), header, 100, &keyed).await;
        let results = answer.results();
        assert_eq!(results.len(), expected.len());
        for (number, (result, mut expected)) in results.into_iter().zip(expected).enumerate() {
            assert_eq!(result.key, format!("row {number}"));
            assert_eq!(result.link, "");
            let mut seen = (
                result.email,
                result.outcome,
                result.invitation,
                result.error,
            );
            // Ids and tokens always differ.
            for invitation in [&mut expected.2, &mut seen.2].into_iter().flatten() {
                assert!(!invitation.id.is_empty() && !invitation.batch_id.is_empty());
                invitation.id.clear();
                invitation.batch_id.clear();
            }
            assert!(seen == expected, "{number} {on_existing:?}");
        }
    }
    of_call.deliver_all().await;
    of_stream.deliver_all().await;
    assert_eq!(of_stream.recipients(), of_call.recipients());
}

#[tokio::test]
async fn each_chunk_is_committed_by_itself_and_all_chunks_are_one_batch() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let count = 2 * CHUNK_ITEMS + 500;
    let mut items = stream_items("list", 0..count);
    let again = |of: usize, at: usize| stream_item(&format!("person{of}@list.example"), at);
    // Duplicates within the first chunk, within the second chunk, and over a boundary of chunks.
    items[10] = again(5, 10);
    items[CHUNK_ITEMS + 5] = again(CHUNK_ITEMS + 3, CHUNK_ITEMS + 5);
    items[2 * CHUNK_ITEMS + 7] = again(3, 2 * CHUNK_ITEMS + 7);
    let answer = send_all(&world.client(), header(), 700, &items).await;
    assert_eq!(answer.sizes(), [0, CHUNK_ITEMS, CHUNK_ITEMS, 500]);
    assert_eq!(answer.responses[0].next_index, 0);
    let batch_id = answer.responses[0].batch_id.clone();
    let results = answer.results();
    assert_eq!(count_of(&results, CreateOutcome::Created), count - 3);
    let duplicate = ErrorReason::DuplicateInRequest;
    assert_eq!(error(&results[10]), (duplicate, "5".to_owned()));
    let expected = (duplicate, (CHUNK_ITEMS + 3).to_string());
    assert_eq!(error(&results[CHUNK_ITEMS + 5]), expected);
    let known = &results[2 * CHUNK_ITEMS + 7];
    assert_eq!(error(known), (ErrorReason::AlreadyInvited, String::new()));
    let pending = known.invitation.as_ref().unwrap();
    assert_eq!(pending.id, results[3].invitation.as_ref().unwrap().id);
    assert_eq!(pending.batch_id, batch_id);

    let request = get_batch_request(&batch_id);
    let batch = world.client().get_batch(request).await.unwrap();
    let batch = batch.into_inner().batch.unwrap();
    let counts = (batch.item_count, batch.failed_count, batch.invitation_count);
    let all = i64::try_from(count).unwrap();
    assert_eq!(counts, (all, 3, all - 3));
    let events = audit_rows(&world).await;
    let events: Vec<_> = events
        .iter()
        .filter(|event| event.action == "bulk_create")
        .collect();
    assert_eq!(events.len(), 3, "one for each chunk");
    let in_batch = events
        .iter()
        .all(|event| event.batch_id.map(|id| id.to_string()).as_ref() == Some(&batch_id));
    assert!(in_batch);
}

#[tokio::test]
async fn the_batch_id_comes_first_and_each_result_as_soon_as_it_is_committed() {
    let mut world = World::start().await;
    let client = world.client();
    let mut stream = CreateStream::begin(&client, header()).await;
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.next_index, first.results.len()), (0, 0));
    let request = get_batch_request(&first.batch_id);
    let batch = client.clone().get_batch(request.clone()).await.unwrap();
    assert_eq!(batch.into_inner().batch.unwrap().item_count, 0);
    for number in 0..3 {
        stream.send(stream_items("one", number..number + 1));
        let response = stream.next().await.unwrap().unwrap();
        assert_eq!(response.results[0].key, format!("row {number}"));
        assert_eq!(response.next_index, i64::try_from(number).unwrap() + 1);
        assert_eq!(
            world.deliver_all().await,
            1,
            "the email is sent before the stream ends"
        );
    }
    stream.close();
    assert!(stream.next().await.unwrap().is_none());
    let batch = client.clone().get_batch(request).await.unwrap();
    assert_eq!(batch.into_inner().batch.unwrap().invitation_count, 3);
}

#[tokio::test]
async fn a_malformed_stream_is_refused_and_earlier_chunks_remain() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let client = world.client();
    let message = |header: Option<BulkCreateStreamHeader>, count: usize| BulkCreateStreamRequest {
        header,
        invitations: stream_items("x", 0..count),
    };
    let one = |header: BulkCreateStreamHeader| vec![message(Some(header), 1)];
    let changed = |change: &dyn Fn(&mut BulkCreateStreamHeader)| {
        let mut header = header();
        change(&mut header);
        one(header)
    };
    let id = new_request_id();
    for (messages, expected) in [
        (vec![], "STREAM_MALFORMED"),
        (vec![message(None, 1)], "STREAM_MALFORMED"),
        (vec![message(None, 0)], "STREAM_MALFORMED"),
        (vec![message(Some(header()), 0)], "ITEMS_EMPTY"),
        (
            vec![message(Some(header()), 0), message(None, 0)],
            "STREAM_MALFORMED",
        ),
        (
            vec![message(Some(header()), 0), message(Some(header()), 1)],
            "STREAM_MALFORMED",
        ),
        (vec![message(Some(header()), 10_001)], "TOO_MANY_ITEMS"),
        (
            changed(&|it| it.request_id = "x".to_owned()),
            "REQUEST_ID_INVALID",
        ),
        (changed(&|it| it.on_existing = 99), "FIELD_INVALID"),
        (changed(&|it| it.view = 99), "FIELD_INVALID"),
        (changed(&|it| it.first_index = -1), "FIELD_INVALID"),
        (changed(&|it| it.first_index = 1), "FIELD_INVALID"),
        (
            changed(&|it| (it.first_index, it.request_id) = (1, id.clone())),
            "FIELD_INVALID",
        ),
        (changed(&|it| it.organization_id.clear()), "FIELD_REQUIRED"),
        (
            changed(&|it| it.organization_id = "unknown".to_owned()),
            "ORGANIZATION_NOT_FOUND",
        ),
    ] {
        let stream = CreateStream::open(&client, Request::new(()), messages).await;
        assert_eq!(refusal(stream.end().await), expected);
    }
    assert_eq!(
        world.count("invitations").await,
        0,
        "a refused stream created an invitation"
    );

    let mut stream = CreateStream::begin(&client, header()).await;
    stream.next().await.unwrap();
    stream.send(stream_items("y", 0..2));
    assert_eq!(stream.next().await.unwrap().unwrap().results.len(), 2);
    stream.send(Vec::new());
    assert_eq!(refusal(stream.end().await), "STREAM_MALFORMED");
    assert_eq!(world.count("invitations").await, 2);
}

#[tokio::test]
async fn a_refusal_lists_every_malformed_field_of_the_header() {
    let world = World::start().await;
    let header = BulkCreateStreamHeader {
        request_id: "x".to_owned(),
        organization_id: "a\nb".to_owned(),
        on_existing: 99,
        first_index: -1,
        ..header()
    };
    let answer = send_all(&world.client(), header, 1, &stream_items("x", 0..1)).await;
    let status = answer.end.unwrap_err();
    let violations = field_violations(&status);
    let fields: Vec<_> = violations.iter().map(|(field, _)| field.as_str()).collect();
    let expected = [
        "header.organization_id",
        "header.request_id",
        "header.on_existing",
        "header.first_index",
    ];
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn a_stream_needs_the_same_permissions_as_a_call() {
    let accounts = UserIssuer::start().await;
    let mut world = World::builder().issuers(&accounts.table()).start().await;
    world.may_leave_mail();
    let denied = async |caller: &str, header: BulkCreateStreamHeader, item: NewInvitation| {
        let items = [item];
        let answer = send_all(&world.client_of(caller), header, 1, &items).await;
        let code = answer.end.as_ref().err().map(Status::code);
        assert_eq!(code, Some(Code::PermissionDenied));
        refusal(answer)
    };
    let unnamed = || BulkCreateStreamHeader {
        inviter_user_id: String::new(),
        ..header()
    };
    let linked = || BulkCreateStreamHeader {
        return_link: true,
        ..unnamed()
    };
    let (ada, grace) = (
        accounts.token(&world, "ada"),
        accounts.token(&world, "grace"),
    );
    let plain = || item("a@b.co");
    let refused = denied("all-but-invitations:link", linked(), plain()).await;
    assert_eq!(refused, "SCOPE_MISSING");
    assert_eq!(denied(&ada, linked(), plain()).await, "SCOPE_MISSING");
    for caller in ["other-only", &grace] {
        let refused = denied(caller, unnamed(), plain()).await;
        assert_eq!(refused, "ORGANIZATION_DENIED");
    }
    for organization_id in [OTHER, "unknown"] {
        let foreign = BulkCreateStreamHeader {
            organization_id: organization_id.to_owned(),
            ..unnamed()
        };
        assert_eq!(denied(&ada, foreign, plain()).await, "ORGANIZATION_DENIED");
    }
    let named = BulkCreateStreamHeader {
        inviter_user_id: "grace".to_owned(),
        ..header()
    };
    assert_eq!(denied(&ada, named, plain()).await, "USER_DENIED");
    let named = NewInvitation {
        inviter_user_id: "grace".to_owned(),
        ..plain()
    };
    assert_eq!(denied(&ada, unnamed(), named).await, "USER_DENIED");
    let private = NewInvitation {
        private_metadata: Some(prost_types::Struct::default()),
        ..plain()
    };
    assert_eq!(denied(&ada, unnamed(), private).await, "USER_DENIED");

    let answer = send_all(
        &world.client_of(&ada),
        unnamed(),
        1,
        &stream_items("own", 0..2),
    )
    .await;
    let results = answer.results();
    assert_eq!(count_of(&results, CreateOutcome::Created), 2);
    let invitation = results[0].invitation.as_ref().unwrap();
    assert_eq!(invitation.inviter_user_id, "ada");
    let header = BulkCreateStreamHeader {
        return_link: true,
        ..header()
    };
    let answer = send_all(&world.client(), header, 1, &stream_items("link", 0..2)).await;
    for result in answer.results() {
        assert!(result.link.contains("#token="));
    }
}

#[tokio::test]
async fn a_dry_run_of_a_stream_predicts_the_results_and_does_nothing() {
    let mut world = World::start().await;
    world.invite(&["person1@dry.example"]).await;
    world.deliver_all().await;
    let dry = |header: BulkCreateStreamHeader| BulkCreateStreamHeader {
        validate_only: true,
        ..header
    };
    let mut items = stream_items("dry", 0..CHUNK_ITEMS + 2);
    items[2] = stream_item("broken", 2);
    let once = resumable_header();
    for header in [dry(header()), dry(once.clone())] {
        let answer = send_all(&world.client(), header, 300, &items).await;
        let results = answer.results();
        assert_eq!(answer.responses[0].batch_id, "");
        let created = count_of(&results, CreateOutcome::Created);
        assert_eq!(created, CHUNK_ITEMS);
        assert_eq!(error(&results[1]).0, ErrorReason::AlreadyInvited);
        assert_eq!(error(&results[2]).0, ErrorReason::EmailInvalid);
        assert!(results[0].invitation.as_ref().unwrap().id.is_empty());
    }
    let mut database = world.database().await;
    let kept: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations), (SELECT count(*) FROM batches),
                (SELECT count(*) FROM stream_chunks), (SELECT count(*) FROM idempotency_keys)",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(kept, (1, 1, 0, 0));

    // A dry run of a sent stream repeats the stored results, and predicts the results of new items.
    let done = send_all(&world.client(), once.clone(), 300, &items[..4]).await;
    let answer = send_all(&world.client(), dry(once), 300, &items[..6]).await;
    assert_eq!(answer.responses[0].next_index, 4);
    let results = answer.results();
    assert_eq!(result_ids(&results)[..4], result_ids(&done.results()));
    assert_eq!(result_ids(&results)[4..], ["", ""]);
    assert_eq!(world.count("invitations").await, 3);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_stream_that_exceeds_the_caller_rate_is_refused() {
    let mut world = World::builder().caller_rate(1).start().await;
    world.may_leave_mail();
    let burst = usize::try_from(CALLER_BURST.get()).unwrap();
    // Invalid items cost little time, and count for the rate.
    let items: Vec<_> = (0..burst + CHUNK_ITEMS)
        .map(|number| stream_item("broken", number))
        .collect();
    let answer = send_all(&world.client(), header(), 1_000, &items).await;
    assert_eq!(
        answer.results_so_far().len(),
        burst,
        "the results before the refusal"
    );
    let status = answer.end.unwrap_err();
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(status_reason(&status), "RATE_LIMITED");
}

#[tokio::test]
async fn a_stream_that_exceeds_the_caller_rate_slightly_is_slowed_down() {
    let rate = u32::try_from(CHUNK_ITEMS).unwrap() * 2;
    let mut world = World::builder().caller_rate(rate).start().await;
    world.may_leave_mail();
    let burst = usize::try_from(CALLER_BURST.get()).unwrap();
    let items: Vec<_> = (0..burst + CHUNK_ITEMS)
        .map(|number| stream_item("broken", number))
        .collect();
    let client = world.client();
    let sending = send_all(&client, header(), 1_000, &items);
    // The rate limiter reads the clock of the test, which stands still otherwise.
    let ticking = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            world.clock.advance(time::Duration::milliseconds(100));
        }
    };
    let answer = tokio::select! {
        answer = sending => answer,
        () = ticking => unreachable!(),
    };
    assert_eq!(answer.results().len(), items.len());
}
