//! Delivery from a full queue to `smtp-sink`, and claims from a long queue.
//!
//! A server with the role `worker` claims, renders, sends and settles messages, each to another person. The reference is
//! `smtp-source`, which sends one message of the same size again and again and stores nothing.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use invitations::store::Connection;
use invitations::store::outbox::{self, Lease};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use tokio::time::sleep;
use uuid::Uuid;

use crate::bench::Bench;
use crate::comparison::{Comparison, Metric};
use crate::database::BenchDatabase;
use crate::load::{Sample, quantile};
use crate::seed;
use crate::server_process::ServerProcess;
use crate::smtp_sink::SmtpSink;

/// Connections, messages of a round, and rounds.
const LOADS: [(usize, usize, usize); 3] = [(1, 2_000, 5), (4, 4_000, 5), (16, 8_000, 5)];
const QUICK_MESSAGES: usize = 200;
const QUICK_ROUNDS: usize = 2;
/// About the size of an invitation email.
const MESSAGE_BYTES: usize = 16_000;
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Queued emails, and canceled ones that were due before them, as a revoked batch leaves them.
const QUEUED: i64 = 1_000_000;
const QUICK_QUEUED: i64 = 20_000;
const CANCELED: i64 = 50_000;
const CLAIMS: usize = 1_000;
const QUICK_CLAIMS: usize = 100;
const CLAIM_LIMIT: i64 = 20;

pub(crate) async fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let programs = env::var("BENCH_POSTFIX")
        .context("BENCH_POSTFIX must name a folder with smtp-sink and smtp-source")?;
    let sink = SmtpSink::start(PathBuf::from(programs)).await?;
    let database = bench.database.clone();
    let mut first = 0;
    for (connections, messages, rounds) in LOADS {
        let messages = bench.arguments.pick(messages, QUICK_MESSAGES);
        let settings = [
            ("INVITATIONS_ROLE", "worker"),
            ("INVITATIONS_MAIL_TRANSPORT", "smtp"),
            ("INVITATIONS_SMTP_HOST", "127.0.0.1"),
            ("INVITATIONS_SMTP_PORT", &sink.address().port().to_string()),
            ("INVITATIONS_SMTP_TLS", "none"),
            ("INVITATIONS_SMTP_CONNECTIONS", &connections.to_string()),
        ];
        let worker = ServerProcess::start(&database, &settings).await?;
        let comparison = Comparison {
            operation: "delivery",
            reference: "smtp-source",
            size: 1,
            callers: connections,
            metric: Metric::Rate,
            inserts_into: &[],
            warm_up_rounds: 1,
            rounds: bench.arguments.pick(rounds, QUICK_ROUNDS),
            process: worker.pid(),
        };
        let service = async || {
            let numbers = first..first + messages;
            first = numbers.end;
            let batch_id = Uuid::from_u128(first as u128);
            database.vacuum().await?;
            seed::insert_invitations(&database, batch_id, numbers).await?;
            measure_batch(&database, batch_id, messages).await
        };
        let reference = async || {
            sink.measure_source(connections, messages, MESSAGE_BYTES)
                .await
        };
        bench.compare(comparison, service, reference).await?;
        worker.stop().await?;
    }
    measure_claims(bench).await
}

/// Waits until a batch is sent. The measurement starts with the first settled message and ends with the last one.
async fn measure_batch(
    database: &BenchDatabase,
    batch_id: Uuid,
    messages: usize,
) -> anyhow::Result<Sample> {
    let mut connection = database.connect().await?;
    loop {
        let (sent, settled, seconds): (i64, i64, f64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE delivery_state = 'sent'), count(*) FILTER (WHERE delivery_state <> 'queued'),
                    coalesce(extract(epoch FROM max(sent_at) - min(sent_at)), 0)::float8
               FROM invitations WHERE batch_id = $1",
        )
        .bind(batch_id)
        .fetch_one(&mut connection)
        .await?;
        if usize::try_from(settled)? == messages {
            ensure!(sent == settled, "{sent} of {settled} messages were sent");
            return Ok(Sample {
                items: messages,
                elapsed: Duration::from_secs_f64(seconds),
                latencies: Vec::new(),
            });
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Prints how long it takes to claim emails from a long queue, each claim in a transaction of its own. There is no
/// reference.
async fn measure_claims(bench: &Bench<'_>) -> anyhow::Result<()> {
    let queued = bench.arguments.pick(QUEUED, QUICK_QUEUED);
    let claims = bench.arguments.pick(CLAIMS, QUICK_CLAIMS);
    let mut connection = bench.database.connect().await?;
    let fill = format!(
        "INSERT INTO outbox (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
         SELECT gen_random_uuid(), 'acme', 1, 'queued', 0, '2026-01-01', timestamptz '2026-01-01' + n * interval '1 ms'
           FROM generate_series(1, {queued} + {CANCELED}) AS n;
         UPDATE outbox SET state = 'canceled'
          WHERE state = 'queued' AND next_attempt_at <= timestamptz '2026-01-01' + {CANCELED} * interval '1 ms';
         ANALYZE outbox"
    );
    let fill = sqlx::raw_sql(AssertSqlSafe(fill));
    fill.execute(&mut connection).await?;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE state = 'queued'")
        .fetch_one(&mut connection)
        .await?;
    ensure!(left == queued, "{left} emails are queued, not {queued}");

    let mut latencies = Vec::with_capacity(claims);
    for number in 0..claims {
        let now = OffsetDateTime::now_utc();
        let lease = Lease {
            token: Uuid::from_u128(number as u128),
            until: now + Duration::from_mins(2),
        };
        let started = Instant::now();
        let claimed = outbox::claim(
            &mut Connection::new(&mut connection),
            CLAIM_LIMIT,
            lease,
            now,
        )
        .await?;
        latencies.push(started.elapsed().as_secs_f64() * 1_000.0);
        ensure!(
            i64::try_from(claimed.len())? == CLAIM_LIMIT,
            "the queue is empty"
        );
    }
    let quantile = |fraction| quantile(latencies.iter().copied(), fraction);
    println!(
        "claim of {CLAIM_LIMIT} with {queued} queued behind {CANCELED} canceled: p50 {:.2} ms, p99 {:.2} ms, first {:.2} ms\n",
        quantile(0.5),
        quantile(0.99),
        latencies[0]
    );
    Ok(())
}
