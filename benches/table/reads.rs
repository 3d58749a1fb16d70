//! Get, Preview, GetBatch and List, compared with the health check of the same server, a call that does no work.
//!
//! The median latencies are compared.

use std::cell::Cell;

use anyhow::ensure;
use invitations::domain::keyring::Keyring;
use invitations::proto::{GetBatchRequest, GetRequest, ListRequest, PreviewRequest};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use crate::bench::Bench;
use crate::bulk_create;
use crate::comparison::{Comparison, Metric};
use crate::insert_batch::AddressSource;
use crate::load::run_callers;
use crate::seed::{self, KEYS, ORGANIZATION, SeededInvitation};
use crate::server_process::{InvitationClient, ServerProcess};

/// Invitations of the organization.
const INVITATIONS: usize = 1_000_000;
const QUICK_INVITATIONS: usize = 10_000;
const BATCH_ITEMS: usize = 10_000;
const PAGE_ITEMS: usize = 100;
/// Items on the pages that are read to reach the middle of the list.
const LARGE_PAGE_ITEMS: usize = 1_000;
const CALLERS: [usize; 2] = [1, 8];
/// Calls of each caller in a round.
const CALLS: usize = 500;
const QUICK_CALLS: usize = 50;
const ROUNDS: usize = 7;
const QUICK_ROUNDS: usize = 2;
/// The distance between the invitations that are read one after another: a prime, so that all are read.
const STRIDE: usize = 7_919;

#[derive(Clone)]
enum ReadRequest {
    Get(GetRequest),
    Preview(PreviewRequest),
    GetBatch(GetBatchRequest),
    List(ListRequest),
}

pub(crate) async fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let server = ServerProcess::start_api(&bench.database).await?;
    let count = bench.arguments.pick(INVITATIONS, QUICK_INVITATIONS);
    seed::insert_invitations(&bench.database, Uuid::from_u128(1), 0..count).await?;
    bench.database.vacuum().await?;

    let get = |number| {
        Ok(ReadRequest::Get(GetRequest {
            organization_id: ORGANIZATION.to_owned(),
            invitation_id: SeededInvitation::new(number % count).id,
        }))
    };
    compare(bench, &server, "Get", 1, get).await?;

    let keyring = Keyring::parse(KEYS)?;
    let preview = |number| {
        let token = seed::token(&keyring, number % count)?;
        Ok(ReadRequest::Preview(PreviewRequest { token }))
    };
    compare(bench, &server, "Preview", 1, preview).await?;

    let request = bulk_create::request(AddressSource::default().take(BATCH_ITEMS));
    let batch = server.client().await?.bulk_create(request).await?;
    let get_batch = ReadRequest::GetBatch(GetBatchRequest {
        organization_id: ORGANIZATION.to_owned(),
        batch_id: batch.into_inner().batch_id,
    });
    let get_batch = |_| Ok(get_batch.clone());
    compare(bench, &server, "GetBatch", BATCH_ITEMS, get_batch).await?;

    let first = list_request(PAGE_ITEMS, String::new())?;
    let first = |_| Ok(ReadRequest::List(first.clone()));
    compare(bench, &server, "List, first page", PAGE_ITEMS, first).await?;

    let middle = page_token_after(server.client().await?, count / 2).await?;
    let middle = list_request(PAGE_ITEMS, middle)?;
    let middle = |_| Ok(ReadRequest::List(middle.clone()));
    compare(
        bench,
        &server,
        "List, page in the middle",
        PAGE_ITEMS,
        middle,
    )
    .await?;
    server.stop().await
}

/// Sends a request and checks that the response is complete.
async fn call(mut client: InvitationClient, request: ReadRequest) -> anyhow::Result<()> {
    match request {
        ReadRequest::Get(request) => {
            client.get(request).await?;
        }
        ReadRequest::Preview(request) => {
            client.preview(request).await?;
        }
        ReadRequest::GetBatch(request) => {
            let batch = client.get_batch(request).await?.into_inner().batch;
            let items = batch.map_or(0, |batch| batch.item_count);
            ensure!(
                usize::try_from(items)? == BATCH_ITEMS,
                "the batch has {items} items"
            );
        }
        ReadRequest::List(request) => {
            let page = client.list(request).await?.into_inner();
            ensure!(page.invitations.len() == PAGE_ITEMS, "the page is not full");
        }
    }
    Ok(())
}

/// Returns the token of the page that starts after `count` invitations.
async fn page_token_after(mut client: InvitationClient, count: usize) -> anyhow::Result<String> {
    let mut page_token = String::new();
    let mut skipped = 0;
    while skipped < count {
        let request = list_request(LARGE_PAGE_ITEMS, page_token)?;
        let page = client.list(request).await?.into_inner();
        ensure!(!page.next_page_token.is_empty(), "the list ended too early");
        skipped += page.invitations.len();
        page_token = page.next_page_token;
    }
    Ok(page_token)
}

fn list_request(page_size: usize, page_token: String) -> anyhow::Result<ListRequest> {
    Ok(ListRequest {
        organization_id: ORGANIZATION.to_owned(),
        page_size: i32::try_from(page_size)?,
        page_token,
        ..Default::default()
    })
}

/// Compares a read with the health check, for each number of callers.
async fn compare(
    bench: &mut Bench<'_>,
    server: &ServerProcess,
    operation: &'static str,
    size: usize,
    request: impl Fn(usize) -> anyhow::Result<ReadRequest>,
) -> anyhow::Result<()> {
    let calls = bench.arguments.pick(CALLS, QUICK_CALLS);
    let number = Cell::new(0);
    let next_request = || request(number.replace(number.get() + STRIDE));
    for callers in CALLERS {
        let clients = server.clients(callers).await?;
        let mut health_clients = Vec::new();
        for _ in 0..callers {
            health_clients.push(HealthClient::new(server.channel().await?));
        }
        let comparison = Comparison {
            operation,
            reference: "health",
            size,
            callers,
            metric: Metric::MedianLatency,
            inserts_into: &[],
            warm_up_rounds: 1,
            rounds: bench.arguments.pick(ROUNDS, QUICK_ROUNDS),
            process: server.pid(),
        };
        let service = async || run_callers(&clients, calls, 1, next_request, call).await;
        let reference = async || {
            let request = || Ok(HealthCheckRequest::default());
            run_callers(
                &health_clients,
                calls,
                1,
                request,
                |mut client, request| async move {
                    client.check(request).await?;
                    Ok(())
                },
            )
            .await
        };
        bench.compare(comparison, service, reference).await?;
    }
    Ok(())
}
