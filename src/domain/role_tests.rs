use super::*;

fn role(id: &str) -> RoleInput {
    RoleInput {
        id: id.into(),
        ..Default::default()
    }
}

fn inviting(roles: &[Role]) -> Vec<(&str, bool)> {
    let roles = roles.iter();
    roles
        .map(|role| (role.id.as_str(), role.can_invite))
        .collect()
}

fn names(display_name: &str, localized: &[(&str, &str)]) -> RoleNames {
    let localized = localized.iter();
    RoleNames {
        display_name: display_name.to_owned(),
        localized: localized
            .map(|(tag, name)| ((*tag).to_owned(), (*name).to_owned()))
            .collect(),
    }
}

#[test]
fn no_inviter_grants_a_role_above_their_own() {
    let is_grantable = |id, can_invite, can_inviter_invite| {
        let id = RoleId::parse(id).unwrap();
        Role::new(id, RoleNames::default(), can_invite).is_grantable_by(can_inviter_invite)
    };
    for (id, can_invite) in [("admin", false), ("lead", true)] {
        assert!(is_grantable(id, can_invite, true), "{id}");
        assert!(!is_grantable(id, can_invite, false), "{id}");
    }
    assert!(is_grantable("member", false, true) && is_grantable("member", false, false));
    assert!(!is_grantable("owner", true, true) && !is_grantable("owner", true, false));
}

#[test]
fn the_id_of_a_role_is_short_and_plain() {
    assert!(RoleId::parse("billing:read-only").is_some());
    for bad in ["", "Owner", "owner,member", "a b", "rôle", &"r".repeat(65)] {
        assert!(RoleId::parse(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn admin_is_always_a_role_and_can_always_invite() {
    let roles = Role::parse_list(&[]).unwrap();
    assert_eq!(inviting(&roles), [("admin", true), ("member", false)]);
    let roles = Role::parse_list(&[role("viewer"), role("owner")]).unwrap();
    let expected = [("admin", true), ("viewer", false), ("owner", true)];
    assert_eq!(inviting(&roles), expected);
    let lead = RoleInput {
        can_invite: true,
        ..role("lead")
    };
    let roles = Role::parse_list(&[lead, role("admin")]).unwrap();
    assert_eq!(inviting(&roles), [("lead", true), ("admin", true)]);
}

#[test]
fn every_violation_of_a_list_is_reported_with_its_path() {
    let localized = |tag: &str, name: &str| RoleInput {
        localized_display_names: [(tag.to_owned(), name.to_owned())].into(),
        ..role(&format!("r{}", tag.len()))
    };
    let named = RoleInput {
        display_name: "see evil.example".into(),
        ..role("Named")
    };
    let mut crowded = role("crowded");
    for number in 0..=LOCALIZED_NAMES_MAX {
        let tag = format!("de-x-{number}");
        let names = &mut crowded.localized_display_names;
        names.insert(tag, "Name".to_owned());
    }
    let mut twice = role("twice");
    twice.localized_display_names = ["de-at", "de-AT"]
        .map(|tag| (tag.to_owned(), "Name".to_owned()))
        .into();
    let inputs = [
        named,
        role(""),
        role("a"),
        role("a"),
        localized("de_DE", "Leitung"),
        localized("de", ""),
        crowded,
        twice,
    ];
    let expected = [
        ("roles[0].id", Reason::FieldInvalid),
        ("roles[0].display_name", Reason::NameContainsLink),
        ("roles[1].id", Reason::FieldRequired),
        ("roles[3].id", Reason::FieldInvalid),
        ("roles[4].localized_display_names", Reason::LocaleInvalid),
        ("roles[5].localized_display_names", Reason::NameInvalid),
        ("roles[6].localized_display_names", Reason::FieldInvalid),
        ("roles[7].localized_display_names", Reason::FieldInvalid),
    ];
    let expected = expected.map(|(field, reason)| Violation::new(field, reason));
    assert_eq!(Role::parse_list(&inputs).unwrap_err(), expected);
    let many: Vec<_> = (0..=ROLES_MAX).map(|id| role(&id.to_string())).collect();
    let expected = [Violation::new("roles", Reason::FieldInvalid)];
    assert_eq!(Role::parse_list(&many).unwrap_err(), expected);
}

#[test]
fn the_name_of_the_best_language_is_shown() {
    let all = names("Team lead", &[("de", "Leitung"), ("pt-BR", "Líder")]);
    for (language, expected) in [
        ("de", "Leitung"),
        ("de-AT", "Leitung"),
        ("pt", "Líder"),
        ("fr", "Team lead"),
        ("", "Team lead"),
    ] {
        assert_eq!(all.shown(language, "lead"), expected, "{language}");
    }
    let english = names("Leitung", &[("en", "Team lead")]);
    assert_eq!(english.shown("", "lead"), "Team lead");
    assert_eq!(names("", &[("de", "Leitung")]).shown("fr", "lead"), "lead");
    assert_eq!(RoleNames::default().shown("de", "lead"), "lead");
}
