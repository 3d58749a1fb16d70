use prost::Message as _;

use super::*;
use crate::proto::{BulkCreateRequest, NewInvitation, UpsertUsersRequest, User};

fn scan(path: &str, message: &[u8], step: usize) -> Result<usize, ScanError> {
    let shape = MESSAGE_SHAPES.of_request(path).unwrap().message;
    let mut scan = MessageScan::new(shape, message.len());
    for part in message.chunks(step) {
        scan.read(part)?;
    }
    Ok(scan.weight())
}

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const UPSERT_USERS: &str = "/invitation.v1.DirectoryService/UpsertUsers";

#[test]
fn a_message_has_the_same_weight_however_it_is_cut() {
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::NumberValue(7.0)),
    };
    let metadata = prost_types::Struct {
        fields: [("key".to_owned(), value)].into(),
    };
    let item = NewInvitation {
        email: "ada@example.com".to_owned(),
        public_metadata: Some(metadata),
        ..Default::default()
    };
    let message = BulkCreateRequest {
        organization_id: "acme".to_owned(),
        invitations: vec![item; 300],
        ..Default::default()
    };
    let message = message.encode_to_vec();
    let weight = scan(BULK_CREATE, &message, message.len()).unwrap();
    for step in [1, 2, 3, 7, 1_000] {
        assert_eq!(scan(BULK_CREATE, &message, step), Ok(weight));
    }
    assert!(weight > 300 * size_of::<NewInvitation>());
    for end in 1..message.len() {
        let mut scan =
            MessageScan::new(MESSAGE_SHAPES.of_request(BULK_CREATE).unwrap().message, end);
        // A message that is cut is malformed, or complete with fewer fields.
        let _ = scan.read(&message[..end]);
    }
}

#[test]
fn a_list_with_too_many_entries_is_refused_wherever_it_is() {
    let empty_items = [0x22, 0].repeat(ITEMS_MAX);
    assert!(scan(BULK_CREATE, &empty_items, 1_000).is_ok());
    let error = scan(BULK_CREATE, &[0x22, 0].repeat(ITEMS_MAX + 1), 1_000);
    let too_many = |list: &str| Err(ScanError::TooManyItems(list.to_owned()));
    assert_eq!(error, too_many("invitations"));
    let user = User {
        verified_emails: vec![String::new(); ITEMS_MAX + 1],
        ..Default::default()
    };
    let users = UpsertUsersRequest {
        users: vec![user],
        update_mask: None,
        ..Default::default()
    };
    let error = scan(UPSERT_USERS, &users.encode_to_vec(), 1_000);
    assert_eq!(error, too_many("users.verified_emails"));
    // A packed list of enum values.
    let list = "/invitation.v1.InvitationService/Watch";
    let packed = [&[0x2a, 0xff, 0xff, 0x03][..], &vec![1; 0xffff]].concat();
    assert_eq!(scan(list, &packed, 1_000), too_many("types"));
}

#[test]
fn bytes_that_are_no_message_are_refused_and_unknown_fields_are_skipped() {
    for bad in [
        &[0x22, 5, 1][..],
        &[0x22],
        &[0x22, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x07],
        &[
            0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
        ],
        &[0x22, 2, 0x0a, 5, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(
            scan(BULK_CREATE, bad, 1),
            Err(ScanError::Malformed),
            "{bad:?}"
        );
    }
    let unknown = [
        0xfa, 0x7f, 2, 0xff, 0xff, 0xf8, 0x7f, 1, 0xfd, 0x7f, 1, 2, 3, 4,
    ];
    assert!(scan(BULK_CREATE, &unknown, 1).is_ok());
    let mut nested = vec![0x0a, 0];
    for _ in 0..200 {
        let length = u8::try_from(nested.len() % 120).unwrap();
        nested.truncate(usize::from(length));
        nested.splice(0..0, [0x0a, length]);
    }
    let _ = scan(UPSERT_USERS, &nested, 1);
}
