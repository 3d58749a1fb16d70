//! Whether an address has an account: only callers that may read the directory learn that.

use invitations::proto::{Invitation, ListRequest};

use crate::support::{
    World, accept_request, decline_request, get_request, invite_request, list_request,
    resend_request, revoke_request,
};

#[tokio::test]
async fn only_readers_of_the_directory_learn_who_has_an_account() {
    for (caller, may_read) in [("all", true), ("all-but-directory:read", false)] {
        let mut world = World::start().await;
        world.add_user("known", "Known", &["a@b.co"]).await;
        let check = |method: &str, invitation: Invitation| {
            let shown = (
                invitation.inviter_name.as_str(),
                invitation.registered(),
                invitation.invited_user_id.as_str(),
            );
            let expected = if may_read {
                ("Ada Lovelace", true, "known")
            } else {
                ("", false, "")
            };
            assert_eq!(shown, expected, "{method} as {caller}");
            invitation
        };
        let mut client = world.client_of(caller);
        // The first response has the created invitation, the second one has the existing invitation.
        let mut ids = Vec::new();
        for _ in 0..2 {
            let request = invite_request(&["a@b.co", "c@b.co"]);
            let answer = client.bulk_create(request).await.unwrap();
            let mut results = answer.into_inner().results;
            let first = results.swap_remove(0).invitation.unwrap();
            ids.push(check("BulkCreate", first).id);
        }
        let id = &ids[0];
        assert_eq!(id, &ids[1]);
        let answer = client.get(get_request(id)).await.unwrap();
        check("Get", answer.into_inner().invitation.unwrap());
        let request = ListRequest {
            filter: Some(invitations::proto::InvitationFilter {
                email: Some("a@b.co".to_owned()),
                ..Default::default()
            }),
            ..list_request()
        };
        let answer = client.list(request).await.unwrap();
        check("List", answer.into_inner().invitations.remove(0));
        let answer = client.resend(resend_request(id)).await.unwrap();
        check("Resend", answer.into_inner().invitation.unwrap());
        world.deliver_all().await;
        let token = world.mail_to("a@b.co").token();
        let request = accept_request(&token, "known", "a@b.co");
        let answer = client.accept(request).await.unwrap();
        check("Accept", answer.into_inner().invitation.unwrap());

        world.add_user("known", "Known", &["c@b.co"]).await;
        let token = world.mail_to("c@b.co").token();
        let answer = client.decline(decline_request(&token)).await.unwrap();
        let declined = check("Decline", answer.into_inner().invitation.unwrap());
        let answer = client.revoke(revoke_request(&declined.id)).await.unwrap();
        check("Revoke", answer.into_inner().invitation.unwrap());
    }
}
