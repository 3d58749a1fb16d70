//! Keys are replaced while all processes run: every link stays valid, every address is found, and every process starts.

use invitations::domain::email_address::EmailAddress;
use invitations::domain::ids::OrganizationId;
use invitations::domain::invitation::{InvitationFilter, InvitationView};
use invitations::proto::AcceptResponse;
use invitations::service::{CheckKeys, ListInvitations};
use tonic::transport::Channel;

use crate::support::database::count;
use crate::support::deployment::{Deployment, client};
use crate::support::deployment_invitations::invite_with_link;
use crate::support::server_process::ServerProcess;
use crate::support::{
    ACME, KEY_2, KEYS, World, accept_request, preview_request, reason, test_actor,
};

async fn accept(channel: &Channel, token: &str, email: &str) -> AcceptResponse {
    let request = accept_request(token, &email.replace('@', "-"), email);
    client(channel).accept(request).await.unwrap().into_inner()
}

/// Two processes of one deployment, and the links that they have created.
struct Rotation {
    deployment: Deployment,
    processes: [Option<ServerProcess>; 2],
    channels: [Channel; 2],
    /// Each token with the address of its invitation. Addresses that begin with `accepted` have been accepted.
    links: Vec<(String, String)>,
}

impl Rotation {
    async fn start() -> Self {
        let deployment = Deployment::create().await;
        let (first, first_channel) = deployment.serve_populated(&[]).await;
        let (second, second_channel) = deployment.serve(&[]).await;
        Self {
            deployment,
            processes: [Some(first), Some(second)],
            channels: [first_channel, second_channel],
            links: Vec::new(),
        }
    }

    /// Replaces a process by another one, which reads the present keys.
    async fn restart(&mut self, index: usize) {
        let (process, channel) = self.deployment.serve(&[]).await;
        let mut old = self.processes[index].replace(process).unwrap();
        old.terminate().await;
        assert!(old.wait_for_exit().await.success());
        self.channels[index] = channel;
    }

    /// Writes keys and restarts one process after the other. Checks the links after each restart.
    async fn change_keys(&mut self, keys: &str, step: &str) {
        self.deployment.write("keys", keys);
        self.restart(0).await;
        self.check(&format!("{step}-half")).await;
        self.restart(1).await;
        self.check(step).await;
    }

    /// Creates two links at each process. Asserts that each process knows every link. Then accepts one new link of each
    /// process at the other process.
    async fn check(&mut self, step: &str) {
        for (number, channel) in self.channels.iter().enumerate() {
            for prefix in ["pending", "accepted"] {
                let email = format!("{prefix}{number}@{step}.example");
                let token = invite_with_link(channel, &email).await;
                self.links.push((token, email));
            }
        }
        for (token, email) in &self.links {
            for channel in &self.channels {
                let preview = client(channel).preview(preview_request(token)).await;
                assert!(preview.is_ok(), "{step}: the link for {email}");
            }
        }
        for (number, channel) in self.channels.iter().enumerate() {
            let email = format!("accepted{}@{step}.example", 1 - number);
            let (token, _) = self.links.iter().find(|(_, of)| *of == email).unwrap();
            accept(channel, token, &email).await;
        }
    }
}

#[tokio::test]
async fn every_link_works_at_each_documented_step_of_a_key_rotation() {
    let mut rotation = Rotation::start().await;
    rotation.check("before").await;
    // First the new key is added as the last one.
    let added = format!("{KEYS}{KEY_2}");
    rotation.change_keys(&added, "added").await;
    // Then it becomes the first one, which signs.
    let moved = format!("{KEY_2}{KEYS}");
    rotation.change_keys(&moved, "moved").await;

    // The old key cannot be removed while pending invitations need it.
    rotation.deployment.write("keys", KEY_2);
    let log = rotation.deployment.failed_start().await;
    assert!(log.contains("pending invitations need key 1"), "{log}");
    let mut database = rotation.deployment.database.connect().await;
    let old = "invitations WHERE key_id = 1 AND state = 'pending'";
    assert!(count(&mut database, old).await > 0);
    for (token, email) in &rotation.links {
        if email.starts_with("pending") && !email.contains("moved") {
            accept(&rotation.channels[1], token, email).await;
        }
    }
    // During the last restarts, one process still signed with the old key.
    sqlx::query("UPDATE invitations SET state = 'revoked', ended_at = now() WHERE key_id = 1 AND state = 'pending'")
        .execute(&mut database)
        .await
        .unwrap();
    rotation.restart(0).await;
    rotation.restart(1).await;
    rotation.links.clear();
    rotation.check("after").await;
}

#[tokio::test]
async fn a_process_without_the_new_key_refuses_links_signed_with_it() {
    let deployment = Deployment::create().await;
    let (_old, old_channel) = deployment.serve_populated(&[]).await;
    // The new key signs at once, without the step in which all processes learn it.
    deployment.write("keys", &format!("{KEY_2}{KEYS}"));
    let (_new, new_channel) = deployment.serve(&[]).await;
    let token = invite_with_link(&new_channel, "a@b.co").await;
    let preview = client(&old_channel).preview(preview_request(&token)).await;
    assert_eq!(reason(preview), "TOKEN_INVALID");
    accept(&new_channel, &token, "a@b.co").await;
}

#[tokio::test]
async fn erased_addresses_do_not_require_their_old_key() {
    let mut world = World::start().await;
    world.service.run(CheckKeys).await.unwrap().unwrap();
    let (_, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "u-1", "a@b.co").await.unwrap();
    let email = EmailAddress::parse("a@b.co").unwrap();
    let erase = world
        .service
        .erase_address(email.clone(), false, test_actor());
    assert_eq!(erase.await.unwrap().invitations, 1);
    let list = || ListInvitations {
        organization_id: OrganizationId::parse(ACME).unwrap(),
        filter: InvitationFilter {
            email_normalized: Some("a@b.co".to_owned()),
            ..Default::default()
        },
        before: None,
        page_size: 10,
        view: InvitationView::Full,
    };
    let with_both_keys = world.service_with_keys(&format!("{KEY_2}{KEYS}"));
    with_both_keys.run(CheckKeys).await.unwrap().unwrap();
    assert_eq!(with_both_keys.run(list()).await.unwrap().items.len(), 1);
    // Without the old key the row still exists, but the address no longer finds it.
    let without_old_key = world.service_with_keys(KEY_2);
    without_old_key.run(CheckKeys).await.unwrap().unwrap();
    assert!(without_old_key.run(list()).await.unwrap().items.is_empty());
    let erase = without_old_key.erase_address(email, false, test_actor());
    assert_eq!(erase.await.unwrap().invitations, 0);
}
