use super::*;

fn named(name: &str) -> OrganizationInput {
    OrganizationInput {
        id: "acme".into(),
        name: Some(name.into()),
        ..Default::default()
    }
}

fn roles(ids: &[&str]) -> Vec<RoleInput> {
    let ids = ids.iter();
    ids.map(|id| RoleInput {
        id: (*id).into(),
        ..Default::default()
    })
    .collect()
}

fn added(input: &OrganizationInput) -> Result<Organization, Vec<Violation>> {
    input.parse(None, &UpdateMask::default())
}

/// An organization in which every field has a value that is not the default.
fn stored() -> Organization {
    let input = OrganizationInput {
        roles: roles(&["viewer", "lead"]),
        default_role: Some("viewer".into()),
        allowed_email_domains: vec!["example.com".into()],
        redirect_origins: vec!["https://app.example.com".into()],
        locale: Some("de".into()),
        recheck_inviter: Some(true),
        logo_url: Some("https://example.com/logo.png".into()),
        brand_color: Some("#0f766e".into()),
        support_email: Some("help@example.com".into()),
        reminder_lead: ReminderInput::Lead(time::Duration::DAY),
        ..named("Acme")
    };
    added(&input).unwrap()
}

fn mask(paths: &[&str]) -> UpdateMask {
    let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    UpdateMask::parse(&paths, &Organization::WRITABLE).unwrap()
}

#[test]
fn empty_fields_have_defaults() {
    let organization = added(&named("Acme")).unwrap();
    let ids = organization.roles.iter().map(|role| role.id.as_str());
    assert!(ids.eq(["admin", "member"]));
    assert_eq!(organization.default_role, "member");
}

#[test]
fn every_violation_is_reported_at_once() {
    let input = OrganizationInput {
        id: String::new(),
        roles: roles(&["Owner"]),
        allowed_email_domains: vec!["localhost".into()],
        redirect_origins: vec!["http://app.example.com".into()],
        locale: Some("de_DE".into()),
        logo_url: Some("http://example.com/logo.png".into()),
        brand_color: Some("blue".into()),
        support_email: Some("support".into()),
        reminder_lead: ReminderInput::Malformed,
        ..named("see https://evil.example")
    };
    let violations = added(&input).unwrap_err();
    let fields: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
    let expected = [
        "id",
        "name",
        "roles[0].id",
        "allowed_email_domains",
        "redirect_origins",
        "locale",
        "reminder_lead",
        "logo_url",
        "brand_color",
        "support_email",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn without_a_mask_only_fields_that_the_item_sets_change() {
    let renamed = named("Acme Engines").parse(Some(&stored()), &UpdateMask::default());
    let expected = Organization {
        name: "Acme Engines".into(),
        ..stored()
    };
    assert_eq!(renamed, Ok(expected));
    let nothing = OrganizationInput {
        id: "acme".into(),
        ..Default::default()
    };
    let unchanged = nothing.parse(Some(&stored()), &UpdateMask::default());
    assert_eq!(unchanged, Ok(stored()));
    let expected = [Violation::new("name", Reason::FieldRequired)];
    assert_eq!(added(&nothing).unwrap_err(), expected);

    // A field that is set to its empty value is cleared.
    let cleared = OrganizationInput {
        locale: Some(String::new()),
        recheck_inviter: Some(false),
        logo_url: Some(String::new()),
        reminder_lead: ReminderInput::Lead(time::Duration::ZERO),
        ..nothing
    };
    let cleared = cleared.parse(Some(&stored()), &UpdateMask::default());
    let cleared = cleared.unwrap();
    assert_eq!(
        (cleared.locale.as_str(), cleared.recheck_inviter),
        ("", false)
    );
    assert_eq!(cleared.brand.logo_url, None);
    assert_eq!(cleared.reminder_lead, ReminderLead::NEVER);
    assert_eq!(cleared.brand.color, stored().brand.color);
}

#[test]
fn every_field_replaces_the_organization_with_the_item() {
    let replaced = named("Acme II").parse(Some(&stored()), &mask(&["*"]));
    assert_eq!(replaced, added(&named("Acme II")));
    let nameless = OrganizationInput {
        name: None,
        ..named("")
    };
    for paths in [&["*"], &["name"]] {
        let refused = nameless.parse(Some(&stored()), &mask(paths));
        let expected = [Violation::new("name", Reason::FieldRequired)];
        assert_eq!(refused.unwrap_err(), expected);
    }
}

#[test]
fn each_field_that_can_be_written_can_be_named() {
    let replaced = added(&named("Acme II")).unwrap();
    for field in Organization::WRITABLE {
        // The two fields depend on each other, so both are named.
        let paths: &[&str] = match field {
            "roles" | "default_role" => &["roles", "default_role"],
            _ => &[field],
        };
        let changed = named("Acme II").parse(Some(&stored()), &mask(paths));
        let mut expected = stored();
        match field {
            "name" => expected.name.clone_from(&replaced.name),
            "roles" | "default_role" => {
                expected.roles.clone_from(&replaced.roles);
                expected.default_role.clone_from(&replaced.default_role);
            }
            "allowed_email_domains" => expected.allowed_email_domains.clear(),
            "redirect_origins" => expected.redirect_origins.clear(),
            "locale" => expected.locale.clear(),
            "recheck_inviter" => expected.recheck_inviter = false,
            "reminder_lead" => expected.reminder_lead = ReminderLead::NEVER,
            "logo_url" => expected.brand.logo_url = None,
            "brand_color" => expected.brand.color = None,
            "support_email" => expected.brand.support_email = None,
            unknown => panic!("{unknown}"),
        }
        assert_eq!(changed, Ok(expected), "{field}");
    }
}

#[test]
fn fields_that_the_mask_leaves_out_are_not_checked() {
    let input = OrganizationInput {
        locale: Some("de_DE".into()),
        ..named("Acme II")
    };
    let renamed = input.parse(Some(&stored()), &mask(&["name"])).unwrap();
    assert_eq!(
        (renamed.name.as_str(), renamed.locale.as_str()),
        ("Acme II", "de")
    );
}

#[test]
fn the_default_role_must_be_a_role_of_the_organization() {
    let unknown = |field| Err(vec![Violation::new(field, Reason::RoleUnknown)]);
    let viewers = OrganizationInput {
        roles: roles(&["viewer"]),
        ..named("Acme")
    };
    assert_eq!(added(&viewers), unknown("default_role"));
    let leads = OrganizationInput {
        roles: roles(&["lead"]),
        ..named("Acme")
    };
    let set = UpdateMask::default();
    assert_eq!(leads.parse(Some(&stored()), &set), unknown("roles"));
    let editor = OrganizationInput {
        default_role: Some("editor".into()),
        ..named("Acme")
    };
    assert_eq!(editor.parse(Some(&stored()), &set), unknown("default_role"));
    let lead = OrganizationInput {
        default_role: Some("lead".into()),
        ..leads
    };
    assert!(lead.parse(Some(&stored()), &set).is_ok());
}
