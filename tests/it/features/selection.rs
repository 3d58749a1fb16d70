//! Which invitations a bulk call selects: by ids, by a filter or all, page by page.

use invitations::proto::{
    BulkResendRequest, BulkRevokeRequest, DeliveryState, InvitationFilter, InvitationState,
    RequeueMessagesRequest,
};
use tonic::{Response, Status};

use crate::support::{
    ACME, OTHER, World, bulk_resend_all, bulk_revoke_all, created_ids, field_violations,
    invite_to_other_request, requeue_all,
};

/// The methods that select invitations.
#[derive(Debug, Clone, Copy)]
enum BulkMethod {
    Resend,
    Revoke,
    Requeue,
}

const METHODS: [BulkMethod; 3] = [BulkMethod::Resend, BulkMethod::Revoke, BulkMethod::Requeue];

/// The fields with which the requests of these methods select invitations.
#[derive(Clone, Default)]
struct SelectionRequest {
    organization_id: String,
    invitation_ids: Vec<String>,
    filter: Option<InvitationFilter>,
    all: bool,
    validate_only: bool,
    page_size: i32,
    page_token: String,
}

/// The ids of the selected invitations, and the token of the next page.
type SelectedPage = (Vec<String>, String);

macro_rules! request {
    ($selection:expr, $all:expr) => {{
        let mut request = $all;
        request.organization_id = $selection.organization_id;
        request.invitation_ids = $selection.invitation_ids;
        request.filter = $selection.filter;
        request.all = $selection.all;
        request.validate_only = $selection.validate_only;
        request.page_size = $selection.page_size;
        request.page_token = $selection.page_token;
        request
    }};
}

macro_rules! page {
    ($response:expr) => {{
        let response = $response.map(Response::into_inner)?;
        let results = response.results.into_iter();
        let ids = results.map(|result| {
            assert!(result.error.is_none());
            result.invitation_id
        });
        Ok((ids.collect(), response.next_page_token))
    }};
}

impl BulkMethod {
    async fn call(
        self,
        world: &World,
        selection: SelectionRequest,
    ) -> Result<SelectedPage, Status> {
        match self {
            Self::Resend => {
                let request: BulkResendRequest = request!(selection, bulk_resend_all());
                page!(world.client().bulk_resend(request).await)
            }
            Self::Revoke => {
                let request: BulkRevokeRequest = request!(selection, bulk_revoke_all());
                page!(world.client().bulk_revoke(request).await)
            }
            Self::Requeue => {
                let request: RequeueMessagesRequest = request!(selection, requeue_all());
                page!(world.mails().requeue_messages(request).await)
            }
        }
    }
}

fn all() -> SelectionRequest {
    SelectionRequest {
        organization_id: ACME.to_owned(),
        all: true,
        ..Default::default()
    }
}

fn by_filter(filter: InvitationFilter) -> SelectionRequest {
    SelectionRequest {
        filter: Some(filter),
        all: false,
        ..all()
    }
}

/// Invites addresses whose emails have failed, so that every method can act on them. Returns the newest first.
async fn invite_failed(world: &mut World, count: usize) -> Vec<String> {
    let mut ids = world.invite_numbered("b.co", count).await;
    world
        .execute(
            "UPDATE outbox SET state = 'dead';
             UPDATE invitations SET delivery_state = 'failed'",
        )
        .await;
    world.may_leave_mail();
    ids.reverse();
    ids
}

/// Whether nothing happened to the invitation.
async fn is_untouched(world: &World, id: &str) -> bool {
    let invitation = world.get(id).await;
    let delivery = invitation.delivery.clone().unwrap();
    invitation.state() == InvitationState::Pending && delivery.state() == DeliveryState::Failed
}

#[tokio::test]
async fn a_filter_whose_variable_is_unset_does_not_select_every_invitation() {
    let mut world = World::start().await;
    let ids = invite_failed(&mut world, 1).await;
    for method in METHODS {
        let empty = by_filter(InvitationFilter::default());
        let refused = method.call(&world, empty).await.err().unwrap();
        let expected = [("filter".to_owned(), "FIELD_REQUIRED".to_owned())];
        assert_eq!(field_violations(&refused), expected, "{method:?}");
        let unset = InvitationFilter {
            batch_id: Some(String::new()),
            delivery_states: vec![DeliveryState::Failed.into()],
            ..Default::default()
        };
        let refused = method.call(&world, by_filter(unset)).await.err().unwrap();
        let expected = [("filter.batch_id".to_owned(), "FIELD_REQUIRED".to_owned())];
        assert_eq!(field_violations(&refused), expected, "{method:?}");
        let unset = InvitationFilter {
            states: vec![InvitationState::Unspecified.into()],
            ..Default::default()
        };
        let refused = method.call(&world, by_filter(unset)).await.err().unwrap();
        let expected = [("filter.states".to_owned(), "FIELD_INVALID".to_owned())];
        assert_eq!(field_violations(&refused), expected, "{method:?}");
        let unset = InvitationFilter {
            delivery_states: vec![DeliveryState::Unspecified.into()],
            ..Default::default()
        };
        let refused = method.call(&world, by_filter(unset)).await.err().unwrap();
        let field = "filter.delivery_states".to_owned();
        let expected = [(field, "FIELD_INVALID".to_owned())];
        assert_eq!(field_violations(&refused), expected, "{method:?}");
        assert!(is_untouched(&world, &ids[0]).await, "{method:?}");
    }
    for method in [BulkMethod::Requeue, BulkMethod::Resend, BulkMethod::Revoke] {
        let selected = method.call(&world, all()).await.unwrap();
        assert_eq!(selected.0, ids, "{method:?}");
    }
}

#[tokio::test]
async fn a_call_selects_by_one_of_ids_a_filter_and_all() {
    let mut world = World::start().await;
    let ids = invite_failed(&mut world, 1).await;
    let filter = InvitationFilter {
        inviter_user_id: Some("ada".to_owned()),
        ..Default::default()
    };
    let filtered = by_filter(filter.clone());
    let listed = SelectionRequest {
        invitation_ids: ids.clone(),
        all: false,
        ..all()
    };
    let cases = [
        (
            SelectionRequest {
                all: false,
                ..all()
            },
            "invitation_ids",
            "ITEMS_EMPTY",
        ),
        (
            SelectionRequest {
                filter: Some(filter),
                ..listed.clone()
            },
            "filter",
            "FIELD_INVALID",
        ),
        (
            SelectionRequest {
                all: true,
                ..filtered
            },
            "all",
            "FIELD_INVALID",
        ),
        (
            SelectionRequest {
                all: true,
                ..listed.clone()
            },
            "all",
            "FIELD_INVALID",
        ),
        (
            SelectionRequest {
                page_size: -1,
                ..listed.clone()
            },
            "page_size",
            "FIELD_INVALID",
        ),
        (
            SelectionRequest {
                page_token: "x".to_owned(),
                ..listed
            },
            "page_token",
            "PAGE_TOKEN_INVALID",
        ),
    ];
    for method in METHODS {
        for (selection, field, reason) in &cases {
            let refused = method.call(&world, selection.clone()).await.err().unwrap();
            let expected = [((*field).to_owned(), (*reason).to_owned())];
            assert_eq!(field_violations(&refused), expected, "{method:?}");
        }
        assert!(is_untouched(&world, &ids[0]).await, "{method:?}");
    }
}

#[tokio::test]
async fn a_filter_refuses_states_that_a_method_cannot_act_on() {
    let world = World::start().await;
    for method in METHODS {
        for state in [InvitationState::Accepted, InvitationState::Expired] {
            let filter = InvitationFilter {
                states: vec![InvitationState::Pending.into(), state.into()],
                ..Default::default()
            };
            let answer = method.call(&world, by_filter(filter)).await;
            let is_resendable = state == InvitationState::Expired;
            if matches!(method, BulkMethod::Resend) && is_resendable {
                assert!(answer.unwrap().0.is_empty());
            } else {
                let expected = [("filter.states".to_owned(), "FIELD_INVALID".to_owned())];
                assert_eq!(
                    field_violations(&answer.err().unwrap()),
                    expected,
                    "{method:?}"
                );
            }
        }
    }
    let sent = InvitationFilter {
        delivery_states: vec![DeliveryState::Failed.into(), DeliveryState::Sent.into()],
        ..Default::default()
    };
    let refused = BulkMethod::Requeue.call(&world, by_filter(sent)).await;
    let expected = [(
        "filter.delivery_states".to_owned(),
        "FIELD_INVALID".to_owned(),
    )];
    assert_eq!(field_violations(&refused.err().unwrap()), expected);
}

#[tokio::test]
async fn a_dry_run_and_a_call_return_the_same_pages_with_the_newest_first() {
    let mut world = World::start().await;
    let of_other = world
        .bulk_create(invite_to_other_request(&["x@b.co"]))
        .await;
    assert_eq!(created_ids(&of_other).len(), 1);
    let ids = invite_failed(&mut world, 5).await;
    let filter = InvitationFilter {
        inviter_user_id: Some("ada".to_owned()),
        ..Default::default()
    };
    for method in METHODS {
        for selection in [by_filter(filter.clone()), all()] {
            let mut request = SelectionRequest {
                validate_only: true,
                page_size: 2,
                ..selection
            };
            let mut pages = Vec::new();
            loop {
                let (page, token) = method.call(&world, request.clone()).await.unwrap();
                pages.push(page);
                request.page_token = token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            let expected: Vec<_> = ids.chunks(2).map(<[String]>::to_vec).collect();
            assert_eq!(pages, expected, "{method:?}");
        }
        assert!(is_untouched(&world, &ids[0]).await, "{method:?}");
    }
    // Requeued emails are no dead letters any more, and revoked invitations are not pending: these come last.
    for method in [BulkMethod::Requeue, BulkMethod::Resend, BulkMethod::Revoke] {
        let mut request = SelectionRequest {
            page_size: 4,
            ..all()
        };
        let (first, token) = method.call(&world, request.clone()).await.unwrap();
        request.page_token = token;
        let (second, token) = method.call(&world, request).await.unwrap();
        assert_eq!([first, second].concat(), ids, "{method:?}");
        assert_eq!(token, "", "{method:?}");
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_method_organization_and_filter() {
    let mut world = World::start().await;
    invite_failed(&mut world, 2).await;
    let by_inviter = InvitationFilter {
        inviter_user_id: Some("ada".to_owned()),
        ..Default::default()
    };
    for (method, other_method) in [
        (BulkMethod::Resend, BulkMethod::Revoke),
        (BulkMethod::Revoke, BulkMethod::Requeue),
        (BulkMethod::Requeue, BulkMethod::Resend),
    ] {
        let dry = SelectionRequest {
            validate_only: true,
            page_size: 1,
            ..all()
        };
        let (_, page_token) = method.call(&world, dry.clone()).await.unwrap();
        let next = SelectionRequest { page_token, ..dry };
        method.call(&world, next.clone()).await.unwrap();
        let elsewhere = SelectionRequest {
            organization_id: OTHER.to_owned(),
            ..next.clone()
        };
        let filtered = SelectionRequest {
            filter: Some(by_inviter.clone()),
            all: false,
            ..next.clone()
        };
        for (method, request) in [
            (method, elsewhere),
            (method, filtered),
            (other_method, next),
        ] {
            let refused = method.call(&world, request).await.err().unwrap();
            let expected = [("page_token".to_owned(), "PAGE_TOKEN_INVALID".to_owned())];
            assert_eq!(field_violations(&refused), expected, "{method:?}");
        }
    }
}
