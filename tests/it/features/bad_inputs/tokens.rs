//! Tokens and ids of invitations that are malformed, forged, foreign or no longer valid.

use invitations::domain::token::Token;
use invitations::domain::user::User;
use invitations::proto::{DeclineRequest, InvitationState, ResendRequest, RevokeRequest};
use invitations::service::{Accept, InvitationTarget};
use time::Duration;
use tonic::{Code, Status};

use super::{assert_call_refused, echoes};
use crate::support::statements::StatementRecorder;
use crate::support::{
    ACME, KEY_2, KEYS, OTHER, UNKNOWN_ID, World, accept_request, decline_request, forge_token,
    preview_request, reason, resend_request, revoke_request, status_reason, test_actor,
    token_payload,
};

/// A change of the payload of a token.
type TokenChange<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Passes a token to every method that takes one. Fails unless they give the same refusal, which is returned.
async fn refusal(world: &World, token: &str) -> Status {
    let preview = preview_request(token);
    let decline = DeclineRequest {
        suppress: true,
        ..decline_request(token)
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
    assert!(!echoes(&accepted, token));
    accepted
}

#[tokio::test]
async fn a_text_without_the_form_of_a_token_is_malformed() {
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
        let status = refusal(&world, token).await;
        assert_call_refused(
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
async fn a_token_with_another_version_key_or_invitation_is_invalid() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let (_, other) = world.invite_one("b@b.co").await;
    let id_of_other = token_payload(&other)[2..18].to_vec();
    let changes: [TokenChange<'_>; 6] = [
        &|payload| payload[0] = 2,
        &|payload| payload[0] = 0,
        &|payload| payload[1] = 9,
        &|payload| payload[2..18].copy_from_slice(&id_of_other),
        &|payload| payload[2..18].fill(0),
        &|payload| payload[18..].fill(0),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let status = refusal(&world, &forge_token(&token, change)).await;
        let refusal = (status.code(), status_reason(&status));
        let expected = (Code::NotFound, "TOKEN_INVALID".to_owned());
        assert_eq!(refusal, expected, "{number}");
    }
}

#[tokio::test]
async fn a_token_that_names_another_key_of_the_ring_is_invalid() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let service = world.service_with_keys(&format!("{KEYS}{KEY_2}"));
    let accept = |token: &str| Accept {
        target: InvitationTarget::Token(Token::parse(token).unwrap()),
        user: User::parse("new", "", &["a@b.co".to_owned()], ["", "", ""])
            .ok()
            .unwrap(),
        is_self: false,
        actor: test_actor(),
    };
    let forged = forge_token(&token, |payload| payload[1] = 2);
    let refused = service.run(accept(&forged)).await.err().unwrap();
    assert_eq!(refused.reason().code(), "TOKEN_INVALID");
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
    assert!(service.run(accept(&token)).await.is_ok());
}

#[tokio::test(flavor = "current_thread")]
async fn an_unknown_id_and_a_wrong_signature_get_the_same_response_from_the_same_statements() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let unknown = forge_token(&token, |payload| payload[10] ^= 1);
    let unproven = forge_token(&token, |payload| payload[40] ^= 1);
    let recorder = StatementRecorder::start();
    // The first calls may run statements that later calls do not.
    refusal(&world, &unknown).await;
    recorder.take();
    let mut seen = Vec::new();
    for token in [&unknown, &unproven] {
        let status = refusal(&world, token).await;
        assert_eq!(status_reason(&status), "TOKEN_INVALID");
        let statements = recorder.take();
        let is_lookup = |statement: &String| statement.contains("stored_invitations::rows");
        assert!(statements.iter().any(is_lookup), "{statements:?}");
        seen.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
            statements,
        ));
    }
    assert!(seen[0] == seen[1]);
}

#[tokio::test]
async fn a_token_of_an_ended_invitation_is_refused_with_its_state() {
    let mut world = World::start().await;
    let (revoked, revoked_token) = world.invite_one("revoked@b.co").await;
    let (_, accepted_token) = world.invite_one("accepted@b.co").await;
    let (_, declined_token) = world.invite_one("declined@b.co").await;
    let (_, expired_token) = world.invite_one("expired@b.co").await;
    world.revoke(&revoked.id).await;
    world
        .accept(&accepted_token, "first", "accepted@b.co")
        .await
        .unwrap();
    world.decline(&declined_token).await.unwrap();
    let again = world
        .accept(&accepted_token, "first", "accepted@b.co")
        .await
        .unwrap();
    assert!(again.already_member, "the same user may accept again");
    let mismatch = world.accept(&expired_token, "new", "canary7265@b.co").await;
    assert_call_refused(
        mismatch,
        Code::PermissionDenied,
        "EMAIL_MISMATCH",
        "expired@b.co",
    );
    let mut without_emails = accept_request(&expired_token, "new", "");
    without_emails.verified_emails.clear();
    let answer = world.client().accept(without_emails).await;
    assert_call_refused(
        answer,
        Code::PermissionDenied,
        "EMAIL_MISMATCH",
        "expired@b.co",
    );
    // The sweeper does not run.
    world.clock.advance(Duration::days(30));
    for (token, email, expected) in [
        (&revoked_token, "revoked@b.co", "INVITATION_REVOKED"),
        (&accepted_token, "accepted@b.co", "ALREADY_ACCEPTED"),
        (&declined_token, "declined@b.co", "INVITATION_DECLINED"),
        (&expired_token, "expired@b.co", "INVITATION_EXPIRED"),
    ] {
        let answer = world.accept(token, "second", email).await;
        assert_call_refused(answer, Code::FailedPrecondition, expected, email);
    }
}

#[tokio::test]
async fn a_token_of_a_deleted_organization_is_refused() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    world.delete_organization().await;
    let answer = world.accept(&token, "new", "a@b.co").await;
    assert_call_refused(
        answer,
        Code::FailedPrecondition,
        "ORGANIZATION_DELETED",
        "a@b.co",
    );
}

#[tokio::test]
async fn an_unknown_or_foreign_invitation_cannot_be_revoked_or_resent() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let ids = [(ACME, UNKNOWN_ID), (OTHER, invitation.id.as_str())];
    let mut refusals = Vec::new();
    for (organization_id, id) in ids {
        let revoke = RevokeRequest {
            organization_id: organization_id.to_owned(),
            ..revoke_request(id)
        };
        let resend = ResendRequest {
            organization_id: organization_id.to_owned(),
            ..resend_request(id)
        };
        let revoked = world.client().revoke(revoke).await.err().unwrap();
        let again = world.client().resend(resend).await.err().unwrap();
        for status in [revoked, again] {
            assert!(!echoes(&status, id));
            assert_eq!(
                (status.code(), status_reason(&status)),
                (Code::NotFound, "INVITATION_NOT_FOUND".to_owned())
            );
            refusals.push((status.message().to_owned(), status.details().to_vec()));
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "all refusals are the same bytes");
    for id in ["", "canary7265", "canary\0", &"7".repeat(1 << 16)] {
        let answer = world.client().revoke(revoke_request(id)).await;
        let expected = if id.is_empty() {
            "FIELD_REQUIRED"
        } else {
            "FIELD_INVALID"
        };
        assert_call_refused(answer, Code::InvalidArgument, expected, id);
    }
}

#[tokio::test]
async fn an_accepted_or_revoked_invitation_cannot_be_resent_and_an_expired_one_gets_a_new_link() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("accepted@b.co").await;
    world.accept(&token, "new", "accepted@b.co").await.unwrap();
    let (revoked, _) = world.invite_one("revoked@b.co").await;
    world.revoke(&revoked.id).await;
    let answer = world.client().revoke(revoke_request(&accepted.id)).await;
    assert_call_refused(
        answer,
        Code::FailedPrecondition,
        "ALREADY_ACCEPTED",
        &accepted.id,
    );
    for (id, expected) in [
        (&accepted.id, "ALREADY_ACCEPTED"),
        (&revoked.id, "INVITATION_REVOKED"),
    ] {
        let answer = world.client().resend(resend_request(id)).await;
        assert_call_refused(answer, Code::FailedPrecondition, expected, id);
    }
    let (expired, old) = world.invite_one("expired@b.co").await;
    world.clock.advance(Duration::days(31));
    world.resend(&expired.id).await;
    world.deliver_all().await;
    let new = world.mail_to("expired@b.co").token();
    assert_eq!(
        reason(world.accept(&old, "x", "expired@b.co").await),
        "TOKEN_INVALID"
    );
    world.accept(&new, "x", "expired@b.co").await.unwrap();
}
