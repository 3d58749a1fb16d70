//! `FeedbackService`: bounce reports of mail servers.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};

use super::api::Api;
use crate::domain::bounce_address::SentMail;
use crate::domain::dsn::{Dsn, DsnVerdict, MESSAGE_BYTES_MAX, envelope_recipients};
use crate::domain::reason::{Reason, Violation};
use crate::domain::scope::Scope;
use crate::grpc::admission::control::Method;
use crate::grpc::admission::permission::require_every_organization;
use crate::grpc::convert::fields::{Field, Fields as _};
use crate::identity::Caller;
use crate::proto::feedback_service_server::FeedbackService;
use crate::proto::{BounceOutcome, ReportBounceRequest, ReportBounceResponse};
use crate::service::{Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback};

/// Longest recipient, in bytes. Longer than any valid address, because mail servers may rewrite addresses.
const RECIPIENT_BYTES_MAX: usize = 1_000;

const REPORT_BOUNCE: Method = Method::quick("ReportBounce", Scope::FeedbackWrite);
/// All methods of the service.
pub(in crate::grpc) const METHODS: &[Method] = &[REPORT_BOUNCE];

impl Api {
    async fn record(&self, request: &ReportBounceRequest) -> Result<BounceOutcome, Status> {
        // The bounce address is verified first. Without a genuine one the message is not parsed.
        let Some((mail, address)) = self.proven(request) else {
            return Ok(BounceOutcome::Unproven);
        };
        let Some(dsn) = Dsn::parse(&request.message) else {
            return Ok(BounceOutcome::NotAReport);
        };
        let Some(feedback) = feedback(mail, &address, &dsn) else {
            return Ok(BounceOutcome::Ignored);
        };
        Ok(match self.service.run(RecordFeedback(feedback)).await? {
            FeedbackOutcome::Recorded => BounceOutcome::Recorded,
            FeedbackOutcome::KnownAlready => BounceOutcome::KnownAlready,
            FeedbackOutcome::UnknownMail => BounceOutcome::UnknownMessage,
        })
    }

    /// The message that a genuine bounce address belongs to, and the address in lower case.
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
impl FeedbackService for Api {
    async fn report_bounce(
        &self,
        request: Request<ReportBounceRequest>,
    ) -> Result<Response<ReportBounceResponse>, Status> {
        let work = async |caller: Arc<Caller>, message: ReportBounceRequest| {
            require_every_organization(&caller)?;
            check(&message).valid()?;
            let outcome = self.record(&message).await?;
            tracing::info!(bounce.outcome = ?outcome, "a bounce was reported");
            Ok(ReportBounceResponse {
                outcome: outcome.into(),
            })
        };
        self.admission.call(REPORT_BOUNCE, request, work).await
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
    (message, recipient).all().map(|_| ())
}

/// The feedback of a report. `None` if the report says that nothing went wrong.
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

/// The reports of mail servers have no id, so the id is a hash of the content. A repeated delay counts once.
fn event_id(address: &str, dsn: &Dsn) -> String {
    let content = format!("{address}\0{:?}\0{}", dsn.action, dsn.status);
    HEXLOWER.encode(&Sha256::digest(content))
}
