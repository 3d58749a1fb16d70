//! Calls that create, read and end invitations, and reports about their messages.

use invitations::proto::{
    AcceptRequest, AcceptResponse, BulkCreateRequest, BulkCreateResponse, BulkCreateStreamHeader,
    BulkCreateStreamRequest, BulkCreateStreamResponse, BulkGetResponse, BulkResendResponse,
    BulkRevokeResponse, DeclineRequest, DeclineResponse, GetBacklogRequest, GetBacklogResponse,
    GetBatchResponse, GetResponse, InvitationView, ListRequest, ListResponse, NewInvitation,
    OnExisting, PreviewResponse, ReportBounceRequest, ReportBounceResponse,
    RequeueMessagesResponse, ResendResponse, RevokeResponse, WatchRequest, WatchResponse,
};

use super::canary_deployment::{CanaryDeployment, canary_item, canary_item_without_email};
use crate::support::mailbox::ReceivedMail;
use crate::support::waiting::wait_until;
use crate::support::{
    ACME, accept_request, bulk_get_request, bulk_resend_request, bulk_revoke_request,
    create_request, decline_request, get_batch_request, get_request, list_request, preview_request,
    requeue_request, resend_request, revoke_request, token_of_link,
};

const BULK_CREATE: &str = "InvitationService/BulkCreate";

impl CanaryDeployment {
    /// Invites four addresses, of which the first gets an email and the second bounces. Returns the ids of the
    /// invitations and the token in the email.
    pub(super) async fn invite(&mut self) -> (Vec<String>, String) {
        let reply = "550-5.1.1 <qzlocal2@qzdomain2.example>: no mailbox QZLocal2 here\r\n\
                     550 5.1.1 see https://x.example/?to=qzlocal2%40qzdomain2.example, qzlocal2=qzdomain2.example";
        let relay = &self.deployment.relay;
        relay.refuse("qzlocal2@qzdomain2.example", reply);
        let request = BulkCreateRequest {
            request_id: "019aacd0-0000-4000-8000-000000000001".to_owned(),
            ..create_request(valid_and_invalid_items())
        };
        let response: BulkCreateResponse = self.call(BULK_CREATE, request.clone()).await;
        assert_eq!((response.succeeded_count, response.failed_count), (4, 3));
        self.repeat(request).await;
        wait_until("the email", async || {
            self.deployment.relay.received_count() == 1
        })
        .await;
        wait_until("the bounce", async || {
            let mut database = self.deployment.database.connect().await;
            let state: String = sqlx::query_scalar(
                "SELECT delivery_state FROM invitations WHERE email LIKE 'qzlocal2@%'",
            )
            .fetch_one(&mut database)
            .await
            .unwrap();
            state == "bounced"
        })
        .await;
        let invitations = response.results.into_iter();
        let ids = invitations.filter_map(|result| Some(result.invitation?.id));
        let message = self.deployment.relay.received().pop().unwrap();
        (ids.collect(), ReceivedMail::parse(&message).token())
    }

    /// Repeats a request, changes it under the same `request_id`, and sends it as an atomic batch, which fails because of
    /// the invalid items.
    async fn repeat(&mut self, request: BulkCreateRequest) {
        self.call::<BulkCreateResponse>(BULK_CREATE, request.clone())
            .await;
        let atomic = BulkCreateRequest {
            atomic: true,
            ..request
        };
        let changed = self.try_call::<BulkCreateResponse>(BULK_CREATE, atomic.clone());
        assert!(changed.await.is_err());
        let atomic = BulkCreateRequest {
            request_id: String::new(),
            ..atomic
        };
        let failed = self.try_call::<BulkCreateResponse>(BULK_CREATE, atomic);
        assert!(failed.await.is_err());
    }

    /// Reads the invitations in every way, and sends the first two messages again.
    pub(super) async fn read_and_resend(&mut self, ids: &[String], token: &str) {
        let get = get_request(&ids[0]);
        self.call::<GetResponse>("InvitationService/Get", get).await;
        let get = bulk_get_request(&[&ids[0], "qzmalformed"]);
        self.call::<BulkGetResponse>("InvitationService/BulkGet", get)
            .await;
        let list = ListRequest {
            filter: Some(invitations::proto::InvitationFilter {
                email: Some("qzlocal1@qzdomain1.example".to_owned()),
                ..Default::default()
            }),
            ..list_request()
        };
        self.call::<ListResponse>("InvitationService/List", list)
            .await;
        let preview = preview_request(token);
        self.call::<PreviewResponse>("InvitationService/Preview", preview)
            .await;
        let bulk_resend = bulk_resend_request(&[&ids[0], "qzmalformed"]);
        self.call::<BulkResendResponse>("InvitationService/BulkResend", bulk_resend)
            .await;
        let resend = resend_request(&ids[0]);
        self.call::<ResendResponse>("InvitationService/Resend", resend)
            .await;
        let requeue = requeue_request(&[&ids[1]]);
        self.call::<RequeueMessagesResponse>("MailService/RequeueMessages", requeue)
            .await;
        self.call::<GetBacklogResponse>("MailService/GetBacklog", GetBacklogRequest {})
            .await;
        let get = get_request(&ids[0]);
        let response: GetResponse = self.call("InvitationService/Get", get).await;
        let get_batch = get_batch_request(&response.invitation.unwrap().batch_id);
        self.call::<GetBatchResponse>("InvitationService/GetBatch", get_batch)
            .await;
        let watch = WatchRequest {
            organization_id: ACME.to_owned(),
            ..Default::default()
        };
        let response: WatchResponse = self.call("InvitationService/Watch", watch).await;
        assert!(!response.events.is_empty());
    }

    /// Accepts an invitation, first with addresses that were not invited, and revokes another.
    pub(super) async fn accept_and_revoke(&mut self, revoked_id: &str, token: &str) {
        let accept = |email: &str| AcceptRequest {
            user_name: "Qzusername".to_owned(),
            ..accept_request(token, "new", email)
        };
        for email in ["qzlocal3@qzdomain3.example", "qzmalformed"] {
            let refused =
                self.try_call::<AcceptResponse>("InvitationService/Accept", accept(email));
            assert!(refused.await.is_err());
        }
        let accept = accept("qzlocal1@qzdomain1.example");
        self.call::<AcceptResponse>("InvitationService/Accept", accept)
            .await;
        let revoke = revoke_request(revoked_id);
        self.call::<RevokeResponse>("InvitationService/Revoke", revoke)
            .await;
        let bulk_revoke = bulk_revoke_request(&[revoked_id, "qzmalformed"]);
        self.call::<BulkRevokeResponse>("InvitationService/BulkRevoke", bulk_revoke)
            .await;
    }

    /// Creates invitations by a stream, repeats it, and sends other items under the same `request_id`.
    pub(super) async fn create_by_stream(&mut self) {
        let item = |number| NewInvitation {
            key: "qzmalformed".to_owned(),
            ..canary_item_without_email(number)
        };
        let mut request = BulkCreateStreamRequest {
            header: Some(BulkCreateStreamHeader {
                request_id: "019aacd0-0000-4000-8000-000000000002".to_owned(),
                organization_id: ACME.to_owned(),
                inviter_user_id: "ada".to_owned(),
                view: InvitationView::Full.into(),
                ..Default::default()
            }),
            invitations: vec![item(1), item(2)],
        };
        let method = "InvitationService/BulkCreateStream";
        for _ in 0..2 {
            let response: BulkCreateStreamResponse = self.call(method, request.clone()).await;
            assert_eq!(response.results.len(), 2);
        }
        request.invitations.swap(0, 1);
        request.invitations[1].key = "qzmalformed".repeat(10);
        let refused = self.try_call::<BulkCreateStreamResponse>(method, request);
        assert!(refused.await.is_err());
    }

    /// Creates an invitation whose link the response contains, and declines it. Returns the token.
    pub(super) async fn decline(&mut self) -> String {
        let request = BulkCreateRequest {
            return_link: true,
            on_existing: OnExisting::Replace.into(),
            ..create_request(vec![canary_item_without_email(4)])
        };
        let response: BulkCreateResponse = self.call(BULK_CREATE, request).await;
        // No other response may contain a link.
        self.calls.responses.pop();
        let token = token_of_link(&response.results[0].link);
        let decline = DeclineRequest {
            suppress: true,
            ..decline_request(&token)
        };
        self.call::<DeclineResponse>("InvitationService/Decline", decline)
            .await;
        token
    }

    /// Reports a bounce, with an envelope recipient that is unknown and with the one of the first email.
    pub(super) async fn report_bounces(&mut self) {
        let report = include_str!("../../../fixtures/dsn/postfix.eml")
            .replace("example.net", "qzdomain1.example");
        let connections = self.deployment.relay.connections();
        let commands = String::from_utf8_lossy(&connections[0].bytes).into_owned();
        let (_, sender) = commands.split_once("MAIL FROM:<").unwrap();
        for envelope_recipient in [
            "qzlocal1@qzdomain1.example",
            sender.split('>').next().unwrap(),
        ] {
            let request = ReportBounceRequest {
                message: report.clone().into_bytes(),
                envelope_recipient: envelope_recipient.to_owned(),
            };
            self.call::<ReportBounceResponse>("FeedbackService/ReportBounce", request)
                .await;
        }
    }
}

/// Four valid items, of which only the first two are to be emailed, and three invalid ones.
fn valid_and_invalid_items() -> Vec<NewInvitation> {
    let invalid_item = |email: &str, message: &str| NewInvitation {
        email: email.to_owned(),
        message: message.to_owned(),
        redirect_url: "https://qzmalformed.example/".to_owned(),
        ..canary_item(5)
    };
    vec![
        canary_item(1),
        canary_item(2),
        canary_item_without_email(3),
        canary_item_without_email(4),
        invalid_item("qzmalformed", "qznoteword"),
        invalid_item("qzmalformed qzmalformed@example.com", "qznoteword"),
        invalid_item("qzlocal8@example.com", "https://qzmalformed.example"),
    ]
}
