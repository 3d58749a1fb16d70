//! Feedback: what mail servers and providers report about a message after it was sent.
//!
//! Reports arrive late, twice and in any order. The delivery state only moves forward, and each report counts once. The
//! caller has authenticated the report.

use crate::domain::address_tag::AddressTag;
use crate::domain::bounce_address::SentMail;
use crate::domain::invitation::DeliveryState::{
    self, Bounced, Complained, Deferred, Failed, Queued, Sent,
};
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::store::feedback_events::{self, DeliveryReport, ReportedInvitation};

use super::suppression_list::suppress;
use super::{Context, ServiceError, UnitOfWork, UseCase};

/// States in which a delay may be reported.
const UNDECIDED: &[DeliveryState] = &[Queued, Deferred, Sent];
/// States in which a message may still bounce. A message that was given up may have been delivered, if the reply of the mail
/// server was lost.
const BEFORE_BOUNCE: &[DeliveryState] = &[Queued, Deferred, Sent, Failed];
/// States in which a hard bounce or a complaint may be reported.
const UP_TO_BOUNCE: &[DeliveryState] = &[Queued, Deferred, Sent, Failed, Bounced];

#[derive(Debug, Clone)]
pub struct Feedback {
    pub mail: SentMail,
    pub kind: FeedbackKind,
    /// The text of the report, shortened and without addresses. May be empty.
    pub text: String,
    pub reply_code: Option<u16>,
    pub source: FeedbackSource,
    /// The reporter's id of the report. A repeated report has the same id.
    pub event_id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackKind {
    /// It cannot be delivered, and no other message to the address can.
    HardBounce,
    /// It will not be delivered. The next message may be.
    Bounce,
    /// It was not delivered yet. Mail servers still try.
    Delay,
    /// Its reader reported it as spam.
    Complaint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackSource {
    Resend,
    Postmark,
    /// A mail server, by a delivery status notification (RFC 3464).
    Dsn,
}

impl FeedbackSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Postmark => "postmark",
            Self::Dsn => "dsn",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackOutcome {
    Recorded,
    /// The same report was recorded before.
    KnownAlready,
    /// The report is about a message that was never sent.
    UnknownMail,
}

/// Records a report: moves the delivery state forward if the report is about the latest message of its invitation, and
/// suppresses the address for all organizations if it cannot or should not be mailed again.
pub struct RecordFeedback(pub Feedback);

impl UseCase for RecordFeedback {
    const NAME: &'static str = "record_feedback";
    type Output = FeedbackOutcome;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<FeedbackOutcome, ServiceError> {
        let (feedback, now) = (&self.0, work.context.now());
        let mail = feedback.mail;
        // The invitation is locked before its message, in the order in which a worker or a resend locks them.
        let invitation = feedback_events::lock_invitation(work, mail.invitation_id).await?;
        let Some(invitation) =
            invitation.filter(|invitation| (1..=invitation.send_seq).contains(&mail.send_seq))
        else {
            return Ok(FeedbackOutcome::UnknownMail);
        };
        let source = feedback.source.as_str();
        if !feedback_events::insert(work, source, &feedback.event_id, now).await? {
            return Ok(FeedbackOutcome::KnownAlready);
        }
        // A report about an older message says nothing about the newer one.
        if invitation.send_seq == mail.send_seq {
            feedback_events::apply_report(work, &invitation, feedback.report(), now).await?;
        }
        if let Some(reason) = feedback.kind.suppression()
            && let Some(tag) = tag(work.context, &invitation)
        {
            suppress(work, EVERY_ORGANIZATION, tag, reason, now).await?;
        }
        Ok(FeedbackOutcome::Recorded)
    }
}

/// The tag of the address of an invitation. `None` if the address was erased and the key of its stored tag is not loaded:
/// an entry with such a tag could not be found.
fn tag(context: &Context, invitation: &ReportedInvitation) -> Option<AddressTag> {
    if let Some(email) = &invitation.email_normalized {
        return Some(context.suppression.tagger().tag_of_normalized(email));
    }
    let key_id = u8::try_from(invitation.address_tag_key_id?).ok()?;
    let bytes = invitation.address_tag.as_deref()?.try_into().ok()?;
    let is_loaded = context.keyring.key_ids().any(|loaded| loaded == key_id);
    is_loaded.then_some(AddressTag { key_id, bytes })
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
    fn report(&self) -> DeliveryReport<'_> {
        let (delivery_state, after) = match self.kind {
            FeedbackKind::HardBounce => (Some(Bounced), UP_TO_BOUNCE),
            FeedbackKind::Bounce => (Some(Bounced), BEFORE_BOUNCE),
            FeedbackKind::Delay => (None, UNDECIDED),
            FeedbackKind::Complaint => (Some(Complained), UP_TO_BOUNCE),
        };
        DeliveryReport {
            delivery_state,
            after,
            text: &self.text,
            reply_code: self.reply_code,
        }
    }
}
