//! `BulkCreateStream`: items in, results out, a chunk at a time.

use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::invitation_service::InvitationApi;
use crate::proto::{BulkCreateStreamRequest, BulkCreateStreamResponse};

/// What comes back.
pub(super) type Responses = BoxStream<'static, Result<BulkCreateStreamResponse, Status>>;

impl InvitationApi {
    /// Answers a stream of items with a stream of results.
    #[expect(clippy::unused_async, reason = "the stream is not there yet")]
    pub(super) async fn create_stream(
        &self,
        _request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<Responses>, Status> {
        Err(Status::unimplemented("not there yet"))
    }
}
