//! Tokens: nothing in one is believed, and each opens one invitation, in one organization, for one purpose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::bounce_address::SentMail;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::keyring::{Keyring, Purpose};
use invitations::domain::unsubscribe_token;
use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, DeclineRequest, Invitation, InvitationState, ListRequest,
    OnExisting, PreviewRequest, ResendRequest,
};
use invitations::service::PreviewInvitation;
use sha2::{Digest as _, Sha256};
use tonic::Status;
use uuid::Uuid;

use crate::support::{
    ACME, KEYS, OTHER, World, accept_request, created, invite_request, reason, test_actor,
};

/// Every purpose there is a key for.
const PURPOSES: [Purpose; 6] = [
    Purpose::Accept,
    Purpose::Page,
    Purpose::AddressTag,
    Purpose::Unsubscribe,
    Purpose::Bounce,
    Purpose::Check,
];

/// What each method that takes a token says to this one; they never agree to differ.
async fn refusal(world: &World, token: &str) -> (tonic::Code, String, Vec<u8>) {
    let mut client = world.client();
    let preview = PreviewRequest {
        token: token.to_owned(),
    };
    let decline = DeclineRequest {
        token: token.to_owned(),
        suppress: true,
    };
    // Whoever fails too often has to wait: each attempt is somebody else's.
    let user_id = format!("new-{}", Uuid::new_v4());
    let accept = accept_request(token, &user_id, "a@b.co");
    let told: Vec<_> = [
        client.preview(preview).await.map(drop),
        client.decline(decline).await.map(drop),
        client.accept(accept).await.map(drop),
    ]
    .into_iter()
    .map(|answer| answer.expect_err("a token that is none was taken"))
    .map(|status: Status| {
        (
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
        )
    })
    .collect();
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    told.into_iter().next().unwrap()
}

fn reason_of(refusal: &(tonic::Code, String, Vec<u8>)) -> String {
    let details = refusal.2.clone().into();
    reason(Err::<(), _>(Status::with_details(
        refusal.0,
        refusal.1.clone(),
        details,
    )))
}

fn payload(token: &str) -> Vec<u8> {
    let encoded = token.strip_prefix("inv1_").unwrap();
    URL_SAFE_NO_PAD.decode(encoded).unwrap()
}

fn sealed(payload: &[u8]) -> String {
    format!("inv1_{}", URL_SAFE_NO_PAD.encode(payload))
}

async fn is_pending(world: &World, invitation: &Invitation) -> bool {
    world.get(&invitation.id).await.state() == InvitationState::Pending
}

#[tokio::test]
async fn no_method_believes_a_token_with_any_one_bit_flipped() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let genuine = payload(&token);
    let mut first = None;
    for bit in 0..genuine.len() * 8 {
        let mut flipped = genuine.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let told = refusal(&world, &sealed(&flipped)).await;
        assert_eq!(reason_of(&told), "TOKEN_INVALID", "bit {bit}");
        // The same bytes, whichever bit it was.
        assert_eq!(&told, first.get_or_insert(told.clone()), "bit {bit}");
    }
    assert!(is_pending(&world, &invitation).await);
}

#[tokio::test]
async fn the_proof_of_one_invitation_opens_no_other() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let (second, neighbors) = world.invite_one("n@b.co").await;
    let request = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(&["a@b.co"])
    };
    let made = world.client().bulk_create(request).await.unwrap();
    let foreign = created(&made.into_inner().results[0]);
    world.deliver_all().await;
    let foreigns = world.mail_to("a@b.co").token();
    assert_ne!(foreigns, token);
    // Each with the id of the others under its own proof.
    let tokens = [&token, &neighbors, &foreigns];
    for (of, proof) in tokens.iter().enumerate() {
        for (at, id) in tokens.iter().enumerate().filter(|(at, _)| *at != of) {
            let mut spliced = payload(proof);
            spliced[2..18].copy_from_slice(&payload(id)[2..18]);
            let told = refusal(&world, &sealed(&spliced)).await;
            assert_eq!(reason_of(&told), "TOKEN_INVALID", "{of} {at}");
        }
    }
    assert!(is_pending(&world, &invitation).await && is_pending(&world, &second).await);
    // The organization and the role come from the row that the token proves itself against.
    let accepted = world.accept(&foreigns, "new", "a@b.co").await.unwrap();
    let membership = accepted.membership.unwrap();
    assert_eq!(
        (
            membership.organization_id.as_str(),
            membership.invitation_id
        ),
        (OTHER, foreign.id)
    );
    assert!(is_pending(&world, &invitation).await);
}

/// A token made as this service makes them, with whatever is named.
struct Forgery<'a> {
    purpose: Purpose,
    context: &'a [u8],
    organization_id: &'a str,
    generation: u32,
    nonce: &'a [u8],
    email: &'a str,
}

impl Forgery<'_> {
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
        sealed(&[&[1, 1], id.as_bytes().as_slice(), mac.as_slice()].concat())
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
    let genuine = || Forgery {
        purpose: Purpose::Accept,
        context: b"invitations/accept/v1\0",
        organization_id: ACME,
        generation: 1,
        nonce: &nonce,
        email: "a@b.co",
    };
    // The forger knows how it is done.
    assert_eq!(genuine().token(id), token);
    let mut forged = vec![
        Forgery {
            organization_id: OTHER,
            ..genuine()
        },
        Forgery {
            generation: 2,
            ..genuine()
        },
        Forgery {
            nonce: &[0; 16],
            ..genuine()
        },
        Forgery {
            email: "eve@example.com",
            ..genuine()
        },
        Forgery {
            context: b"invitations/unsubscribe/v1\0",
            ..genuine()
        },
    ];
    forged.extend(PURPOSES[1..].iter().map(|purpose| Forgery {
        purpose: *purpose,
        ..genuine()
    }));
    for (number, forgery) in forged.iter().enumerate() {
        let told = refusal(&world, &forgery.token(id)).await;
        assert_eq!(reason_of(&told), "TOKEN_INVALID", "{number}");
    }
    assert!(is_pending(&world, &invitation).await);
    world.accept(&token, "new", "a@b.co").await.unwrap();
}

#[tokio::test]
async fn what_proves_something_else_is_no_token() {
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
        organization_id: ACME.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let page = world.client().list(list).await.unwrap().into_inner();
    let proofs = [
        unsubscribe.clone(),
        format!("inv1_{unsubscribe}"),
        bounce.clone(),
        page.next_page_token.clone(),
        format!("inv1_{}", page.next_page_token),
        invitation.id.clone(),
        "all".to_owned(),
    ];
    for proof in &proofs {
        assert!(proof.len() > 2);
        // One of a token's length is at best a token of nothing.
        let told = reason_of(&refusal(&world, proof).await);
        assert!(
            ["TOKEN_MALFORMED", "TOKEN_INVALID"].contains(&told.as_str()),
            "{told}"
        );
    }
    // Filled up to a token's length they are tokens of nothing.
    for proof in proofs {
        let mut bytes = Sha256::digest(&proof).to_vec();
        bytes.resize(50, 1);
        let told = refusal(&world, &sealed(&bytes)).await;
        assert_eq!(reason_of(&told), "TOKEN_INVALID");
    }
    // And the other way around: a token opens no call and stops no mail.
    let token = world.mail_to("a@b.co").token();
    assert!(!world.service.is_unsubscribe_token(&token));
    let mut client = world.client_of(&token);
    let preview = PreviewRequest { token };
    let refused = client.preview(preview).await;
    assert_eq!(reason(refused), "CREDENTIALS_INVALID");
}

#[tokio::test]
async fn a_link_that_was_replaced_in_any_way_is_dead() {
    let mut world = World::start().await;
    let (invitation, first) = world.invite_one("a@b.co").await;
    let resend = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        rotate_token: true,
        ..Default::default()
    };
    world.client().resend(resend).await.unwrap();
    world.deliver_all().await;
    let second = world.mail_to("a@b.co").token();
    let bulk_resend = BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![invitation.id.clone()],
        rotate_token: true,
        ..Default::default()
    };
    world.client().bulk_resend(bulk_resend).await.unwrap();
    world.deliver_all().await;
    let third = world.mail_to("a@b.co").token();
    for dead in [&first, &second] {
        let told = refusal(&world, dead).await;
        assert_eq!(reason_of(&told), "TOKEN_INVALID");
    }
    let replace = BulkCreateRequest {
        on_existing: OnExisting::Replace.into(),
        ..invite_request(&["a@b.co"])
    };
    world.client().bulk_create(replace).await.unwrap();
    world.deliver_all().await;
    let fourth = world.mail_to("a@b.co").token();
    let told = world.accept(&third, "new", "a@b.co").await;
    assert_eq!(reason(told), "REVOKED");
    // Used up, it opens nothing for anybody else, however often it is played back.
    world.accept(&fourth, "new", "a@b.co").await.unwrap();
    for _ in 0..3 {
        let told = world.accept(&fourth, "eve", "a@b.co").await;
        assert_eq!(reason(told), "ALREADY_ACCEPTED");
    }
}

#[tokio::test]
async fn a_token_of_another_deployment_is_refused() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let id: Uuid = invitation.id.parse().unwrap();
    // The same database, copied; keys of their own.
    let stranger = world.service_with_keys("1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n");
    let token = invitations::domain::token::Token::parse(&token).unwrap();
    assert_eq!(token.invitation_id(), id);
    let refused = stranger
        .run(PreviewInvitation {
            token,
            actor: test_actor(),
        })
        .await
        .err()
        .unwrap();
    assert_eq!(refused.reason().code(), "TOKEN_INVALID");
}
