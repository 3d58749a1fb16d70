//! What the methods of `InvitationService` share.

use std::sync::Arc;

use tonic::Status;

use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::grpc::admission::caller_rates::CallerRates;
use crate::grpc::admission::control::AdmissionControl;
use crate::grpc::admission::permission;
use crate::grpc::convert::fields::{self, Field};
use crate::identity::Caller;
use crate::service::{RequireAdmin, Service};

/// `InvitationService`. Cheap to clone, for streams that live longer than their call.
#[derive(Clone)]
pub(in crate::grpc) struct InvitationApi {
    pub(super) service: Service,
    pub(super) admission: AdmissionControl,
    pub(super) keyring: Arc<Keyring>,
    pub(super) rates: Arc<CallerRates>,
}

impl InvitationApi {
    pub(in crate::grpc) const fn new(
        service: Service,
        admission: AdmissionControl,
        keyring: Arc<Keyring>,
        rates: Arc<CallerRates>,
    ) -> Self {
        Self {
            service,
            admission,
            keyring,
            rates,
        }
    }

    /// The organization of a request. A user must be an admin of it, and a service must be allowed to act for it. Both are
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
            let require_admin = RequireAdmin {
                organization_id: id.clone(),
                user_id: user.id.clone(),
            };
            self.service.run(require_admin).await?;
        }
        Ok(id)
    }
}
