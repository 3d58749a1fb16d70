//! The reasons of suppressions on the command line and in files.

use crate::enum_parser::ArgumentText;
use crate::proto::SuppressionReason;

pub(super) fn reason_text(reason: SuppressionReason) -> ArgumentText {
    Some(match reason {
        SuppressionReason::HardBounce => ("hard-bounce", "The mailbox does not exist"),
        SuppressionReason::Complaint => ("complaint", "The recipient reported an email as spam"),
        SuppressionReason::Unsubscribed => {
            ("unsubscribed", "The recipient used the unsubscribe link")
        }
        SuppressionReason::Declined => (
            "declined",
            "The recipient declined and wants no more invitations",
        ),
        SuppressionReason::Manual => ("manual", "A caller added the address"),
        SuppressionReason::Unspecified => return None,
    })
}

/// Parses a name of the command line or of the protocol, such as `hard-bounce` or `HARD_BOUNCE`.
pub(super) fn parse_reason(text: &str) -> Result<SuppressionReason, String> {
    let name = text.trim().to_ascii_lowercase().replace('_', "-");
    let mut reasons = (0..).map_while(|number| SuppressionReason::try_from(number).ok());
    let reason = reasons.find(|reason| reason_text(*reason).is_some_and(|(it, _)| it == name));
    reason.ok_or_else(|| {
        "not a reason: hard-bounce, complaint, unsubscribed, declined or manual".to_owned()
    })
}
