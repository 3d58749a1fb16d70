//! What must hold after every failure, whatever failed: the invariants I1 to I5 of `docs/faults.md`.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use crate::support::database::count;
use crate::support::mail_queue::message_id;
use crate::support::relay::ReceivedMessage;

/// Rows that must not exist, with the invariant that each would break.
const CONTRADICTIONS: [(&str, &str); 5] = [
    (
        "I1: an invitation to be emailed has no email",
        "invitations i WHERE i.delivery_state <> 'not_requested'
            AND NOT EXISTS (SELECT FROM outbox o WHERE o.invitation_id = i.id)",
    ),
    (
        "I1: an email is leased to nobody",
        "outbox WHERE state = 'sending' AND lease_until < now() - interval '3 minutes'",
    ),
    (
        "I3: a membership has no invitation that its user accepted",
        "memberships m WHERE m.invitation_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM invitations i WHERE i.id = m.invitation_id AND i.state = 'accepted'
                                AND i.ended_by_user_id = m.user_id)",
    ),
    (
        "I3: an accepted invitation has no membership",
        "invitations i WHERE i.state = 'accepted'
            AND NOT EXISTS (SELECT FROM memberships m WHERE m.organization_id = i.organization_id
                                AND m.user_id = i.ended_by_user_id)",
    ),
    (
        "I4: an address has two pending invitations",
        "(SELECT FROM invitations WHERE state = 'pending'
           GROUP BY organization_id, email_normalized HAVING count(*) > 1) AS doubled",
    ),
];

/// Fails if the database contradicts itself or the emails that a relay received. At most `duplicates_max` emails
/// arrived a second time, with identical bytes (I2).
pub(crate) async fn assert_invariants(
    database: &mut PgConnection,
    received: &[ReceivedMessage],
    duplicates_max: usize,
) {
    for (invariant, rows) in CONTRADICTIONS {
        assert_eq!(count(database, rows).await, 0, "{invariant}");
    }
    let mut wires = BTreeMap::new();
    for message in received {
        let first = wires
            .entry(message_id(&message.wire))
            .or_insert(&message.wire);
        assert_eq!(*first, &message.wire, "I2: two emails have one id");
    }
    let duplicates = received.len() - wires.len();
    assert!(duplicates <= duplicates_max, "I2: {duplicates} duplicates");
    let recipients: BTreeSet<_> = received.iter().map(ReceivedMessage::address).collect();
    let sent: Vec<String> = sqlx::query_scalar(
        "SELECT i.email FROM outbox o JOIN invitations i ON i.id = o.invitation_id
          WHERE o.state = 'sent' AND i.email IS NOT NULL",
    )
    .fetch_all(database)
    .await
    .unwrap();
    for email in sent {
        assert!(recipients.contains(email.as_str()), "I5: {email}");
    }
}
