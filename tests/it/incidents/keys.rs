//! Keys: one for each purpose, none that another's rotation kills, and nothing that stays the same for ever.

use std::collections::BTreeSet;

use invitations::domain::keyring::{Keyring, Purpose};
use invitations::domain::token::Token;
use invitations::proto::{BulkCreateRequest, OnExisting, ResendRequest};
use invitations::service::PreviewInvitation;

use crate::support::{ACME, KEYS, OTHER, World, invite_request, test_actor};

const KEY_2: &str = "2 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n";

#[test]
fn every_purpose_has_a_key_of_its_own() {
    let keyring = Keyring::parse(&format!("{KEYS}{KEY_2}")).unwrap();
    let purposes = [
        Purpose::Accept,
        Purpose::Page,
        Purpose::AddressTag,
        Purpose::Unsubscribe,
        Purpose::Bounce,
        Purpose::Check,
    ];
    let mut keys = BTreeSet::new();
    for kid in [1, 2] {
        for purpose in purposes {
            assert!(keys.insert(keyring.derive(kid, purpose).unwrap()));
        }
    }
}

#[tokio::test]
async fn a_link_lives_as_long_as_its_key_is_in_the_ring_whoever_signs() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let token = Token::parse(&token).unwrap();
    for (keys, is_open) in [
        (KEYS.to_owned(), true),
        (format!("{KEY_2}{KEYS}"), true),
        (KEY_2.to_owned(), false),
        // The same key under another id is another key.
        (KEYS.replacen('1', "3", 1), false),
    ] {
        let service = world.service_with_keys(&keys);
        let seen = service
            .run(PreviewInvitation {
                token: token.clone(),
                actor: test_actor(),
            })
            .await;
        assert_eq!(seen.is_ok(), is_open);
    }
}

#[tokio::test]
async fn one_address_never_has_the_same_token_twice() {
    let mut world = World::start().await;
    let mut tokens = BTreeSet::new();
    let (invitation, token) = world.invite_one("a@b.co").await;
    assert!(tokens.insert(token));
    for _ in 0..3 {
        let request = ResendRequest {
            organization_id: ACME.to_owned(),
            invitation_id: invitation.id.clone(),
            rotate_token: true,
            ..Default::default()
        };
        world.client().resend(request).await.unwrap();
        world.deliver_all().await;
        assert!(tokens.insert(world.mail_to("a@b.co").token()));
    }
    for (organization_id, inviter) in [(ACME, "ada"), (OTHER, "eve"), (ACME, "ada")] {
        let request = BulkCreateRequest {
            organization_id: organization_id.to_owned(),
            inviter_user_id: inviter.to_owned(),
            on_existing: OnExisting::Replace.into(),
            ..invite_request(&["a@b.co"])
        };
        world.client().bulk_create(request).await.unwrap();
        world.deliver_all().await;
        assert!(tokens.insert(world.mail_to("a@b.co").token()));
    }
}
