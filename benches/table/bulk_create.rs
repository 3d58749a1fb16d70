//! BulkCreate, compared with the insert statement of `store::invitations` over a pool, by as many callers.
//!
//! Both leave the same rows. Items contain an address alone. Requests and rows are built before the measurement.
//!
//! Replicas: BulkCreate on several server processes, compared with one process on the same database. All processes share
//! the machine with Postgres.

use anyhow::ensure;
use invitations::proto::{BulkCreateRequest, NewInvitation};

use crate::bench::Bench;
use crate::comparison::{Comparison, Metric};
use crate::insert_batch::{AddressSource, InsertBatch};
use crate::load::{Sample, run_callers};
use crate::seed::{INVITER, ORGANIZATION};
use crate::server_process::{InvitationClient, ServerProcess};

/// Items in a call, callers, calls of each caller in a round, and rounds.
const SIZES: [(usize, usize, usize, usize); 8] = [
    (10, 1, 40, 15),
    (100, 1, 20, 15),
    (1_000, 1, 4, 15),
    (10_000, 1, 1, 15),
    (10, 8, 20, 15),
    (100, 8, 8, 15),
    (1_000, 8, 2, 11),
    (10_000, 8, 1, 7),
];
const QUICK_ROUNDS: usize = 3;
const QUICK_ITEMS_MAX: usize = 10_000;
const INSERTS_INTO: &[&str] = &["invitations", "outbox", "invitation_events"];

const REPLICAS: [(usize, &str); 2] = [
    (2, "BulkCreate, 2 processes"),
    (4, "BulkCreate, 4 processes"),
];
/// Items in a call, and calls of each caller in a round.
const REPLICA_SIZES: [(usize, usize); 2] = [(10, 20), (1_000, 2)];
const REPLICA_CALLERS: usize = 8;
const REPLICA_ROUNDS: usize = 9;
const QUICK_REPLICA_ROUNDS: usize = 2;

pub(crate) async fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let server = ServerProcess::start_api(&bench.database).await?;
    let addresses = AddressSource::default();
    for (size, callers, calls, rounds) in SIZES {
        if bench.arguments.quick && size * callers > QUICK_ITEMS_MAX {
            continue;
        }
        let clients = server.clients(callers).await?;
        let stores = vec![bench.store.clone(); callers];
        let comparison = Comparison {
            operation: "BulkCreate",
            reference: "the statement",
            size,
            callers,
            metric: Metric::Rate,
            inserts_into: INSERTS_INTO,
            warm_up_rounds: 2,
            rounds: bench.arguments.pick(rounds, QUICK_ROUNDS),
            process: server.pid(),
        };
        let service = async || create(&clients, &addresses, size, calls).await;
        let reference = async || {
            let batch = || InsertBatch::new(&addresses.take(size));
            run_callers(&stores, calls, size, batch, InsertBatch::insert).await
        };
        bench.compare(comparison, service, reference).await?;
    }
    server.stop().await
}

pub(crate) async fn run_replicas(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let mut servers = Vec::new();
    let addresses = AddressSource::default();
    for (processes, operation) in REPLICAS {
        while servers.len() < processes {
            servers.push(ServerProcess::start_api(&bench.database).await?);
        }
        // One client for each caller, spread evenly over the servers.
        let (mut all, mut first) = (Vec::new(), Vec::new());
        for server in servers.iter().cycle().take(REPLICA_CALLERS) {
            all.push(server.client().await?);
            first.push(servers[0].client().await?);
        }
        for (size, calls) in REPLICA_SIZES {
            let comparison = Comparison {
                operation,
                reference: "one process",
                size,
                callers: REPLICA_CALLERS,
                metric: Metric::Rate,
                inserts_into: INSERTS_INTO,
                warm_up_rounds: 1,
                rounds: bench.arguments.pick(REPLICA_ROUNDS, QUICK_REPLICA_ROUNDS),
                process: None,
            };
            let service = async || create(&all, &addresses, size, calls).await;
            let reference = async || create(&first, &addresses, size, calls).await;
            bench.compare(comparison, service, reference).await?;
        }
    }
    for server in servers {
        server.stop().await?;
    }
    Ok(())
}

/// Each client makes `calls` calls with `size` items.
async fn create(
    clients: &[InvitationClient],
    addresses: &AddressSource,
    size: usize,
    calls: usize,
) -> anyhow::Result<Sample> {
    let request = || Ok(request(addresses.take(size)));
    run_callers(
        clients,
        calls,
        size,
        request,
        move |mut client, request| async move {
            let response = client.bulk_create(request).await?.into_inner();
            let created = usize::try_from(response.succeeded_count)?;
            ensure!(created == size, "{created} of {size} items were created");
            Ok(())
        },
    )
    .await
}

pub(crate) fn request(emails: Vec<String>) -> BulkCreateRequest {
    BulkCreateRequest {
        organization_id: ORGANIZATION.to_owned(),
        inviter_user_id: INVITER.to_owned(),
        invitations: emails.into_iter().map(item).collect(),
        ..Default::default()
    }
}

pub(crate) fn item(email: String) -> NewInvitation {
    NewInvitation {
        email,
        ..Default::default()
    }
}
