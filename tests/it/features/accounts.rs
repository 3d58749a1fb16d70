//! Who has an account is nobody's business but that of callers who may read the directory.

use invitations::proto::{
    BulkCreateRequest, DeclineRequest, GetRequest, Invitation, ListRequest, ResendRequest,
    RevokeRequest,
};

use crate::support::{ACME, World, accept_request, create_request, item};

#[tokio::test]
async fn who_has_an_account_is_told_to_readers_of_the_directory_alone() {
    for (caller, sees) in [("all", true), ("all-but-directory:read", false)] {
        let mut world = World::start().await;
        world.add_user("known", "Known", &["a@b.co"]).await;
        let check = |method: &str, invitation: Invitation| {
            let told = (
                invitation.inviter_name.as_str(),
                invitation.registered,
                invitation.invited_user_id.as_str(),
            );
            let expected = if sees {
                ("Ada Lovelace", true, "known")
            } else {
                ("", false, "")
            };
            assert_eq!(told, expected, "{method} as {caller}");
            invitation
        };
        let mut client = world.client_of(caller);
        let request = BulkCreateRequest {
            invitations: vec![item("a@b.co"), item("c@b.co")],
            ..create_request(vec![])
        };
        // The first answer has the invitation that was made, the second one the invitation that was in the way.
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer = client.bulk_create(request.clone()).await.unwrap();
            let mut results = answer.into_inner().results;
            let first = results.swap_remove(0).invitation.unwrap();
            ids.push(check("BulkCreate", first).id);
        }
        assert_eq!(ids[0], ids[1]);
        let request = GetRequest {
            organization_id: ACME.to_owned(),
            invitation_id: ids.remove(0),
        };
        let id = request.invitation_id.clone();
        let answer = client.get(request).await.unwrap();
        check("Get", answer.into_inner().invitation.unwrap());
        let request = ListRequest {
            organization_id: ACME.to_owned(),
            email: "a@b.co".to_owned(),
            ..Default::default()
        };
        let answer = client.list(request).await.unwrap();
        check("List", answer.into_inner().invitations.remove(0));
        let request = ResendRequest {
            organization_id: ACME.to_owned(),
            invitation_id: id.clone(),
            ..Default::default()
        };
        let answer = client.resend(request).await.unwrap();
        check("Resend", answer.into_inner().invitation.unwrap());
        world.deliver_all().await;
        let token = world.mail_to("a@b.co").token();
        let request = accept_request(&token, "known", "a@b.co");
        let answer = client.accept(request).await.unwrap();
        check("Accept", answer.into_inner().invitation.unwrap());

        world.add_user("known", "Known", &["c@b.co"]).await;
        let token = world.mail_to("c@b.co").token();
        let answer = client
            .decline(DeclineRequest {
                token,
                suppress: false,
            })
            .await
            .unwrap();
        let declined = check("Decline", answer.into_inner().invitation.unwrap());
        let request = RevokeRequest {
            organization_id: ACME.to_owned(),
            invitation_id: declined.id,
            user_id: String::new(),
        };
        let answer = client.revoke(request).await.unwrap();
        check("Revoke", answer.into_inner().invitation.unwrap());
    }
}
