//! Counts the instructions of code that does no I/O, with valgrind's callgrind. The counts are the same on a busy machine.
//!
//! `make instructions` runs this program and compares the counts with `counts.toml`. Each function is counted once, without
//! its setup. The setups check that the counted code succeeds.
//!
//! A counted function must not contain a closure: the counter matches function names by prefix, and would stop counting at
//! the closure.

#![expect(
    unused_qualifications,
    reason = "the macros generate a module for each function"
)]

use std::hint::black_box;

use gungraun::prelude::*;
use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::invitation::AcceptPolicy;
use invitations::domain::keyring::Keyring;
use invitations::domain::new_invitation::{ItemDraft, ItemInput};
use invitations::domain::organization::{Organization, OrganizationInput};
use invitations::domain::reminder::ReminderInput;
use invitations::domain::token::{Token, TokenSubject};
use invitations::domain::update_mask::UpdateMask;
use invitations::grpc;
use invitations::mail::message::{ComposedMessage, Composer, EmailKind, InvitationEmail, Sender};
use invitations::proto;
use prost::Message as _;
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

const ITEMS: usize = 100;
const KEYS: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const KEY_ID: u8 = 1;
const NOW: OffsetDateTime = datetime!(2026-11-22 18:48 UTC);

fn addresses() -> impl Iterator<Item = String> {
    (0..ITEMS).map(|number| format!("Person.{number:03}+work@Mail.Example.com"))
}

fn organization() -> Organization {
    let input = OrganizationInput {
        id: "acme".to_owned(),
        name: Some("Acme".to_owned()),
        redirect_origins: vec!["https://app.example.com".to_owned()],
        ..Default::default()
    };
    input
        .parse(None, &UpdateMask::default())
        .unwrap_or_else(|_| panic!("the organization is refused"))
}

/// Items with all fields. They live until the program ends, because the drafts borrow from them.
fn items() -> &'static (Organization, Vec<ItemInput>) {
    let metadata = serde_json::json!({"team": "analytics", "seat": 42});
    let item = |email| ItemInput {
        key: String::new(),
        email,
        role: "member".to_owned(),
        inviter_user_id: "ada".to_owned(),
        redirect_url: "https://app.example.com/welcome?from=mail".to_owned(),
        public_metadata: metadata.as_object().cloned(),
        private_metadata: Some(serde_json::Map::new()),
        expiry: Expiry::Default,
        notify: true,
        locale: "de-CH".to_owned(),
        message: "We start on Monday. Bring your engine.".to_owned(),
        accept_policy: Some(AcceptPolicy::InvitedEmail),
        reminder_lead: ReminderInput::default(),
    };
    Box::leak(Box::new((organization(), addresses().map(item).collect())))
}

#[library_benchmark]
#[bench::of_100(items())]
fn parse_drafts(
    (organization, items): &'static (Organization, Vec<ItemInput>),
) -> Vec<ItemDraft<'static>> {
    let mut drafts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        drafts.push(ItemDraft::parse(index, item, organization, "ada", NOW));
    }
    drafts
}

/// An encoded request whose items contain an address alone.
fn request() -> Vec<u8> {
    let invitation = |email| proto::NewInvitation {
        email,
        ..Default::default()
    };
    let request = proto::BulkCreateRequest {
        organization_id: "acme".to_owned(),
        inviter_user_id: "ada".to_owned(),
        invitations: addresses().map(invitation).collect(),
        ..Default::default()
    };
    let bytes = request.encode_to_vec();
    let valid = grpc::fuzzing::bulk_create(&bytes);
    assert_eq!(valid, Some(ITEMS), "an item is refused");
    bytes
}

#[library_benchmark]
#[bench::of_100(request())]
fn read_request(bytes: Vec<u8>) -> Option<usize> {
    grpc::fuzzing::bulk_create(black_box(&bytes))
}

fn keyring() -> Keyring {
    Keyring::parse(KEYS).unwrap_or_else(|_| panic!("the keys are refused"))
}

fn subject() -> TokenSubject<'static> {
    TokenSubject {
        organization_id: "acme",
        invitation_id: Uuid::from_u128(0x019a_b000_0000_7000_8000_0000_0000_0001),
        generation: 1,
        nonce: [7; 16],
        email_normalized: "person@example.com",
    }
}

#[library_benchmark]
#[bench::one(keyring())]
fn derive_token(keyring: Keyring) -> Option<String> {
    derive(&keyring)
}

fn derive(keyring: &Keyring) -> Option<String> {
    let token = Token::derive(keyring, KEY_ID, black_box(&subject()))?;
    Some(token.reveal())
}

fn token() -> (Keyring, String) {
    let keyring = keyring();
    let token = derive(&keyring).unwrap_or_default();
    assert!(is_genuine(&keyring, &token), "the token is refused");
    (keyring, token)
}

#[library_benchmark]
#[bench::one(token())]
fn verify_token((keyring, token): (Keyring, String)) -> bool {
    is_genuine(&keyring, &token)
}

fn is_genuine(keyring: &Keyring, token: &str) -> bool {
    Token::parse(black_box(token))
        .is_some_and(|token| token.matches(keyring, KEY_ID, black_box(&subject())))
}

fn email() -> (Composer, InvitationEmail) {
    let sender = Sender::parse("Invitations", "invitations@example.com", None)
        .unwrap_or_else(|_| panic!("the sender is refused"));
    let composer = Composer::new(sender).unwrap_or_else(|_| panic!("the templates are refused"));
    let email = InvitationEmail {
        kind: EmailKind::Invitation,
        brand: Brand::default(),
        message_id: "inv.1.1.1@example.com".to_owned(),
        date: NOW,
        to: EmailAddress::parse("reader@example.com")
            .unwrap_or_else(|_| panic!("the address is refused")),
        organization_name: "Northwind".to_owned(),
        inviter_name: Some("Ada".to_owned()),
        role: "member".to_owned(),
        note: Some("We start on Monday.".to_owned()),
        link: "https://app.example.com/join#token".to_owned().into(),
        expires_at: datetime!(2026-12-22 18:48 UTC),
        locale: "en".to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    };
    (composer, email)
}

#[library_benchmark]
#[bench::one(email())]
fn compose_email((composer, email): (Composer, InvitationEmail)) -> Option<ComposedMessage> {
    composer.compose(black_box(&email)).ok()
}

library_benchmark_group!(
    name = without_io,
    benchmarks = [
        parse_drafts,
        read_request,
        derive_token,
        verify_token,
        compose_email
    ]
);

main!(library_benchmark_groups = without_io);
