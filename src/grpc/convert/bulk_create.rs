//! `BulkCreate` and `BulkCreateStream`: requests and results.

use std::mem;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::{ItemInput, KEY_BYTES_MAX};
use crate::grpc::wire::limits::ECHOED_EMAIL_BYTES_MAX;
use crate::proto::{self, new_invitation};
use crate::service::bulk_create::{
    BatchTerms, BulkCreate, Chunk, CreatedBatch, ITEM_HASH_BYTES, OpenStream, StreamHeader,
};
use crate::service::{ItemOutcome, ItemResult};

use super::error::ItemErrors;
use super::fields::{self, Field, Fields as _, invalid};
use super::filter::within;
use super::viewed_invitations::ViewedInvitations;
use super::viewer;
use super::{count, enums, metadata, times};

/// The request. Reports every violation that is not of an item.
pub(in crate::grpc) fn request(
    mut input: proto::BulkCreateRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<BulkCreate> {
    let (organization_id, (), request_id, on_existing, view) = (
        organization_id,
        fields::list_length("invitations", input.invitations.len()),
        fields::request_id(&input.request_id),
        enums::on_existing(input.on_existing),
        enums::view(input.view),
    )
        .all()?;
    let request_hash = match request_id {
        None => [0; 32],
        Some(_) => hash(&mut input),
    };
    Ok(BulkCreate {
        terms: BatchTerms {
            actor,
            request_id,
            request_hash,
            organization_id,
            inviter_user_id: input.inviter_user_id,
            on_existing,
            atomic: input.atomic,
            validate_only: input.validate_only,
            return_link: input.return_link,
            view,
        },
        items: input.invitations.into_iter().map(item).collect(),
    })
}

/// The response. `echoes` are of the items of the request.
pub(in crate::grpc) fn response(
    viewed: &mut ViewedInvitations<'_>,
    batch: CreatedBatch,
    echoes: Vec<ItemEcho>,
) -> proto::BulkCreateResponse {
    let all_count = count(batch.results.len());
    let is_failed = |result: &&ItemResult| result.outcome == ItemOutcome::Failed;
    let failed_count = count(batch.results.iter().filter(is_failed).count());
    let errors = ItemErrors::among(batch.results.len());
    let response = proto::BulkCreateResponse {
        batch_id: viewer::id(batch.id),
        succeeded_count: all_count - failed_count,
        failed_count,
        results: (0..)
            .zip(batch.results.into_iter().zip(echoes))
            .map(|(index, (item, echo))| result(viewed, errors, index, item, echo))
            .collect(),
    };
    viewed.fit(response)
}

fn result(
    viewed: &mut ViewedInvitations<'_>,
    errors: ItemErrors,
    index: i64,
    result: ItemResult,
    echo: ItemEcho,
) -> proto::CreateResult {
    proto::CreateResult {
        index,
        key: echo.key,
        outcome: enums::create_outcome(result.outcome).into(),
        error: errors.of_result(&result),
        invitation: result.invitation.map(|input| viewed.convert(input)),
        link: result.link.unwrap_or_default(),
        email: Some(echo.email)
            .filter(|_| viewed.is_full())
            .unwrap_or_default(),
    }
}

/// SHA-256 of the request without the request id, `validate_only` and what the response holds. Items are hashed one by one,
/// because a copy of all would take much memory.
fn hash(input: &mut proto::BulkCreateRequest) -> [u8; 32] {
    let items = mem::take(&mut input.invitations);
    let terms = proto::BulkCreateRequest {
        request_id: String::new(),
        validate_only: false,
        return_link: false,
        view: 0,
        ..input.clone()
    };
    let mut hashed = terms.encode_length_delimited_to_vec();
    for item in &items {
        hashed.extend(Sha256::digest(item.encode_to_vec()));
    }
    input.invitations = items;
    Sha256::digest(hashed).into()
}

fn item(input: proto::NewInvitation) -> ItemInput {
    ItemInput {
        key: input.key,
        email: input.email,
        role: input.role,
        inviter_user_id: input.inviter_user_id,
        redirect_url: input.redirect_url,
        public_metadata: metadata::object(input.public_metadata),
        private_metadata: metadata::object(input.private_metadata),
        expiry: match input.expiration {
            None => Expiry::Default,
            Some(new_invitation::Expiration::Ttl(ttl)) => times::expiry_of_ttl(ttl),
            Some(new_invitation::Expiration::ExpireTime(time)) => times::expiry_of_time(time),
        },
        notify: input.notify.unwrap_or(true),
        locale: input.locale,
        message: input.message,
        accept_policy: enums::parse_accept_policy(input.accept_policy),
        reminder_lead: times::reminder_lead(input.reminder_lead),
    }
}

/// What a result repeats of its item. A key or an address that is too long is not repeated, so that results have a largest
/// size.
pub(in crate::grpc) struct ItemEcho {
    key: String,
    email: String,
}

impl ItemEcho {
    pub(in crate::grpc) fn of(item: &proto::NewInvitation) -> Self {
        Self {
            key: Some(&item.key)
                .filter(|key| key.len() <= KEY_BYTES_MAX)
                .cloned()
                .unwrap_or_default(),
            email: Some(&item.email)
                .filter(|email| email.len() <= ECHOED_EMAIL_BYTES_MAX)
                .cloned()
                .unwrap_or_default(),
        }
    }
}

pub(in crate::grpc) fn header(
    input: proto::BulkCreateStreamHeader,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<StreamHeader> {
    let (organization_id, request_id, on_existing, first_index, view) = (
        organization_id,
        fields::request_id(&input.request_id),
        enums::on_existing(input.on_existing),
        first_index(&input),
        enums::view(input.view),
    )
        .all()
        .map_err(|violations| within("header", violations))?;
    Ok(StreamHeader {
        terms: BatchTerms {
            actor,
            request_id,
            request_hash: header_hash(&input),
            organization_id,
            inviter_user_id: input.inviter_user_id,
            on_existing,
            atomic: false,
            validate_only: input.validate_only,
            return_link: input.return_link,
            view,
        },
        first_index,
    })
}

/// A stream without a request id has no items that were done before, so it begins at 0.
fn first_index(input: &proto::BulkCreateStreamHeader) -> Field<usize> {
    usize::try_from(input.first_index)
        .ok()
        .filter(|index| *index == 0 || !input.request_id.is_empty())
        .ok_or_else(|| invalid("first_index"))
}

/// SHA-256 of the header without the request id, `validate_only`, `first_index` and what the responses hold.
fn header_hash(input: &proto::BulkCreateStreamHeader) -> [u8; 32] {
    let hashed = proto::BulkCreateStreamHeader {
        request_id: String::new(),
        validate_only: false,
        first_index: 0,
        return_link: false,
        view: 0,
        ..input.clone()
    };
    Sha256::digest(hashed.encode_to_vec()).into()
}

/// The items of a chunk that begins at `first_index`. Hashed if the stream can be sent again.
pub(in crate::grpc) fn chunk(
    input: Vec<proto::NewInvitation>,
    first_index: usize,
    is_hashed: bool,
) -> (Chunk, Vec<ItemEcho>) {
    let mut chunk = Chunk {
        first_index,
        items: Vec::with_capacity(input.len()),
        item_hashes: Vec::new(),
    };
    let mut echoes = Vec::with_capacity(input.len());
    for invitation in input {
        if is_hashed {
            let hash = Sha256::digest(invitation.encode_to_vec());
            chunk.item_hashes.extend(&hash[..ITEM_HASH_BYTES]);
        }
        echoes.push(ItemEcho::of(&invitation));
        chunk.items.push(item(invitation));
    }
    (chunk, echoes)
}

pub(in crate::grpc) fn first_response(stream: &OpenStream) -> proto::BulkCreateStreamResponse {
    proto::BulkCreateStreamResponse {
        batch_id: batch_id(stream),
        next_index: number(stream.next_index),
        results: Vec::new(),
    }
}

pub(in crate::grpc) fn stream_response(
    viewed: &mut ViewedInvitations<'_>,
    stream: &OpenStream,
    first_index: usize,
    results: Vec<ItemResult>,
    echoes: Vec<ItemEcho>,
) -> proto::BulkCreateStreamResponse {
    let errors = ItemErrors::among(results.len());
    let results: Vec<_> = (first_index..)
        .zip(results.into_iter().zip(echoes))
        .map(|(index, (item, echo))| result(viewed, errors, number(index), item, echo))
        .collect();
    viewed.fit(proto::BulkCreateStreamResponse {
        batch_id: batch_id(stream),
        next_index: number(first_index + results.len()),
        results,
    })
}

fn batch_id(stream: &OpenStream) -> String {
    stream.batch_id().map(viewer::id).unwrap_or_default()
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
