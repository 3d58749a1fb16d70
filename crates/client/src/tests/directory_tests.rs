//! Tests of the commands `directory` and `erase`.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::proto::{
    BulkDeleteUsersRequest, DeleteOrganizationRequest, EraseAddressRequest,
    UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertUsersRequest,
};

const FILE: &str = r#"{
    "organizations": [{"id": "acme", "name": "Acme", "roles": ["admin", "member"]}],
    "users": [{"id": "u-1", "name": "Ada"}],
    "memberships": [{"organization_id": "acme", "user_id": "u-1", "role": "admin"}]
}"#;

async fn apply(server: &Arc<FakeServer>, file: &str, options: &[&str]) -> (CommandResult, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("directory.json");
    fs::write(&path, file).unwrap();
    let words = [&["directory", "apply", path.to_str().unwrap()], options].concat();
    run_command(server, &words).await
}

#[tokio::test]
async fn a_file_is_the_desired_state_of_its_items() {
    let server = Arc::new(FakeServer::default());
    let options = ["--undelete", "--acting-user", "u-9"];
    let (result, out) = apply(&server, FILE, &options).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.ends_with("\napplied 3 of 3\n"), "{out}");
    let organizations = &server.requests.all::<UpsertOrganizationsRequest>()[0];
    let users = &server.requests.all::<UpsertUsersRequest>()[0];
    let memberships = &server.requests.all::<UpsertMembershipsRequest>()[0];
    for mask in [
        &organizations.update_mask,
        &users.update_mask,
        &memberships.update_mask,
    ] {
        assert_eq!(mask.as_ref().unwrap().paths, ["*"]);
    }
    assert!(organizations.undelete);
    assert_eq!(organizations.acting_user_id, "u-9");
    let roles = organizations.organizations[0].roles.iter();
    let roles: Vec<_> = roles.map(|role| role.id.as_str()).collect();
    assert_eq!(roles, ["admin", "member"]);
}

#[tokio::test]
async fn a_merge_changes_only_the_fields_of_an_item() {
    let server = Arc::new(FakeServer::default());
    let (result, _) = apply(&server, FILE, &["--merge"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let request = &server.requests.all::<UpsertOrganizationsRequest>()[0];
    assert!(request.update_mask.is_none() && !request.undelete);
    assert_eq!(request.organizations[0].locale, None);
}

#[tokio::test]
async fn an_item_is_printed_as_a_file_that_can_be_applied() {
    let server = Arc::new(FakeServer::default());
    let words = ["directory", "get", "organization", "acme"];
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let (result, _) = apply(&server, &out, &[]).await;
    assert_eq!(result.unwrap(), Exit::Done, "{out}");
    let request = &server.requests.all::<UpsertOrganizationsRequest>()[0];
    assert_eq!(request.organizations[0].name(), "Acme");
    assert!(request.organizations[0].roles[0].can_invite);
    assert!(request.organizations[0].create_time.is_none());
}

#[tokio::test]
async fn all_pages_of_users_are_listed() {
    let server = Arc::new(FakeServer::default());
    let (result, out) = run_command(&server, &["directory", "list", "users"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let file: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        file,
        serde_json::json!({"users": [{"id": "u-1"}, {"id": "u-2"}]})
    );
}

#[tokio::test]
async fn a_deletion_needs_a_confirmation_or_a_dry_run() {
    let server = Arc::new(FakeServer::default());
    let words = ["directory", "delete", "organization", "acme"];
    let (result, _) = run_command(&server, &words).await;
    let failure = result.unwrap_err();
    assert!(failure.to_string().contains("--yes"), "{failure}");
    assert!(server.requests.is_empty());
    let (result, out) = run_command(&server, &[&words[..], &["--dry-run"]].concat()).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert_eq!(
        out,
        "would delete 1 of 1: 0 refused\nmemberships deleted: 3, invitations revoked: 7\n"
    );
    let options = ["--yes", "--allow-missing", "--acting-user", "u-9"];
    let (_, out) = run_command(&server, &[&words[..], &options].concat()).await;
    assert!(out.starts_with("deleted 1 of 1: "), "{out}");
    let requests = server.requests.all::<DeleteOrganizationRequest>();
    assert!(requests[0].validate_only && !requests[0].allow_missing);
    assert!(!requests[1].validate_only && requests[1].allow_missing);
    assert_eq!(requests[1].acting_user_id, "u-9");
}

#[tokio::test]
async fn several_users_are_deleted_in_one_call() {
    let server = Arc::new(FakeServer::default());
    let words = ["directory", "delete", "user", "u-1", "u-2", "u 3", "--yes"];
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Partial);
    for part in [
        "u 3",
        "\ndeleted 1 of 3: 1 unchanged, 1 refused, 1 FIELD_INVALID\n",
        "memberships deleted: 2, invitations revoked: 5\n",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(server.requests.all::<BulkDeleteUsersRequest>().len(), 1);
}

#[tokio::test]
async fn a_dry_run_of_an_erasure_needs_no_confirmation() {
    let server = Arc::new(FakeServer::default());
    let words = ["erase", "a@b.co", "--dry-run", "--acting-user", "u-9"];
    let (result, out) = run_command(&server, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.starts_with("dry run: nothing was changed\n"), "{out}");
    let request = &server.requests.all::<EraseAddressRequest>()[0];
    assert!(request.validate_only);
    assert_eq!(request.acting_user_id, "u-9");
    let (result, _) = run_command(&server, &["erase", "a@b.co"]).await;
    let failure = result.unwrap_err();
    assert!(failure.to_string().contains("--yes"), "{failure}");
}
