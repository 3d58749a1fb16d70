//! Refusals name every malformed field and repeat nothing of the request.

use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{ACME, World, descriptors, raw_grpc, status_reason};

const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let world = World::start().await;
    for path in [
        "/invitation.v1.InvitationService/Nope",
        "/invitation.v1.Nope/BulkCreate",
        "/nope",
    ] {
        let answer = raw_grpc::call(world.address(), path, &[AS_ALL], &[]).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn no_error_repeats_its_input() {
    let world = World::start().await;
    let canaries = [
        "canary7265",
        "canary7265@b.co",
        "canary 7265@b.co",
        "https://canary7265.example/",
        "\u{202e}canary\u{7}",
        "inv1_canary7265canary7265canary7265canary7265canary7265canary7265canary72",
    ];
    let is_clean = |bytes: &[u8]| !bytes.windows(6).any(|window| window == b"canary");
    let mut refused = 0;
    for method in descriptors::methods() {
        for canary in canaries {
            for organization_id in [ACME, canary] {
                let message = descriptors::filled(&method.input, canary, organization_id);
                let answer =
                    raw_grpc::call(world.address(), &method.path, &[AS_ALL], &message).await;
                let place = format!("{} {canary:?}", method.path);
                match answer {
                    // A bulk method succeeds and reports errors in its results. They repeat no input either.
                    Ok(bytes) => assert!(is_clean(&bytes), "{place}"),
                    Err(status) => {
                        refused += 1;
                        assert!(is_clean(status.message().as_bytes()), "{place}");
                        assert!(is_clean(status.details()), "{place}");
                        let metadata = format!("{:?}", status.metadata());
                        assert!(is_clean(metadata.as_bytes()), "{place}: {metadata}");
                        status_reason(&status);
                    }
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[tokio::test]
async fn all_malformed_fields_of_a_call_are_named_in_one_response() {
    let world = World::start().await;
    for (method, expected) in [
        (
            "InvitationService/Get",
            &["organization_id", "invitation_id"][..],
        ),
        (
            "InvitationService/Revoke",
            &[
                "organization_id",
                "invitation_id",
                "acting_user_id",
                "request_id",
            ],
        ),
        (
            "InvitationService/Resend",
            &[
                "acting_user_id",
                "request_id",
                "organization_id",
                "invitation_id",
            ],
        ),
        (
            "InvitationService/BulkCreate",
            &["organization_id", "request_id"],
        ),
        (
            "InvitationService/Accept",
            &[
                "invitation_id",
                "user_id",
                "user_name",
                "verified_emails[0]",
                "request_id",
            ],
        ),
        (
            "DirectoryService/GetMembership",
            &["organization_id", "user_id"],
        ),
        (
            "DirectoryService/DeleteMembership",
            &["organization_id", "user_id", "acting_user_id", "request_id"],
        ),
        (
            "DirectoryService/ListMemberships",
            &["organization_id", "page_token"],
        ),
        (
            "SuppressionService/ListSuppressions",
            &["organization_id", "email", "page_token"],
        ),
    ] {
        let path = format!("/invitation.v1.{method}");
        let methods = descriptors::methods();
        let method = methods.iter().find(|method| method.path == path).unwrap();
        let message = descriptors::filled(&method.input, "a\nb", "a\nb");
        let status = raw_grpc::call(world.address(), &path, &[AS_ALL], &message)
            .await
            .unwrap_err();
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        let fields: Vec<_> = violations
            .iter()
            .map(|violation| &violation.field)
            .collect();
        assert_eq!(fields, expected, "{path}");
    }
}
