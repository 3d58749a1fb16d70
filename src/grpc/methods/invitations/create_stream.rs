//! `BulkCreateStream`: items in, results out, one chunk at a time.
//!
//! While a chunk is written, the next one is read, and no more. Results that are not read stop the writing, and chunks that
//! are not written stop the reading, so memory does not grow with the stream. Every chunk counts as a call and has its limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Status, Streaming};
use tracing::Instrument as _;

use super::chunks::Chunks;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::admission::acting_user;
use crate::grpc::admission::control::AdmittedStream;
use crate::grpc::admission::permission::actor;
use crate::grpc::convert::bulk_create;
use crate::grpc::convert::fields::Fields as _;
use crate::grpc::convert::viewed_invitations::ViewedInvitations;
use crate::grpc::methods::api::Api;
use crate::grpc::status;
use crate::grpc::wire::deadline;
use crate::grpc::wire::limits::{STREAM_AGE_MAX, STREAM_IDLE_MAX, STREAM_RATE_WAIT_MAX};
use crate::proto::{
    BulkCreateStreamHeader, BulkCreateStreamRequest, BulkCreateStreamResponse, NewInvitation,
};
use crate::service::bulk_create::{CreateChunk, OpenBatch, OpenStream, StreamHeader};
use crate::shutdown;

pub(super) type ResultStream = BoxStream<'static, Result<BulkCreateStreamResponse, Status>>;

/// How many responses wait for the reader, beside the one on its way.
const RESPONSES_WAITING: usize = 1;
const CHUNKS_AHEAD: usize = 1;
/// The shortest pause before the rate of the caller is checked again.
const RATE_PAUSE_MIN: Duration = Duration::from_millis(1);

/// A chunk as it was sent, or why it could not be read.
type ReadChunk = Result<Vec<NewInvitation>, Status>;

struct CreateStream {
    api: Api,
    admitted: AdmittedStream,
    responses: mpsc::Sender<BulkCreateStreamResponse>,
}

pub(super) fn open(
    api: &Api,
    admitted: AdmittedStream,
    request: Request<Streaming<BulkCreateStreamRequest>>,
) -> ResultStream {
    let overdue = deadline::of_stream(request.metadata());
    let (responses, sent) = mpsc::channel(RESPONSES_WAITING);
    let (end, ended) = oneshot::channel();
    let reader = responses.clone();
    let span = admitted.span.clone();
    let stream = CreateStream {
        api: api.clone(),
        admitted,
        responses,
    };
    let messages = request.into_inner();
    let running = async move {
        let outcome = tokio::select! {
            outcome = stream.run(messages) => outcome,
            () = overdue => Err(status::refused(Reason::DeadlineExceeded)),
            // The caller has gone.
            () = reader.closed() => return,
        };
        // The end has a channel of its own, because a slow reader may leave the channel of responses full.
        let _ = end.send(outcome);
    };
    shutdown::background("bulk_create_stream", running.instrument(span));
    responses_then_end(sent, ended)
}

fn responses_then_end(
    sent: mpsc::Receiver<BulkCreateStreamResponse>,
    ended: oneshot::Receiver<Result<(), Status>>,
) -> ResultStream {
    let sent = stream::unfold(sent, async |mut sent| {
        let response = sent.recv().await?;
        Some((Ok(response), sent))
    });
    let end = stream::once(async {
        // A panic drops the sender. The panic hook has logged it.
        let outcome = ended.await;
        outcome.unwrap_or_else(|_| Err(status::refused(Reason::Internal)))
    });
    let end = end.filter_map(async |outcome| outcome.err().map(Err));
    sent.chain(end).boxed()
}

impl CreateStream {
    async fn run(mut self, messages: Streaming<BulkCreateStreamRequest>) -> Result<(), Status> {
        let mut chunks = Chunks::new(messages);
        let aged = tokio::time::sleep(STREAM_AGE_MAX);
        tokio::pin!(aged);
        let header = tokio::select! {
            header = chunks.header() => header?,
            () = self.admitted.closing().cancelled() => return Err(ends_early()),
        };
        let header = self.admitted.run_part(self.permit(header)).await?;
        self.admitted.count_as_stream()?;
        let opening = self.api.service.run(OpenBatch(Arc::new(header)));
        let opening = async { Ok(opening.await?) };
        let stream = Box::pin(self.admitted.run_part(opening)).await?;
        let stream = Arc::new(stream);
        self.send(bulk_create::first_response(&stream)).await?;
        let (read, chunks_read) = mpsc::channel(CHUNKS_AHEAD);
        let reading = async {
            let is_over = tokio::select! {
                () = read_all(&mut chunks, &read) => true,
                () = self.admitted.closing().cancelled() => false,
                () = &mut aged => false,
            };
            if !is_over {
                let _ = read.send(Err(ends_early())).await;
            }
            drop(read);
            // The stream ends when the last chunk that was read is written.
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            written = self.write_all(&stream, chunks_read) => written,
            never = reading => match never {},
        }
    }

    /// Checks the header, permission first.
    async fn permit(&self, mut header: BulkCreateStreamHeader) -> Result<StreamHeader, Status> {
        let caller = &self.admitted.caller;
        let organization_id = self
            .api
            .organization(caller, &header.organization_id)
            .await?;
        let (field, inviter) = ("header.inviter_user_id", &mut header.inviter_user_id);
        acting_user::restrict_inviter(caller, field, inviter, header.return_link)?;
        bulk_create::header(header, actor(caller), organization_id).valid()
    }

    async fn write_all(
        &self,
        stream: &Arc<OpenStream>,
        mut chunks: mpsc::Receiver<ReadChunk>,
    ) -> Result<(), Status> {
        let header = &stream.header;
        let mut next_index = header.first_index;
        while let Some(items) = chunks.recv().await {
            let items = items?;
            if self.admitted.closing().is_cancelled() {
                return Err(ends_early());
            }
            let first_index = next_index;
            next_index += items.len();
            self.wait_for_rate(items.len()).await?;
            let writing = self.write(stream, first_index, items);
            let response = self.admitted.run_part(writing).await?;
            self.send(response).await?;
        }
        if next_index == 0 && stream.next_index == 0 {
            let violation = Violation::new("invitations", Reason::ItemsEmpty);
            return Err(status::invalid(vec![violation]));
        }
        Ok(())
    }

    async fn write(
        &self,
        stream: &Arc<OpenStream>,
        first_index: usize,
        items: Vec<NewInvitation>,
    ) -> Result<BulkCreateStreamResponse, Status> {
        let caller = &self.admitted.caller;
        acting_user::restrict_items(caller, "invitations", &items)?;
        let terms = &stream.header.terms;
        let is_hashed = terms.request_id.is_some();
        let (chunk, echoes) = bulk_create::chunk(items, first_index, is_hashed);
        let create = CreateChunk {
            stream: Arc::clone(stream),
            chunk,
        };
        let results = self.api.service.run(create).await?;
        let mut viewed = ViewedInvitations::new(caller, terms.view);
        Ok(bulk_create::stream_response(
            &mut viewed,
            stream,
            first_index,
            results,
            echoes,
        ))
    }

    /// Waits until the rate of the caller has room. A stream that was refused instead would only be sent again.
    async fn wait_for_rate(&self, items: usize) -> Result<(), Status> {
        let mut patience = STREAM_RATE_WAIT_MAX;
        while let Err(delay) = self.api.rates.try_spend(&self.admitted.caller.name, items) {
            patience = patience
                .checked_sub(delay.max(RATE_PAUSE_MIN))
                .ok_or_else(|| status::rate_limited(delay))?;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.admitted.closing().cancelled() => return Err(ends_early()),
            }
        }
        Ok(())
    }

    /// Sends a response, if the caller reads in time.
    async fn send(&self, response: BulkCreateStreamResponse) -> Result<(), Status> {
        let sent = tokio::time::timeout(STREAM_IDLE_MAX, self.responses.send(response)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            // In the second case the caller has gone.
            Err(_) | Ok(Err(_)) => Err(status::refused(Reason::DeadlineExceeded)),
        }
    }
}

async fn read_all(
    chunks: &mut Chunks<Streaming<BulkCreateStreamRequest>>,
    read: &mpsc::Sender<ReadChunk>,
) {
    // Capacity is reserved first, so that no chunk is read before it can be written.
    while let Ok(room) = read.reserve().await {
        match chunks.next().await {
            Ok(Some(items)) => room.send(Ok(items)),
            Ok(None) => return,
            Err(status) => return room.send(Err(status)),
        }
    }
}

/// The status of a stream that the server ends. The caller can continue with another stream.
fn ends_early() -> Status {
    status::refused(Reason::Overloaded)
}
