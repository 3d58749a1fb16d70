//! Streams of items and of their results.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{bulk, invitation};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::convert::fields::Field;
use crate::grpc::limits::ITEM_KEY_BYTES_MAX;
use crate::proto;
use crate::service::bulk_create::{Chunk, ITEM_HASH_BYTES, ItemResult, OpenStream, StreamHeader};

/// What results give back of their items.
pub(in crate::grpc) struct Echo {
    key: String,
    email: String,
}

/// A header in domain words; every violation at once.
pub(in crate::grpc) fn header(
    input: proto::BulkCreateStreamHeader,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<StreamHeader> {
    let (organization_id, mut violations) = match organization_id {
        Ok(id) => (Some(id), Vec::new()),
        Err(violations) => (None, violations),
    };
    let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));
    let request_id = bulk::request_id(&input.request_id).unwrap_or_else(|reason| {
        refuse("request_id", reason);
        None
    });
    let on_existing = bulk::on_existing(input.on_existing);
    if on_existing.is_none() {
        refuse("on_existing", Reason::FieldInvalid);
    }
    let first_index = usize::try_from(input.first_index).ok();
    // Without an id nothing was done before that one could go on from.
    if first_index.is_none_or(|index| index > 0 && input.request_id.is_empty()) {
        refuse("first_index", Reason::FieldInvalid);
    }
    let Some(organization_id) = organization_id.filter(|_| violations.is_empty()) else {
        let named = |it: Violation| Violation::new(format!("header.{}", it.field), it.reason);
        return Err(violations.into_iter().map(named).collect());
    };
    Ok(StreamHeader {
        actor,
        request_id,
        header_hash: hash(&input),
        organization_id,
        inviter_user_id: input.inviter_user_id,
        on_existing: on_existing.unwrap_or_default(),
        validate_only: input.validate_only,
        return_link: input.return_link,
        first_index: first_index.unwrap_or_default(),
    })
}

/// SHA-256 of what a header asks, without the request id, whether it is a dry run and where it goes on.
fn hash(input: &proto::BulkCreateStreamHeader) -> [u8; 32] {
    let asked = proto::BulkCreateStreamHeader {
        request_id: String::new(),
        validate_only: false,
        first_index: 0,
        ..input.clone()
    };
    Sha256::digest(asked.encode_to_vec()).into()
}

/// Items in domain words, the first one at this place of the stream; hashed where they may be sent again.
pub(in crate::grpc) fn chunk(
    input: Vec<proto::BulkCreateStreamItem>,
    first_index: usize,
    is_hashed: bool,
) -> Field<(Chunk, Vec<Echo>)> {
    let violations: Vec<Violation> = (first_index..)
        .zip(&input)
        .filter(|(_, item)| item.key.len() > ITEM_KEY_BYTES_MAX)
        .map(|(index, _)| Violation::new(format!("items[{index}].key"), Reason::FieldInvalid))
        .collect();
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut chunk = Chunk {
        first_index,
        items: Vec::with_capacity(input.len()),
        item_hashes: Vec::new(),
    };
    let mut echoes = Vec::with_capacity(input.len());
    for item in input {
        if is_hashed {
            let hash = Sha256::digest(item.encode_to_vec());
            chunk.item_hashes.extend(&hash[..ITEM_HASH_BYTES]);
        }
        // Without an invitation it is one without an address, and its result says so.
        let invitation = item.invitation.unwrap_or_default();
        echoes.push(Echo {
            key: item.key,
            email: invitation.email.clone(),
        });
        chunk.items.push(bulk::item(invitation));
    }
    Ok((chunk, echoes))
}

/// What is said at once: which batch, and where to go on.
pub(in crate::grpc) fn beginning(stream: &OpenStream) -> proto::BulkCreateStreamResponse {
    proto::BulkCreateStreamResponse {
        batch_id: batch_id(stream),
        next_index: place(stream.next_index),
        results: Vec::new(),
    }
}

/// The results of a chunk.
pub(in crate::grpc) fn response(
    stream: &OpenStream,
    first_index: usize,
    results: Vec<ItemResult>,
    echoes: Vec<Echo>,
    may_see_accounts: bool,
) -> proto::BulkCreateStreamResponse {
    let results: Vec<_> = (first_index..)
        .zip(results.into_iter().zip(echoes))
        .map(|(index, (result, echo))| {
            let result = bulk::result(0, result, echo.email, may_see_accounts);
            proto::BulkCreateStreamResult {
                index: place(index),
                key: echo.key,
                email: result.email,
                outcome: result.outcome,
                invitation: result.invitation,
                error: result.error,
                link: result.link,
            }
        })
        .collect();
    proto::BulkCreateStreamResponse {
        batch_id: batch_id(stream),
        next_index: place(first_index + results.len()),
        results,
    }
}

fn batch_id(stream: &OpenStream) -> String {
    stream.batch_id().map(invitation::id).unwrap_or_default()
}

fn place(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
