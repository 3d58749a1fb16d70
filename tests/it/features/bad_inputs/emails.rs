//! Email addresses: invalid ones, look-alikes of others, and valid ones with unusual characters.

use invitations::proto::{CreateOutcome, ErrorReason, Invitation};

use super::{assert_items_refused, contains};
use crate::support::{
    World, create_request, created, invite_request, item_reason, item_without_email,
};

const INVALID: (&str, ErrorReason) = ("email", ErrorReason::EmailInvalid);

/// Fails unless each address is refused as invalid.
async fn assert_invalid(inputs: &[&str]) {
    let world = World::start().await;
    assert_items_refused(&world, inputs, INVALID, |_, email| {
        item_without_email(&email)
    })
    .await;
}

async fn invited(world: &World, emails: &[&str]) -> Vec<Invitation> {
    let items = emails
        .iter()
        .map(|email| item_without_email(email))
        .collect();
    let results = world.bulk_create(create_request(items)).await.results;
    results.iter().map(created).collect()
}

#[tokio::test]
async fn an_address_without_a_local_part_or_a_domain_is_refused() {
    let world = World::start().await;
    for input in ["", "   ", "plain", "a@", "@b.co", "a@@b.co", "a@b@c.co"] {
        assert_items_refused(&world, &[input], INVALID, |_, email| {
            item_without_email(&email)
        })
        .await;
    }
}

#[tokio::test]
async fn a_domain_that_is_not_a_public_name_is_refused() {
    let inputs = [
        "alice@b",
        "alice@localhost",
        "alice@b..co",
        "alice@.b.co",
        "alice@b.co.",
        "alice@-b.co",
        "alice@b-.co",
        "alice@b_c.co",
        "alice@b.123",
        "alice@b.co?subject=x",
    ];
    assert_invalid(&inputs).await;
}

#[tokio::test]
async fn an_ip_address_as_domain_is_refused() {
    let inputs = ["alice@[127.0.0.1]", "alice@127.0.0.1", "alice@[IPv6:::1]"];
    assert_invalid(&inputs).await;
}

#[tokio::test]
async fn an_address_with_a_line_break_or_a_nul_is_refused() {
    let inputs = [
        "alice@b.co\n",
        "alice@b.co\r\n",
        "\ralice@b.co",
        "alice@b.co\r\nBcc: x@y.zz",
        "alice\r\nRCPT TO:<x@y.zz>@b.co",
        "alice\0@b.co",
        "alice@b.co\0",
        "alice@b\u{85}.co",
    ];
    assert_invalid(&inputs).await;
}

#[tokio::test]
async fn a_quoted_local_part_or_a_display_name_is_refused() {
    let inputs = [
        "\"a@b.co x\"@internal.co",
        "\"a b\"@b.co",
        "\"<script>\"@b.co",
        "Alice <alice@b.co>",
        "<alice@b.co>",
        "alice@b.co (Alice)",
        "alice@b.co,bob@b.co",
    ];
    assert_invalid(&inputs).await;
}

#[tokio::test]
async fn a_local_part_that_is_not_a_dot_atom_is_refused() {
    let inputs = [
        ".alice@b.co",
        "alice.@b.co",
        "a..lice@b.co",
        "a lice@b.co",
        "a\tlice@b.co",
    ];
    assert_invalid(&inputs).await;
}

#[tokio::test]
async fn a_domain_that_programs_interpret_differently_is_refused() {
    let inputs = [
        "alice@xn--example-.org",
        "alice@b\u{3002}co",
        "alice@b\u{ff0e}co",
        "user@\u{24d4}xample.com",
        "alice@exam\u{ad}ple.com",
        "alice@\u{ff45}xample.com",
    ];
    assert_invalid(&inputs).await;
}

#[tokio::test]
async fn a_local_part_outside_ascii_is_unsupported_and_matches_no_other_address() {
    let world = World::start().await;
    invited(&world, &["mike@example.org", "a@b.co"]).await;
    let rule = ("email", ErrorReason::EmailUnsupported);
    let inputs = [
        "m\u{131}ke@example.org",
        "\u{ff41}@b.co",
        "mi\u{212a}e@example.org",
    ];
    assert_items_refused(&world, &inputs, rule, |_, email| item_without_email(&email)).await;
}

#[tokio::test]
async fn domains_that_look_alike_are_distinct_and_shown_as_a_labels() {
    let mut world = World::start().await;
    let emails = [
        "a@apple.com",
        "a@\u{430}pple.com",
        "a@xn--80ak6aa92e.com",
        "a@stra\u{df}e.de",
        "a@strasse.de",
    ];
    let response = world.invite(&emails).await;
    assert_eq!(response.succeeded_count, 5, "each address is invited");
    world.deliver_all().await;
    let mailed = world.recipients();
    let expected = [
        "a@apple.com",
        "a@strasse.de",
        "a@xn--80ak6aa92e.com",
        "a@xn--pple-43d.com",
        "a@xn--strae-oqa.de",
    ];
    assert_eq!(mailed, expected);
    for mail in world.mailbox() {
        assert!(mail.raw.is_ascii(), "{}", mail.to);
        assert!(
            !contains(mail.html.as_bytes(), "\u{430}pple"),
            "{}",
            mail.to
        );
    }
}

#[tokio::test]
async fn an_address_may_have_the_maximum_length_of_rfc_5321() {
    let world = World::start().await;
    let local = |bytes: usize| format!("{}@b.co", "a".repeat(bytes));
    // A local part of 64 bytes, two labels of 63 bytes, and a last label that fills the rest.
    let total = |bytes: usize| {
        let label = |letter: &str| letter.repeat(63);
        let last = "d".repeat(bytes - 64 - 1 - 64 - 64 - 3);
        format!("{}@{}.{}.{last}.co", "x".repeat(64), label("b"), label("c"))
    };
    assert_eq!((total(254).len(), total(255).len()), (254, 255));
    invited(&world, &[&local(64), &total(254)]).await;
    // Within the limit as given, but not after the conversion to A-labels.
    let longer_as_a_labels = format!("a@{}co", "\u{e4}.".repeat(80));
    assert_eq!(longer_as_a_labels.len(), 244);
    let huge = local(900 * 1_024);
    for input in [local(65), total(255), huge, longer_as_a_labels] {
        assert_items_refused(&world, &[&input], INVALID, |_, email| {
            item_without_email(&email)
        })
        .await;
    }
}

#[tokio::test]
async fn spaces_and_tabs_around_an_address_are_removed() {
    let world = World::start().await;
    let found = invited(&world, &[" a@b.co\t"]).await;
    assert_eq!(found[0].email, "a@b.co");
}

#[tokio::test]
async fn an_address_with_special_characters_of_a_shell_or_database_is_used_literally() {
    let mut world = World::start().await;
    let emails = [
        "-oX@b.co",
        "|cat@b.co",
        "a`id`@c.co",
        "a'b@c.co",
        "%@b.co",
        "_@b.co",
        "$(id)@b.co",
        "alice@example.com",
        "ice@example.com",
    ];
    let valid: Vec<&str> = emails
        .into_iter()
        .filter(|email| !email.contains('('))
        .collect();
    let response = world.invite(&valid).await;
    assert_eq!(
        response.succeeded_count, 8,
        "no address is treated as a pattern that matches another"
    );
    world.deliver_all().await;
    let mailed = world.recipients();
    let mut expected = valid.clone();
    expected.sort_unstable();
    assert_eq!(mailed, expected);
    // A parenthesis is not permitted, because comments would be two spellings of one address.
    assert_items_refused(&world, &["$(id)@b.co"], INVALID, |_, email| {
        item_without_email(&email)
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_invited_a_member_or_suppressed_is_refused_and_gets_no_email() {
    let mut world = World::start().await;
    let (pending, _) = world.invite_one("invited@b.co").await;
    world.suppress("", &["gone@b.co"]).await;
    let emails = [
        "Invited@b.co",
        "GRACE@example.com",
        "gone@b.co",
        "new@b.co",
        "new@b.co",
        "NEW@B.co",
    ];
    let results = world.bulk_create(invite_request(&emails)).await.results;
    let expected = [
        ErrorReason::AlreadyInvited,
        ErrorReason::AlreadyMember,
        ErrorReason::EmailSuppressed,
        ErrorReason::Unspecified,
        ErrorReason::DuplicateInRequest,
        ErrorReason::DuplicateInRequest,
    ];
    for (result, expected) in results.iter().zip(expected) {
        match result.outcome() {
            CreateOutcome::Failed => assert_eq!(item_reason(result), expected),
            _ => assert_eq!(ErrorReason::Unspecified, expected),
        }
    }
    assert_eq!(results[0].invitation.as_ref().unwrap().id, pending.id);
    for duplicate in &results[4..] {
        let error = duplicate.error.as_ref().unwrap();
        assert_eq!(error.metadata["first_index"], "3");
    }
    assert_eq!(
        world.deliver_all().await,
        1,
        "only the new address gets an email"
    );
}
