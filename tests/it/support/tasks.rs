//! Calls that run at the same time.

use futures::future::join_all;

/// Runs each future in a task of its own. Returns their outputs in the order of the futures.
pub(crate) async fn run_concurrently<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks = futures.into_iter().map(tokio::spawn);
    let outputs = join_all(tasks).await.into_iter();
    outputs.map(|output| output.unwrap()).collect()
}
