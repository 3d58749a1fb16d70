//! From a token or an id to the row of an invitation: the checks with which use cases start.

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::{Invitation, InvitationView};
use crate::domain::reason::Reason;
use crate::domain::token::Token;
use crate::store::Connection;
use crate::store::stored_invitations::{self, VersionedInvitation};
use crate::store::subjects::{self, Subject};
use crate::store::users;

use super::{Context, ItemResult, ServiceError, UnitOfWork};

/// The invitation that somebody accepts or declines.
pub enum InvitationTarget {
    /// By the token of its link.
    Token(Token),
    /// By its id. Then the person must own the invited address, whatever the accept policy says.
    Id(Uuid),
}

/// The verified addresses of a person. Not `Debug`.
#[derive(Clone, Copy)]
pub(super) struct OwnAddresses<'a> {
    pub(super) emails_normalized: &'a [String],
    /// The user whose addresses in the directory count too.
    pub(super) directory_user_id: Option<&'a UserId>,
}

impl Context {
    /// The invitation that a person accepts or declines, whether or not its organization was deleted or suspended. The
    /// addresses matter only for an id.
    ///
    /// # Errors
    ///
    /// Those of [`verify_token`](Self::verify_token) and [`find_own`](Self::find_own).
    pub(super) async fn find_target(
        &self,
        connection: &mut Connection<'_>,
        target: &InvitationTarget,
        addresses: OwnAddresses<'_>,
        actor: &Actor,
    ) -> Result<VersionedInvitation, ServiceError> {
        match target {
            InvitationTarget::Token(token) => self.verify_token(connection, token, actor).await,
            InvitationTarget::Id(id) => self.find_own(connection, *id, addresses, actor).await,
        }
    }

    /// The invitation for one of these addresses.
    ///
    /// # Errors
    ///
    /// `INVITATION_NOT_FOUND`, with the same bytes and after the same statements, for an unknown id, an invitation for
    /// another address and an organization that the caller may not act for.
    async fn find_own(
        &self,
        connection: &mut Connection<'_>,
        id: Uuid,
        addresses: OwnAddresses<'_>,
        actor: &Actor,
    ) -> Result<VersionedInvitation, ServiceError> {
        let found = stored_invitations::find(connection, id, self.now()).await?;
        // Nobody owns the empty address of an unknown or erased invitation.
        let invited = found
            .as_ref()
            .map_or("", |found| &found.subject.email_normalized);
        let is_in_directory = match addresses.directory_user_id {
            Some(user_id) => users::owns_email(connection, user_id, invited).await?,
            None => false,
        };
        let is_own =
            is_in_directory || addresses.emails_normalized.iter().any(|own| own == invited);
        found
            .filter(|found| is_own && actor.access.allows(&found.subject.organization_id))
            .ok_or(ServiceError::Refused(Reason::InvitationNotFound))
    }

    /// The invitation of a genuine token, whether or not its organization was deleted or suspended.
    ///
    /// # Errors
    ///
    /// `TOKEN_INVALID`, with the same bytes and after the same work, for an unknown id, a wrong secret and an organization
    /// that the caller may not act for.
    pub(super) async fn verify_token(
        &self,
        connection: &mut Connection<'_>,
        token: &Token,
        actor: &Actor,
    ) -> Result<VersionedInvitation, ServiceError> {
        let found = stored_invitations::find(connection, token.invitation_id(), self.now()).await?;
        // An erased invitation has no address, and so no token.
        let Some(found) = found.filter(|found| !found.subject.is_erased()) else {
            token.verify_dummy(&self.keyring);
            return Err(ServiceError::Refused(Reason::TokenInvalid));
        };
        let subject = &found.subject;
        let is_genuine = token.matches(&self.keyring, subject.key_id()?, &subject.token_subject()?);
        if !is_genuine || !actor.access.allows(&subject.organization_id) {
            return Err(ServiceError::Refused(Reason::TokenInvalid));
        }
        Ok(found)
    }

    /// Reads an invitation, or fails with `INVITATION_NOT_FOUND`.
    pub(super) async fn read_invitation(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &str,
        id: Uuid,
    ) -> Result<Invitation, ServiceError> {
        let (view, now) = (InvitationView::Full, self.now());
        stored_invitations::get_many(connection, organization_id, &[id], view, now)
            .await?
            .into_iter()
            .next()
            .ok_or(ServiceError::Refused(Reason::InvitationNotFound))
    }
}

pub(super) async fn invitations_by_id(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
    view: InvitationView,
    now: OffsetDateTime,
) -> Result<HashMap<Uuid, Invitation>, ServiceError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let id = organization_id.as_str();
    let found = stored_invitations::get_many(connection, id, ids, view, now).await?;
    Ok(found.into_iter().map(|found| (found.id, found)).collect())
}

/// Adds the link of each invitation that did not fail. A link may contain the redirect URL, so the invitations must have
/// been read in the full view. The redirect URLs that such a read left out are read here.
pub(super) async fn add_links(
    work: &mut UnitOfWork<'_>,
    organization_id: &OrganizationId,
    results: &mut [ItemResult],
) -> Result<(), ServiceError> {
    let ids: Vec<Uuid> = results
        .iter()
        .filter(|result| !result.is_failed())
        .filter_map(|result| Some(result.invitation.as_ref()?.id))
        .collect();
    let (keyring, links) = (&work.context.keyring, &work.context.links);
    let omitting: Vec<Uuid> = results
        .iter()
        .filter_map(|result| result.invitation.as_ref())
        .filter(|invitation| !invitation.omitted_fields.is_empty())
        .map(|invitation| invitation.id)
        .collect();
    let omitted_urls = if omitting.is_empty() {
        HashMap::new()
    } else {
        subjects::redirect_urls(work, organization_id, &omitting).await?
    };
    let subjects = subjects::find_many(work, organization_id, &ids).await?;
    let subjects: HashMap<Uuid, _> = subjects
        .iter()
        .filter(|subject| !subject.is_erased())
        .map(|subject| (subject.id, subject))
        .collect();
    for result in results.iter_mut().filter(|result| !result.is_failed()) {
        if let Some(invitation) = &result.invitation
            && let Some(subject) = subjects.get(&invitation.id)
        {
            let token = Token::derive(keyring, subject.key_id()?, &subject.token_subject()?);
            let unloaded = ServiceError::Corrupt("a row names a key that is not loaded");
            let token = token.ok_or(unloaded)?;
            let omitted_url = omitted_urls.get(&invitation.id);
            let redirect_url = omitted_url.unwrap_or(&invitation.redirect_url);
            result.link = Some(links.link(&token, redirect_url));
        }
    }
    Ok(())
}

/// Locks an invitation, or fails with `INVITATION_NOT_FOUND`.
pub(super) async fn lock_invitation(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
) -> Result<Subject, ServiceError> {
    subjects::lock(connection, organization_id.as_str(), id)
        .await?
        .ok_or(ServiceError::Refused(Reason::InvitationNotFound))
}

pub(super) fn require_organization(subject: &Subject) -> Result<(), ServiceError> {
    if subject.is_organization_deleted {
        return Err(ServiceError::Refused(Reason::OrganizationDeleted));
    }
    Ok(())
}

/// Refuses if the organization of an invitation was deleted or is suspended.
pub(super) fn require_active_organization(subject: &Subject) -> Result<(), ServiceError> {
    require_organization(subject)?;
    if subject.is_organization_suspended {
        return Err(ServiceError::Refused(Reason::OrganizationSuspended));
    }
    Ok(())
}
