//! `BulkCreateStream`: items in, results out, a chunk at a time.
//!
//! While a chunk is made the next one is read, and no more. Results that nobody reads stop the making, and chunks that
//! are not made stop the reading: what is on its way has the same size however long the stream is. Every chunk is counted
//! and timed as a call of its own; how a chunk is made is the service's business.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::domain::reason::{Reason, Violation};
use crate::domain::scope::Scope;
use crate::grpc::admission::actor::actor;
use crate::grpc::admission::gate::{Admitted, Permit, require_scope};
use crate::grpc::admission::user;
use crate::grpc::convert::stream as convert;
use crate::grpc::methods::chunks::Chunks;
use crate::grpc::methods::invitation_service::InvitationApi;
use crate::grpc::status;
use crate::grpc::wire::deadline;
use crate::grpc::wire::limits::{STREAM_AGE_MAX, STREAM_IDLE_MAX, STREAM_RATE_WAIT_MAX};
use crate::proto::{
    BulkCreateStreamHeader, BulkCreateStreamItem, BulkCreateStreamRequest, BulkCreateStreamResponse,
};
use crate::service::bulk_create::OpenStream;
use crate::shutdown;

/// What comes back.
pub(crate) type Responses = BoxStream<'static, Result<BulkCreateStreamResponse, Status>>;

/// How many responses wait for a reader beside the one that is on its way.
const RESPONSES_WAITING: usize = 1;
/// How many chunks are read ahead of the one that is made.
const CHUNKS_AHEAD: usize = 1;
/// The shortest pause before a rate is asked again.
const RATE_PAUSE_MIN: Duration = Duration::from_millis(1);

/// A stream at work.
struct Work {
    api: InvitationApi,
    admitted: Admitted,
    responses: mpsc::Sender<BulkCreateStreamResponse>,
}

/// A chunk as it was sent, or why there is none.
type Read = Result<Vec<BulkCreateStreamItem>, Status>;

impl InvitationApi {
    /// Answers a stream of items with a stream of results.
    pub(crate) fn create_stream(
        &self,
        request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let permit = Permit::with_users(Scope::InvitationsWrite);
        let admitted = self
            .gate
            .admit_stream("BulkCreateStream", permit, &request)?;
        let overdue = deadline::of_stream(request.metadata());
        let (responses, sent) = mpsc::channel(RESPONSES_WAITING);
        let (end, ended) = oneshot::channel();
        let reader = responses.clone();
        let span = admitted.span.clone();
        let work = Work {
            api: self.clone(),
            admitted,
            responses,
        };
        let messages = request.into_inner();
        let working = async move {
            let outcome = tokio::select! {
                outcome = work.run(messages) => outcome,
                () = overdue => Err(status::refused(Reason::DeadlineExceeded)),
                // Nobody is there any more.
                () = reader.closed() => return,
            };
            // Told beside the responses, because of those a slow reader may have left one in the way.
            let _ = end.send(outcome);
        };
        shutdown::unattended("bulk_create_stream", working.instrument(span));
        Ok(Response::new(told(sent, ended)))
    }
}

/// The responses, and then the end.
fn told(
    sent: mpsc::Receiver<BulkCreateStreamResponse>,
    ended: oneshot::Receiver<Result<(), Status>>,
) -> Responses {
    let sent = stream::unfold(sent, async |mut sent| {
        let response = sent.recv().await?;
        Some((Ok(response), sent))
    });
    let end = stream::once(async {
        // Without a word it ended in a panic, which is in the log.
        let outcome = ended.await;
        outcome.unwrap_or_else(|_| Err(status::refused(Reason::Internal)))
    });
    let end = end.filter_map(async |outcome| outcome.err().map(Err));
    sent.chain(end).boxed()
}

impl Work {
    /// Everything from the header to the end.
    async fn run(self, messages: Streaming<BulkCreateStreamRequest>) -> Result<(), Status> {
        let mut chunks = Chunks::new(messages);
        let aged = tokio::time::sleep(STREAM_AGE_MAX);
        tokio::pin!(aged);
        let header = tokio::select! {
            header = chunks.header() => header?,
            () = self.admitted.closing().cancelled() => return Err(go_on_elsewhere()),
        };
        let stream = self.admitted.part(self.open(header)).await?;
        let stream = Arc::new(stream);
        self.send(convert::beginning(&stream)).await?;
        let (read, to_make) = mpsc::channel(CHUNKS_AHEAD);
        let reading = async {
            let is_over = tokio::select! {
                () = read_all(&mut chunks, &read) => true,
                () = self.admitted.closing().cancelled() => false,
                () = &mut aged => false,
            };
            if !is_over {
                let _ = read.send(Err(go_on_elsewhere())).await;
            }
            drop(read);
            // Making ends it all, once it has come to the end of what was read.
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            made = self.make_all(&stream, to_make) => made,
            never = reading => match never {},
        }
    }

    /// Checks the header, permission first, and begins.
    async fn open(&self, mut header: BulkCreateStreamHeader) -> Result<OpenStream, Status> {
        let caller = &self.admitted.caller;
        let organization_id = self
            .api
            .organization(caller, &header.organization_id)
            .await?;
        if let Some(user) = caller.as_user() {
            user::streams_as_self(user, &mut header)?;
        } else if header.return_link {
            require_scope(caller, Scope::InvitationsLink)?;
        }
        let header =
            convert::header(header, actor(caller), organization_id).map_err(status::invalid)?;
        Ok(self.api.service.open_stream(header).await?)
    }

    /// Makes chunk after chunk.
    async fn make_all(
        &self,
        stream: &Arc<OpenStream>,
        mut to_make: mpsc::Receiver<Read>,
    ) -> Result<(), Status> {
        let header = &stream.header;
        let mut next_index = header.first_index;
        while let Some(items) = to_make.recv().await {
            let items = items?;
            if self.admitted.closing().is_cancelled() {
                return Err(go_on_elsewhere());
            }
            let first_index = next_index;
            next_index += items.len();
            self.wait_for_rate(items.len()).await?;
            let made = self.make(stream, first_index, items);
            let response = self.admitted.part(made).await?;
            self.send(response).await?;
        }
        if next_index == 0 && stream.next_index == 0 {
            let violation = Violation::new("items", Reason::ItemsEmpty);
            return Err(status::invalid(vec![violation]));
        }
        Ok(())
    }

    async fn make(
        &self,
        stream: &Arc<OpenStream>,
        first_index: usize,
        items: Vec<BulkCreateStreamItem>,
    ) -> Result<BulkCreateStreamResponse, Status> {
        let caller = &self.admitted.caller;
        if let Some(user) = caller.as_user() {
            for item in items.iter().filter_map(|item| item.invitation.as_ref()) {
                user::require_own_item(user, "items.invitation", item)?;
            }
        }
        let is_hashed = stream.header.request_id.is_some();
        let (chunk, echoes) =
            convert::chunk(items, first_index, is_hashed).map_err(status::invalid)?;
        let mut results = self.api.service.create_chunk(stream, chunk).await?;
        let invitations = results.iter_mut();
        user::conceal(
            caller,
            invitations.filter_map(|item| item.invitation.as_mut()),
        );
        let may_see_accounts = caller.holds(Scope::DirectoryRead);
        Ok(convert::response(
            stream,
            first_index,
            results,
            echoes,
            may_see_accounts,
        ))
    }

    /// Goes as fast as the caller may: a stream that is refused for a moment's wait would only be sent again.
    async fn wait_for_rate(&self, items: usize) -> Result<(), Status> {
        let mut patience = STREAM_RATE_WAIT_MAX;
        while let Err(delay) = self.api.rates.try_spend(&self.admitted.caller.name, items) {
            patience = patience
                .checked_sub(delay.max(RATE_PAUSE_MIN))
                .ok_or_else(|| status::rate_limited(delay))?;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.admitted.closing().cancelled() => return Err(go_on_elsewhere()),
            }
        }
        Ok(())
    }

    /// Hands a response on, if somebody reads.
    async fn send(&self, response: BulkCreateStreamResponse) -> Result<(), Status> {
        let sent = tokio::time::timeout(STREAM_IDLE_MAX, self.responses.send(response)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            // The latter is heard by nobody.
            Err(_) | Ok(Err(_)) => Err(status::refused(Reason::DeadlineExceeded)),
        }
    }
}

/// Reads until the end, or until there is nothing more to be made of it.
async fn read_all(
    chunks: &mut Chunks<Streaming<BulkCreateStreamRequest>>,
    read: &mpsc::Sender<Read>,
) {
    // Room comes first, so that no chunk is read before there is a place for it.
    while let Ok(room) = read.reserve().await {
        match chunks.next().await {
            Ok(Some(items)) => room.send(Ok(items)),
            Ok(None) => return,
            Err(status) => return room.send(Err(status)),
        }
    }
}

/// What a stream is told that has to end before its caller wants it to.
fn go_on_elsewhere() -> Status {
    status::refused(Reason::Overloaded)
}
