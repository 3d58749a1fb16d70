//! The roles of an organization: which of them may invite, and how they are named in emails and on landing pages.

use invitations::proto::{BulkCreateRequest, ErrorReason, NewInvitation, Organization, Role};
use tonic::Code;

use crate::support::directory::{organization, roles_named, upsert_violations};
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    ACME, World, create_request, created, item, item_reason, item_without_email, list_request,
    preview_request, reason,
};

fn role(id: &str) -> Role {
    roles_named(&[id]).remove(0)
}

fn inviting(id: &str) -> Role {
    Role {
        can_invite: true,
        ..role(id)
    }
}

fn with_role(email: &str, role: &str) -> NewInvitation {
    NewInvitation {
        role: role.to_owned(),
        ..item_without_email(email)
    }
}

async fn set_roles(world: &World, roles: Vec<Role>) {
    let organization = Organization {
        roles,
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(organization).await;
}

fn request_of(inviter: &str, items: Vec<NewInvitation>) -> BulkCreateRequest {
    BulkCreateRequest {
        inviter_user_id: inviter.to_owned(),
        ..create_request(items)
    }
}

#[tokio::test]
async fn a_member_invites_if_and_only_if_their_role_can_invite() {
    let world = World::start().await;
    set_roles(
        &world,
        vec![inviting("lead"), role("member"), role("owner")],
    )
    .await;
    for (role, can_invite) in [
        ("lead", true),
        ("admin", true),
        ("owner", true),
        ("member", false),
    ] {
        world.add_member(ACME, "grace", role).await;
        let items = vec![with_role(&format!("{role}@b.co"), "member")];
        let results = world.bulk_create(request_of("grace", items)).await.results;
        if can_invite {
            created(&results[0]);
        } else {
            let refused = item_reason(&results[0]);
            assert_eq!(refused, ErrorReason::InviterCannotInvite, "{role}");
        }
    }
    // The role loses the permission, and its members with it.
    world.add_member(ACME, "grace", "lead").await;
    set_roles(&world, vec![role("lead"), role("member"), role("owner")]).await;
    let items = vec![with_role("late@b.co", "member")];
    let results = world.bulk_create(request_of("grace", items)).await.results;
    assert_eq!(item_reason(&results[0]), ErrorReason::InviterCannotInvite);
}

#[tokio::test]
async fn only_an_inviter_whose_role_can_invite_grants_a_role_that_can_invite() {
    let world = World::start().await;
    set_roles(
        &world,
        vec![inviting("lead"), role("member"), role("owner")],
    )
    .await;
    world.add_member(ACME, "grace", "lead").await;
    let items = |prefix: &str| {
        ["lead", "admin", "member", "owner"]
            .map(|role| with_role(&format!("{prefix}.{role}@b.co"), role))
            .to_vec()
    };
    let results = world.bulk_create(request_of("grace", items("a"))).await;
    let results = results.results;
    for result in &results[..3] {
        created(result);
    }
    assert_eq!(item_reason(&results[3]), ErrorReason::RoleNotGrantable);

    world.add_member(ACME, "grace", "member").await;
    let results = world.bulk_create(request_of("grace", items("b"))).await;
    for (index, is_granting) in [(0, true), (1, true), (2, false), (3, true)] {
        let error = results.results[index].error.as_ref().unwrap();
        let violations = error.violations.iter();
        let found: Vec<_> = violations
            .map(|violation| (violation.field.as_str(), violation.reason()))
            .collect();
        let mut expected = vec![("inviter_user_id", ErrorReason::InviterCannotInvite)];
        expected.extend(is_granting.then_some(("role", ErrorReason::RoleNotGrantable)));
        assert_eq!(found, expected, "{index}");
    }
}

#[tokio::test]
async fn a_user_calls_for_an_organization_if_their_role_can_invite() {
    let issuer = UserIssuer::start().await;
    let world = World::builder().issuers(&issuer.table()).start().await;
    set_roles(&world, vec![inviting("lead"), role("member")]).await;
    let mut client = world.client_of(&issuer.token(&world, "grace"));
    let refused = client.list(list_request()).await;
    assert_eq!(reason(refused), "ORGANIZATION_DENIED");

    world.add_member(ACME, "grace", "lead").await;
    let request = request_of("", vec![with_role("a@b.co", "lead")]);
    let answer = client.bulk_create(request).await.unwrap().into_inner();
    let invitation = world.get(&created(&answer.results[0]).id).await;
    assert_eq!(invitation.inviter_user_id, "grace");
    client.list(list_request()).await.unwrap();

    set_roles(&world, vec![role("lead"), role("member")]).await;
    let refused = client.list(list_request()).await;
    assert_eq!(reason(refused), "ORGANIZATION_DENIED");
}

#[tokio::test]
async fn accept_checks_the_role_of_the_inviter_again_if_the_organization_asks_for_it() {
    let mut world = World::start().await;
    let rechecking = Organization {
        roles: vec![inviting("lead"), role("member")],
        recheck_inviter: Some(true),
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(rechecking).await;
    world.add_member(ACME, "grace", "lead").await;
    let items = vec![item("a@b.co"), item("b@b.co")];
    world.bulk_create(request_of("grace", items)).await;
    world.deliver_all().await;
    let token = |email| world.mail_to(email).token();
    world.accept(&token("a@b.co"), "a", "a@b.co").await.unwrap();
    set_roles(&world, vec![role("lead"), role("member")]).await;
    let refused = world.accept(&token("b@b.co"), "b", "b@b.co").await;
    assert_eq!(reason(refused), "INVITER_CANNOT_INVITE");
    set_roles(&world, vec![inviting("lead"), role("member")]).await;
    world.accept(&token("b@b.co"), "b", "b@b.co").await.unwrap();
}

#[tokio::test]
async fn emails_and_previews_show_the_name_of_a_role_in_the_language_of_the_invitation() {
    let mut world = World::start().await;
    let lead = Role {
        display_name: "Team lead".to_owned(),
        localized_display_names: [("de", "Teamleitung"), ("pt-BR", "Líder")]
            .map(|(tag, name)| (tag.to_owned(), name.to_owned()))
            .into(),
        ..role("lead")
    };
    let named = Organization {
        roles: vec![lead, role("member")],
        locale: Some("pt".to_owned()),
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(named).await;
    let cases = [
        ("german@b.co", "lead", "de-AT", "Teamleitung"),
        ("japanese@b.co", "lead", "ja", "Team lead"),
        ("organization@b.co", "lead", "", "Líder"),
        ("unnamed@b.co", "member", "de", "member"),
    ];
    let items = cases.map(|(email, role, locale, _)| NewInvitation {
        role: role.to_owned(),
        locale: locale.to_owned(),
        ..item(email)
    });
    world.bulk_create(create_request(items.to_vec())).await;
    world.deliver_all().await;
    for (email, role, _, expected) in cases {
        let mail = world.mail_to(email);
        assert!(mail.text.contains(expected), "{email}: {}", mail.text);
        let request = preview_request(&mail.token());
        let shown = world.client().preview(request).await.unwrap().into_inner();
        let names = (shown.role.as_str(), shown.role_display_name.as_str());
        assert_eq!(names, (role, expected));
    }
}

#[tokio::test]
async fn every_violation_of_the_roles_of_an_organization_has_its_path() {
    let world = World::start().await;
    let named = |name: &str| Role {
        display_name: name.to_owned(),
        ..role("named")
    };
    let localized = |tag: &str, name: &str| Role {
        localized_display_names: [(tag.to_owned(), name.to_owned())].into(),
        ..role("localized")
    };
    let mut crowded = role("crowded");
    let tags = (0..33).map(|number| format!("de-x-{number}"));
    crowded.localized_display_names = tags.map(|tag| (tag, "Name".to_owned())).collect();
    for (refused, expected) in [
        (role("Member"), "roles[1].id FIELD_INVALID"),
        (role(""), "roles[1].id FIELD_REQUIRED"),
        (role("member"), "roles[1].id FIELD_INVALID"),
        (
            named("See evil.example"),
            "roles[1].display_name NAME_CONTAINS_LINK",
        ),
        (named("a\u{202e}b"), "roles[1].display_name NAME_INVALID"),
        (
            named(&"n".repeat(101)),
            "roles[1].display_name NAME_TOO_LONG",
        ),
        (
            localized("de_DE", "Name"),
            "roles[1].localized_display_names LOCALE_INVALID",
        ),
        (
            localized("de", ""),
            "roles[1].localized_display_names NAME_INVALID",
        ),
        (crowded, "roles[1].localized_display_names FIELD_INVALID"),
    ] {
        let organization = Organization {
            roles: vec![role("member"), refused],
            ..organization(ACME, "Acme")
        };
        let results = world.upsert_organizations(vec![organization]).await;
        assert_eq!(upsert_violations(&results[0]), [expected]);
        assert_eq!(
            results[0].error.as_ref().unwrap().code,
            i32::from(Code::InvalidArgument)
        );
    }
}
