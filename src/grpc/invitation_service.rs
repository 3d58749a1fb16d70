//! `InvitationService`: each method checks permission, turns words into words and runs one use case.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::callers::Caller;
use super::convert::{bulk, directory, invitation, times};
use super::gate::{Gate, Pace, organization, require_scope};
use super::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use super::{page_token, status};
use crate::domain::expiry::Expiry;
use crate::domain::ids::UserId;
use crate::domain::keyring::Keyring;
use crate::domain::reason::{Reason, Violation};
use crate::domain::scope::Scope;
use crate::domain::token::Token;
use crate::domain::user::User;
use crate::proto::invitation_service_server::InvitationService;
use crate::proto::{
    AcceptRequest, AcceptResponse, BulkCreateRequest, BulkCreateResponse, DeclineRequest,
    DeclineResponse, GetRequest, GetResponse, ListRequest, ListResponse, PreviewRequest,
    PreviewResponse, ResendRequest, ResendResponse, RevokeRequest, RevokeResponse, resend_request,
};
use crate::service::{Accept, List, Resend, Service};

/// The service behind the protocol.
pub(super) struct InvitationApi {
    service: Service,
    gate: Gate,
    keyring: Arc<Keyring>,
}

impl InvitationApi {
    /// Puts a use case behind each method.
    pub(super) const fn new(service: Service, gate: Gate, keyring: Arc<Keyring>) -> Self {
        Self {
            service,
            gate,
            keyring,
        }
    }
}

#[tonic::async_trait]
impl InvitationService for InvitationApi {
    async fn bulk_create(
        &self,
        request: Request<BulkCreateRequest>,
    ) -> Result<Response<BulkCreateResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: BulkCreateRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            if message.return_link {
                require_scope(&caller, Scope::InvitationsLink)?;
            }
            let emails = message
                .invitations
                .iter()
                .map(|item| item.email.clone())
                .collect();
            let request =
                bulk::request(message, &caller.name, organization_id).map_err(status::invalid)?;
            let batch = self.service.bulk_create(request).await?;
            Ok(bulk::response(
                batch,
                emails,
                caller.holds(Scope::DirectoryRead),
            ))
        };
        self.gate
            .pass(
                "BulkCreate",
                Scope::InvitationsWrite,
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: GetRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let id = invitation_id(&message.invitation_id)?;
            let found = self.service.get(organization_id, id).await?;
            let invitation = invitation::invitation(found, caller.holds(Scope::DirectoryRead));
            Ok(GetResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass("Get", Scope::InvitationsRead, Pace::Quick, request, work)
            .await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ListRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let page_size = page_size(message.page_size)?;
            let filter = invitation::filter(&message).map_err(status::invalid)?;
            let list = list_name(&message);
            let before = match message.page_token.as_str() {
                "" => None,
                token => Some(cursor(&self.keyring, &list, token)?),
            };
            let request = List {
                organization_id,
                filter,
                before,
                page_size,
            };
            let (page, has_more) = self.service.list(request).await?;
            let next_page_token = page
                .last()
                .filter(|_| has_more)
                .map(|last| page_token::seal(&self.keyring, &list, last.id.as_bytes()))
                .unwrap_or_default();
            let may_see_accounts = caller.holds(Scope::DirectoryRead);
            let invitations = page
                .into_iter()
                .map(|found| invitation::invitation(found, may_see_accounts))
                .collect();
            Ok(ListResponse {
                invitations,
                next_page_token,
            })
        };
        self.gate
            .pass("List", Scope::InvitationsRead, Pace::Quick, request, work)
            .await
    }

    async fn preview(
        &self,
        request: Request<PreviewRequest>,
    ) -> Result<Response<PreviewResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: PreviewRequest| {
            let token = token(&message.token)?;
            let found = self.service.preview(token, caller.access.clone()).await;
            Ok(invitation::preview(found?))
        };
        self.gate
            .pass(
                "Preview",
                Scope::InvitationsRead,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn accept(
        &self,
        request: Request<AcceptRequest>,
    ) -> Result<Response<AcceptResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: AcceptRequest| {
            let request = accept(&message)?;
            let outcome = self.service.accept(request, caller.access.clone()).await?;
            let may_see_accounts = caller.holds(Scope::DirectoryRead);
            Ok(AcceptResponse {
                membership: Some(directory::membership(outcome.membership)),
                invitation: Some(invitation::invitation(outcome.invitation, may_see_accounts)),
                already_member: outcome.is_already_member,
            })
        };
        self.gate
            .pass(
                "Accept",
                Scope::InvitationsWrite,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn decline(
        &self,
        request: Request<DeclineRequest>,
    ) -> Result<Response<DeclineResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: DeclineRequest| {
            let token = token(&message.token)?;
            let declined = self.service.decline(token, caller.access.clone()).await?;
            let invitation = invitation::invitation(declined, caller.holds(Scope::DirectoryRead));
            Ok(DeclineResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Decline",
                Scope::InvitationsWrite,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: RevokeRequest| {
            let organization_id = organization(&caller, &message.organization_id)?;
            let id = invitation_id(&message.invitation_id)?;
            let by_user_id = optional_user_id(&message.user_id)?;
            let revoked = self.service.revoke(organization_id, id, by_user_id).await?;
            let invitation = invitation::invitation(revoked, caller.holds(Scope::DirectoryRead));
            Ok(RevokeResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Revoke",
                Scope::InvitationsWrite,
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn resend(
        &self,
        request: Request<ResendRequest>,
    ) -> Result<Response<ResendResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ResendRequest| {
            let request = Resend {
                organization_id: organization(&caller, &message.organization_id)?,
                id: invitation_id(&message.invitation_id)?,
                rotate_token: message.rotate_token,
                expiry: match message.expiry {
                    None => Expiry::Default,
                    Some(resend_request::Expiry::Ttl(ttl)) => times::expiry_of_ttl(ttl),
                    Some(resend_request::Expiry::ExpireTime(time)) => times::expiry_of_time(time),
                },
            };
            let resent = self.service.resend(request).await?;
            let invitation = invitation::invitation(resent, caller.holds(Scope::DirectoryRead));
            Ok(ResendResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Resend",
                Scope::InvitationsWrite,
                Pace::Quick,
                request,
                work,
            )
            .await
    }
}

/// Coerces a page size to its range; a negative one is refused (AIP-158).
pub(super) fn page_size(input: i32) -> Result<usize, Status> {
    match usize::try_from(input) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(status::invalid(vec![Violation::new(
            "page_size",
            Reason::FieldInvalid,
        )])),
    }
}

fn token(input: &str) -> Result<Token, Status> {
    Token::parse(input)
        .map_err(|_| status::invalid(vec![Violation::new("token", Reason::TokenMalformed)]))
}

/// The token and the user, every violation at once.
fn accept(message: &AcceptRequest) -> Result<Accept, Status> {
    let fields = ["user_id", "user_name", "user_emails"];
    let token = Token::parse(&message.token);
    let user = User::parse(
        &message.user_id,
        &message.user_name,
        &message.user_emails,
        fields,
    );
    match (token, user) {
        (Ok(token), Ok(user)) => Ok(Accept { token, user }),
        (token, user) => {
            let malformed = token
                .err()
                .map(|_| Violation::new("token", Reason::TokenMalformed));
            Err(status::invalid(
                malformed
                    .into_iter()
                    .chain(user.err().unwrap_or_default())
                    .collect(),
            ))
        }
    }
}

fn invitation_id(input: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(input).map_err(|_| {
        let reason = if input.is_empty() {
            Reason::FieldRequired
        } else {
            Reason::FieldInvalid
        };
        status::invalid(vec![Violation::new("invitation_id", reason)])
    })
}

fn optional_user_id(input: &str) -> Result<Option<UserId>, Status> {
    if input.is_empty() {
        return Ok(None);
    }
    UserId::parse(input)
        .map(Some)
        .ok_or_else(|| status::invalid(vec![Violation::new("user_id", Reason::FieldInvalid)]))
}

/// Which list a request asks for: everything but where in it.
fn list_name(request: &ListRequest) -> Vec<u8> {
    let mut name = b"invitations\0".to_vec();
    let request = ListRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    name.extend(request.encode_to_vec());
    name
}

fn cursor(keyring: &Keyring, list: &[u8], token: &str) -> Result<Uuid, Status> {
    page_token::open(keyring, list, token)
        .and_then(|cursor| Uuid::from_slice(&cursor).map_err(|_| Reason::PageTokenInvalid))
        .map_err(|reason| status::invalid(vec![Violation::new("page_token", reason)]))
}
