//! Tokens: their signature is verified, and each is valid for one invitation of one organization and for one purpose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::bounce_address::SentMail;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::keyring::{Keyring, Purpose};
use invitations::domain::token::Token;
use invitations::domain::unsubscribe_token;
use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, DeclineRequest, Invitation, InvitationState, ListRequest,
    OnExisting, ResendRequest,
};
use invitations::service::PreviewInvitation;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{
    ACME, KEYS, OTHER, World, accept_request, bulk_resend_request, created, decline_request,
    forge_token, invite_request, invite_to_other_request, list_request, preview_request, reason,
    resend_request, status_reason, test_actor, token_payload,
};

/// Every purpose that has a key.
const PURPOSES: [Purpose; 6] = [
    Purpose::Accept,
    Purpose::Page,
    Purpose::AddressTag,
    Purpose::Unsubscribe,
    Purpose::Bounce,
    Purpose::Check,
];

/// Calls each method that takes a token. Asserts that all refuse the token in the same way, and returns one refusal.
async fn refusal(world: &World, token: &str) -> Status {
    let mut client = world.client();
    let preview = preview_request(token);
    let decline = DeclineRequest {
        suppress: true,
        ..decline_request(token)
    };
    // Failed accepts are limited for each user, so every attempt is for another user.
    let user_id = format!("new-{}", Uuid::new_v4());
    let accept = accept_request(token, &user_id, "a@b.co");
    let refusals = [
        client.preview(preview).await.map(drop),
        client.decline(decline).await.map(drop),
        client.accept(accept).await.map(drop),
    ]
    .map(|answer| answer.expect_err("an invalid token was accepted"));
    for refusal in &refusals {
        assert_eq!(parts(refusal), parts(&refusals[0]));
    }
    let [refusal, ..] = refusals;
    refusal
}

/// The code, the message and the details.
fn parts(refusal: &Status) -> (Code, String, Vec<u8>) {
    (
        refusal.code(),
        refusal.message().to_owned(),
        refusal.details().to_vec(),
    )
}

fn encoded(payload: &[u8]) -> String {
    format!("inv1_{}", URL_SAFE_NO_PAD.encode(payload))
}

async fn is_pending(world: &World, invitation: &Invitation) -> bool {
    world.get(&invitation.id).await.state() == InvitationState::Pending
}

#[tokio::test]
async fn every_method_refuses_a_token_with_any_one_bit_flipped() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let mut first = None;
    for bit in 0..token_payload(&token).len() * 8 {
        let flipped = forge_token(&token, |payload| payload[bit / 8] ^= 1 << (bit % 8));
        let refusal = refusal(&world, &flipped).await;
        assert_eq!(status_reason(&refusal), "TOKEN_INVALID", "bit {bit}");
        // The response has the same bytes for every bit.
        let refusal = parts(&refusal);
        assert_eq!(&refusal, first.get_or_insert(refusal.clone()), "bit {bit}");
    }
    assert!(is_pending(&world, &invitation).await);
}

#[tokio::test]
async fn the_signature_of_one_invitation_is_invalid_for_another() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let (second, token_of_second) = world.invite_one("n@b.co").await;
    let request = invite_to_other_request(&["a@b.co"]);
    let response = world.bulk_create(request).await;
    let of_other_organization = created(&response.results[0]);
    world.deliver_all().await;
    let token_of_other_organization = world.mail_to("a@b.co").token();
    assert_ne!(token_of_other_organization, token);
    // Combines the signature of each token with the id of each other one.
    let tokens = [&token, &token_of_second, &token_of_other_organization];
    for (of, signed) in tokens.iter().enumerate() {
        for (at, other) in tokens.iter().enumerate().filter(|(at, _)| *at != of) {
            let spliced = forge_token(signed, |payload| {
                payload[2..18].copy_from_slice(&token_payload(other)[2..18]);
            });
            let refusal = refusal(&world, &spliced).await;
            assert_eq!(status_reason(&refusal), "TOKEN_INVALID", "{of} {at}");
        }
    }
    assert!(is_pending(&world, &invitation).await && is_pending(&world, &second).await);
    // The organization and the role come from the row of the invitation and not from the token.
    let accepted = world
        .accept(&token_of_other_organization, "new", "a@b.co")
        .await
        .unwrap();
    let membership = accepted.membership.unwrap();
    assert_eq!(
        (
            membership.organization_id.as_str(),
            membership.invitation_id
        ),
        (OTHER, of_other_organization.id)
    );
    assert!(is_pending(&world, &invitation).await);
}

/// The parts of a token. It is signed as the service signs tokens.
struct ForgedToken<'a> {
    purpose: Purpose,
    context: &'a [u8],
    organization_id: &'a str,
    generation: u32,
    nonce: &'a [u8],
    email: &'a str,
}

impl ForgedToken<'_> {
    fn token(&self, id: Uuid) -> String {
        let key = Keyring::parse(KEYS).unwrap().derive(1, self.purpose);
        let mac = Hmac::<Sha256>::new_from_slice(&key.unwrap())
            .unwrap()
            .chain_update(self.context)
            .chain_update(Sha256::digest(self.organization_id))
            .chain_update(id.as_bytes())
            .chain_update(self.generation.to_be_bytes())
            .chain_update(self.nonce)
            .chain_update(Sha256::digest(self.email))
            .finalize()
            .into_bytes();
        encoded(&[&[1, 1], id.as_bytes().as_slice(), mac.as_slice()].concat())
    }
}

#[tokio::test]
async fn a_token_is_bound_to_its_purpose_organization_address_and_generation() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let id: Uuid = invitation.id.parse().unwrap();
    let nonce: Vec<u8> = sqlx::query_scalar("SELECT nonce FROM invitations WHERE id = $1")
        .bind(id)
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    let genuine = || ForgedToken {
        purpose: Purpose::Accept,
        context: b"invitations/accept/v1\0",
        organization_id: ACME,
        generation: 1,
        nonce: &nonce,
        email: "a@b.co",
    };
    // The unchanged parts make the genuine token.
    assert_eq!(genuine().token(id), token);
    let mut forged = vec![
        ForgedToken {
            organization_id: OTHER,
            ..genuine()
        },
        ForgedToken {
            generation: 2,
            ..genuine()
        },
        ForgedToken {
            nonce: &[0; 16],
            ..genuine()
        },
        ForgedToken {
            email: "eve@example.com",
            ..genuine()
        },
        ForgedToken {
            context: b"invitations/unsubscribe/v1\0",
            ..genuine()
        },
    ];
    forged.extend(PURPOSES[1..].iter().map(|purpose| ForgedToken {
        purpose: *purpose,
        ..genuine()
    }));
    for (number, forged) in forged.iter().enumerate() {
        let refusal = refusal(&world, &forged.token(id)).await;
        assert_eq!(status_reason(&refusal), "TOKEN_INVALID", "{number}");
    }
    assert!(is_pending(&world, &invitation).await);
    world.accept(&token, "new", "a@b.co").await.unwrap();
}

#[tokio::test]
async fn credentials_of_other_kinds_are_not_invitation_tokens() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.invite_one("c@b.co").await;
    let keyring = Keyring::parse(KEYS).unwrap();
    let address = EmailAddress::parse("a@b.co").unwrap();
    let unsubscribe =
        unsubscribe_token::seal(&keyring, &AddressTagger::new(&keyring).tag(&address)).unwrap();
    let mail = SentMail {
        invitation_id: invitation.id.parse().unwrap(),
        send_seq: 1,
    };
    let bounce = mail
        .bounce_address(&keyring, "bounces@example.com")
        .unwrap();
    let list = ListRequest {
        page_size: 1,
        ..list_request()
    };
    let page = world.list(list).await;
    let credentials = [
        unsubscribe.clone(),
        format!("inv1_{unsubscribe}"),
        bounce.clone(),
        page.next_page_token.clone(),
        format!("inv1_{}", page.next_page_token),
        invitation.id.clone(),
        "all".to_owned(),
    ];
    for credential in &credentials {
        assert!(credential.len() > 2);
        // A credential with the length of a token has an invalid signature.
        let reason = status_reason(&refusal(&world, credential).await);
        assert!(
            ["TOKEN_MALFORMED", "TOKEN_INVALID"].contains(&reason.as_str()),
            "{reason}"
        );
    }
    // Extended to the length of a token, the others have an invalid signature too.
    for credential in credentials {
        let mut bytes = Sha256::digest(&credential).to_vec();
        bytes.resize(50, 1);
        let refusal = refusal(&world, &encoded(&bytes)).await;
        assert_eq!(status_reason(&refusal), "TOKEN_INVALID");
    }
    // Conversely, a token neither authenticates a call nor unsubscribes an address.
    let token = world.mail_to("a@b.co").token();
    assert!(!world.service.is_unsubscribe_token(&token));
    let mut client = world.client_of(&token);
    let preview = preview_request(&token);
    let refused = client.preview(preview).await;
    assert_eq!(reason(refused), "CREDENTIALS_INVALID");
}

#[tokio::test]
async fn a_replaced_link_is_invalid() {
    let mut world = World::start().await;
    let (invitation, first) = world.invite_one("a@b.co").await;
    let resend = ResendRequest {
        rotate_token: true,
        ..resend_request(&invitation.id)
    };
    world.client().resend(resend).await.unwrap();
    world.deliver_all().await;
    let second = world.mail_to("a@b.co").token();
    let bulk_resend = BulkResendRequest {
        rotate_token: true,
        ..bulk_resend_request(&[&invitation.id])
    };
    world.client().bulk_resend(bulk_resend).await.unwrap();
    world.deliver_all().await;
    let third = world.mail_to("a@b.co").token();
    for replaced in [&first, &second] {
        let refusal = refusal(&world, replaced).await;
        assert_eq!(status_reason(&refusal), "TOKEN_INVALID");
    }
    let replace = BulkCreateRequest {
        on_existing: OnExisting::Replace.into(),
        ..invite_request(&["a@b.co"])
    };
    world.client().bulk_create(replace).await.unwrap();
    world.deliver_all().await;
    let fourth = world.mail_to("a@b.co").token();
    let refused = world.accept(&third, "new", "a@b.co").await;
    assert_eq!(reason(refused), "INVITATION_REVOKED");
    // A used link is invalid for every other user, also when it is replayed.
    world.accept(&fourth, "new", "a@b.co").await.unwrap();
    for _ in 0..3 {
        let refused = world.accept(&fourth, "eve", "a@b.co").await;
        assert_eq!(reason(refused), "ALREADY_ACCEPTED");
    }
}

#[tokio::test]
async fn a_token_of_another_deployment_is_refused() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let id: Uuid = invitation.id.parse().unwrap();
    // A deployment with a copy of the database and its own keys.
    let other = world.service_with_keys("1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n");
    let token = Token::parse(&token).unwrap();
    assert_eq!(token.invitation_id(), id);
    let refused = other
        .run(PreviewInvitation {
            token,
            actor: test_actor(),
        })
        .await
        .err()
        .unwrap();
    assert_eq!(refused.reason().code(), "TOKEN_INVALID");
}
