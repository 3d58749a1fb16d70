//! How the server starts: its roles, the schema it waits for, and the files that it checks.

use invitations::proto::DeliveryState;
use tonic::Code;

use crate::support::database::Database;
use crate::support::deployment::{Deployment, client, is_serving};
use crate::support::deployment_invitations::{
    count_in_delivery_state, invite_fifty, invite_with_link, received_addresses,
};
use crate::support::waiting::wait_until;
use crate::support::{KEY_2, KEYS, accept_request, invite_request};

#[tokio::test]
async fn emails_queued_by_an_api_process_are_delivered_by_a_worker_process() {
    let deployment = Deployment::create().await;
    let (api, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let emails = invite_fifty(&channel).await;
    assert_eq!(
        count_in_delivery_state(&channel, DeliveryState::Queued).await,
        50
    );
    api.crash().await;
    assert!(deployment.relay.connections().is_empty());

    let (worker, channel) = deployment.serve(&[("INVITATIONS_ROLE", "worker")]).await;
    wait_until("every email to arrive", async || {
        received_addresses(&deployment).len() >= 50
    })
    .await;
    assert_eq!(received_addresses(&deployment), emails);
    let refused = client(&channel)
        .bulk_create(invite_request(&["a@b.co"]))
        .await;
    assert_eq!(refused.err().unwrap().code(), Code::Unimplemented);
    drop(worker);
}

#[tokio::test]
async fn a_server_reports_not_serving_until_the_schema_is_migrated() {
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let running = deployment.start("serve", &[]);
    let channel = running.channel().await;
    // The default log level shows the warning, which follows the first database check.
    wait_until("the warning", async || {
        running.log().contains("not migrated")
    })
    .await;
    assert!(!is_serving(&channel).await);
    for _ in 0..2 {
        let mut migrate = deployment.start("migrate", &[]);
        assert!(migrate.wait_for_exit().await.success(), "{}", migrate.log());
    }
    wait_until("SERVING", async || is_serving(&channel).await).await;
}

#[tokio::test]
async fn a_server_refuses_to_start_without_the_keys_of_pending_invitations() {
    let deployment = Deployment::create().await;
    let (running, channel) = deployment.serve_populated(&[]).await;
    let token = invite_with_link(&channel, "a@b.co").await;
    running.crash().await;

    deployment.write("keys", KEY_2);
    let log = deployment.failed_start().await;
    assert!(log.contains("pending invitations need key 1"), "{log}");
    deployment.write("keys", &KEY_2.replace("2 ", "1 "));
    let log = deployment.failed_start().await;
    assert!(
        log.contains("key 1 of the keys file is not the key"),
        "{log}"
    );

    // A new key signs, the old one verifies.
    deployment.write("keys", &format!("{KEY_2}{KEYS}"));
    let (_running, channel) = deployment.serve(&[]).await;
    let request = accept_request(&token, "new", "a@b.co");
    let accepted = client(&channel).accept(request).await.unwrap();
    assert_eq!(accepted.into_inner().membership.unwrap().user_id, "new");
}

#[tokio::test]
async fn all_problems_of_configuration_files_are_reported_in_one_message() {
    let deployment = Deployment::create().await;
    let caller = "[[caller]]\nname = \"b c\"\ntoken_sha256 = \"xy\"\nscopes = [\"root\"]\n";
    deployment.write("callers", caller);
    deployment.write("keys", "1 short\n");
    let log = deployment.failed_start().await;
    for problem in [
        "line 1 of the keys file",
        "name must be 1 to 64",
        "token_sha256 must be 64",
        "unknown scope \"root\"",
    ] {
        assert!(log.contains(problem), "{problem}: {log}");
    }
    assert_eq!(log.matches("error: ").count(), 1, "{log}");
}
