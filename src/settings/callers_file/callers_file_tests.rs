use super::*;
use crate::domain::actor::Access;
use crate::domain::scope::Scope;
use crate::identity::{CallerCredential, IssuerKind, KeyLocation, ServicePermissions};

fn entry() -> CallerEntry {
    CallerEntry {
        name: "demo".to_owned(),
        credential: CallerCredential::TokenSha256([0xab; 32]),
        scopes: vec![Scope::InvitationsWrite, Scope::DirectoryRead],
        organizations: Some(vec!["acme".to_owned(), "o\"d\\d".to_owned()]),
    }
}

#[test]
fn a_written_entry_is_parsed_as_it_was() {
    let every = CallerEntry {
        name: "every".to_owned(),
        credential: CallerCredential::TokenSha256([1; 32]),
        organizations: None,
        ..entry()
    };
    let web = CallerEntry {
        name: "web".to_owned(),
        credential: CallerCredential::Certificate("dns:web.example.org".parse().unwrap()),
        ..entry()
    };
    let tables = [&entry(), &every, &web].map(to_toml);
    let text = format!("# callers\n\n{}", tables.join("\n"));
    let callers = CallersFile::parse(&text).unwrap().callers;
    assert_eq!(callers, [entry(), every, web]);
}

#[test]
fn an_empty_file_has_no_callers() {
    assert_eq!(CallersFile::parse("").unwrap(), CallersFile::default());
}

#[test]
fn all_problems_of_callers_are_reported_together() {
    let hash = "ab".repeat(32);
    let text = format!(
        "[[caller]]\nname = \"a\"\ntoken_sha256 = \"{hash}\"\nscopes = [\"invitations:write\"]\n\
         [[caller]]\nname = \"a\"\ntoken_sha256 = \"{hash}\"\nscopes = [\"invitations:read\"]\n\
         [[caller]]\nname = \"b c\"\ntoken_sha256 = \"xy\"\nscopes = [\"root\"]\norganizations = []\n\
         [[caller]]\nname = \"d\"\ntoken_sha256 = \"{}\"\nscopes = []\norganizations = [\"a b\"]\n\
         [[caller]]\nname = \"e\"\nscopes = [\"invitations:read\"]\n\
         [[caller]]\nname = \"f\"\ncertificate = \"dns:f\"\ntoken_sha256 = \"{hash}\"\nscopes = [\"invitations:read\"]\n\
         [[caller]]\nname = \"g\"\ncertificate = \"CN=g\"\nscopes = [\"invitations:read\"]\n\
         [[caller]]\nname = \"h\"\ncertificate = \"dns:h\"\nscopes = [\"invitations:read\"]\n\
         [[caller]]\nname = \"i\"\ncertificate = \"dns:h\"\nscopes = [\"invitations:read\"]\n",
        "é".repeat(32)
    );
    let problems = CallersFile::parse(&text).unwrap_err().problems;
    let expected = [
        "caller 2 (\"a\"): has the same name as caller 1",
        "caller 2 (\"a\"): has the same token as caller 1",
        "caller 3 (\"b c\"): name must be",
        "caller 3 (\"b c\"): token_sha256 must be 64 hexadecimal digits",
        "caller 3 (\"b c\"): scopes: unknown scope \"root\"; the scopes are invitations:write,",
        "caller 3 (\"b c\"): organizations is empty",
        "caller 4 (\"d\"): token_sha256 must be 64 hexadecimal digits",
        "caller 4 (\"d\"): scopes is empty",
        "caller 4 (\"d\"): \"a b\" is not an organization id",
        "caller 5 (\"e\"): needs either token_sha256 or certificate",
        "caller 6 (\"f\"): needs either token_sha256 or certificate",
        "caller 7 (\"g\"): certificate: must be spiffe://trust-domain/path or dns:name",
        "caller 9 (\"i\"): has the same certificate as caller 8",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn a_misspelled_field_is_named_with_its_line() {
    let text = "[[caller]]\nname = \"a\"\ntoken = \"x\"\n";
    let error = CallersFile::parse(text).unwrap_err().to_string();
    assert!(
        error.starts_with("line 3: unknown field `token`"),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
}

const SERVICE: &str = r#"
    [[issuer]]
    name = "platform"
    issuer = "https://issuer.example.com/"
    audience = "invitations"
    jwks_url = "https://issuer.example.com/jwks.json"
    kind = "service"
    scopes = ["invitations:write", "invitations:read"]
    default_scopes = ["invitations:read"]
    organizations = ["acme"]
    organizations_claim = "orgs"
"#;
const USER: &str = r#"
    [[issuer]]
    name = "accounts"
    issuer = "https://issuer.example.com/"
    audience = "invitations-web"
    jwks_file = "accounts.jwks.json"
    kind = "user"
"#;

#[test]
fn both_kinds_of_issuers_are_parsed() {
    let file = CallersFile::parse(&format!("{SERVICE}{USER}")).unwrap();
    let [service, user] = file.issuers.as_slice() else {
        panic!("two tables");
    };
    let permissions = ServicePermissions {
        scopes: vec![Scope::InvitationsWrite, Scope::InvitationsRead],
        default_scopes: vec![Scope::InvitationsRead],
        organizations: Access::Only(["acme".to_owned()].into()),
        organizations_claim: Some("orgs".to_owned()),
    };
    assert_eq!(service.kind, IssuerKind::Service(permissions));
    assert_eq!(user.kind, IssuerKind::User);
    assert_eq!(user.keys, KeyLocation::File("accounts.jwks.json".into()));
}

#[test]
fn all_problems_of_issuers_are_reported_with_those_of_callers() {
    let text = format!(
        r#"
        [[caller]]
        name = "b c"
        token_sha256 = "{}"
        scopes = ["invitations:read"]
        {SERVICE}{SERVICE}
        [[issuer]]
        kind = "robot"
        jwks_url = "http://issuer.example.com/"
        [[issuer]]
        name = "users"
        issuer = "a b"
        audience = "x"
        jwks_url = "https://u:p@issuer.example.com/"
        jwks_file = "x"
        kind = "user"
        scopes = []
        organizations_claim = "x"
        [[issuer]]
        name = "services"
        issuer = "i"
        audience = "x"
        jwks_file = "x"
        roots_file = "y"
        kind = "service"
        scopes = ["root"]
        default_scopes = ["invitations:read"]
        organizations = []
        "#,
        "ab".repeat(32)
    );
    let problems = CallersFile::parse(&text).unwrap_err().problems;
    let expected = [
        "caller 1 (\"b c\"): name must be",
        "issuer 2 (\"platform\"): has the same name as issuer 1",
        "issuer 2 (\"platform\"): has the same issuer and audience as issuer 1",
        "issuer 3 (\"\"): name must be",
        "issuer 3 (\"\"): issuer must be 1 to 255",
        "issuer 3 (\"\"): audience must be 1 to 255",
        "issuer 3 (\"\"): jwks_url must be https",
        "issuer 3 (\"\"): kind must be",
        "issuer 4 (\"users\"): issuer must be 1 to 255",
        "issuer 4 (\"users\"): needs either jwks_url or jwks_file",
        "issuer 4 (\"users\"): scopes is only for services",
        "issuer 4 (\"users\"): organizations_claim is only for services",
        "issuer 5 (\"services\"): roots_file is only for a jwks_url",
        "issuer 5 (\"services\"): scopes: unknown scope \"root\"",
        "issuer 5 (\"services\"): default_scopes contains a scope that is not in scopes",
        "issuer 5 (\"services\"): organizations is empty",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}");
    }
}
