//! Watches: streams of events.

use std::time::Duration;

use invitations::proto::{InvitationEvent, WatchRequest, WatchResponse};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::support::callers::InvitationClient;
use crate::support::fixtures::ACME;

/// How long a test waits for an event. Shorter than the interval of heartbeats, so that a heartbeat does not end the wait.
pub(crate) const EVENT_TIMEOUT: Duration = Duration::from_secs(15);

/// A watch, with all events that it has returned.
pub(crate) struct WatchStream {
    stream: Streaming<WatchResponse>,
    pub(crate) events: Vec<InvitationEvent>,
    /// Each cursor, with the number of events until then.
    pub(crate) cursors: Vec<(String, usize)>,
}

/// Watches all events of ACME, beginning with the oldest.
pub(crate) fn watch_request() -> WatchRequest {
    WatchRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    }
}

/// Opens a watch and reads nothing.
pub(crate) async fn open_watch(
    mut client: InvitationClient,
    request: WatchRequest,
) -> Result<Streaming<WatchResponse>, Status> {
    let answer = client.watch(request).await?;
    Ok(answer.into_inner())
}

impl WatchStream {
    /// Opens a watch and reads its first response.
    pub(crate) async fn begin(client: InvitationClient, request: WatchRequest) -> Self {
        let mut watch = Self::new(open_watch(client, request).await.unwrap());
        watch.next().await.unwrap();
        watch
    }

    pub(crate) fn new(stream: Streaming<WatchResponse>) -> Self {
        Self {
            stream,
            events: Vec::new(),
            cursors: Vec::new(),
        }
    }

    /// Reads the next response.
    pub(crate) async fn next(&mut self) -> Result<(), Status> {
        let response = timeout(EVENT_TIMEOUT, self.stream.message()).await;
        let response = response.expect("no response arrived")?;
        let response = response.expect("a watch does not end by itself");
        assert!(response.events.len() <= 1_000);
        self.events.extend(response.events);
        self.cursors.push((response.cursor, self.events.len()));
        Ok(())
    }

    /// Reads until the watch has returned `count` events.
    pub(crate) async fn wait_for_events(&mut self, count: usize) {
        while self.events.len() < count {
            self.next().await.unwrap();
        }
    }

    pub(crate) fn event_ids(&self) -> Vec<String> {
        self.events.iter().map(|event| event.id.clone()).collect()
    }
}
