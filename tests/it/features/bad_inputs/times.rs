//! Times and durations: out of range, malformed, and of no possible date.

use invitations::proto::{
    ErrorReason, NewInvitation, ResendRequest, SuppressionServiceAddRequest, new_invitation,
    resend_request,
};
use prost_types::{Duration, Timestamp};
use tonic::Code;

use super::{assert_refused, assert_status, quiet};
use crate::support::{ACME, START, World};

const DAY: i64 = 86_400;

/// Durations that no invitation may live for.
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

/// Times at which none may expire.
fn times() -> [(i64, i32); 9] {
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
async fn an_invitation_lives_an_hour_to_a_year_and_nothing_else() {
    let world = World::start().await;
    for (seconds, nanos) in DURATIONS {
        let ttl = new_invitation::Expiry::Ttl(Duration { seconds, nanos });
        let rule = ("ttl", ErrorReason::ExpiryOutOfRange);
        assert_refused(&world, &[""], rule, |_, _| NewInvitation {
            expiry: Some(ttl),
            ..quiet("a@b.co")
        })
        .await;
    }
    for (seconds, nanos) in times() {
        let time = new_invitation::Expiry::ExpireTime(Timestamp { seconds, nanos });
        let rule = ("expire_time", ErrorReason::ExpiryOutOfRange);
        assert_refused(&world, &[""], rule, |_, _| NewInvitation {
            expiry: Some(time),
            ..quiet("a@b.co")
        })
        .await;
    }
}

#[tokio::test]
async fn a_reminder_of_no_possible_time_is_refused() {
    let world = World::start().await;
    for (seconds, nanos) in DURATIONS.into_iter().filter(|lead| *lead != (0, 0)) {
        let rule = ("reminder_lead", ErrorReason::FieldInvalid);
        assert_refused(&world, &[""], rule, |_, _| NewInvitation {
            reminder_lead: Some(Duration { seconds, nanos }),
            ..quiet("a@b.co")
        })
        .await;
    }
}

#[tokio::test]
async fn an_invitation_is_not_resent_to_expire_at_no_possible_time() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let request = |expiry| ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        expiry: Some(expiry),
        ..Default::default()
    };
    let ttls = DURATIONS
        .map(|(seconds, nanos)| request(resend_request::Expiry::Ttl(Duration { seconds, nanos })));
    let times = times().map(|(seconds, nanos)| {
        request(resend_request::Expiry::ExpireTime(Timestamp {
            seconds,
            nanos,
        }))
    });
    for request in ttls.into_iter().chain(times) {
        let answer = world.client().resend(request).await;
        assert_status(answer, Code::InvalidArgument, "EXPIRY_OUT_OF_RANGE", "");
    }
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn a_suppression_ends_at_a_time_to_come_or_never() {
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
        let request = SuppressionServiceAddRequest {
            emails: vec!["a@b.co".to_owned()],
            expire_time: Some(Timestamp { seconds, nanos }),
            ..Default::default()
        };
        let answer = world.suppressions().add(request).await;
        assert_status(answer, Code::InvalidArgument, "FIELD_INVALID", "");
    }
    // The last second there is.
    let request = SuppressionServiceAddRequest {
        emails: vec!["a@b.co".to_owned()],
        expire_time: Some(Timestamp {
            seconds: 253_402_300_799,
            nanos: 999_999_999,
        }),
        ..Default::default()
    };
    let answer = world.suppressions().add(request).await.unwrap();
    assert_eq!(answer.into_inner().failed_count, 0);
}
