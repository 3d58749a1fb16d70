//! Keys are replaced while everything runs: no link breaks, no address is forgotten, and no process refuses to start.

use invitations::proto::{AcceptResponse, BulkCreateRequest, NewInvitation, PreviewRequest};
use invitations::service::CheckKeys;
use tonic::transport::Channel;

use crate::features::suppression::KEY_2;
use crate::support::deployment::{Deployment, client};
use crate::support::server_process::ServerProcess;
use crate::support::{KEYS, World, accept_request, create_request, created, item, test_actor};

/// Makes an invitation without a mail; returns its token.
async fn token_of(channel: &Channel, email: &str) -> String {
    let request = BulkCreateRequest {
        return_link: true,
        invitations: vec![NewInvitation {
            notify: Some(false),
            ..item(email)
        }],
        ..create_request(vec![])
    };
    let answer = client(channel).bulk_create(request).await.unwrap();
    let result = answer.into_inner().results.remove(0);
    created(&result);
    result.link.split_once("#token=").unwrap().1.to_owned()
}

async fn accept(channel: &Channel, token: &str, email: &str) -> AcceptResponse {
    let request = accept_request(token, &email.replace('@', "-"), email);
    client(channel).accept(request).await.unwrap().into_inner()
}

/// Every link that was made so far, with the address it is for.
#[derive(Default)]
struct Links(Vec<(String, String)>);

impl Links {
    /// Makes a link at each process; then every process must know every link there is.
    async fn grow_and_check(&mut self, step: &str, processes: &[&Channel]) {
        for (number, channel) in processes.iter().enumerate() {
            for purpose in ["stays", "taken"] {
                let email = format!("{purpose}{number}@{step}.example");
                let token = token_of(channel, &email).await;
                self.0.push((token, email));
            }
        }
        for (token, email) in &self.0 {
            for channel in processes {
                let request = PreviewRequest {
                    token: token.clone(),
                };
                let answer = client(channel).preview(request).await;
                assert!(answer.is_ok(), "{step}: the link for {email}");
            }
        }
        // Some are taken at each step, each at another process than made it.
        let taken = self.0.iter().filter(|(_, email)| email.contains(step));
        for (number, (token, email)) in taken.enumerate() {
            if email.starts_with("taken") {
                accept(processes[number % processes.len()], token, email).await;
            }
        }
    }
}

/// Replaces one process by another one that reads the keys as they are now.
async fn restarted(deployment: &Deployment, mut old: ServerProcess) -> (ServerProcess, Channel) {
    let (new, channel) = deployment.serve(&[]).await;
    old.terminate().await;
    assert!(old.wait_for_exit().await.success());
    (new, channel)
}

#[tokio::test]
async fn a_key_is_replaced_by_the_steps_of_the_readme_and_every_link_works_all_the_time() {
    let deployment = Deployment::create().await;
    let (one, channel_one) = deployment.serve_populated(&[]).await;
    let (two, channel_two) = deployment.serve(&[]).await;
    let mut links = Links::default();
    links
        .grow_and_check("before", &[&channel_one, &channel_two])
        .await;

    // The new one last everywhere, and restart; one after the other, so that both rings meet.
    deployment.write("keys", &format!("{KEYS}{KEY_2}"));
    let (one, channel_one) = restarted(&deployment, one).await;
    links
        .grow_and_check("added-half", &[&channel_one, &channel_two])
        .await;
    let (two, channel_two) = restarted(&deployment, two).await;
    links
        .grow_and_check("added", &[&channel_one, &channel_two])
        .await;

    // Then first.
    deployment.write("keys", &format!("{KEY_2}{KEYS}"));
    let (one, channel_one) = restarted(&deployment, one).await;
    links
        .grow_and_check("moved-half", &[&channel_one, &channel_two])
        .await;
    let (two, channel_two) = restarted(&deployment, two).await;
    links
        .grow_and_check("moved", &[&channel_one, &channel_two])
        .await;

    // The old one cannot go before its links have.
    deployment.write("keys", KEY_2);
    let log = deployment.failed_start().await;
    assert!(log.contains("pending invitations need key 1"), "{log}");
    let mut database = deployment.database.connect().await;
    let old = "SELECT count(*) FROM invitations WHERE key_id = 1 AND state = 'pending'";
    assert!(
        sqlx::query_scalar::<_, i64>(old)
            .fetch_one(&mut database)
            .await
            .unwrap()
            > 0
    );
    for (token, email) in &links.0 {
        if email.starts_with("stays") && !email.contains("moved") {
            accept(&channel_two, token, email).await;
        }
    }
    // What processes made with the old key while the ring was turned.
    sqlx::query("UPDATE invitations SET state = 'revoked', ended_at = now() WHERE key_id = 1 AND state = 'pending'")
        .execute(&mut database)
        .await
        .unwrap();
    let (one, channel_one) = restarted(&deployment, one).await;
    let (two, channel_two) = restarted(&deployment, two).await;
    let mut links = Links::default();
    links
        .grow_and_check("after", &[&channel_one, &channel_two])
        .await;
    drop((one, two));
}

#[tokio::test]
async fn a_process_that_was_not_given_the_new_key_yet_refuses_its_links() {
    let deployment = Deployment::create().await;
    let (_old, old_channel) = deployment.serve_populated(&[]).await;
    // The step that was left out: it signs with the new one at once.
    deployment.write("keys", &format!("{KEY_2}{KEYS}"));
    let (_new, new_channel) = deployment.serve(&[]).await;
    let token = token_of(&new_channel, "a@b.co").await;
    let request = PreviewRequest {
        token: token.clone(),
    };
    let answer = client(&old_channel).preview(request).await;
    assert_eq!(crate::support::reason(answer), "TOKEN_INVALID");
    accept(&new_channel, &token, "a@b.co").await;
}

#[tokio::test]
async fn what_is_left_of_erased_addresses_keeps_no_key_in_the_ring() {
    let mut world = World::start().await;
    world.service.run(CheckKeys).await.unwrap().unwrap();
    let (_, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "u-1", "a@b.co").await.unwrap();
    let email = invitations::domain::email_address::EmailAddress::parse("a@b.co").unwrap();
    let erased = world
        .service
        .erase_address(email.clone(), false, test_actor())
        .await
        .unwrap();
    assert_eq!(erased.invitations, 1);
    let filter = || invitations::service::InvitationFilter {
        email_normalized: Some("a@b.co".to_owned()),
        ..Default::default()
    };
    let list = || invitations::service::ListInvitations {
        organization_id: invitations::domain::ids::OrganizationId::parse(crate::support::ACME)
            .unwrap(),
        filter: filter(),
        before: None,
        page_size: 10,
    };
    let newer = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    assert_eq!(newer.run(list()).await.unwrap().items.len(), 1);
    // Without its key the row is there, and not found by the address any more.
    let without = world.service_with_keys(KEY_2);
    without.run(CheckKeys).await.unwrap().unwrap();
    assert!(without.run(list()).await.unwrap().items.is_empty());
    assert_eq!(
        without
            .erase_address(email, false, test_actor())
            .await
            .unwrap()
            .invitations,
        0
    );
}
