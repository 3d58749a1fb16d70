//! Preview: what a landing page may show to whoever holds the link. Changes nothing.

use crate::domain::actor::Actor;
use crate::domain::email_address::EmailAddress;
use crate::domain::invitation::Invitation;
use crate::domain::token::Token;

use super::{Service, ServiceError};

/// What a token stands for.
pub struct Preview {
    /// The invitation; not all of it may be shown.
    pub invitation: Invitation,
    /// The invited address with most of it hidden.
    pub masked_email: String,
}

impl Service {
    /// Looks at the invitation of a token.
    pub async fn preview(&self, token: Token, actor: Actor) -> Result<Preview, ServiceError> {
        let service = self.clone();
        self.store
            .run("preview", move |connection| {
                let (service, token, actor) = (service.clone(), token.clone(), actor.clone());
                Box::pin(async move {
                    let found = service.verify_active(connection, &token, &actor).await?;
                    let invitation = found.invitation;
                    let masked_email = EmailAddress::from_stored(&invitation.email)
                        .map(|email| email.masked())
                        .unwrap_or_default();
                    Ok(Preview {
                        invitation,
                        masked_email,
                    })
                })
            })
            .await
    }
}
