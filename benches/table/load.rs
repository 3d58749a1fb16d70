//! The load driver, and the measurement that it returns.

use std::time::{Duration, Instant};

use futures::future::try_join_all;

/// One measurement.
pub(crate) struct Sample {
    pub(crate) items: usize,
    /// From the start of the first call to the end of the last one.
    pub(crate) elapsed: Duration,
    /// One for each call. Empty if single calls were not measured.
    pub(crate) latencies: Vec<Duration>,
}

impl Sample {
    /// Items a second.
    pub(crate) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let items = self.items as f64;
        items / self.elapsed.as_secs_f64()
    }

    /// The median latency in seconds; NaN without latencies.
    pub(crate) fn median_latency(&self) -> f64 {
        quantile(self.latencies.iter().map(Duration::as_secs_f64), 0.5)
    }
}

/// Runs one task for each client at the same time. Each makes `calls` calls, and makes the next one when the previous one
/// is answered. All requests are built before the measurement starts.
pub(crate) async fn run_callers<C, R, F, Fut>(
    clients: &[C],
    calls: usize,
    items_per_call: usize,
    request: impl Fn() -> anyhow::Result<R>,
    call: F,
) -> anyhow::Result<Sample>
where
    C: Clone + Send + 'static,
    R: Send + 'static,
    F: Fn(C, R) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let mut callers = Vec::with_capacity(clients.len());
    for client in clients {
        let requests = (0..calls).map(|_| request());
        callers.push((
            client.clone(),
            requests.collect::<anyhow::Result<Vec<_>>>()?,
        ));
    }
    let started = Instant::now();
    let tasks = callers.into_iter().map(|(client, requests)| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(requests.len());
            for request in requests {
                let started = Instant::now();
                call(client.clone(), request).await?;
                latencies.push(started.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let finished = try_join_all(tasks).await?;
    let elapsed = started.elapsed();
    let latencies = finished
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?
        .concat();
    Ok(Sample {
        items: latencies.len() * items_per_call,
        elapsed,
        latencies,
    })
}

/// The smallest value that at least `fraction` of the values do not exceed; NaN without values.
pub(crate) fn quantile(values: impl Iterator<Item = f64>, fraction: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list"
    )]
    let index = ((sorted.len() as f64 * fraction).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
