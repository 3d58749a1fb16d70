//! A database whose clock jumps, as after a failover to a server with another clock.

use std::sync::Arc;
use std::time::Duration;

use invitations::clock::{Clock as _, SystemClock};
use invitations::database_clock::{ClockReading, DatabaseClock};
use invitations::delivery::Reaper;
use invitations::store::Store;

use crate::support::mail_queue::{CONNECTIONS, LONG_LEASE, MailQueue};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::services::store_config;

/// Longer than the leases of [`LONG_LEASE`].
const JUMP: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_jump_of_the_database_clock_ends_no_lease_while_its_holder_sends() {
    let queue = MailQueue::with_messages(CONNECTIONS).await;
    queue.act_on_each_connection(SmtpStep::Message, &RelayAction::Silence);
    let _worker = queue.start_worker(&[LONG_LEASE]);
    queue.wait_until_received(CONNECTIONS).await;

    let lease_duration = Duration::from_mins(10);
    let store = Store::new(&queue.deployment.database.url(), store_config()).unwrap();
    let reaper = |clock| Reaper::new(store.clone(), clock, lease_duration);
    let jumped = Arc::new(DatabaseClock::default());
    set(&jumped, Duration::ZERO);
    set(&jumped, JUMP);
    assert_eq!(reaper(jumped).reap().await.unwrap(), 0);

    // By a clock that always had this time, the leases have expired.
    let steady = Arc::new(DatabaseClock::default());
    set(&steady, JUMP);
    let expired = u64::try_from(CONNECTIONS).unwrap();
    assert_eq!(reaper(steady).reap().await.unwrap(), expired);
}

/// Sets a clock by a database that is ahead of this machine.
fn set(clock: &DatabaseClock, ahead: Duration) {
    let (elapsed, now) = (clock.elapsed(), SystemClock.now());
    let reading = ClockReading {
        asked_at: elapsed,
        database: now + ahead,
        answered_at: elapsed,
    };
    clock.set(reading, now);
}
