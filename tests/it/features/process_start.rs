//! How the server starts: its roles, the schema it waits for, and the files that it checks.

use std::process::Command;

use invitations::proto::DeliveryState;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use sqlx::Executor as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::support::database::{Database, count};
use crate::support::deployment::{Deployment, client, directory_client, is_serving};
use crate::support::deployment_invitations::{
    count_in_delivery_state, invite_fifty, invite_with_link, received_addresses,
};
use crate::support::http_port::http_address;
use crate::support::http_server::exchange;
use crate::support::waiting::wait_until;
use crate::support::watch_stream::{open_watch, watch_request};
use crate::support::{
    KEY_2, KEYS, accept_request, get_membership_request, invite_request, status_reason,
};

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

/// Asserts that methods of several kinds are refused, without credentials too.
async fn assert_not_ready(channel: &Channel) {
    let mut invitations = client(channel);
    let mut directory = directory_client(channel);
    let anonymous = InvitationServiceClient::new(channel.clone())
        .bulk_create(invite_request(&["a@b.co"]))
        .await;
    for refused in [
        invitations
            .bulk_create(invite_request(&["a@b.co"]))
            .await
            .err(),
        directory
            .get_membership(get_membership_request("ada"))
            .await
            .err(),
        open_watch(invitations, watch_request()).await.err(),
        anonymous.err(),
    ] {
        let refused = refused.unwrap();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!(status_reason(&refused), "OVERLOADED");
        assert!(refused.get_error_details().retry_info().is_some());
    }
}

#[tokio::test]
async fn a_process_answers_no_call_until_the_schema_and_the_keys_are_verified() {
    let deployment = Deployment::create().await;
    let (running, channel) = deployment.serve_populated(&[]).await;
    invite_with_link(&channel, "a@b.co").await;
    running.crash().await;

    // The schema is one migration behind, and the keys are wrong.
    let mut database = deployment.database.connect().await;
    let behind = "UPDATE _sqlx_migrations SET success = false
                   WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    database.execute(behind).await.unwrap();
    deployment.write("keys", KEY_2);
    let mut running = deployment.start("serve", &[("INVITATIONS_HTTP_LISTEN", "127.0.0.1:0")]);
    let channel = running.channel().await;
    wait_until("the warning", async || {
        running.log().contains("not migrated")
    })
    .await;
    assert!(!is_serving(&channel).await);
    assert_not_ready(&channel).await;
    for (path, status) in [("/u/token", "503"), ("/readyz", "503"), ("/healthz", "200")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(http_address(&running), request.as_bytes()).await;
        assert_eq!(answer.status.to_string(), status, "{path}");
    }
    let migrated = "UPDATE _sqlx_migrations SET success = true";
    database.execute(migrated).await.unwrap();
    assert_eq!(running.wait_for_exit().await.code(), Some(1));
    assert!(running.log().contains("pending invitations need key 1"));
    // A wrong file leaves nothing behind.
    assert_eq!(count(&mut database, "signing_keys").await, 1);

    deployment.write("keys", KEYS);
    let (_running, channel) = deployment.serve(&[]).await;
    let mut client = client(&channel);
    let created = client.bulk_create(invite_request(&["b@b.co"])).await;
    assert_eq!(created.unwrap().into_inner().failed_count, 0);
}

#[tokio::test]
async fn a_keys_file_without_any_earlier_key_is_refused() {
    let deployment = Deployment::create().await;
    let (running, _) = deployment.serve(&[]).await;
    running.crash().await;
    deployment.write("keys", KEY_2);
    let log = deployment.failed_start().await;
    assert!(
        log.contains("no key of the keys file was loaded before"),
        "{log}"
    );
    deployment.write("keys", &format!("{KEY_2}{KEYS}"));
    let (running, _) = deployment.serve(&[]).await;
    running.crash().await;
    // Nothing needs key 1 any more.
    deployment.write("keys", KEY_2);
    deployment.serve(&[]).await;
}

#[tokio::test]
async fn a_callers_file_without_callers_is_refused() {
    let deployment = Deployment::create().await;
    deployment.write("callers", "# nobody\n");
    let log = deployment.failed_start().await;
    assert!(log.contains("holds no caller and no issuer"), "{log}");
}

#[tokio::test]
async fn endless_and_oversized_files_are_refused_at_start() {
    let deployment = Deployment::create().await;
    let fifo = deployment.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    deployment.write("large", &"#".repeat(4 * 1024 * 1024 + 1));
    std::fs::create_dir(deployment.path("templates")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", deployment.path("templates/de.toml")).unwrap();
    let large = deployment.path("large");
    let [fifo, large] = [&fifo, &large].map(|path| path.to_str().unwrap());
    let templates = deployment.path("templates");
    let settings = [
        ("INVITATIONS_KEYS_FILE", "/dev/zero"),
        ("INVITATIONS_CALLERS_FILE", fifo),
        ("INVITATIONS_LANES_FILE", large),
        ("INVITATIONS_TLS_CERTIFICATE_FILE", "/dev/zero"),
        ("INVITATIONS_TLS_KEY_FILE", fifo),
        ("INVITATIONS_TEMPLATES_FOLDER", templates.to_str().unwrap()),
    ];
    let mut process = deployment.start("serve", &settings);
    assert_eq!(process.wait_for_exit().await.code(), Some(1));
    let log = process.log();
    for problem in [
        "keys-file /dev/zero: not a regular file",
        "fifo: not a regular file",
        "large: the file is over 4096 KiB",
        "tls-certificate-file /dev/zero: not a regular file",
        "de.toml: not a regular file",
    ] {
        assert!(log.contains(problem), "{problem}: {log}");
    }
}
