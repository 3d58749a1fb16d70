//! What the methods of all services share.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::grpc::admission::caller_rates::CallerRates;
use crate::grpc::admission::control::{AdmissionControl, Method};
use crate::grpc::admission::permission;
use crate::grpc::convert::fields::{self, Field};
use crate::identity::Caller;
use crate::service::{RequireInvitingMember, Service};

/// Implements all services. Cheap to clone, for streams that live longer than their call.
#[derive(Clone)]
pub(in crate::grpc) struct Api {
    pub(in crate::grpc) service: Service,
    pub(in crate::grpc) admission: AdmissionControl,
    pub(in crate::grpc) keyring: Arc<Keyring>,
    pub(in crate::grpc) rates: Arc<CallerRates>,
}

impl Api {
    /// Runs a call, if the caller may call the method and there is capacity.
    pub(super) async fn call<'a, M, T, W>(
        &'a self,
        method: Method,
        request: Request<M>,
        work: impl FnOnce(&'a Self, Arc<Caller>, M) -> W,
    ) -> Result<Response<T>, Status>
    where
        W: Future<Output = Result<T, Status>>,
    {
        let work = |caller, message| work(self, caller, message);
        self.admission.call(method, request, work).await
    }

    /// The organization of a request. A user must be a member of it whose role can invite, and a service must be allowed to act for it. Both are
    /// checked before existence.
    pub(super) async fn organization(
        &self,
        caller: &Caller,
        input: &str,
    ) -> Result<Field<OrganizationId>, Status> {
        let Some(user) = caller.as_user() else {
            return permission::organization(caller, input);
        };
        let id = fields::organization_id(input);
        if let Ok(id) = &id {
            let require_member = RequireInvitingMember {
                organization_id: id.clone(),
                user_id: user.id.clone(),
            };
            self.service.run(require_member).await?;
        }
        Ok(id)
    }
}
