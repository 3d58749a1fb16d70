//! Measures each operation of the service beside a reference that does the same work without the service, and prints one
//! table. docs/performance.md explains the columns.
//!
//! The service runs as a process of its own on a durable Postgres. This process is the client. The service and the
//! reference take turns.
//!
//! `make bench` prepares what this program needs: `BENCH_DATABASE_URL`, a durable Postgres server, and `BENCH_POSTFIX`, a
//! folder with `smtp-sink` and `smtp-source`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reads its environment, measures time and prints to a terminal"
)]

mod accept;
mod arguments;
mod bench;
mod bulk_create;
mod bulk_create_stream;
mod comparison;
mod database;
mod delivery;
mod insert_batch;
mod load;
mod reads;
mod report;
mod resources;
mod seed;
mod server_process;
mod smtp_sink;

use std::env;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use arguments::{Arguments, Operation};
use bench::Bench;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let server_url = env::var("BENCH_DATABASE_URL").context(
        "BENCH_DATABASE_URL must name a durable Postgres server; `make bench` starts one",
    )?;
    println!(
        "durable Postgres {}; {} build; load average {:.1} at the start\n",
        database::check_server(&server_url).await?,
        if cfg!(debug_assertions) {
            "development"
        } else {
            "release"
        },
        resources::load_average().unwrap_or(f64::NAN)
    );

    let mut results = Vec::new();
    let mut status = ExitCode::SUCCESS;
    for operation in arguments.operations() {
        match measure(operation, &server_url, &arguments).await {
            Ok(measured) => results.extend(measured),
            // The results of the other operations are still printed.
            Err(error) => {
                eprintln!("{operation:?} failed: {error:#}");
                status = ExitCode::FAILURE;
            }
        }
    }
    println!("{}", report::table(&results));
    Ok(status)
}

/// Measures one operation in a database of its own.
async fn measure(
    operation: Operation,
    server_url: &str,
    arguments: &Arguments,
) -> anyhow::Result<Vec<comparison::ComparisonResult>> {
    let mut bench = Bench::new(server_url, arguments).await?;
    match operation {
        Operation::Delivery => delivery::run(&mut bench).await,
        Operation::BulkCreate => bulk_create::run(&mut bench).await,
        Operation::BulkCreateStream => bulk_create_stream::run(&mut bench).await,
        Operation::Accept => accept::run(&mut bench).await,
        Operation::Reads => reads::run(&mut bench).await,
        Operation::Replicas => bulk_create::run_replicas(&mut bench).await,
    }?;
    bench.finish().await
}
