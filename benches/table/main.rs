//! One table: each operation of the service beside what the machine can do without it.
//!
//! The service is the program itself, in a process of its own, on a durable Postgres; the client is this process. Ours and
//! the reference take turns. docs/performance.md says what the columns mean.
//!
//! `BENCH_DATABASE_URL` names the Postgres; a database `invitations_bench` is made there and dropped, once for each
//! operation; with `BENCH_TEMPLATE` it begins as a copy of that one. `BENCH_POSTFIX` names a folder with `smtp-sink` and
//! `smtp-source`. psql and pgbench must be in the PATH. `make bench` sees to all of that.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is configured by its environment, times itself and reports to a terminal"
)]

mod accept;
mod arguments;
mod bulk_create;
mod bulk_create_stream;
mod contest;
mod database;
#[path = "../common/delay.rs"]
mod delay;
mod delivery;
mod machine;
mod meter;
mod people;
mod pgbench;
mod pool;
mod psql;
mod reads;
mod replicas;
mod report;
mod seed;
mod service;
mod statement;
mod yardstick;

use std::env;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser as _, ValueEnum as _};

use arguments::{Arguments, Operation};
use database::Database;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let server_url = env::var("BENCH_DATABASE_URL").context(
        "BENCH_DATABASE_URL must name a durable Postgres; `make bench` starts one and runs this",
    )?;
    println!(
        "{}; {} build; load {:.1} at the start\n",
        Database::describe(&server_url).await?,
        if cfg!(debug_assertions) {
            "a development"
        } else {
            "a release"
        },
        machine::load().unwrap_or(f64::NAN)
    );
    let mut outcomes = Vec::new();
    let mut status = ExitCode::SUCCESS;
    for operation in arguments.operations() {
        let of_operation = match operation {
            Operation::Delivery => delivery::run(&server_url, &arguments).await,
            Operation::BulkCreate => bulk_create::run(&server_url, &arguments).await,
            Operation::BulkCreateStream => bulk_create_stream::run(&server_url, &arguments).await,
            Operation::Accept => accept::run(&server_url, &arguments).await,
            Operation::Reads => reads::run(&server_url, &arguments).await,
            Operation::Replicas => replicas::run(&server_url, &arguments).await,
        };
        match of_operation {
            Ok(of_operation) => outcomes.extend(of_operation),
            // The others should not have been for nothing.
            Err(error) => {
                let value = operation.to_possible_value();
                let name = value
                    .map(|value| value.get_name().to_owned())
                    .unwrap_or_default();
                eprintln!("{name} failed: {error:#}");
                status = ExitCode::FAILURE;
            }
        }
    }
    println!("{}", report::table(&outcomes));
    Ok(status)
}
