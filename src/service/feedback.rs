//! Feedback: what the receiving side says of a mail after it was sent, and what its reader says.
//!
//! Reports come late, twice and in any order, so a mail's state only moves forward and each report counts once. Who
//! may report is not asked here: whoever calls has checked where the report comes from.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::address_tag::AddressTag;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::bounce_address::SentMail;
use crate::domain::invitation::DeliveryState;
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::domain::unsubscribe_token;
use crate::store::feedback_events::{self, Report, ReportedInvitation};
use crate::store::suppressions::{self, SuppressionRow};
use crate::store::{Connection, audit_events};

use super::audit::NO_ORGANIZATION;
use super::{Service, ServiceError};

/// States of a mail that may still bounce. One that was given up may have arrived all the same, where the mail server
/// took it and its answer was lost.
const BEFORE_BOUNCE: [DeliveryState; 4] = [
    DeliveryState::Queued,
    DeliveryState::Deferred,
    DeliveryState::Sent,
    DeliveryState::Failed,
];
/// States of a mail of which more may be said than that it bounced: why nothing arrives there, or that its reader
/// complains.
const UP_TO_BOUNCE: [DeliveryState; 5] = [
    DeliveryState::Queued,
    DeliveryState::Deferred,
    DeliveryState::Sent,
    DeliveryState::Failed,
    DeliveryState::Bounced,
];
/// States of a mail that may still be delayed.
const UNDECIDED: [DeliveryState; 3] = [
    DeliveryState::Queued,
    DeliveryState::Deferred,
    DeliveryState::Sent,
];

/// What somebody reports of a mail that was sent.
#[derive(Debug, Clone)]
pub struct Feedback {
    /// The mail.
    pub mail: SentMail,
    /// What became of it.
    pub kind: FeedbackKind,
    /// What the reporter said, cut and without addresses; may be empty.
    pub text: String,
    /// The SMTP reply code, if there was one.
    pub reply_code: Option<u16>,
    /// Who reports.
    pub source: FeedbackSource,
    /// The reporter's own id of the report: the same report has the same one.
    pub event_id: String,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackKind {
    /// It cannot be delivered, and neither can another one to the address.
    HardBounce,
    /// It will not be delivered, for a reason that says nothing of the next one.
    Bounce,
    /// It was not delivered yet; others still try.
    Delay,
    /// Its reader reported it as unwanted.
    Complaint,
}

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackSource {
    /// The mail provider Resend.
    Resend,
    /// The mail provider Postmark.
    Postmark,
    /// A mail server, by a delivery status notification (RFC 3464).
    Dsn,
}

impl FeedbackSource {
    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Postmark => "postmark",
            Self::Dsn => "dsn",
        }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackOutcome {
    /// It was taken.
    Recorded,
    /// It was taken before; nothing changed.
    KnownAlready,
    /// It is about a mail that was never sent; nothing changed.
    UnknownMail,
}

impl Service {
    /// Takes a report: moves the invitation's delivery forward if its latest mail is meant, and suppresses the address
    /// for all organizations if it can or should not be mailed again. All of it or nothing.
    pub async fn record_feedback(
        &self,
        feedback: &Feedback,
    ) -> Result<FeedbackOutcome, ServiceError> {
        let service = self.clone();
        let feedback = Arc::new(feedback.clone());
        self.store
            .with_tx("record_feedback", move |connection| {
                let (service, feedback) = (service.clone(), Arc::clone(&feedback));
                Box::pin(async move { service.record_feedback_once(connection, &feedback).await })
            })
            .await
    }

    async fn record_feedback_once(
        &self,
        connection: &mut Connection<'_>,
        feedback: &Feedback,
    ) -> Result<FeedbackOutcome, ServiceError> {
        let now = self.clock.now();
        let mail = feedback.mail;
        // Locked before anything is looked at, and before its mail: in the order of whoever settles or resends it.
        let invitation = feedback_events::lock_invitation(connection, mail.invitation_id).await?;
        let Some(invitation) =
            invitation.filter(|invitation| (1..=invitation.send_seq).contains(&mail.send_seq))
        else {
            return Ok(FeedbackOutcome::UnknownMail);
        };
        let source = feedback.source.as_str();
        if !feedback_events::insert(connection, source, &feedback.event_id, now).await? {
            return Ok(FeedbackOutcome::KnownAlready);
        }
        // What became of an older mail says nothing of the one that took its place.
        if invitation.send_seq == mail.send_seq {
            feedback_events::tell(connection, &invitation, feedback.report(), now).await?;
        }
        if let Some(reason) = feedback.kind.suppression()
            && let Some(tag) = self.tag_of(&invitation)
        {
            suppress(connection, EVERY_ORGANIZATION, tag, reason, now).await?;
        }
        Ok(FeedbackOutcome::Recorded)
    }

    /// What stands for the address of an invitation. `None` if it was erased and the key of what is left is gone: an entry
    /// of the list that is made with such a key would be found by nobody.
    fn tag_of(&self, invitation: &ReportedInvitation) -> Option<AddressTag> {
        if let Some(email) = &invitation.email_normalized {
            return Some(self.tagger.tag_of_normalized(email));
        }
        let key_id = u8::try_from(invitation.address_tag_key_id?).ok()?;
        let bytes = invitation.address_tag.as_deref()?.try_into().ok()?;
        self.keyring
            .key_ids()
            .any(|loaded| loaded == key_id)
            .then_some(AddressTag { key_id, bytes })
    }

    /// No more mails to whom a genuine unsubscribe token belongs, from any organization; `false` if it is not genuine.
    pub async fn unsubscribe(&self, token: &str, actor: Actor) -> Result<bool, ServiceError> {
        let Some(tag) = unsubscribe_token::open(&self.keyring, token) else {
            return Ok(false);
        };
        let now = self.clock.now();
        let service = self.clone();
        self.store
            .with_tx("unsubscribe", move |connection| {
                let (service, actor) = (service.clone(), actor.clone());
                Box::pin(async move {
                    let reason = SuppressionReason::Unsubscribed;
                    let is_news =
                        suppress(connection, EVERY_ORGANIZATION, tag, reason, now).await?;
                    // A link may be followed any number of times; the first one is the act.
                    if is_news {
                        let event = AuditEvent {
                            counts: AuditCounts {
                                suppressed: 1,
                                ..AuditCounts::default()
                            },
                            ..service.event(&actor, AuditAction::Unsubscribe, NO_ORGANIZATION, now)
                        };
                        audit_events::insert_many(connection, &[event]).await?;
                    }
                    Ok(true)
                })
            })
            .await
    }

    /// Whether an unsubscribe token is genuine. Looks nothing up and changes nothing.
    #[must_use]
    pub fn is_unsubscribe_token(&self, token: &str) -> bool {
        unsubscribe_token::open(&self.keyring, token).is_some()
    }
}

/// Puts one address on the list of an organization, for as long as the reason lasts; `true` if it was not on it.
pub(super) async fn suppress(
    connection: &mut Connection<'_>,
    organization_id: &str,
    tag: AddressTag,
    reason: SuppressionReason,
    now: OffsetDateTime,
) -> Result<bool, ServiceError> {
    let row = SuppressionRow {
        organization_id: organization_id.to_owned(),
        tag,
        reason,
        expires_at: reason.ends_at(now),
    };
    let written = suppressions::upsert_many(connection, &[row], now).await?;
    Ok(written.iter().any(|written| !written.was_suppressed))
}

impl FeedbackKind {
    const fn suppression(self) -> Option<SuppressionReason> {
        match self {
            Self::HardBounce => Some(SuppressionReason::HardBounce),
            Self::Bounce | Self::Delay => None,
            Self::Complaint => Some(SuppressionReason::Complaint),
        }
    }
}

impl Feedback {
    fn report(&self) -> Report<'_> {
        let (delivery_state, after): (_, &[DeliveryState]) = match self.kind {
            FeedbackKind::HardBounce => (Some(DeliveryState::Bounced), &UP_TO_BOUNCE),
            FeedbackKind::Bounce => (Some(DeliveryState::Bounced), &BEFORE_BOUNCE),
            FeedbackKind::Delay => (None, &UNDECIDED),
            FeedbackKind::Complaint => (Some(DeliveryState::Complained), &UP_TO_BOUNCE),
        };
        Report {
            delivery_state,
            after,
            text: &self.text,
            reply_code: self.reply_code,
        }
    }
}
