//! `BulkCreateStream` as a client that sends message by message and reads the responses.

use std::ops::Range;

use futures::stream;
use invitations::proto::{
    BulkCreateStreamHeader as Header, BulkCreateStreamRequest as Message,
    BulkCreateStreamResponse as Response, CreateResult, InvitationView, NewInvitation as Item,
};
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming};

use crate::support::callers::InvitationClient;
use crate::support::fixtures::ACME;
use crate::support::requests::{item, new_request_id};

/// An open stream.
pub(crate) struct CreateStream {
    sender: Option<mpsc::UnboundedSender<Message>>,
    responses: Streaming<Response>,
}

/// All responses of a stream, and how the stream ended.
pub(crate) struct StreamResponses {
    pub(crate) responses: Vec<Response>,
    pub(crate) end: Result<(), Status>,
}

/// The header of a stream that invites into ACME on behalf of `ada`, for the full view.
pub(crate) fn header() -> Header {
    Header {
        organization_id: ACME.to_owned(),
        inviter_user_id: "ada".to_owned(),
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

/// The same with a new request id, so that the stream can be resumed.
pub(crate) fn resumable_header() -> Header {
    Header {
        request_id: new_request_id(),
        ..header()
    }
}

/// Items for `person{number}@{list}.example`.
pub(crate) fn stream_items(list: &str, numbers: Range<usize>) -> Vec<Item> {
    numbers
        .map(|number| stream_item(&format!("person{number}@{list}.example"), number))
        .collect()
}

/// An item with nothing but an address, and the key `row {number}`.
pub(crate) fn stream_item(email: &str, number: usize) -> Item {
    Item {
        key: format!("row {number}"),
        ..item(email)
    }
}

impl CreateStream {
    /// Sends the header.
    pub(crate) async fn begin(client: &InvitationClient, header: Header) -> Self {
        Self::begin_with(client, Request::new(()), header).await
    }

    /// The same with the metadata of a request, such as a deadline.
    pub(crate) async fn begin_with(
        client: &InvitationClient,
        request: Request<()>,
        header: Header,
    ) -> Self {
        let first = Message {
            header: Some(header),
            invitations: Vec::new(),
        };
        Self::open(client, request, vec![first]).await
    }

    /// Sends these messages and leaves the stream open.
    pub(crate) async fn open(
        client: &InvitationClient,
        request: Request<()>,
        messages: Vec<Message>,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        for message in messages {
            sender.send(message).unwrap();
        }
        let messages = stream::unfold(receiver, async |mut receiver| {
            Some((receiver.recv().await?, receiver))
        });
        let (metadata, extensions, ()) = request.into_parts();
        let request = Request::from_parts(metadata, extensions, messages);
        let answer = client.clone().bulk_create_stream(request).await;
        Self {
            sender: Some(sender),
            responses: answer.unwrap().into_inner(),
        }
    }

    /// Sends items in one message. Does nothing if the server has ended the stream.
    pub(crate) fn send(&self, items: Vec<Item>) {
        let message = Message {
            header: None,
            invitations: items,
        };
        let _ = self.sender.as_ref().unwrap().send(message);
    }

    /// Sends items in messages of this size.
    pub(crate) fn send_by(&self, size: usize, items: &[Item]) {
        for items in items.chunks(size) {
            self.send(items.to_vec());
        }
    }

    /// Ends the requests.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    /// The next response, if there is one.
    pub(crate) async fn next(&mut self) -> Result<Option<Response>, Status> {
        self.responses.message().await
    }

    /// Ends the requests and reads all responses.
    pub(crate) async fn end(mut self) -> StreamResponses {
        self.close();
        let mut responses = Vec::new();
        let end = loop {
            match self.next().await {
                Ok(Some(response)) => responses.push(response),
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        StreamResponses { responses, end }
    }
}

impl StreamResponses {
    /// The results of all chunks. Fails unless the stream ended with success and the results are in order.
    pub(crate) fn results(&self) -> Vec<CreateResult> {
        self.end.as_ref().unwrap();
        self.results_so_far()
    }

    /// The results that came before the end. Fails unless they are in order.
    pub(crate) fn results_so_far(&self) -> Vec<CreateResult> {
        let mut results = Vec::new();
        let mut next = None;
        for response in &self.responses[1..] {
            let first = response.results.first().expect("a chunk is never empty");
            assert_eq!(*next.get_or_insert(first.index), first.index);
            for (index, result) in (first.index..).zip(&response.results) {
                assert_eq!(result.index, index);
                assert_eq!(response.batch_id, self.responses[0].batch_id);
                results.push(result.clone());
            }
            next = Some(response.next_index);
            let last = results.last().unwrap().index;
            assert_eq!(response.next_index, last + 1);
        }
        results
    }

    /// The number of results of each response.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let sizes = self.responses.iter();
        sizes.map(|response| response.results.len()).collect()
    }
}

/// Sends items in messages of this size and reads all responses.
pub(crate) async fn send_all(
    client: &InvitationClient,
    header: Header,
    size: usize,
    items: &[Item],
) -> StreamResponses {
    let stream = CreateStream::begin(client, header).await;
    stream.send_by(size, items);
    stream.end().await
}

/// The id of the invitation of each result, or an empty text.
pub(crate) fn result_ids(results: &[CreateResult]) -> Vec<String> {
    let invitations = results.iter().map(|result| result.invitation.as_ref());
    invitations
        .map(|invitation| invitation.map(|it| it.id.clone()).unwrap_or_default())
        .collect()
}
