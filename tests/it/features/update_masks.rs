//! Upserts change the fields of their mask, or else those that an item sets, and leave all others alone.

use invitations::proto::{
    Membership, NewInvitation, Organization, Role, UpsertMembershipsRequest,
    UpsertOrganizationsRequest, UpsertOutcome, UpsertResult, UpsertUsersRequest, User,
};
use prost_types::{FieldMask, Struct};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::directory::{
    assert_upserted, mask, membership, organization, roles_named, upsert_outcomes,
    upsert_violations, user,
};
use crate::support::waiting::wait_until;
use crate::support::{ACME, World, create_request, created, item, metadata, status_reason};

async fn upsert_organization(
    world: &World,
    organization: Organization,
    update_mask: Option<FieldMask>,
) -> UpsertResult {
    let request = UpsertOrganizationsRequest {
        organizations: vec![organization],
        update_mask,
        ..Default::default()
    };
    let answer = world.directory().upsert_organizations(request).await;
    answer.unwrap().into_inner().results.remove(0)
}

async fn upsert_membership(world: &World, membership: Membership, paths: &[&str]) -> Membership {
    let request = UpsertMembershipsRequest {
        memberships: vec![membership.clone()],
        update_mask: Some(mask(paths)),
        ..Default::default()
    };
    let answer = world.directory().upsert_memberships(request).await;
    assert_upserted(&answer.unwrap().into_inner().results);
    let read = world.get_membership(&membership.user_id).await;
    read.unwrap()
}

async fn upsert_user(world: &World, user: User, paths: &[&str]) {
    let request = UpsertUsersRequest {
        users: vec![user],
        update_mask: Some(mask(paths)),
        ..Default::default()
    };
    let answer = world.directory().upsert_users(request).await;
    assert_upserted(&answer.unwrap().into_inner().results);
}

/// The roles, default role, redirect origins and locale of a stored organization.
async fn stored(world: &World, id: &str) -> (Vec<String>, String, Vec<String>, String) {
    let query =
        "SELECT roles, default_role, redirect_origins, locale FROM organizations WHERE id = $1";
    sqlx::query_as(query)
        .bind(id)
        .fetch_one(&mut world.database().await)
        .await
        .unwrap()
}

/// The name and the addresses of a stored user.
async fn stored_user(world: &World, id: &str) -> (String, Vec<String>) {
    let query =
        "SELECT name, ARRAY(SELECT email_normalized FROM user_emails WHERE user_id = id ORDER BY 1)
                   FROM users WHERE id = $1";
    sqlx::query_as(query)
        .bind(id)
        .fetch_one(&mut world.database().await)
        .await
        .unwrap()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_new_role_of_an_accepted_member_keeps_what_the_invitation_brought() {
    let mut world = World::start().await;
    let (public, private) = (metadata("team", "engines"), metadata("crm", "42"));
    let invited = NewInvitation {
        public_metadata: Some(public.clone()),
        private_metadata: Some(private.clone()),
        ..item("new@example.com")
    };
    let response = world.bulk_create(create_request(vec![invited])).await;
    let invitation = created(&response.results[0]);
    world.deliver_all().await;
    let token = world.mail_to("new@example.com").token();
    let accepted = world.accept(&token, "new", "new@example.com").await;
    let accepted = accepted.unwrap().membership.unwrap();

    let changed = upsert_membership(&world, membership(ACME, "new", "admin"), &[]).await;
    assert_eq!(changed.role(), "admin");
    assert!(changed.public_metadata == Some(public.clone()));
    assert!(changed.private_metadata == Some(private.clone()));
    assert_eq!(changed.invitation_id, invitation.id);
    assert!(changed.create_time == accepted.create_time);

    // Metadata without a role keep the role, and one metadata keep the other.
    let new_public = Membership {
        public_metadata: Some(metadata("team", "wings")),
        ..membership(ACME, "new", "")
    };
    let changed = upsert_membership(&world, new_public.clone(), &[]).await;
    assert_eq!(changed.role(), "admin");
    assert!(changed.public_metadata == new_public.public_metadata);
    assert!(changed.private_metadata == Some(private.clone()));
    let changed = upsert_membership(&world, new_public, &["role"]).await;
    assert_eq!(changed.role(), "member", "the default role");
    assert!(changed.private_metadata == Some(private));

    // A present empty object clears, and so does a mask.
    let cleared = Membership {
        private_metadata: Some(Struct::default()),
        ..membership(ACME, "new", "")
    };
    let changed = upsert_membership(&world, cleared, &[]).await;
    assert!(changed.private_metadata.is_none() && changed.public_metadata.is_some());
    let changed = upsert_membership(&world, membership(ACME, "new", "admin"), &["*"]).await;
    assert_eq!(changed.role(), "admin");
    assert!(changed.public_metadata.is_none());
    assert_eq!(changed.invitation_id, invitation.id);
}

#[tokio::test]
async fn a_new_name_of_an_organization_keeps_its_roles_and_redirect_origins() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let full = Organization {
        roles: roles_named(&["viewer", "lead"]),
        default_role: Some("viewer".to_owned()),
        redirect_origins: strings(&["https://app.example.com"]),
        locale: Some("de".to_owned()),
        ..organization(ACME, "Acme")
    };
    world.upsert_organization(full).await;
    let expected = stored(&world, ACME).await;
    assert_eq!(expected.0, ["admin", "viewer", "lead"]);
    let renamed = organization(ACME, "Acme Engines Inc");
    world.upsert_organization(renamed.clone()).await;
    assert_eq!(stored(&world, ACME).await, expected);
    let shown = world.invite(&["a@example.com"]).await;
    let shown = world.get(&created(&shown.results[0]).id).await;
    assert_eq!(shown.organization_name, "Acme Engines Inc");
    assert_eq!(shown.role, "viewer");

    // Fields that the mask leaves out are not even checked.
    let broken = Organization {
        locale: Some("de_DE".to_owned()),
        ..renamed.clone()
    };
    let paths = mask(&["redirect_origins"]);
    let result = upsert_organization(&world, broken, Some(paths)).await;
    assert_eq!(result.outcome(), UpsertOutcome::Updated);
    let (roles, default_role, origins, locale) = stored(&world, ACME).await;
    assert_eq!((roles, default_role), (expected.0, expected.1));
    assert_eq!((origins, locale.as_str()), (Vec::new(), "de"));
    let result = upsert_organization(&world, renamed, Some(mask(&["*"]))).await;
    assert_eq!(result.outcome(), UpsertOutcome::Updated);
    let replaced = stored(&world, ACME).await;
    let defaults = strings(&["admin", "member"]);
    let expected = (defaults, "member".to_owned(), Vec::new(), String::new());
    assert_eq!(replaced, expected);
}

#[tokio::test]
async fn a_new_name_of_a_user_keeps_their_addresses_and_new_addresses_the_name() {
    let world = World::start().await;
    let expected = stored_user(&world, "grace").await;
    assert!(!expected.0.is_empty() && !expected.1.is_empty());
    let named = |name: Option<&str>, emails: &[&str]| User {
        name: name.map(str::to_owned),
        ..user("grace", "", emails)
    };
    upsert_user(&world, named(Some("Grace Hopper"), &[]), &[]).await;
    let (name, emails) = stored_user(&world, "grace").await;
    assert_eq!((name.as_str(), &emails), ("Grace Hopper", &expected.1));
    let emails = ["a@example.com", "b@example.com"];
    upsert_user(&world, named(None, &emails), &[]).await;
    let kept = ("Grace Hopper".to_owned(), strings(&emails));
    assert_eq!(stored_user(&world, "grace").await, kept);
    // The mask decides, whatever the item sets.
    let item = named(Some("Nobody"), &["c@example.com"]);
    upsert_user(&world, item.clone(), &["verified_emails"]).await;
    let kept = ("Grace Hopper".to_owned(), strings(&["c@example.com"]));
    assert_eq!(stored_user(&world, "grace").await, kept);
    upsert_user(&world, named(None, &[]), &["*"]).await;
    assert_eq!(stored_user(&world, "grace").await, (String::new(), vec![]));
}

#[tokio::test]
async fn a_row_that_is_added_gets_every_field_of_its_item_whatever_the_mask_says() {
    let world = World::start().await;
    let new = Organization {
        roles: roles_named(&["viewer"]),
        default_role: Some("viewer".to_owned()),
        locale: Some("de".to_owned()),
        ..organization("new", "New")
    };
    let result = upsert_organization(&world, new, Some(mask(&["name"]))).await;
    assert_eq!(result.outcome(), UpsertOutcome::Created);
    let (roles, default_role, _, locale) = stored(&world, "new").await;
    assert_eq!(roles, ["admin", "viewer"]);
    assert_eq!((default_role.as_str(), locale.as_str()), ("viewer", "de"));

    upsert_user(&world, user("new", "New", &["new@b.co"]), &["name"]).await;
    let expected = ("New".to_owned(), strings(&["new@b.co"]));
    assert_eq!(stored_user(&world, "new").await, expected);

    let new = Membership {
        private_metadata: Some(metadata("crm", "42")),
        ..membership(ACME, "new", "admin")
    };
    let read = upsert_membership(&world, new.clone(), &["public_metadata"]).await;
    assert_eq!(read.role(), "admin");
    assert!(read.private_metadata == new.private_metadata);
}

#[tokio::test]
async fn only_an_organization_that_is_added_needs_a_name() {
    let world = World::start().await;
    let nameless = |id: &str| Organization {
        name: None,
        locale: Some("fr".to_owned()),
        ..organization(id, "")
    };
    let results = world
        .upsert_organizations(vec![nameless(ACME), nameless("new")])
        .await;
    let expected = [UpsertOutcome::Updated, UpsertOutcome::Failed];
    assert_eq!(upsert_outcomes(&results), expected);
    assert_eq!(upsert_violations(&results[1]), ["name FIELD_REQUIRED"]);
    assert_eq!(stored(&world, ACME).await.3, "fr");
    for paths in [&["*"], &["name"]] {
        let result = upsert_organization(&world, nameless(ACME), Some(mask(paths))).await;
        assert_eq!(upsert_violations(&result), ["name FIELD_REQUIRED"]);
    }
}

#[tokio::test]
async fn the_default_role_stays_one_of_the_roles() {
    let world = World::start().await;
    let acme = |roles: &[&str], default_role: Option<&str>| Organization {
        roles: roles_named(roles),
        default_role: default_role.map(str::to_owned),
        ..organization(ACME, "Acme")
    };
    for (organization, expected) in [
        (acme(&["viewer"], None), "roles ROLE_UNKNOWN"),
        (acme(&[], Some("viewer")), "default_role ROLE_UNKNOWN"),
        (acme(&["viewer"], Some("lead")), "default_role ROLE_UNKNOWN"),
    ] {
        let result = upsert_organization(&world, organization, None).await;
        assert_eq!(upsert_violations(&result), [expected]);
    }
    let both = acme(&["viewer"], Some("viewer"));
    world.upsert_organization(both).await;
}

#[tokio::test]
async fn a_name_that_cannot_be_written_fails_the_whole_call() {
    fn assert_refused<T>(answer: Result<T, Status>, path: &str) {
        let status = answer.err().expect("the mask was expected to be refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{path}");
        assert_eq!(status_reason(&status), "UPDATE_MASK_INVALID", "{path}");
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        let fields: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["update_mask.paths[1]"], "{path}");
    }
    let world = World::start().await;
    let mut directory = world.directory();
    for path in ["id", "create_time", "roles.id", "nothing", "Name", ""] {
        let request = UpsertOrganizationsRequest {
            organizations: vec![organization("new", "New")],
            update_mask: Some(mask(&["name", path])),
            ..Default::default()
        };
        assert_refused(directory.upsert_organizations(request).await, path);
    }
    let request = UpsertUsersRequest {
        users: vec![user("new", "New", &[])],
        update_mask: Some(mask(&["name", "update_time"])),
        ..Default::default()
    };
    assert_refused(directory.upsert_users(request).await, "update_time");
    let request = UpsertMembershipsRequest {
        memberships: vec![membership(ACME, "eve", "")],
        update_mask: Some(mask(&["role", "invitation_id"])),
        ..Default::default()
    };
    assert_refused(directory.upsert_memberships(request).await, "invitation_id");
    assert_eq!(world.count("organizations WHERE id = 'new'").await, 0);
}

#[tokio::test]
async fn concurrent_upserts_of_different_fields_keep_all_of_them() {
    let world = World::start().await;
    let lead = Role {
        can_invite: true,
        ..roles_named(&["lead"]).remove(0)
    };
    for round in 0..20 {
        let id = format!("new{round}");
        let german = Organization {
            locale: Some("de".to_owned()),
            ..organization(&id, "New")
        };
        let redirecting = Organization {
            redirect_origins: strings(&["https://app.example.com"]),
            ..organization(&id, "New")
        };
        let leading = Organization {
            roles: vec![lead.clone()],
            default_role: Some("lead".to_owned()),
            ..organization(&id, "New")
        };
        let (one, two, three) = tokio::join!(
            world.upsert_organizations(vec![german]),
            world.upsert_organizations(vec![redirecting]),
            world.upsert_organizations(vec![leading]),
        );
        let mut outcomes = upsert_outcomes(&[one, two, three].concat());
        outcomes.sort_unstable();
        let expected = [
            UpsertOutcome::Created,
            UpsertOutcome::Updated,
            UpsertOutcome::Updated,
        ];
        assert_eq!(outcomes, expected, "round {round}");
        let (roles, default_role, origins, locale) = stored(&world, &id).await;
        assert_eq!(roles, ["admin", "lead"], "round {round}");
        assert_eq!((default_role.as_str(), locale.as_str()), ("lead", "de"));
        assert_eq!(origins, ["https://app.example.com"], "round {round}");
    }
}

#[tokio::test]
async fn an_organization_that_another_call_adds_meanwhile_is_not_wiped() {
    let world = World::start().await;
    // The other call holds its row uncommitted until the call under test waits for it.
    let mut other = world.database().await;
    sqlx::raw_sql(
        "BEGIN;
         INSERT INTO organizations
                (id, name, roles, inviting_roles, role_names, default_role, allowed_email_domains, redirect_origins,
                 locale, recheck_inviter, created_at, updated_at)
         VALUES ('new', 'New', '{admin,lead}', '{admin,lead}', '{}', 'lead', '{}', '{https://app.example.com}', 'de',
                 false, now(), now())",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let upsert = world.upsert_organizations(vec![organization("new", "Renamed")]);
    let commit = async {
        let waiting =
            "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("the upsert waits for the other call", async || {
            world.count(waiting).await == 1
        })
        .await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    };
    let (results, ()) = tokio::join!(upsert, commit);
    assert_eq!(upsert_outcomes(&results), [UpsertOutcome::Updated]);
    let expected = (
        strings(&["admin", "lead"]),
        "lead".to_owned(),
        strings(&["https://app.example.com"]),
        "de".to_owned(),
    );
    assert_eq!(stored(&world, "new").await, expected);
    assert_eq!(world.count("organizations WHERE name = 'Renamed'").await, 1);
}
