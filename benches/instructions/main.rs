//! How many instructions the pure parts take, counted by valgrind: the same on a busy machine as on a quiet one.
//!
//! Each function is counted once, without what it is set up with, and over a number of different inputs where one is over
//! in no time. `make instructions` runs this and compares the counts with `counts.toml`; docs/performance.md says how.
//! Nothing here asks a database, and nothing is timed. What is counted is success: the setups see to that.
//!
//! A function that is counted has no closure of its own: the counter goes by names, and would stop at a closure's, which
//! begins with that of its function.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "the macros make a module of each function"
)]

use std::collections::HashMap;
use std::hint::black_box;

use gungraun::prelude::*;
use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::invitation::AcceptPolicy;
use invitations::domain::keyring::Keyring;
use invitations::domain::new_invitation::{Inviter, ItemDraft, ItemInput, NewInvitation};
use invitations::domain::organization::{Organization, OrganizationInput};
use invitations::domain::reminder::ReminderInput;
use invitations::domain::token::{Token, TokenSubject};
use invitations::grpc;
use invitations::mail::message::{ComposedMail, Composer, InvitationMail, MailKind, Sender};
use invitations::proto;
use prost::Message as _;
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

/// Inputs of what is over in no time.
const COUNT: usize = 100;
const KEYS: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const KEY_ID: u8 = 1;
const NOW: OffsetDateTime = datetime!(2026-11-22 18:48 UTC);

fn addresses() -> Vec<String> {
    (0..COUNT)
        .map(|number| format!("Person.{number:03}+work@Mail.Example.com"))
        .collect()
}

fn good_addresses() -> Vec<String> {
    let addresses = addresses();
    assert_eq!(well_formed(&addresses), COUNT, "an address is refused");
    addresses
}

#[library_benchmark]
#[bench::of_100(good_addresses())]
fn parse_addresses(addresses: Vec<String>) -> usize {
    well_formed(&addresses)
}

fn well_formed(addresses: &[String]) -> usize {
    let parsed = addresses
        .iter()
        .filter_map(|address| EmailAddress::parse(black_box(address)).ok());
    parsed.count()
}

fn organization() -> Organization {
    let input = OrganizationInput {
        id: "acme".to_owned(),
        name: "Acme".to_owned(),
        redirect_origins: vec!["https://app.example.com".to_owned()],
        ..Default::default()
    };
    input
        .parse()
        .unwrap_or_else(|_| panic!("the organization is refused"))
}

/// Items with everything an item can have.
fn items() -> (Organization, Vec<ItemInput>) {
    let metadata = serde_json::json!({"team": "analytics", "seat": 42});
    let item = |email| ItemInput {
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
    (organization(), addresses().into_iter().map(item).collect())
}

#[library_benchmark]
#[bench::of_100(items())]
fn parse_drafts((organization, items): (Organization, Vec<ItemInput>)) -> Vec<ItemDraft> {
    parsed(items, &organization)
}

fn parsed(items: Vec<ItemInput>, organization: &Organization) -> Vec<ItemDraft> {
    let items = items.into_iter().enumerate();
    items
        .map(|(index, item)| ItemDraft::parse(index, &item, organization, "ada", NOW))
        .collect()
}

fn drafts() -> (HashMap<String, Inviter>, Vec<ItemDraft>) {
    let (organization, items) = items();
    let inviter = Inviter {
        name: "Ada".to_owned(),
        is_admin: true,
    };
    let inviters = HashMap::from([("ada".to_owned(), inviter)]);
    let finished = finished(parsed(items.clone(), &organization), &inviters);
    assert_eq!(finished.len(), COUNT, "an item is refused");
    (inviters, parsed(items, &organization))
}

#[library_benchmark]
#[bench::of_100(drafts())]
fn finish_drafts(
    (inviters, drafts): (HashMap<String, Inviter>, Vec<ItemDraft>),
) -> Vec<NewInvitation> {
    finished(drafts, &inviters)
}

fn finished(drafts: Vec<ItemDraft>, inviters: &HashMap<String, Inviter>) -> Vec<NewInvitation> {
    let finished = drafts
        .into_iter()
        .filter_map(|draft| draft.finish(inviters).ok());
    finished.collect()
}

/// A request as it comes off the wire, of addresses alone.
fn request() -> Vec<u8> {
    let invitation = |email| proto::NewInvitation {
        email,
        ..Default::default()
    };
    let request = proto::BulkCreateRequest {
        organization_id: "acme".to_owned(),
        inviter_user_id: "ada".to_owned(),
        invitations: addresses().into_iter().map(invitation).collect(),
        ..Default::default()
    };
    let bytes = request.encode_to_vec();
    let good = grpc::fuzzing::bulk_create(&bytes);
    assert_eq!(good, Some(COUNT), "an item is refused");
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
    let token = Token::derive(&keyring, KEY_ID, black_box(&subject()))?;
    Some(token.reveal())
}

fn link() -> (Keyring, String) {
    let keyring = keyring();
    let token = Token::derive(&keyring, KEY_ID, &subject()).map(|token| token.reveal());
    let text = token.unwrap_or_default();
    assert!(is_genuine(&keyring, &text), "the token is refused");
    (keyring, text)
}

#[library_benchmark]
#[bench::one(link())]
fn verify_token((keyring, text): (Keyring, String)) -> bool {
    is_genuine(&keyring, &text)
}

fn is_genuine(keyring: &Keyring, text: &str) -> bool {
    Token::parse(black_box(text))
        .is_ok_and(|token| token.matches(keyring, KEY_ID, black_box(&subject())))
}

fn mail() -> (Composer, InvitationMail) {
    let sender = Sender::parse("Invitations", "invitations@example.com", None)
        .unwrap_or_else(|_| panic!("the sender is refused"));
    let composer = Composer::new(sender).unwrap_or_else(|_| panic!("the templates are refused"));
    let mail = InvitationMail {
        kind: MailKind::Invitation,
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
    (composer, mail)
}

#[library_benchmark]
#[bench::one(mail())]
fn compose_mail((composer, mail): (Composer, InvitationMail)) -> Option<ComposedMail> {
    composer.compose(black_box(&mail)).ok()
}

library_benchmark_group!(
    name = pure,
    benchmarks = [
        parse_addresses,
        parse_drafts,
        finish_drafts,
        read_request,
        derive_token,
        verify_token,
        compose_mail
    ]
);

main!(library_benchmark_groups = pure);
