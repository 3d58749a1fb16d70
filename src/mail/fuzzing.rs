//! The fuzzer's access to SMTP replies: parses a reply and classifies it at every stage.

use lettre::transport::smtp::response::Response;

use super::send_error::{SendError, SendStage};
use super::smtp::relay_reply;

const STAGES: [SendStage; 6] = [
    SendStage::Greeting,
    SendStage::Auth,
    SendStage::MailFrom,
    SendStage::RcptTo,
    SendStage::Data,
    SendStage::FinalReply,
];

/// The errors that the bytes of a reply mean, at every stage.
pub fn errors_of_reply(bytes: &[u8]) -> Vec<SendError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return STAGES.map(SendError::garbled).into();
    };
    let response = text.parse::<Response>().ok();
    STAGES
        .into_iter()
        .flat_map(|stage| {
            let broken = SendError::broken(stage, text);
            let refused = response.as_ref().map(|response| {
                let code = u16::from(response.code());
                SendError::reply(stage, code, &relay_reply::text_of(response))
            });
            let out_of_sync = response.as_ref().and_then(|response| {
                let checked = relay_reply::check_code(stage, &[250], response);
                checked.err().map(|failure| failure.error)
            });
            [Some(broken), refused, out_of_sync]
        })
        .flatten()
        .collect()
}
