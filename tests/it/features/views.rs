//! The views of invitations: which fields each method returns.

use invitations::proto::{
    BulkCreateRequest, BulkGetRequest, BulkResendRequest, BulkRevokeRequest, Invitation,
    InvitationState, InvitationView, ListRequest, NewInvitation, RevokeOutcome,
};
use prost_types::Duration;
use time::Duration as Span;

use crate::support::streams::{header, send_all};
use crate::support::{
    World, bulk_get_request, bulk_resend_request, bulk_revoke_request, create_request, created,
    item, list_request, metadata, new_request_id,
};

const BASIC: i32 = InvitationView::Basic as i32;
const FULL: i32 = InvitationView::Full as i32;

/// An item with every field.
fn whole_item(email: &str) -> NewInvitation {
    NewInvitation {
        redirect_url: "https://app.example.com/start".to_owned(),
        public_metadata: Some(metadata("team", "blue")),
        private_metadata: Some(metadata("plan", "gold")),
        locale: "de".to_owned(),
        message: "Welcome aboard.".to_owned(),
        reminder_lead: Some(Duration {
            seconds: 86_400,
            nanos: 0,
        }),
        key: "row 1".to_owned(),
        ..item(email)
    }
}

/// What the view BASIC holds of an invitation.
fn basic(full: &Invitation) -> Invitation {
    Invitation {
        id: full.id.clone(),
        role: full.role.clone(),
        state: full.state,
        create_time: full.create_time,
        update_time: full.update_time,
        expire_time: full.expire_time,
        accept_time: full.accept_time,
        decline_time: full.decline_time,
        revoke_time: full.revoke_time,
        remind_time: full.remind_time,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_basic_invitation_has_its_id_role_state_and_times_in_every_state() {
    let mut world = World::start().await;
    let (accepted, token) = world.invite_one("new@b.co").await;
    world.accept(&token, "newcomer", "new@b.co").await.unwrap();
    let (declined, token) = world.invite_one("no@b.co").await;
    world.decline(&token).await.unwrap();
    let pending = world.bulk_create(create_request(vec![whole_item("p@b.co")]));
    let pending = created(&pending.await.results[0]);
    let (revoked, _) = world.invite_one("r@b.co").await;
    world.revoke(&revoked.id).await;
    world.deliver_all().await;
    let ids = [accepted.id, declined.id, pending.id, revoked.id];
    for id in &ids {
        let full = world.get(id).await;
        assert!(full.delivery.is_some() && !full.email.is_empty());
        for view in [0, BASIC] {
            let request = BulkGetRequest {
                view,
                ..bulk_get_request(&[id])
            };
            let answer = world.client().bulk_get(request).await.unwrap();
            let found = answer.into_inner().results.remove(0).invitation;
            assert!(found.unwrap() == basic(&full), "{:?}", full.state());
        }
    }
    let list = |view| ListRequest {
        view,
        ..list_request()
    };
    let full = world.list(list(FULL)).await.invitations;
    let expected: Vec<_> = full.iter().map(basic).collect();
    assert!(world.list(list(BASIC)).await.invitations == expected);
    assert!(world.list(list(0)).await.invitations == expected);
}

#[tokio::test]
async fn a_full_invitation_has_every_field_of_its_item() {
    let mut world = World::start().await;
    let item = whole_item("a@b.co");
    let result = world.bulk_create(create_request(vec![item.clone()])).await;
    let result = result.results[0].clone();
    let full = created(&result);
    assert_eq!(
        (result.email.as_str(), result.key.as_str()),
        ("a@b.co", "row 1")
    );
    assert_eq!(full.reminder_lead, item.reminder_lead);
    assert_eq!(
        (&full.redirect_url, &full.message, &full.locale),
        (&item.redirect_url, &item.message, &item.locale)
    );
    assert!(full.public_metadata == item.public_metadata);
    assert!(full.private_metadata == item.private_metadata);
    assert!(full.omitted_fields.is_none());
    assert!(world.get(&full.id).await == full);
    let without_reminder = created(&world.invite(&["b@b.co"]).await.results[0]);
    assert_eq!(without_reminder.reminder_lead, None);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_repetition_may_ask_for_another_view_and_for_links() {
    let mut world = World::start().await;
    let request = |view, return_link| BulkCreateRequest {
        request_id: "019aacd0-0000-7000-8000-000000000001".to_owned(),
        view,
        return_link,
        ..create_request(vec![whole_item("a@b.co"), item("broken")])
    };
    let lean = world.bulk_create(request(BASIC, false)).await;
    let full = world.bulk_create(request(FULL, true)).await;
    let linked = world.bulk_create(request(BASIC, true)).await;
    assert!(world.bulk_create(request(BASIC, false)).await == lean);
    assert_eq!(full.batch_id, lean.batch_id);

    let invitation = created(&full.results[0]);
    assert!(invitation == world.get(&invitation.id).await);
    assert!(created(&lean.results[0]) == basic(&invitation));
    assert_eq!(
        (
            lean.results[0].email.as_str(),
            lean.results[0].link.as_str()
        ),
        ("", "")
    );
    assert_eq!(
        (
            full.results[1].email.as_str(),
            lean.results[1].email.as_str()
        ),
        ("broken", "")
    );
    assert!(lean.results[1].error == full.results[1].error);
    assert!(full.results[0].link.starts_with("https://"));
    assert_eq!(linked.results[0].link, full.results[0].link);
    assert!(created(&linked.results[0]) == created(&lean.results[0]));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_stream_returns_the_view_of_its_header_and_a_repetition_may_ask_for_another() {
    let mut world = World::start().await;
    let request_id = new_request_id();
    let send = async |view| {
        let mut header = header();
        header.request_id.clone_from(&request_id);
        header.view = view;
        let answer = send_all(&world.client(), header, 10, &[whole_item("a@b.co")]).await;
        answer.end.unwrap();
        answer.responses.last().unwrap().results[0].clone()
    };
    let (lean, full) = (send(BASIC).await, send(FULL).await);
    assert_eq!((lean.key.as_str(), lean.email.as_str()), ("row 1", ""));
    assert_eq!(
        (full.key.as_str(), full.email.as_str()),
        ("row 1", "a@b.co")
    );
    assert!(created(&full) == world.get(&created(&full).id).await);
    assert!(created(&lean) == basic(&created(&full)));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_bulk_resend_returns_the_view_of_each_call() {
    let mut world = World::start().await;
    let request = create_request(vec![whole_item("a@b.co")]);
    let id = created(&world.bulk_create(request).await.results[0]).id;
    world.deliver_all().await;
    world.clock.advance(Span::hours(1));
    let resend = async |view, validate_only| {
        let request = BulkResendRequest {
            request_id: "019aacd0-0000-7000-8000-000000000002".to_owned(),
            view,
            validate_only,
            ..bulk_resend_request(&[&id])
        };
        let answer = world.client().bulk_resend(request).await.unwrap();
        answer.into_inner().results.remove(0).invitation.unwrap()
    };
    let predicted = resend(FULL, true).await;
    let lean = resend(BASIC, false).await;
    let full = resend(FULL, false).await;
    assert!(full == world.get(&id).await && full == predicted);
    assert!(lean == basic(&full));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_bulk_revoke_returns_each_invitation_as_it_is_afterwards() {
    let mut world = World::start().await;
    let request = create_request(vec![whole_item("a@b.co")]);
    let id = created(&world.bulk_create(request).await.results[0]).id;
    world.clock.advance(Span::hours(1));
    let revoke = async |view, validate_only| {
        let request = BulkRevokeRequest {
            acting_user_id: "ada".to_owned(),
            view,
            validate_only,
            ..bulk_revoke_request(&[&id])
        };
        let answer = world.client().bulk_revoke(request).await.unwrap();
        let result = answer.into_inner().results.remove(0);
        (result.outcome(), result.invitation.unwrap())
    };
    let (outcome, predicted) = revoke(FULL, true).await;
    assert_eq!(outcome, RevokeOutcome::Revoked);
    let (outcome, lean) = revoke(BASIC, false).await;
    assert_eq!(outcome, RevokeOutcome::Revoked);
    let (outcome, full) = revoke(FULL, false).await;
    assert_eq!(outcome, RevokeOutcome::Unchanged);
    assert_eq!(full.state(), InvitationState::Revoked);
    assert_eq!(full.revoked_by_user_id, "ada");
    assert!(full == world.get(&id).await && full == predicted);
    assert!(lean == basic(&full));
    assert_eq!(world.deliver_all().await, 0);
}
