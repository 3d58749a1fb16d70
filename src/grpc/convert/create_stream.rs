//! `BulkCreateStream`: the header, the items and the results.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::bulk_create::{item, on_existing};
use super::fields::{self, Field, Fields as _};
use super::viewer::{self, Viewer};
use super::{enums, error};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::wire::limits::ITEM_KEY_BYTES_MAX;
use crate::proto;
use crate::service::ItemResult;
use crate::service::bulk_create::{Chunk, ITEM_HASH_BYTES, OpenStream, StreamHeader};

/// What a result repeats of its item.
pub(in crate::grpc) struct ItemEcho {
    key: String,
    email: String,
}

/// The header. Reports every violation.
pub(in crate::grpc) fn header(
    input: proto::BulkCreateStreamHeader,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<StreamHeader> {
    let (organization_id, request_id, on_existing, first_index) = (
        organization_id,
        fields::request_id(&input.request_id),
        on_existing(input.on_existing),
        first_index(&input),
    )
        .all()
        .map_err(|violations| {
            let name = |it: Violation| Violation::new(format!("header.{}", it.field), it.reason);
            violations.into_iter().map(name).collect::<Vec<_>>()
        })?;
    Ok(StreamHeader {
        actor,
        request_id,
        header_hash: hash(&input),
        organization_id,
        inviter_user_id: input.inviter_user_id,
        on_existing,
        validate_only: input.validate_only,
        return_link: input.return_link,
        first_index,
    })
}

/// A stream without a request id has no items that were done before, so it begins at 0.
fn first_index(input: &proto::BulkCreateStreamHeader) -> Field<usize> {
    usize::try_from(input.first_index)
        .ok()
        .filter(|index| *index == 0 || !input.request_id.is_empty())
        .ok_or_else(|| vec![Violation::new("first_index", Reason::FieldInvalid)])
}

/// SHA-256 of the header without the request id, `validate_only` and `first_index`.
fn hash(input: &proto::BulkCreateStreamHeader) -> [u8; 32] {
    let hashed = proto::BulkCreateStreamHeader {
        request_id: String::new(),
        validate_only: false,
        first_index: 0,
        ..input.clone()
    };
    Sha256::digest(hashed.encode_to_vec()).into()
}

/// The items of a chunk that begins at `first_index`. Hashed if the stream can be sent again.
pub(in crate::grpc) fn chunk(
    input: Vec<proto::BulkCreateStreamItem>,
    first_index: usize,
    is_hashed: bool,
) -> Field<(Chunk, Vec<ItemEcho>)> {
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
    for stream_item in input {
        if is_hashed {
            let hash = Sha256::digest(stream_item.encode_to_vec());
            chunk.item_hashes.extend(&hash[..ITEM_HASH_BYTES]);
        }
        // An item without an invitation has no address, and its result says so.
        let invitation = stream_item.invitation.unwrap_or_default();
        echoes.push(ItemEcho {
            key: stream_item.key,
            email: invitation.email.clone(),
        });
        chunk.items.push(item(invitation));
    }
    Ok((chunk, echoes))
}

/// The first response: the batch, and where to continue.
pub(in crate::grpc) fn first_response(stream: &OpenStream) -> proto::BulkCreateStreamResponse {
    proto::BulkCreateStreamResponse {
        batch_id: batch_id(stream),
        next_index: number(stream.next_index),
        results: Vec::new(),
    }
}

/// The results of a chunk.
pub(in crate::grpc) fn response(
    viewer: &Viewer<'_>,
    stream: &OpenStream,
    first_index: usize,
    results: Vec<ItemResult>,
    echoes: Vec<ItemEcho>,
) -> proto::BulkCreateStreamResponse {
    let results: Vec<_> = (first_index..)
        .zip(results.into_iter().zip(echoes))
        .map(|(index, (result, echo))| proto::BulkCreateStreamResult {
            index: number(index),
            key: echo.key,
            email: echo.email,
            outcome: enums::create_outcome(result.outcome).into(),
            error: error::of_result(&result),
            invitation: result.invitation.map(|input| viewer.invitation(input)),
            link: result.link.unwrap_or_default(),
        })
        .collect();
    proto::BulkCreateStreamResponse {
        batch_id: batch_id(stream),
        next_index: number(first_index + results.len()),
        results,
    }
}

fn batch_id(stream: &OpenStream) -> String {
    stream.batch_id().map(viewer::id).unwrap_or_default()
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
