//! Accepting an invitation, and why an attempt was refused.

use super::subjects::Subject;
use super::{Connection, Result, query_with_events};
use crate::domain::audit::AuditEvent;
use crate::domain::membership::Membership;

/// An attempt to accept. Not `Debug`: it holds addresses.
pub struct Acceptance<'a> {
    /// Its token was verified, or the user owns its address.
    pub subject: &'a Subject,
    pub user_id: &'a str,
    /// The name to store if the directory does not know the user.
    pub user_name: &'a str,
    /// Addresses of the user that the caller has verified. The addresses in the directory count too.
    pub emails_normalized: &'a [String],
    /// Addresses to store if the directory does not know the user.
    pub emails_to_keep: &'a [String],
    /// Whether the user must own the invited address, even if the policy allows any address.
    pub is_policy_ignored: bool,
    /// The version of the invitation's row when the service read it.
    pub version: &'a str,
    /// The audit event to insert if the invitation is accepted.
    pub event: &'a AuditEvent,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AcceptanceResult {
    pub is_accepted: bool,
    /// Whether the invitation had not changed since the service read it, and no worker held its email. Then the service
    /// knows the accepted invitation without reading it again.
    pub is_as_read: bool,
    /// Whether the invited address was added to the directory for this user.
    pub is_email_added: bool,
    /// The membership that was created. `None` if the user was a member already.
    pub membership: Option<Membership>,
}

/// Accepts an invitation if every rule still holds. Of several concurrent attempts at most one succeeds.
#[expect(clippy::too_many_lines, reason = "one statement")]
pub async fn accept(
    connection: &mut Connection<'_>,
    acceptance: &Acceptance<'_>,
) -> Result<AcceptanceResult> {
    let (subject, event) = (acceptance.subject, acceptance.event);
    let query = query_with_events!(query!(
        r#"-- store::acceptances::accept
        WITH target AS (
            -- Locks the pending invitation. Concurrent attempts wait here, and then find it accepted.
            SELECT id, delivery_state, xmin::text = $14 AS is_as_read
              FROM invitations
             WHERE id = $2 AND organization_id = $1 AND state = 'pending'
               FOR NO KEY UPDATE
        ), changed AS (
            -- Accepts the invitation. If a rule does not hold this is empty, and nothing below writes anything.
            UPDATE invitations AS i
               SET state = 'accepted', ended_at = $7, ended_by_user_id = $4, updated_at = $7, next_attempt_at = NULL,
                   remind_at = NULL, last_accept_error = NULL,
                   delivery_state = CASE WHEN i.delivery_state IN ('queued', 'deferred') THEN 'canceled'
                                         ELSE i.delivery_state END
              FROM target
             WHERE i.id = target.id AND i.organization_id = $1
               -- The link was not rotated, and the invitation has not ended.
               AND i.generation = $3 AND i.state = 'pending' AND i.expires_at > $7
               -- The user owns the invited address, unless any address may accept.
               AND ((i.accept_policy = 'any_email' AND NOT $15)
                    OR i.email_normalized = ANY($6)
                    OR EXISTS (SELECT FROM user_emails e
                                WHERE e.email_normalized = i.email_normalized AND e.user_id = $4))
               -- The organization is active and still offers the role, and the inviter may still invite.
               AND EXISTS (SELECT FROM organizations o
                            WHERE o.id = $1 AND o.deleted_at IS NULL AND o.suspended_at IS NULL
                              AND i.role = ANY(o.roles)
                              AND (NOT o.recheck_inviter
                                   OR EXISTS (SELECT FROM memberships m
                                               WHERE m.organization_id = $1 AND m.user_id = i.inviter_user_id
                                                 AND m.role = ANY(o.inviting_roles))))
            RETURNING i.id, i.organization_id, i.batch_id, i.updated_at, 'accepted' AS event_type,
                      'pending' AS old_state, target.delivery_state AS old_delivery_state, i.state AS new_state,
                      i.delivery_state AS new_delivery_state, i.role, i.public_metadata, i.private_metadata, i.send_seq,
                      i.email_normalized, target.is_as_read,
                      target.delivery_state IN ('queued', 'deferred') AS has_unsent_mail, 'queued' AS queued_state
        )"# + EVENTS
            + r#", new_membership AS (
            -- Empty if the user is a member already.
            INSERT INTO memberships
                   (organization_id, user_id, role, public_metadata, private_metadata, invitation_id, created_at,
                    updated_at)
            SELECT $1, $4, role, public_metadata, private_metadata, $2, $7, $7 FROM changed
                ON CONFLICT (organization_id, user_id) DO NOTHING
            RETURNING role, public_metadata, private_metadata
        ), new_user AS (
            -- Empty if the directory knows the user.
            INSERT INTO users (id, name, created_at, updated_at)
            SELECT $4, $5, $7, $7 FROM changed
                ON CONFLICT (id) DO NOTHING RETURNING id
        ), new_email AS (
            INSERT INTO user_emails (email_normalized, user_id)
            SELECT DISTINCT email_normalized, new_user.id
              FROM new_user, UNNEST($8::text[]) AS t (email_normalized)
                ON CONFLICT DO NOTHING RETURNING email_normalized
        ), canceled_mail AS (
            -- An email that a worker holds is not in the state 'queued'.
            UPDATE outbox AS o SET state = 'canceled'
              FROM changed
             WHERE o.invitation_id = $2 AND o.send_seq = changed.send_seq AND o.organization_id = $1
               AND o.state = changed.queued_state
            RETURNING true
        ), audit_event AS (
            INSERT INTO audit_events
                   (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                    invitation_id, request_id, counts)
            SELECT $9, $7, $1, $10, $11, $12, $13, $4, $2, $16,
                   CASE WHEN EXISTS (SELECT FROM new_membership) THEN '{"created": 1}'::jsonb ELSE '{"unchanged": 1}' END
              FROM changed
        )
        -- One row, whether the invitation was accepted or not.
        SELECT changed.id IS NOT NULL AS "is_accepted!",
               coalesce(changed.is_as_read AND EXISTS (SELECT FROM canceled_mail) = changed.has_unsent_mail, false)
                   AS "is_as_read!",
               EXISTS (SELECT FROM new_email WHERE new_email.email_normalized = changed.email_normalized)
                   AS "is_email_added!",
               new_membership.role AS "role?", new_membership.public_metadata::text,
               new_membership.private_metadata::text
          FROM (VALUES (true)) AS attempt
          LEFT JOIN changed ON true
          LEFT JOIN new_membership ON true"#,
        subject.organization_id,
        subject.id,
        subject.generation,
        acceptance.user_id,
        acceptance.user_name,
        acceptance.emails_normalized,
        event.created_at,
        acceptance.emails_to_keep,
        event.id,
        event.action.as_str(),
        event.outcome(),
        event.caller,
        event.on_behalf_of_user_id,
        acceptance.version,
        acceptance.is_policy_ignored,
        event.request_id,
    ));
    let row = connection.fetch_one(query).await?;
    let notifications = &mut connection.notifications;
    notifications.add_events(&subject.organization_id);
    Ok(AcceptanceResult {
        is_accepted: row.is_accepted,
        is_as_read: row.is_as_read,
        is_email_added: row.is_email_added,
        membership: row.role.map(|role| Membership {
            organization_id: subject.organization_id.clone(),
            user_id: acceptance.user_id.to_owned(),
            role,
            public_metadata: row.public_metadata,
            private_metadata: row.private_metadata,
            invitation_id: Some(subject.id),
            created_at: event.created_at,
            updated_at: event.created_at,
        }),
    })
}

/// Whether the organization still offers the role of the invitation.
pub async fn is_role_offered(connection: &mut Connection<'_>, subject: &Subject) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::acceptances::is_role_offered
        SELECT EXISTS (
               SELECT FROM invitations i
                 JOIN organizations o ON o.id = i.organization_id
                WHERE i.id = $2 AND i.organization_id = $1 AND i.role = ANY(o.roles)) AS "is_offered!""#,
        subject.organization_id,
        subject.id,
    );
    connection.fetch_one(query).await
}

/// Whether the inviter is still a member whose role can invite. Always true if the organization does not check that.
pub async fn is_inviter_trusted(
    connection: &mut Connection<'_>,
    subject: &Subject,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::acceptances::is_inviter_trusted
        SELECT EXISTS (
               SELECT FROM invitations i
                 JOIN organizations o ON o.id = i.organization_id
                 LEFT JOIN memberships m ON m.organization_id = $1 AND m.user_id = i.inviter_user_id
                WHERE i.id = $2 AND i.organization_id = $1
                  AND (NOT o.recheck_inviter OR m.role = ANY(o.inviting_roles))) AS "is_trusted!""#,
        subject.organization_id,
        subject.id,
    );
    connection.fetch_one(query).await
}

/// Stores why an attempt to accept was refused, for the organization to see, and inserts the audit event.
pub async fn record_refusal(
    connection: &mut Connection<'_>,
    subject: &Subject,
    event: &AuditEvent,
) -> Result<()> {
    let query = sqlx::query!(
        "-- store::acceptances::record_refusal
        WITH changed AS (
            UPDATE invitations SET last_accept_error = $3
             WHERE id = $2 AND organization_id = $1 AND state = 'pending' AND last_accept_error IS DISTINCT FROM $3
        )
        INSERT INTO audit_events
               (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                invitation_id, request_id, counts)
        VALUES ($4, $5, $1, $6, $3, $7, $8, $9, $2, $10, '{}')",
        subject.organization_id,
        subject.id,
        event.outcome(),
        event.id,
        event.created_at,
        event.action.as_str(),
        event.caller,
        event.on_behalf_of_user_id,
        event.subject_user_id,
        event.request_id,
    );
    connection.execute(query).await?;
    Ok(())
}
