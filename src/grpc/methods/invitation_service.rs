//! `InvitationService`: each method checks permission, turns words into words and runs one use case.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::reason::Violation;
use crate::domain::scope::Scope;
use crate::domain::user::User;
use crate::grpc::admission::actor::{actor, actor_by_link};
use crate::grpc::admission::gate::{self, Gate, Pace, Permit, require_scope};
use crate::grpc::admission::rates::Rates;
use crate::grpc::admission::user;
use crate::grpc::convert::fields;
use crate::grpc::convert::fields::Field;
use crate::grpc::convert::{batch, bulk, directory, invitation, resend, revoke, times};
use crate::grpc::methods::bulk_create_stream;
use crate::grpc::methods::watch;
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::invitation_service_server::InvitationService;
use crate::proto::{
    AcceptRequest, AcceptResponse, BulkCreateRequest, BulkCreateResponse, BulkCreateStreamRequest,
    BulkResendRequest, BulkResendResponse, BulkRevokeRequest, BulkRevokeResponse, DeclineRequest,
    DeclineResponse, GetBatchRequest, GetBatchResponse, GetRequest, GetResponse, ListRequest,
    ListResponse, PreviewRequest, PreviewResponse, ResendRequest, ResendResponse, RevokeRequest,
    RevokeResponse, WatchRequest, resend_request,
};
use crate::service::{Accept, Decline, List, Resend, Service, ServiceError};

/// The service behind the protocol. Cheap to clone, for streams that outlive their call.
#[derive(Clone)]
pub(crate) struct InvitationApi {
    pub(crate) service: Service,
    pub(crate) gate: Gate,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) rates: Arc<Rates>,
}

impl InvitationApi {
    /// Puts a use case behind each method.
    pub(crate) const fn new(
        service: Service,
        gate: Gate,
        keyring: Arc<Keyring>,
        rates: Arc<Rates>,
    ) -> Self {
        Self {
            service,
            gate,
            keyring,
            rates,
        }
    }

    /// The organization a call is for, or what is wrong with its name. A user must be an admin of it; for a service its
    /// token says it. Either comes before existence.
    pub(crate) async fn organization(
        &self,
        caller: &Caller,
        input: &str,
    ) -> Result<Field<OrganizationId>, Status> {
        let Some(user) = caller.as_user() else {
            return gate::organization(caller, input);
        };
        let id = fields::organization_id(input);
        if let Ok(id) = &id {
            self.service.require_admin(id, &user.id).await?;
        }
        Ok(id)
    }
}

#[tonic::async_trait]
impl InvitationService for InvitationApi {
    async fn bulk_create(
        &self,
        request: Request<BulkCreateRequest>,
    ) -> Result<Response<BulkCreateResponse>, Status> {
        let work = async |caller: Arc<Caller>, mut message: BulkCreateRequest| {
            let organization_id = self.organization(&caller, &message.organization_id).await?;
            if let Some(user) = caller.as_user() {
                user::invites_as_self(user, &mut message)?;
            } else if message.return_link {
                require_scope(&caller, Scope::InvitationsLink)?;
            }
            let emails = message
                .invitations
                .iter()
                .map(|item| item.email.clone())
                .collect();
            let request =
                bulk::request(message, actor(&caller), organization_id).map_err(status::invalid)?;
            self.rates.spend(&caller.name, request.items.len())?;
            let mut batch = self.service.bulk_create(request).await?;
            let invitations = batch.results.iter_mut();
            user::conceal(
                &caller,
                invitations.filter_map(|item| item.invitation.as_mut()),
            );
            Ok(bulk::response(
                batch,
                emails,
                caller.holds(Scope::DirectoryRead),
            ))
        };
        self.gate
            .pass(
                "BulkCreate",
                Permit::with_users(Scope::InvitationsWrite),
                Pace::Bulk,
                request,
                work,
            )
            .await
    }

    type BulkCreateStreamStream = bulk_create_stream::Responses;

    async fn bulk_create_stream(
        &self,
        request: Request<Streaming<BulkCreateStreamRequest>>,
    ) -> Result<Response<Self::BulkCreateStreamStream>, Status> {
        self.create_stream(request)
    }

    async fn get_batch(
        &self,
        request: Request<GetBatchRequest>,
    ) -> Result<Response<GetBatchResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: GetBatchRequest| {
            let (organization_id, id) = fields::both(
                self.organization(&caller, &message.organization_id).await?,
                fields::batch_id(&message.batch_id),
            )
            .map_err(status::invalid)?;
            let (found, counts) = self.service.get_batch(organization_id, id).await?;
            Ok(GetBatchResponse {
                batch: Some(batch::batch(&found, &counts)),
            })
        };
        self.gate
            .pass(
                "GetBatch",
                Permit::with_users(Scope::InvitationsRead),
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    type WatchStream = watch::Responses;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Box::pin(self.watch_events(request)).await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: GetRequest| {
            let (organization_id, id) = fields::both(
                self.organization(&caller, &message.organization_id).await?,
                fields::invitation_id(&message.invitation_id),
            )
            .map_err(status::invalid)?;
            let mut found = self.service.get(organization_id, id).await?;
            user::conceal(&caller, [&mut found]);
            let invitation = invitation::invitation(found, caller.holds(Scope::DirectoryRead));
            Ok(GetResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Get",
                Permit::with_users(Scope::InvitationsRead),
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ListRequest| {
            let list = list_name(&message);
            let (organization_id, page) = fields::both(
                self.organization(&caller, &message.organization_id).await?,
                fields::both(
                    fields::page_size(message.page_size),
                    fields::both(
                        invitation::filter(&message),
                        fields::cursor(&self.keyring, &list, &message.page_token, |cursor| {
                            Uuid::from_slice(&cursor).ok()
                        }),
                    ),
                ),
            )
            .map_err(status::invalid)?;
            let (page_size, (filter, before)) = page;
            let request = List {
                organization_id,
                filter,
                before,
                page_size,
            };
            let (mut page, has_more) = self.service.list(request).await?;
            user::conceal(&caller, &mut page);
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
            .pass(
                "List",
                Permit::with_users(Scope::InvitationsRead),
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn preview(
        &self,
        request: Request<PreviewRequest>,
    ) -> Result<Response<PreviewResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: PreviewRequest| {
            let token = fields::token(&message.token).map_err(status::invalid)?;
            let found = self.service.preview(token, actor_by_link(&caller)).await?;
            let mut preview = invitation::preview(found);
            if caller.as_user().is_some() {
                preview.registered = false;
            }
            Ok(preview)
        };
        self.gate
            .pass(
                "Preview",
                Permit::with_users(Scope::InvitationsRead),
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
            let request = match caller.as_user() {
                None => accept(&message).map_err(status::invalid)?,
                Some(user) => user::accept(user, &message)?,
            };
            let user_id = request.user.id.as_str().to_owned();
            let failed_accepts = &self.rates.failed_accepts;
            failed_accepts.check(&caller.name, &user_id)?;
            let outcome = self.service.accept(request, actor_by_link(&caller)).await;
            if outcome.as_ref().is_err_and(ServiceError::is_refusal) {
                failed_accepts.count(&caller.name, &user_id)?;
            }
            let mut outcome = outcome?;
            user::conceal(&caller, [&mut outcome.invitation]);
            user::conceal_person(&caller, &mut outcome.invitation);
            if caller.as_user().is_some() {
                outcome.membership.private_metadata = None;
            }
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
                Permit::with_users(Scope::InvitationsWrite),
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
            let email_normalized = caller.as_user().map(user::verified_email).transpose()?;
            let request = Decline {
                token: fields::token(&message.token).map_err(status::invalid)?,
                suppress: message.suppress,
                email_normalized,
            };
            let declined = self.service.decline(request, actor_by_link(&caller)).await;
            let mut declined = declined?;
            user::conceal(&caller, [&mut declined]);
            user::conceal_person(&caller, &mut declined);
            let invitation = invitation::invitation(declined, caller.holds(Scope::DirectoryRead));
            Ok(DeclineResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Decline",
                Permit::with_users(Scope::InvitationsWrite),
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
            let (organization_id, (id, by_user_id)) = fields::both(
                self.organization(&caller, &message.organization_id).await?,
                fields::both(
                    fields::invitation_id(&message.invitation_id),
                    fields::optional_user_id(&message.user_id),
                ),
            )
            .map_err(status::invalid)?;
            let by_user_id = user::named_or_self(&caller, "user_id", by_user_id)?;
            let mut revoked = self
                .service
                .revoke(organization_id, id, by_user_id, actor(&caller))
                .await?;
            user::conceal(&caller, [&mut revoked]);
            let invitation = invitation::invitation(revoked, caller.holds(Scope::DirectoryRead));
            Ok(RevokeResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Revoke",
                Permit::with_users(Scope::InvitationsWrite),
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn bulk_revoke(
        &self,
        request: Request<BulkRevokeRequest>,
    ) -> Result<Response<BulkRevokeResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: BulkRevokeRequest| {
            let organization_id = self.organization(&caller, &message.organization_id).await?;
            let mut request = revoke::request(&message, actor(&caller), organization_id)
                .map_err(status::invalid)?;
            request.by_user_id = user::named_or_self(&caller, "user_id", request.by_user_id)?;
            let page = self.service.bulk_revoke(request).await?;
            Ok(revoke::response(&message, &page))
        };
        self.gate
            .pass(
                "BulkRevoke",
                Permit::with_users(Scope::InvitationsWrite),
                Pace::Bulk,
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
            let (organization_id, id) = fields::both(
                self.organization(&caller, &message.organization_id).await?,
                fields::invitation_id(&message.invitation_id),
            )
            .map_err(status::invalid)?;
            let request = Resend {
                actor: actor(&caller),
                organization_id,
                id,
                rotate_token: message.rotate_token,
                expiry: match message.expiry {
                    None => Expiry::Default,
                    Some(resend_request::Expiry::Ttl(ttl)) => times::expiry_of_ttl(ttl),
                    Some(resend_request::Expiry::ExpireTime(time)) => times::expiry_of_time(time),
                },
            };
            self.rates.spend(&caller.name, 1)?;
            let mut resent = self.service.resend(request).await?;
            user::conceal(&caller, [&mut resent]);
            let invitation = invitation::invitation(resent, caller.holds(Scope::DirectoryRead));
            Ok(ResendResponse {
                invitation: Some(invitation),
            })
        };
        self.gate
            .pass(
                "Resend",
                Permit::with_users(Scope::InvitationsWrite),
                Pace::Quick,
                request,
                work,
            )
            .await
    }

    async fn bulk_resend(
        &self,
        request: Request<BulkResendRequest>,
    ) -> Result<Response<BulkResendResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: BulkResendRequest| {
            let organization_id = self.organization(&caller, &message.organization_id).await?;
            let request = resend::request(&message, actor(&caller), organization_id, &self.keyring)
                .map_err(status::invalid)?;
            self.rates
                .spend(&caller.name, request.selection.size_max())?;
            let mut page = self.service.bulk_resend(request).await?;
            let invitations = page.results.iter_mut();
            user::conceal(
                &caller,
                invitations.filter_map(|item| item.invitation.as_mut()),
            );
            let may_see_accounts = caller.holds(Scope::DirectoryRead);
            Ok(resend::response(
                &message,
                page,
                &self.keyring,
                may_see_accounts,
            ))
        };
        self.gate
            .pass(
                "BulkResend",
                Permit::with_users(Scope::InvitationsWrite),
                Pace::Bulk,
                request,
                work,
            )
            .await
    }
}

/// The token and the user.
fn accept(message: &AcceptRequest) -> Result<Accept, Vec<Violation>> {
    let user = User::parse(
        &message.user_id,
        &message.user_name,
        &message.user_emails,
        ["user_id", "user_name", "user_emails"],
    );
    let (token, user) = fields::both(fields::token(&message.token), user)?;
    Ok(Accept {
        token,
        user,
        is_self: false,
    })
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
