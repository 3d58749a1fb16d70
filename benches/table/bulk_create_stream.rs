//! BulkCreateStream, compared with insert statements of 1,000 rows, one after another over a pool.
//!
//! Both build their rows during the measurement, and the latencies of the statements include that. The latencies of the
//! stream are the times between two responses.

use std::time::Instant;

use anyhow::ensure;
use futures::stream;
use invitations::proto::{BulkCreateStreamHeader, BulkCreateStreamRequest, CreateOutcome};

use crate::bench::Bench;
use crate::bulk_create;
use crate::comparison::{Comparison, Metric};
use crate::insert_batch::{AddressSource, InsertBatch};
use crate::load::{Sample, run_callers};
use crate::seed::{INVITER, ORGANIZATION};
use crate::server_process::{InvitationClient, ServerProcess};

/// Items of a stream, warm-up rounds, and rounds.
const SIZES: [(usize, usize, usize); 2] = [(100_000, 1, 5), (1_000_000, 0, 1)];
const QUICK_SIZES: [(usize, usize, usize); 2] = [(5_000, 1, 2), (20_000, 0, 1)];
const MESSAGE_ITEMS: usize = 500;
const STATEMENT_ROWS: usize = 1_000;

pub(crate) async fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let server = ServerProcess::start_api(&bench.database).await?;
    let client = server.client().await?;
    let stores = [bench.store.clone()];
    let addresses = AddressSource::default();
    for (size, warm_up_rounds, rounds) in bench.arguments.pick(SIZES, QUICK_SIZES) {
        let comparison = Comparison {
            operation: "BulkCreateStream",
            reference: "statements of 1,000",
            size,
            callers: 1,
            metric: Metric::Rate,
            inserts_into: &["invitations", "outbox"],
            warm_up_rounds,
            rounds,
            process: server.pid(),
        };
        let service = async || send_stream(client.clone(), &addresses, size).await;
        let reference = async || {
            let statements = size / STATEMENT_ROWS;
            let source = || Ok(addresses.clone());
            run_callers(
                &stores,
                statements,
                STATEMENT_ROWS,
                source,
                |store, addresses| async move {
                    let batch = InsertBatch::new(&addresses.take(STATEMENT_ROWS))?;
                    InsertBatch::insert(store, batch).await
                },
            )
            .await
        };
        bench.compare(comparison, service, reference).await?;
    }
    server.stop().await
}

async fn send_stream(
    mut client: InvitationClient,
    addresses: &AddressSource,
    size: usize,
) -> anyhow::Result<Sample> {
    let mut latencies = Vec::new();
    let mut created = 0;
    let started = Instant::now();
    let messages = stream::iter(messages(addresses.clone(), size));
    let mut responses = client.bulk_create_stream(messages).await?.into_inner();
    let mut previous = Instant::now();
    while let Some(response) = responses.message().await? {
        if response.results.is_empty() {
            continue;
        }
        latencies.push(previous.elapsed());
        previous = Instant::now();
        for result in &response.results {
            let is_created = result.outcome() == CreateOutcome::Created;
            ensure!(is_created, "item {} was not created", result.index);
        }
        created += response.results.len();
    }
    let elapsed = started.elapsed();
    ensure!(created == size, "{created} of {size} items were created");
    Ok(Sample {
        items: created,
        elapsed,
        latencies,
    })
}

/// The header, and messages of items that are built when the stream is polled.
fn messages(
    addresses: AddressSource,
    size: usize,
) -> impl Iterator<Item = BulkCreateStreamRequest> {
    let header = BulkCreateStreamHeader {
        organization_id: ORGANIZATION.to_owned(),
        inviter_user_id: INVITER.to_owned(),
        ..Default::default()
    };
    let item = |email| bulk_create::item(email);
    let messages = (0..size / MESSAGE_ITEMS).map(move |_| BulkCreateStreamRequest {
        header: None,
        invitations: addresses
            .take(MESSAGE_ITEMS)
            .into_iter()
            .map(item)
            .collect(),
    });
    std::iter::once(BulkCreateStreamRequest {
        header: Some(header),
        invitations: Vec::new(),
    })
    .chain(messages)
}
