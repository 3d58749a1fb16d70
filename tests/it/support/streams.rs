//! Streams as a client sends them: message by message, with an eye on what comes back.

use std::ops::Range;

use futures::stream;
use invitations::proto::{
    BulkCreateStreamHeader as Header, BulkCreateStreamItem as Item,
    BulkCreateStreamRequest as Message, BulkCreateStreamResponse as Response,
    BulkCreateStreamResult,
};
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming};

use crate::support::harness::{ACME, Invitations, item};

/// A stream that is open.
pub(crate) struct Call {
    sender: Option<mpsc::UnboundedSender<Message>>,
    responses: Streaming<Response>,
}

/// All that a stream answered, and how it ended.
pub(crate) struct Answer {
    pub(crate) responses: Vec<Response>,
    pub(crate) end: Result<(), Status>,
}

/// A header that invites into ACME on behalf of `ada`.
pub(crate) fn header() -> Header {
    Header {
        organization_id: ACME.to_owned(),
        inviter_user_id: "ada".to_owned(),
        ..Default::default()
    }
}

/// The same for a stream that may be sent again.
pub(crate) fn repeatable() -> Header {
    Header {
        request_id: uuid::Uuid::new_v4().to_string(),
        ..header()
    }
}

/// The items of these numbers, of a list of this name.
pub(crate) fn people(list: &str, numbers: Range<usize>) -> Vec<Item> {
    numbers
        .map(|number| person(&format!("person{number}@{list}.example"), number))
        .collect()
}

/// An item with nothing but an address, and its number for a name.
pub(crate) fn person(email: &str, number: usize) -> Item {
    Item {
        key: format!("row {number}"),
        invitation: Some(item(email)),
    }
}

impl Call {
    /// Says the header and nothing else.
    pub(crate) async fn begin(client: &Invitations, header: Header) -> Self {
        Self::begin_with(client, Request::new(()), header).await
    }

    /// The same with what else a request has, such as a deadline.
    pub(crate) async fn begin_with(
        client: &Invitations,
        request: Request<()>,
        header: Header,
    ) -> Self {
        let first = Message {
            header: Some(header),
            items: Vec::new(),
        };
        Self::open(client, request, vec![first]).await
    }

    /// Sends these messages.
    pub(crate) async fn open(
        client: &Invitations,
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

    /// Sends items in one message; of a stream that has ended nobody hears.
    pub(crate) fn send(&self, items: Vec<Item>) {
        let message = Message {
            header: None,
            items,
        };
        let _ = self.sender.as_ref().unwrap().send(message);
    }

    /// Sends items in messages of this size.
    pub(crate) fn send_by(&self, size: usize, items: &[Item]) {
        for items in items.chunks(size) {
            self.send(items.to_vec());
        }
    }

    /// Says that nothing follows.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    /// The next response, if there is one.
    pub(crate) async fn next(&mut self) -> Result<Option<Response>, Status> {
        self.responses.message().await
    }

    /// Says that nothing follows and reads everything.
    pub(crate) async fn end(mut self) -> Answer {
        self.close();
        let mut responses = Vec::new();
        let end = loop {
            match self.next().await {
                Ok(Some(response)) => responses.push(response),
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        Answer { responses, end }
    }
}

impl Answer {
    /// The results of all chunks, checked to be in their order.
    pub(crate) fn results(&self) -> Vec<BulkCreateStreamResult> {
        self.end.as_ref().unwrap();
        self.results_so_far()
    }

    /// The results that came before the end, whatever it was.
    pub(crate) fn results_so_far(&self) -> Vec<BulkCreateStreamResult> {
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

    /// How many results each response has.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let sizes = self.responses.iter();
        sizes.map(|response| response.results.len()).collect()
    }
}

/// Sends items in messages of this size and reads everything.
pub(crate) async fn send_all(
    client: &Invitations,
    header: Header,
    size: usize,
    items: &[Item],
) -> Answer {
    let call = Call::begin(client, header).await;
    call.send_by(size, items);
    call.end().await
}

/// What invitations the results show, in their order.
pub(crate) fn ids(results: &[BulkCreateStreamResult]) -> Vec<String> {
    let invitations = results.iter().map(|result| result.invitation.as_ref());
    invitations
        .map(|invitation| invitation.map(|it| it.id.clone()).unwrap_or_default())
        .collect()
}
