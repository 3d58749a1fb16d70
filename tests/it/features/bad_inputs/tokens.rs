//! Tokens and ids of invitations: changed, made up, somebody else's, and those whose time is over.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use invitations::domain::token::Token;
use invitations::domain::user::User;
use invitations::proto::{
    DeclineRequest, DeleteOrganizationRequest, InvitationState, PreviewRequest, ResendRequest,
    RevokeRequest,
};
use invitations::service::Accept;
use time::Duration;
use tonic::{Code, Status};

use super::{assert_status, is_silent, reason_of};
use crate::features::suppression::KEY_2;
use crate::support::statements::StatementRecorder;
use crate::support::{ACME, KEYS, OTHER, World, accept_request, reason, test_actor};

const UNKNOWN_ID: &str = "019aacd0-0000-7000-8000-000000000001";

/// Something done to the bytes of a token.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// The token with some bytes of its payload changed.
fn forged(token: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut payload = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("inv1_").unwrap())
        .unwrap();
    change(&mut payload);
    format!("inv1_{}", URL_SAFE_NO_PAD.encode(payload))
}

/// Shows a token to every method that takes one; all say the same.
async fn shown(world: &World, token: &str) -> Status {
    let preview = PreviewRequest {
        token: token.to_owned(),
    };
    let decline = DeclineRequest {
        token: token.to_owned(),
        suppress: true,
    };
    let accept = accept_request(token, "new", "a@b.co");
    let previewed = world.client().preview(preview).await.err().unwrap();
    let declined = world.client().decline(decline).await.err().unwrap();
    let accepted = world.client().accept(accept).await.err().unwrap();
    for other in [&previewed, &declined] {
        assert_eq!(
            (accepted.code(), accepted.message(), accepted.details()),
            (other.code(), other.message(), other.details())
        );
    }
    assert!(is_silent(&accepted, token));
    accepted
}

#[tokio::test]
async fn what_does_not_have_the_shape_of_a_token_is_malformed() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let encoded = token.replace('_', "%5F");
    let standard = format!("inv1_{}", "+/".repeat(33) + "A");
    let tokens = [
        "",
        "inv1_",
        "eyJhbGciOiJub25lIn0.e30.",
        &token[..71],
        &token[1..],
        &format!("{token}A"),
        &format!("{token} "),
        &format!("{token}\n"),
        &format!(" {token}"),
        &format!("{}=", &token[..71]),
        &format!("{}\0", &token[..71]),
        &token.replace("inv1_", "INV1_"),
        &token.replace("inv1_", "inv2_"),
        &format!("https://app.example.com/join#token={token}"),
        &encoded,
        &standard,
        &"\u{e9}".repeat(36),
        &"A".repeat(1 << 20),
    ];
    for token in tokens {
        let status = shown(&world, token).await;
        assert_status(
            Err::<(), _>(status),
            Code::InvalidArgument,
            "TOKEN_MALFORMED",
            token,
        );
    }
    let seen = world.get(&invitation.id).await;
    assert_eq!(seen.state(), InvitationState::Pending);
}

#[tokio::test]
async fn a_token_of_another_version_key_or_invitation_names_nothing() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let (_, other) = world.invite_one("b@b.co").await;
    let id_of_other = URL_SAFE_NO_PAD.decode(&other[5..]).unwrap()[2..18].to_vec();
    let changes: [Change<'_>; 6] = [
        &|payload| payload[0] = 2,
        &|payload| payload[0] = 0,
        &|payload| payload[1] = 9,
        &|payload| payload[2..18].copy_from_slice(&id_of_other),
        &|payload| payload[2..18].fill(0),
        &|payload| payload[18..].fill(0),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let status = shown(&world, &forged(&token, change)).await;
        let told = (status.code(), reason_of(&status));
        assert_eq!(
            told,
            (Code::NotFound, "TOKEN_INVALID".to_owned()),
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_token_under_another_key_of_the_ring_names_nothing() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let service = world.service_with_keys(&format!("{KEYS}{KEY_2}"));
    let accept = |token: &str| Accept {
        token: Token::parse(token).unwrap(),
        user: User::parse("new", "", &["a@b.co".to_owned()], ["", "", ""])
            .ok()
            .unwrap(),
        is_self: false,
        actor: test_actor(),
    };
    let claimed = forged(&token, |payload| payload[1] = 2);
    let refused = service.run(accept(&claimed)).await.err().unwrap();
    assert_eq!(refused.reason().code(), "TOKEN_INVALID");
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
    assert!(service.run(accept(&token)).await.is_ok());
}

#[tokio::test(flavor = "current_thread")]
async fn an_unknown_id_is_answered_by_the_same_bytes_and_statements_as_a_wrong_proof() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let unknown = forged(&token, |payload| payload[10] ^= 1);
    let unproven = forged(&token, |payload| payload[40] ^= 1);
    let statements = StatementRecorder::start();
    // The first calls may run statements that later calls do not.
    shown(&world, &unknown).await;
    statements.take();
    let mut told = Vec::new();
    for token in [&unknown, &unproven] {
        let status = shown(&world, token).await;
        assert_eq!(reason_of(&status), "TOKEN_INVALID");
        let done = statements.take();
        assert!(
            done.iter()
                .any(|statement| statement.contains("invitation_row::rows")),
            "{done:?}"
        );
        told.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
            done,
        ));
    }
    assert!(told[0] == told[1]);
}

#[tokio::test]
async fn a_token_whose_time_is_over_says_what_became_of_its_invitation() {
    let mut world = World::start().await;
    let mut made = Vec::new();
    for name in ["revoked", "accepted", "declined", "expired"] {
        made.push(world.invite_one(&format!("{name}@b.co")).await);
    }
    let [
        (revoked, revoked_token),
        (_, accepted_token),
        (_, declined_token),
        (_, expired_token),
    ] = <[_; 4]>::try_from(made).ok().unwrap();
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: revoked.id,
        user_id: String::new(),
    };
    world.client().revoke(revoke).await.unwrap();
    world
        .accept(&accepted_token, "first", "accepted@b.co")
        .await
        .unwrap();
    let decline = DeclineRequest {
        token: declined_token.clone(),
        suppress: false,
    };
    world.client().decline(decline).await.unwrap();
    let again = world
        .accept(&accepted_token, "first", "accepted@b.co")
        .await
        .unwrap();
    assert!(again.already_member, "the same user again is fine");
    let mismatch = world.accept(&expired_token, "new", "canary7265@b.co").await;
    assert_status(
        mismatch,
        Code::PermissionDenied,
        "EMAIL_MISMATCH",
        "expired@b.co",
    );
    let mut nobody = accept_request(&expired_token, "new", "");
    nobody.user_emails.clear();
    let answer = world.client().accept(nobody).await;
    assert_status(
        answer,
        Code::PermissionDenied,
        "EMAIL_MISMATCH",
        "expired@b.co",
    );
    // No sweeper runs.
    world.clock.advance(Duration::days(30));
    for (token, email, expected) in [
        (&revoked_token, "revoked@b.co", "REVOKED"),
        (&accepted_token, "accepted@b.co", "ALREADY_ACCEPTED"),
        (&declined_token, "declined@b.co", "DECLINED"),
        (&expired_token, "expired@b.co", "EXPIRED"),
    ] {
        let answer = world.accept(token, "second", email).await;
        assert_status(answer, Code::FailedPrecondition, expected, email);
    }
}

#[tokio::test]
async fn a_token_of_a_deleted_organization_lets_nobody_in() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let request = DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
    };
    world
        .directory()
        .delete_organization(request)
        .await
        .unwrap();
    let answer = world.accept(&token, "new", "a@b.co").await;
    assert_status(
        answer,
        Code::FailedPrecondition,
        "ORGANIZATION_INACTIVE",
        "a@b.co",
    );
}

#[tokio::test]
async fn an_invitation_that_is_unknown_or_foreign_is_revoked_and_resent_by_nobody() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let ids = [(ACME, UNKNOWN_ID), (OTHER, invitation.id.as_str())];
    let mut told = Vec::new();
    for (organization_id, id) in ids {
        let revoke = RevokeRequest {
            organization_id: organization_id.to_owned(),
            invitation_id: id.to_owned(),
            user_id: String::new(),
        };
        let resend = ResendRequest {
            organization_id: organization_id.to_owned(),
            invitation_id: id.to_owned(),
            ..Default::default()
        };
        let revoked = world.client().revoke(revoke).await.err().unwrap();
        let again = world.client().resend(resend).await.err().unwrap();
        for status in [revoked, again] {
            assert!(is_silent(&status, id));
            assert_eq!(
                (status.code(), reason_of(&status)),
                (Code::NotFound, "INVITATION_NOT_FOUND".to_owned())
            );
            told.push((status.message().to_owned(), status.details().to_vec()));
        }
    }
    told.dedup();
    assert_eq!(told.len(), 1, "the same bytes");
    for id in ["", "canary7265", "canary\0", &"7".repeat(1 << 16)] {
        let revoke = RevokeRequest {
            organization_id: ACME.to_owned(),
            invitation_id: id.to_owned(),
            user_id: String::new(),
        };
        let answer = world.client().revoke(revoke).await;
        let expected = if id.is_empty() {
            "FIELD_REQUIRED"
        } else {
            "FIELD_INVALID"
        };
        assert_status(answer, Code::InvalidArgument, expected, id);
    }
}

#[tokio::test]
async fn what_was_accepted_or_revoked_is_not_sent_again_and_what_expired_gets_a_new_link() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("accepted@b.co").await;
    world.accept(&token, "new", "accepted@b.co").await.unwrap();
    let (revoked, _) = world.invite_one("revoked@b.co").await;
    let revoke = |id: &str| RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id.to_owned(),
        user_id: String::new(),
    };
    world.client().revoke(revoke(&revoked.id)).await.unwrap();
    let answer = world.client().revoke(revoke(&accepted.id)).await;
    assert_status(
        answer,
        Code::FailedPrecondition,
        "ALREADY_ACCEPTED",
        &accepted.id,
    );
    let resend = |id: &str| ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: id.to_owned(),
        ..Default::default()
    };
    for (id, expected) in [(&accepted.id, "ALREADY_ACCEPTED"), (&revoked.id, "REVOKED")] {
        let answer = world.client().resend(resend(id)).await;
        assert_status(answer, Code::FailedPrecondition, expected, id);
    }
    let (expired, old) = world.invite_one("expired@b.co").await;
    world.clock.advance(Duration::days(31));
    world.client().resend(resend(&expired.id)).await.unwrap();
    world.deliver_all().await;
    let new = world.mail_to("expired@b.co").token();
    assert_eq!(
        reason(world.accept(&old, "x", "expired@b.co").await),
        "TOKEN_INVALID"
    );
    world.accept(&new, "x", "expired@b.co").await.unwrap();
}
