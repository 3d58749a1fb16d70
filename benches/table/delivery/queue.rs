//! Queued mails, written past the service: what is measured here is how they leave.

use std::time::{Duration, Instant};

use anyhow::ensure;
use invitations::store::Connection;
use invitations::store::outbox::{self, Lease};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

/// The organization that invites.
const ORGANIZATION: &str = "bench";

/// The outbox of a database.
pub(crate) struct Queue {
    connection: PgConnection,
}

impl Queue {
    /// Tells of an organization and its inviter.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query(
            "INSERT INTO organizations
                    (id, name, roles, default_role, allowed_email_domains, redirect_origins, locale, recheck_inviter,
                     created_at, updated_at)
             VALUES ($1, 'Analytical Engines', '{admin,member}', 'member', '{}', '{}', '', false, now(), now())",
        )
        .bind(ORGANIZATION)
        .execute(&mut connection)
        .await?;
        sqlx::query("INSERT INTO users (id, name, created_at, updated_at) VALUES ('ada', 'Ada King', now(), now())")
            .execute(&mut connection)
            .await?;
        Ok(Self { connection })
    }

    /// Queues mails to so many different people, due now.
    pub(crate) async fn fill(&mut self, mails: usize) -> anyhow::Result<()> {
        sqlx::query("TRUNCATE invitations, outbox, invitation_events")
            .execute(&mut self.connection)
            .await?;
        sqlx::query(
            "WITH made AS (
                 INSERT INTO invitations
                        (id, batch_id, created_at, updated_at, expires_at, queued_at, next_attempt_at, generation,
                         send_seq, delivery_attempts, key_id, state, accept_policy, delivery_state, nonce,
                         organization_id, email, email_normalized, role, inviter_user_id, locale, redirect_url,
                         message)
                 SELECT gen_random_uuid(), gen_random_uuid(), now(), now(), now() + interval '30 days', now(), now(),
                        1, 1, 0, 1, 'pending', 'invited_email', 'queued', decode(md5(random()::text), 'hex'),
                        $1, 'person' || n || '@example.com', 'person' || n || '@example.com', 'member', 'ada', '',
                        '', 'We start on Monday.'
                   FROM generate_series(1, $2) AS n
                 RETURNING id
             )
             INSERT INTO outbox
                    (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
             SELECT id, $1, 1, 'queued', 0, now(), now() FROM made",
        )
        .bind(ORGANIZATION)
        .bind(i32::try_from(mails)?)
        .execute(&mut self.connection)
        .await?;
        self.analyze().await
    }

    /// How many mails are in a state.
    pub(crate) async fn count(&mut self, state: &str) -> anyhow::Result<i64> {
        Ok(
            sqlx::query_scalar("SELECT count(*) FROM outbox WHERE state = $1")
                .bind(state)
                .fetch_one(&mut self.connection)
                .await?,
        )
    }

    /// Queues `waiting` mails behind `canceled` ones that were ended since, as a revoked batch leaves them.
    pub(crate) async fn fill_outbox(&mut self, waiting: i32, canceled: i32) -> anyhow::Result<()> {
        sqlx::query("TRUNCATE invitations, outbox, invitation_events")
            .execute(&mut self.connection)
            .await?;
        sqlx::query(
            "INSERT INTO outbox
                    (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
             SELECT gen_random_uuid(), $1, 1, 'queued', 0, now(), now() - interval '1 day' + n * interval '1 ms'
               FROM generate_series(1, $2) AS n",
        )
        .bind(ORGANIZATION)
        .bind(waiting + canceled)
        .execute(&mut self.connection)
        .await?;
        sqlx::query(
            "UPDATE outbox SET state = 'canceled'
              WHERE next_attempt_at <= now() - interval '1 day' + $1 * interval '1 ms'",
        )
        .bind(canceled)
        .execute(&mut self.connection)
        .await?;
        self.analyze().await
    }

    /// How long each of a number of claims takes, its commit included.
    pub(crate) async fn claims(
        &mut self,
        count: usize,
        mails: i64,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        for number in 0..count {
            let now = OffsetDateTime::now_utc();
            let lease = Lease {
                token: Uuid::from_u128(u128::try_from(number)?),
                until: now + Duration::from_mins(2),
            };
            let started = Instant::now();
            let claimed = outbox::claim(
                &mut Connection::new(&mut self.connection),
                mails,
                lease,
                now,
            )
            .await?;
            times.push(started.elapsed());
            ensure!(i64::try_from(claimed.len())? == mails, "the queue is empty");
        }
        Ok(times)
    }

    async fn analyze(&mut self) -> anyhow::Result<()> {
        for table in ["invitations", "outbox"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("ANALYZE {table}")))
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }
}
