//! Well-behaved callers that call all the time while other clients misbehave. Each call must succeed; a test prints how
//! long the calls took.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::support::deployment::client;
use crate::support::requests::list_request;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::WAIT_MAX;

/// How long the callers run for comparison before the load begins.
const BASELINE: Duration = Duration::from_secs(1);
/// The number of callers that keep their connection, and of those that connect for each call.
const KEEPING_CONNECTION: usize = 2;
const RECONNECTING: usize = 2;

struct BackgroundCalls {
    tasks: JoinSet<Vec<Duration>>,
    stopping: CancellationToken,
}

/// How long the calls took.
struct Latencies {
    count: usize,
    p50: Duration,
    p99: Duration,
}

impl BackgroundCalls {
    fn start(address: &str) -> Self {
        let stopping = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..KEEPING_CONNECTION + RECONNECTING {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let keeps_connection = number < KEEPING_CONNECTION;
            tasks.spawn(call(endpoint, keeps_connection, stopping.clone()));
        }
        Self { tasks, stopping }
    }

    async fn stop(mut self) -> Latencies {
        self.stopping.cancel();
        let mut durations = Vec::new();
        while let Some(task) = self.tasks.join_next().await {
            durations.extend(task.unwrap());
        }
        durations.sort();
        let count = durations.len();
        Latencies {
            count,
            p50: durations[count / 2],
            p99: durations[count * 99 / 100],
        }
    }
}

async fn call(
    endpoint: Endpoint,
    keeps_connection: bool,
    stopping: CancellationToken,
) -> Vec<Duration> {
    let mut channel = endpoint.connect_lazy();
    let mut durations = Vec::new();
    while !stopping.is_cancelled() {
        if !keeps_connection {
            channel = endpoint.connect_lazy();
        }
        let begin = Instant::now();
        let mut client = client(&channel);
        let answer = timeout(WAIT_MAX, client.list(list_request())).await;
        answer.expect("a background call got no answer").unwrap();
        durations.push(begin.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    durations
}

/// Prints a line, which `cargo test -- --nocapture` shows.
#[expect(clippy::print_stdout, reason = "figures are for people")]
pub(crate) fn print_line(text: &str) {
    println!("{text}");
}

/// Runs a load with background calls beside it, and prints their latencies before and during the load.
pub(crate) async fn with_background_calls<T>(
    name: &str,
    process: &ServerProcess,
    load: impl Future<Output = T>,
) -> T {
    let address = process.address();
    let baseline = BackgroundCalls::start(&address);
    sleep(BASELINE).await;
    let before = baseline.stop().await;
    let memory = process.memory_kib();
    let calls = BackgroundCalls::start(&address);
    let begin = Instant::now();
    let outcome = load.await;
    let took = begin.elapsed();
    let grown = process.memory_kib() - memory;
    let during = calls.stop().await;
    print_line(&format!(
        "{name}: took {took:.1?}; others {} then {} calls, p50 {:.1?} then {:.1?}, p99 {:.1?} then {:.1?}; memory {memory} KiB and {grown:+} KiB",
        before.count, during.count, before.p50, during.p50, before.p99, during.p99,
    ));
    outcome
}
