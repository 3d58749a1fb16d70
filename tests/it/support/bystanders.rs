//! Callers who only want their answers while others misbehave. Each answer has to be OK; how long it takes is printed.

use std::time::Duration;

use invitations::proto::ListRequest;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::support::harness::ACME;
use crate::support::site::{PATIENCE, Running, client};

/// How long they are watched before anything happens.
const CALM: Duration = Duration::from_secs(1);
/// How many keep their connection, and how many come anew for each call.
const FAITHFUL: usize = 2;
const NEWCOMERS: usize = 2;

/// Calls that are made all the time.
struct Bystanders {
    tasks: JoinSet<Vec<Duration>>,
    stopping: CancellationToken,
}

/// How long their calls took.
struct Figures {
    count: usize,
    median: Duration,
    worst_percent: Duration,
}

impl Bystanders {
    fn start(address: &str) -> Self {
        let stopping = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..FAITHFUL + NEWCOMERS {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            tasks.spawn(call(endpoint, number < FAITHFUL, stopping.clone()));
        }
        Self { tasks, stopping }
    }

    async fn stop(mut self) -> Figures {
        self.stopping.cancel();
        let mut durations = Vec::new();
        while let Some(task) = self.tasks.join_next().await {
            durations.extend(task.unwrap());
        }
        durations.sort();
        let count = durations.len();
        Figures {
            count,
            median: durations[count / 2],
            worst_percent: durations[count * 99 / 100],
        }
    }
}

async fn call(endpoint: Endpoint, is_faithful: bool, stopping: CancellationToken) -> Vec<Duration> {
    let mut channel = endpoint.connect_lazy();
    let mut durations = Vec::new();
    while !stopping.is_cancelled() {
        if !is_faithful {
            channel = endpoint.connect_lazy();
        }
        let request = ListRequest {
            organization_id: ACME.to_owned(),
            ..Default::default()
        };
        let begin = Instant::now();
        let mut client = client(&channel);
        let answer = timeout(PATIENCE, client.list(request)).await;
        answer.expect("a bystander got no answer").unwrap();
        durations.push(begin.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    durations
}

/// Says something to whoever runs a test with `--nocapture`.
#[expect(clippy::print_stdout, reason = "figures are for people")]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

/// Runs a flood with callers beside it. `cargo test -- --nocapture` shows what they noticed.
pub(crate) async fn beside<T>(name: &str, running: &Running, flood: impl Future<Output = T>) -> T {
    let address = running.address();
    let calm = Bystanders::start(&address);
    sleep(CALM).await;
    let calm = calm.stop().await;
    let memory = running.memory_kib();
    let during = Bystanders::start(&address);
    let begin = Instant::now();
    let outcome = flood.await;
    let took = begin.elapsed();
    let grown = running.memory_kib() - memory;
    let during = during.stop().await;
    tell(&format!(
        "{name}: took {took:.1?}; others {} then {} calls, p50 {:.1?} then {:.1?}, p99 {:.1?} then {:.1?}; memory {memory} KiB and {grown:+} KiB",
        calm.count,
        during.count,
        calm.median,
        during.median,
        calm.worst_percent,
        during.worst_percent,
    ));
    outcome
}
