//! Times and durations that are out of range, malformed or not representable.

use invitations::proto::{
    AddSuppressionsRequest, ErrorReason, NewInvitation, ResendRequest, new_invitation,
    resend_request,
};
use prost_types::{Duration, Timestamp};
use tonic::Code;

use super::{assert_call_refused, assert_items_refused};
use crate::support::{START, World, item_without_email, resend_request};

const DAY: i64 = 86_400;

/// Invalid lifetimes of an invitation.
const DURATIONS: [(i64, i32); 11] = [
    (0, 0),
    (-1, 0),
    (3_599, 999_999_999),
    (366 * DAY, 0),
    (365 * DAY, 1),
    (i64::MAX, 0),
    (i64::MIN, 0),
    (i64::MAX, i32::MAX),
    (i64::MIN, i32::MIN),
    (DAY, 1_000_000_000),
    (DAY, -1),
];

/// Invalid expiry times of an invitation.
fn expiry_times() -> [(i64, i32); 9] {
    let now = START.unix_timestamp();
    [
        (0, 0),
        (now, 0),
        (now + 366 * DAY, 0),
        (now + DAY, -1),
        (now + DAY, 1_000_000_000),
        (i64::MAX, 0),
        (i64::MIN, 0),
        (253_402_300_800, 0),
        (-377_705_116_801, i32::MIN),
    ]
}

#[tokio::test]
async fn a_lifetime_outside_of_one_hour_to_one_year_is_refused() {
    let world = World::start().await;
    for (seconds, nanos) in DURATIONS {
        let ttl = new_invitation::Expiration::Ttl(Duration { seconds, nanos });
        let rule = ("ttl", ErrorReason::ExpiryOutOfRange);
        assert_items_refused(&world, &[""], rule, |_, _| NewInvitation {
            expiration: Some(ttl),
            ..item_without_email("a@b.co")
        })
        .await;
    }
    for (seconds, nanos) in expiry_times() {
        let time = new_invitation::Expiration::ExpireTime(Timestamp { seconds, nanos });
        let rule = ("expire_time", ErrorReason::ExpiryOutOfRange);
        assert_items_refused(&world, &[""], rule, |_, _| NewInvitation {
            expiration: Some(time),
            ..item_without_email("a@b.co")
        })
        .await;
    }
}

#[tokio::test]
async fn an_invalid_reminder_lead_is_refused() {
    let world = World::start().await;
    for (seconds, nanos) in DURATIONS.into_iter().filter(|lead| *lead != (0, 0)) {
        let rule = ("reminder_lead", ErrorReason::FieldInvalid);
        assert_items_refused(&world, &[""], rule, |_, _| NewInvitation {
            reminder_lead: Some(Duration { seconds, nanos }),
            ..item_without_email("a@b.co")
        })
        .await;
    }
}

#[tokio::test]
async fn a_resend_with_an_invalid_expiry_is_refused() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let request = |expiry| ResendRequest {
        expiration: Some(expiry),
        ..resend_request(&invitation.id)
    };
    let ttls = DURATIONS.map(|(seconds, nanos)| {
        request(resend_request::Expiration::Ttl(Duration { seconds, nanos }))
    });
    let times = expiry_times().map(|(seconds, nanos)| {
        request(resend_request::Expiration::ExpireTime(Timestamp {
            seconds,
            nanos,
        }))
    });
    for request in ttls.into_iter().chain(times) {
        let answer = world.client().resend(request).await;
        assert_call_refused(answer, Code::InvalidArgument, "EXPIRY_OUT_OF_RANGE", "");
    }
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_suppression_must_end_in_the_future_or_never() {
    let world = World::start().await;
    let later = START.unix_timestamp() + DAY;
    for (seconds, nanos) in [
        (0, 0),
        (later, -1),
        (later, 1_000_000_000),
        (i64::MAX, 0),
        (i64::MIN, 0),
        (i64::MIN, i32::MIN),
    ] {
        let request = AddSuppressionsRequest {
            suppressions: crate::support::requests::new_suppressions(
                vec!["a@b.co".to_owned()],
                Some(Timestamp { seconds, nanos }),
            ),
            ..Default::default()
        };
        let answer = world.suppressions().add_suppressions(request).await;
        let result = answer.unwrap().into_inner().results.remove(0);
        let error = result.error.unwrap();
        assert_eq!(error.reason(), ErrorReason::FieldInvalid);
        assert_eq!(error.violations[0].field, "expire_time");
    }
    // The last representable time.
    let request = AddSuppressionsRequest {
        suppressions: crate::support::requests::new_suppressions(
            vec!["a@b.co".to_owned()],
            Some(Timestamp {
                seconds: 253_402_300_799,
                nanos: 999_999_999,
            }),
        ),
        ..Default::default()
    };
    let answer = world
        .suppressions()
        .add_suppressions(request)
        .await
        .unwrap();
    assert_eq!(answer.into_inner().failed_count, 0);
}
