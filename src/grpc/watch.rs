//! Watch: events as they are committed.

use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::invitation_service::InvitationApi;
use crate::proto::{WatchRequest, WatchResponse};

/// What comes back.
pub(super) type Responses = BoxStream<'static, Result<WatchResponse, Status>>;

impl InvitationApi {
    /// Answers with a stream of events.
    #[expect(clippy::unused_async, reason = "the stream is not there yet")]
    pub(super) async fn watch_events(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Responses>, Status> {
        Err(Status::unimplemented("not there yet"))
    }
}
