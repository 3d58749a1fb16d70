//! What the fuzzer may call of replies: reading one and judging it at every stage. It holds no conversation.

use lettre::transport::smtp::response::Response;

use super::outcome::{SendError, Stage};
use super::reply;

/// Every stage at which a relay replies.
const STAGES: [Stage; 6] = [
    Stage::Greeting,
    Stage::Auth,
    Stage::MailFrom,
    Stage::RcptTo,
    Stage::Data,
    Stage::FinalReply,
];

/// Reads the bytes of a reply and judges them at every stage.
#[must_use]
pub fn judged(bytes: &[u8]) -> Vec<SendError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return STAGES.map(SendError::garbled).into();
    };
    let read = text.parse::<Response>().ok();
    STAGES
        .into_iter()
        .flat_map(|stage| {
            let unread = SendError::broken(stage, text);
            let said = read.as_ref().map(|response| {
                let code = u16::from(response.code());
                SendError::reply(stage, code, &reply::text_of(response))
            });
            let out_of_step = read.as_ref().and_then(|response| {
                reply::expect(stage, &[250], response)
                    .err()
                    .map(|failure| failure.error)
            });
            [Some(unread), said, out_of_step]
        })
        .flatten()
        .collect()
}
