//! Addresses: what is none, what only looks like another, and what is one however odd.

use invitations::proto::{CreateOutcome, ErrorReason, Invitation};

use super::{assert_refused, bulk_create, holds, quiet, request_of};
use crate::features::suppression;
use crate::support::{World, created, invite_request, item_reason};

const INVALID: (&str, ErrorReason) = ("email", ErrorReason::EmailInvalid);

async fn refused(inputs: &[&str], rule: (&str, ErrorReason)) {
    let world = World::start().await;
    assert_refused(&world, inputs, rule, |_, email| quiet(&email)).await;
}

async fn invited(world: &World, emails: &[&str]) -> Vec<Invitation> {
    let items = emails.iter().map(|email| quiet(email)).collect();
    let results = bulk_create(world, request_of(items)).await.results;
    results.iter().map(created).collect()
}

#[tokio::test]
async fn what_has_no_local_part_and_domain_is_refused() {
    let world = World::start().await;
    for input in ["", "   ", "plain", "a@", "@b.co", "a@@b.co", "a@b@c.co"] {
        assert_refused(&world, &[input], INVALID, |_, email| quiet(&email)).await;
    }
}

#[tokio::test]
async fn a_domain_that_is_no_public_name_is_refused() {
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
    refused(&inputs, INVALID).await;
}

#[tokio::test]
async fn an_ip_address_for_a_domain_is_refused() {
    let inputs = ["alice@[127.0.0.1]", "alice@127.0.0.1", "alice@[IPv6:::1]"];
    refused(&inputs, INVALID).await;
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
    refused(&inputs, INVALID).await;
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
    refused(&inputs, INVALID).await;
}

#[tokio::test]
async fn a_local_part_that_is_no_dot_atom_is_refused() {
    let inputs = [
        ".alice@b.co",
        "alice.@b.co",
        "a..lice@b.co",
        "a lice@b.co",
        "a\tlice@b.co",
    ];
    refused(&inputs, INVALID).await;
}

#[tokio::test]
async fn a_domain_that_two_programs_read_as_two_hosts_is_refused() {
    let inputs = [
        "alice@xn--example-.org",
        "alice@b\u{3002}co",
        "alice@b\u{ff0e}co",
        "user@\u{24d4}xample.com",
        "alice@exam\u{ad}ple.com",
        "alice@\u{ff45}xample.com",
    ];
    refused(&inputs, INVALID).await;
}

#[tokio::test]
async fn a_local_part_outside_ascii_is_unsupported_and_never_another_one() {
    let world = World::start().await;
    invited(&world, &["mike@example.org", "a@b.co"]).await;
    let rule = ("email", ErrorReason::EmailUnsupported);
    let inputs = [
        "m\u{131}ke@example.org",
        "\u{ff41}@b.co",
        "mi\u{212a}e@example.org",
    ];
    assert_refused(&world, &inputs, rule, |_, email| quiet(&email)).await;
}

#[tokio::test]
async fn domains_that_look_alike_stay_apart_and_show_what_they_are() {
    let mut world = World::start().await;
    let emails = [
        "a@apple.com",
        "a@\u{430}pple.com",
        "a@xn--80ak6aa92e.com",
        "a@stra\u{df}e.de",
        "a@strasse.de",
    ];
    let response = world.invite(&emails).await;
    assert_eq!(response.created_count, 5, "none is taken for another");
    world.deliver_all().await;
    let mut mailed: Vec<_> = world.mailbox().into_iter().map(|mail| mail.to).collect();
    mailed.sort_unstable();
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
        assert!(!holds(mail.html.as_bytes(), "\u{430}pple"), "{}", mail.to);
    }
}

#[tokio::test]
async fn an_address_is_as_long_as_rfc_5321_lets_it_and_no_longer() {
    let world = World::start().await;
    let local = |bytes: usize| format!("{}@b.co", "a".repeat(bytes));
    // 64 and an at sign, three labels of 63, and what is left.
    let total = |bytes: usize| {
        let label = |letter: &str| letter.repeat(63);
        let last = "d".repeat(bytes - 64 - 1 - 64 - 64 - 3);
        format!("{}@{}.{}.{last}.co", "x".repeat(64), label("b"), label("c"))
    };
    assert_eq!((total(254).len(), total(255).len()), (254, 255));
    invited(&world, &[&local(64), &total(254)]).await;
    // As given it is within the limit, as A-labels it is not.
    let swollen = format!("a@{}co", "\u{e4}.".repeat(80));
    assert_eq!(swollen.len(), 244);
    let huge = local(900 * 1_024);
    for input in [local(65), total(255), huge, swollen] {
        assert_refused(&world, &[&input], INVALID, |_, email| quiet(&email)).await;
    }
}

#[tokio::test]
async fn spaces_and_tabs_around_an_address_are_dropped() {
    let world = World::start().await;
    let found = invited(&world, &[" a@b.co\t"]).await;
    assert_eq!(found[0].email, "a@b.co");
}

#[tokio::test]
async fn what_means_something_to_a_shell_or_a_database_is_mailed_literally() {
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
    let taken: Vec<&str> = emails
        .into_iter()
        .filter(|email| !email.contains('('))
        .collect();
    let response = world.invite(&taken).await;
    assert_eq!(
        response.created_count, 8,
        "none is a pattern that covers another"
    );
    world.deliver_all().await;
    let mut mailed: Vec<_> = world.mailbox().into_iter().map(|mail| mail.to).collect();
    mailed.sort_unstable();
    let mut expected = taken.clone();
    expected.sort_unstable();
    assert_eq!(mailed, expected);
    // A parenthesis is no atext: comments would be two ways to write one address.
    assert_refused(&world, &["$(id)@b.co"], INVALID, |_, email| quiet(&email)).await;
}

#[tokio::test]
async fn somebody_who_is_invited_a_member_or_suppressed_is_refused_and_not_mailed() {
    let mut world = World::start().await;
    let (pending, _) = world.invite_one("invited@b.co").await;
    suppression::add(&world, "", &["gone@b.co"]).await;
    let emails = [
        "Invited@b.co",
        "GRACE@example.com",
        "gone@b.co",
        "new@b.co",
        "new@b.co",
        "NEW@B.co",
    ];
    let results = bulk_create(&world, invite_request(&emails)).await.results;
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
    assert_eq!(world.deliver_all().await, 1, "the new one alone");
}
