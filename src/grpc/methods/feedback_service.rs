//! `FeedbackService`: what mail servers report of mails that are on their way.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};

use crate::domain::bounce_address::SentMail;
use crate::domain::dsn::{Dsn, DsnVerdict, MESSAGE_BYTES_MAX, envelope_recipients};
use crate::domain::keyring::Keyring;
use crate::domain::reason::{Reason, Violation};
use crate::domain::scope::Scope;
use crate::grpc::admission::gate::{Gate, Pace, require_every_organization};
use crate::grpc::convert::fields::{self, Field};
use crate::grpc::status;
use crate::identity::Caller;
use crate::proto::feedback_service_server::FeedbackService;
use crate::proto::{BounceOutcome, ReportBounceRequest, ReportBounceResponse};
use crate::service::{Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, Service};

/// Longest address, in bytes: longer than any that is valid, for what a mail server makes of one.
const RECIPIENT_BYTES_MAX: usize = 1_000;

/// The service behind the protocol.
pub(crate) struct FeedbackApi {
    service: Service,
    gate: Gate,
    keyring: Arc<Keyring>,
}

impl FeedbackApi {
    /// Puts a use case behind each method.
    pub(crate) const fn new(service: Service, gate: Gate, keyring: Arc<Keyring>) -> Self {
        Self {
            service,
            gate,
            keyring,
        }
    }

    async fn take(&self, request: &ReportBounceRequest) -> Result<BounceOutcome, Status> {
        // The proof comes first: for whoever has none, the mail is not even opened.
        let Some((mail, address)) = self.proven(request) else {
            return Ok(BounceOutcome::Unproven);
        };
        let Ok(dsn) = Dsn::parse(&request.message) else {
            return Ok(BounceOutcome::NotAReport);
        };
        let Some(feedback) = feedback(mail, &address, &dsn) else {
            return Ok(BounceOutcome::Ignored);
        };
        Ok(match self.service.record_feedback(&feedback).await? {
            FeedbackOutcome::Recorded => BounceOutcome::Recorded,
            FeedbackOutcome::KnownAlready => BounceOutcome::KnownAlready,
            FeedbackOutcome::UnknownMail => BounceOutcome::UnknownMail,
        })
    }

    /// The mail that the address proves, and the address in one spelling.
    fn proven(&self, request: &ReportBounceRequest) -> Option<(SentMail, String)> {
        let addresses = if request.envelope_recipient.is_empty() {
            envelope_recipients(&request.message)
        } else {
            vec![request.envelope_recipient.clone()]
        };
        addresses.into_iter().find_map(|address| {
            let address = address.trim_matches(['<', '>', ' ']).to_ascii_lowercase();
            let mail = SentMail::of_bounce_address(&self.keyring, &address)?;
            Some((mail, address))
        })
    }
}

#[tonic::async_trait]
impl FeedbackService for FeedbackApi {
    async fn report_bounce(
        &self,
        request: Request<ReportBounceRequest>,
    ) -> Result<Response<ReportBounceResponse>, Status> {
        let work = async |caller: Arc<Caller>, request: ReportBounceRequest| {
            require_every_organization(&caller)?;
            check(&request).map_err(status::invalid)?;
            let outcome = self.take(&request).await?;
            tracing::info!(bounce.outcome = ?outcome, "a bounce was reported");
            Ok(ReportBounceResponse {
                outcome: outcome.into(),
            })
        };
        self.gate
            .pass(
                "ReportBounce",
                Scope::SuppressionsWrite,
                Pace::Quick,
                request,
                work,
            )
            .await
    }
}

fn check(request: &ReportBounceRequest) -> Field<()> {
    let wrong = |field, reason| Err(vec![Violation::new(field, reason)]);
    let message = match request.message.len() {
        0 => wrong("message", Reason::FieldRequired),
        bytes if bytes > MESSAGE_BYTES_MAX => wrong("message", Reason::FieldInvalid),
        _ => Ok(()),
    };
    let recipient = if request.envelope_recipient.len() > RECIPIENT_BYTES_MAX {
        wrong("envelope_recipient", Reason::FieldInvalid)
    } else {
        Ok(())
    };
    fields::both(message, recipient).map(|_| ())
}

/// What a report says of a mail; `None` if nothing went wrong.
fn feedback(mail: SentMail, address: &str, dsn: &Dsn) -> Option<Feedback> {
    let kind = match dsn.verdict() {
        DsnVerdict::Hard => FeedbackKind::HardBounce,
        DsnVerdict::Bounced => FeedbackKind::Bounce,
        DsnVerdict::Delayed => FeedbackKind::Delay,
        DsnVerdict::Fine => return None,
    };
    let text = if dsn.diagnostic.is_empty() {
        format!("{} {:?}", dsn.status, dsn.action).to_lowercase()
    } else {
        dsn.diagnostic.clone()
    };
    Some(Feedback {
        mail,
        kind,
        text,
        reply_code: dsn.reply_code,
        source: FeedbackSource::Dsn,
        event_id: event_id(address, dsn),
    })
}

/// Servers give their reports no id, so what a report says stands for it: a delay is told of once, however often the
/// server repeats it.
fn event_id(address: &str, dsn: &Dsn) -> String {
    let told = format!("{address}\0{:?}\0{}", dsn.action, dsn.status);
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(told) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
