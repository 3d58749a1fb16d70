//! Tests of the command `batch`.

use super::*;
use crate::proto::{Delivery, DeliveryState, Invitation};

async fn batch(id: &str, format: &str) -> (CommandResult, String) {
    let server = Arc::new(FakeServer::default());
    for state in [
        DeliveryState::Sent,
        DeliveryState::Sent,
        DeliveryState::Bounced,
    ] {
        let invitation = Invitation {
            batch_id: "batch-1".to_owned(),
            delivery: Some(Delivery {
                state: state.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        server.memory.invitations.lock().unwrap().push(invitation);
    }
    let words = ["batch", id, "--organization", "acme", "--format", format];
    run_command(&server, &words).await
}

#[tokio::test]
async fn a_batch_is_counted_by_state() {
    let (result, out) = batch("batch-1", "text").await;
    assert_eq!(result.unwrap(), Exit::Done);
    let words: Vec<_> = out.split_whitespace().collect();
    let text = words.join(" ");
    for part in [
        "Batch batch-1",
        "Items 3",
        "3 pending",
        "2 sent",
        "1 bounced",
    ] {
        assert!(text.contains(part), "{part}: {out}");
    }
    let (_, out) = batch("batch-1", "json").await;
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["delivery_states"]["bounced"], 1);
    assert_eq!(value["invitation_count"], 3);
}

#[tokio::test]
async fn a_missing_batch_is_an_error() {
    let (result, out) = batch("other", "text").await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.starts_with("GetBatch failed: NOT_FOUND"),
        "{message}"
    );
    assert_eq!(out, "");
}
