//! Tests of the claims, case by case.

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::domain::scope::Scope;
use crate::identity::entries::KeyLocation;

const NOW: OffsetDateTime = datetime!(2026-11-22 18:48 UTC);

fn entry(kind: IssuerKind) -> IssuerEntry {
    IssuerEntry {
        name: "platform".to_owned(),
        issuer: "https://issuer.example.com/".to_owned(),
        audience: "invitations".to_owned(),
        keys: KeyLocation::File("keys".into()),
        roots_file: None,
        kind,
    }
}

fn services() -> IssuerEntry {
    entry(IssuerKind::Service(ServicePermissions {
        scopes: vec![Scope::InvitationsWrite, Scope::InvitationsRead],
        default_scopes: Vec::new(),
        organizations: Access::Every,
        organizations_claim: None,
    }))
}

/// Valid claims with some of them replaced. Null removes a claim.
fn claims(changes: &Value) -> Claims {
    let mut claims = json!({
        "iss": "https://issuer.example.com/",
        "aud": "invitations",
        "sub": "onboarding",
        "exp": NOW.unix_timestamp() + 600,
    });
    let all = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        all.insert(name.clone(), value.clone());
    }
    all.retain(|_, value| !value.is_null());
    all.clone()
}

fn service_of(changes: &Value) -> Result<Caller, JwtError> {
    caller(&claims(changes), &services(), NOW)
}

fn user_of(changes: &Value) -> Result<SignedInUser, JwtError> {
    let found = caller(&claims(changes), &entry(IssuerKind::User), NOW)?;
    match found.principal {
        crate::identity::Principal::User(user) => Ok(user),
        crate::identity::Principal::Service => panic!("a user"),
    }
}

#[test]
fn issuer_and_audience_are_compared_byte_by_byte() {
    for good in [
        json!({}),
        json!({"aud": ["invitations"]}),
        json!({"aud": ["other", "invitations"]}),
    ] {
        assert!(service_of(&good).is_ok(), "{good}");
    }
    for bad in [
        json!({"aud": null}),
        json!({"aud": "Invitations"}),
        json!({"aud": []}),
        json!({"aud": ["invitations2"]}),
        json!({"aud": {"invitations": true}}),
        json!({"iss": null}),
        json!({"iss": "https://issuer.example.com"}),
        json!({"iss": ["https://issuer.example.com/"]}),
    ] {
        assert_eq!(service_of(&bad).err(), Some(JwtError::Audience), "{bad}");
    }
}

#[test]
fn a_token_is_valid_between_its_times_and_for_a_day_at_most() {
    let at = |seconds: i64| NOW.unix_timestamp() + seconds;
    for good in [
        json!({"exp": at(-29)}),
        json!({"exp": at(86_400), "iat": at(0)}),
        json!({"exp": at(86_400)}),
        json!({"nbf": at(30), "iat": at(30)}),
        json!({"exp": 1_795_373_880.5_f64}),
    ] {
        assert!(service_of(&good).is_ok(), "{good}");
    }
    for (bad, fault) in [
        (json!({"exp": null}), JwtError::Expired),
        (json!({"exp": at(-30)}), JwtError::Expired),
        (json!({"exp": 0}), JwtError::Expired),
        (json!({"exp": -1}), JwtError::Expired),
        (json!({"exp": at(600).to_string()}), JwtError::Claim),
        (json!({"exp": true}), JwtError::Claim),
        (json!({"exp": u64::MAX}), JwtError::Claim),
        (json!({"exp": 1e300}), JwtError::Claim),
        (json!({"nbf": at(31)}), JwtError::NotYetValid),
        (json!({"iat": at(31)}), JwtError::NotYetValid),
        (json!({"nbf": "now"}), JwtError::Claim),
        (
            json!({"exp": at(600), "iat": at(-85_801)}),
            JwtError::LifetimeTooLong,
        ),
        (json!({"exp": at(86_431)}), JwtError::LifetimeTooLong),
        (
            json!({"exp": 253_402_300_799_i64}),
            JwtError::LifetimeTooLong,
        ),
    ] {
        assert_eq!(service_of(&bad).err(), Some(fault), "{bad}");
    }
}

#[test]
fn a_service_is_named_by_its_issuer_and_its_subject() {
    assert_eq!(service_of(&json!({})).unwrap().name, "platform:onboarding");
    for bad in [
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "a b"}),
        json!({"sub": "a\nb"}),
        json!({"sub": "é"}),
        json!({"sub": "x".repeat(256)}),
    ] {
        assert_eq!(service_of(&bad).err(), Some(JwtError::Subject), "{bad}");
    }
    assert_eq!(service_of(&json!({"sub": 7})).err(), Some(JwtError::Claim));
}

#[test]
fn a_service_has_the_scopes_of_both_its_token_and_its_issuer() {
    let scopes = |changes: Value| service_of(&changes).unwrap().scopes;
    let (write, read) = (Scope::InvitationsWrite, Scope::InvitationsRead);
    assert_eq!(scopes(json!({})), []);
    assert_eq!(scopes(json!({"scope": ""})), []);
    assert_eq!(
        scopes(json!({"scope": "openid invitations:read directory:write"})),
        [read]
    );
    assert_eq!(
        scopes(json!({"scp": ["invitations:read", "invitations:write"]})),
        [write, read]
    );
    assert_eq!(
        scopes(json!({"scope": "invitations:read", "scp": "invitations:write"})),
        [read]
    );
    for bad in [json!({"scope": 1}), json!({"scp": [1]})] {
        assert_eq!(service_of(&bad).err(), Some(JwtError::Claim), "{bad}");
    }
    let mut entry = services();
    if let IssuerKind::Service(permissions) = &mut entry.kind {
        permissions.default_scopes = vec![read];
    }
    let with_defaults = |changes: Value| caller(&claims(&changes), &entry, NOW).unwrap().scopes;
    assert_eq!(with_defaults(json!({})), [read]);
    assert_eq!(with_defaults(json!({"scope": ""})), []);
}

#[test]
fn a_service_has_the_organizations_of_both_its_token_and_its_issuer() {
    let access = |organizations: Access, changes: Value| {
        let mut entry = services();
        if let IssuerKind::Service(permissions) = &mut entry.kind {
            permissions.organizations = organizations;
            permissions.organizations_claim = Some("orgs".to_owned());
        }
        caller(&claims(&changes), &entry, NOW).map(|caller| caller.access)
    };
    let only = |ids: &[&str]| Access::Only(ids.iter().map(|id| (*id).to_owned()).collect());
    let listed = json!({"orgs": ["acme", "other"]});
    assert_eq!(
        access(Access::Every, listed.clone()),
        Ok(only(&["acme", "other"]))
    );
    assert_eq!(access(only(&["acme", "x"]), listed), Ok(only(&["acme"])));
    assert_eq!(
        access(Access::Every, json!({"orgs": "acme"})),
        Ok(only(&["acme"]))
    );
    assert_eq!(access(Access::Every, json!({})), Ok(only(&[])));
    assert_eq!(
        access(Access::Every, json!({"orgs": [1]})),
        Err(JwtError::Claim)
    );
    assert_eq!(
        access(Access::Every, json!({"orgs": true})),
        Err(JwtError::Claim)
    );
}

#[test]
fn an_address_is_used_only_if_email_verified_is_the_boolean_true() {
    let email = |verified: Value| {
        let user = user_of(&json!({"email": "Ada@Example.com", "email_verified": verified}));
        let email = user.unwrap().email;
        email.map(|email| email.normalized().to_owned())
    };
    assert_eq!(email(json!(true)).as_deref(), Some("ada@example.com"));
    for not_verified in [
        json!(null),
        json!(false),
        json!("true"),
        json!(1),
        json!([true]),
    ] {
        assert_eq!(email(not_verified.clone()), None, "{not_verified}");
    }
    let user = user_of(&json!({"email": "no address", "email_verified": true})).unwrap();
    assert_eq!(user.email, None);
    let user = user_of(&json!({"email_verified": true})).unwrap();
    assert_eq!(user.email, None);
    let bad = json!({"email": ["ada@example.com"], "email_verified": true});
    assert_eq!(user_of(&bad).err(), Some(JwtError::Claim));
}

#[test]
fn a_user_has_a_valid_id_and_a_name_that_emails_may_show() {
    let user = user_of(&json!({"sub": "usr_1", "name": "Ada Lovelace"})).unwrap();
    assert_eq!(
        (user.id.as_str(), user.name.as_str()),
        ("usr_1", "Ada Lovelace")
    );
    let user = user_of(&json!({"name": "https://evil.example"})).unwrap();
    assert_eq!(user.name, "");
    for bad in [
        json!({"sub": "x".repeat(65)}),
        json!({"sub": "a b"}),
        json!({"sub": null}),
    ] {
        assert_eq!(user_of(&bad).err(), Some(JwtError::Subject), "{bad}");
    }
}
