//! Keys: one for each purpose, independent of each other, and a new token for each invitation and each resend with
//! rotation.

use std::collections::BTreeSet;

use invitations::domain::keyring::{Keyring, Purpose};
use invitations::domain::token::Token;
use invitations::proto::{BulkCreateRequest, OnExisting, ResendRequest};
use invitations::service::PreviewInvitation;

use crate::support::{ACME, KEY_2, KEYS, OTHER, World, invite_request, resend_request, test_actor};

#[test]
fn every_purpose_has_its_own_key() {
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
async fn a_link_is_valid_as_long_as_its_key_is_in_the_keyring() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let token = Token::parse(&token).unwrap();
    for (keys, is_valid) in [
        (KEYS.to_owned(), true),
        (format!("{KEY_2}{KEYS}"), true),
        (KEY_2.to_owned(), false),
        // The same key under another id is another key.
        (KEYS.replacen('1', "3", 1), false),
    ] {
        let service = world.service_with_keys(&keys);
        let preview = service
            .run(PreviewInvitation {
                token: token.clone(),
                actor: test_actor(),
            })
            .await;
        assert_eq!(preview.is_ok(), is_valid);
    }
}

#[tokio::test]
async fn an_address_never_gets_the_same_token_twice() {
    let mut world = World::start().await;
    let mut tokens = BTreeSet::new();
    let (invitation, token) = world.invite_one("a@b.co").await;
    assert!(tokens.insert(token));
    for _ in 0..3 {
        let request = ResendRequest {
            rotate_token: true,
            ..resend_request(&invitation.id)
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
