//! A process with as much memory as a small container has. It refuses calls before the kernel would kill it.

use std::net::SocketAddr;

use invitations::proto::BulkCreateRequest;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::database::count;
use crate::support::deployment::{Deployment, TOKEN, directory_client, serving_channel};
use crate::support::fixtures::populate;
use crate::support::memory_cgroup::MemoryCgroup;
use crate::support::server_process::ServerProcess;
use crate::support::{create_request, item, raw_grpc, run_concurrently, status_reason};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const MIB: usize = 1024 * 1024;
const MEMORY_MAX: usize = 256 * MIB;
const CALLS: usize = 64;
const ITEMS: usize = 1_000;
/// As long as a message of a person may be.
const TEXT_LENGTH: usize = 500;

/// A call that invites people whom no other call invites.
fn request(name: &str) -> BulkCreateRequest {
    let items = (0..ITEMS).map(|number| {
        let mut item = item(&format!("person{number}@{name}.example"));
        item.message = "x".repeat(TEXT_LENGTH);
        item
    });
    create_request(items.collect())
}

async fn call(address: SocketAddr, name: String) -> Result<(), Status> {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let message = request(&name).encode_to_vec();
    raw_grpc::call(address, BULK_CREATE, &headers, &message)
        .await
        .map(drop)
}

/// Makes the calls at the same time, again and again. Returns how many succeeded.
async fn call_at_once(process: &ServerProcess, rounds: usize) -> usize {
    let address = process.address().parse().unwrap();
    let mut succeeded = 0;
    for round in 0..rounds {
        let calls = (0..CALLS).map(|number| call(address, format!("call{number}.round{round}")));
        for response in run_concurrently(calls).await {
            let Err(status) = response else {
                succeeded += 1;
                continue;
            };
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert_eq!(status_reason(&status), "OVERLOADED");
            assert!(status.get_details_retry_info().is_some());
        }
    }
    succeeded
}

async fn run_with_limit(rounds: usize) {
    let deployment = Deployment::create().await;
    let cgroup = MemoryCgroup::create(MEMORY_MAX);
    let process = deployment.start("serve", &[("INVITATIONS_ROLE", "api")]);
    match &cgroup {
        Some(cgroup) => cgroup.add(&process),
        None => print_line("this user may not create a cgroup; only the peak is checked"),
    }
    let channel = serving_channel(&process).await;
    populate(&directory_client(&channel)).await;
    let succeeded = call_at_once(&process, rounds).await;
    let peak = process.peak_memory();
    print_line(&format!(
        "{succeeded} of {} calls succeeded; peak {} MiB",
        CALLS * rounds,
        peak / MIB
    ));
    assert!(succeeded > 0);
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    // The process lives, has lost nothing, and serves others.
    let address = process.address().parse().unwrap();
    call(address, "afterwards".to_owned()).await.unwrap();
    let mut database = deployment.database.connect().await;
    let invited = count(&mut database, "invitations").await;
    assert_eq!(usize::try_from(invited).unwrap(), (succeeded + 1) * ITEMS);
    process.crash().await;
}

/// F40 of the fault plan.
#[tokio::test]
async fn many_large_calls_fit_into_256_mib() {
    run_with_limit(1).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn many_large_calls_for_minutes_fit_into_256_mib() {
    run_with_limit(20).await;
}
