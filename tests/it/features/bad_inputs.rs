//! Invalid input, sent by mistake or on purpose: it changes nothing, and the refusal names the reason without repeating
//! the input. Each call goes through the real API to a real Postgres. `docs/bad-inputs.md` lists the cases and these
//! tests.

mod emails;
mod encoding;
mod metadata;
mod names;
mod page_tokens;
mod requests;
mod roles;
mod texts;
mod times;
mod tokens;

use invitations::proto::{CreateOutcome, ErrorReason, NewInvitation};
use prost::Message as _;
use tonic::{Code, Status};

use crate::support::database::count;
use crate::support::{World, create_request, status_reason};

/// The header of a caller with every scope.
const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

/// Sends one item for each input in one call. Fails unless each item is refused for this field and reason only, without
/// repeating the input, and the call has written nothing.
async fn assert_items_refused(
    world: &World,
    inputs: &[&str],
    (field, reason): (&str, ErrorReason),
    item: impl Fn(usize, String) -> NewInvitation,
) {
    let before = row_counts(world).await;
    let items = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| item(index, (*input).to_owned()));
    let answer = world.bulk_create(create_request(items.collect())).await;
    for (input, result) in inputs.iter().zip(answer.results) {
        let shown = &start_of(input);
        assert_eq!(result.outcome(), CreateOutcome::Failed, "{shown:?}");
        assert!(result.invitation.is_none(), "{shown:?}");
        let error = result.error.unwrap();
        let violation = (error.violations[0].field.as_str(), error.reason());
        assert_eq!(violation, (field, reason), "{shown:?}");
        assert_eq!(error.violations.len(), 1, "{shown:?}");
        assert_eq!(error.code, i32::from(Code::InvalidArgument), "{shown:?}");
        let echoes_input = contains(&error.encode_to_vec(), input);
        assert!(!echoes_input, "{shown:?} is echoed");
    }
    assert_eq!(row_counts(world).await, before, "a row was written");
}

/// Fails unless a call was refused with this code and reason, without repeating the input.
fn assert_call_refused<T>(answer: Result<T, Status>, code: Code, reason: &str, input: &str) {
    let shown = &start_of(input);
    let status = answer
        .err()
        .unwrap_or_else(|| panic!("{shown:?} was accepted"));
    let refusal = (status.code(), status_reason(&status));
    assert_eq!(refusal, (code, reason.to_owned()), "{shown:?}");
    assert!(!echoes(&status, input), "{shown:?} is echoed");
}

/// The part of an input that fits into the message of an assertion.
fn start_of(input: &str) -> String {
    input.chars().take(60).collect()
}

/// Whether a refusal repeats an input.
fn echoes(status: &Status, input: &str) -> bool {
    let metadata = format!("{:?}", status.metadata());
    let places: [&[u8]; 3] = [
        status.message().as_bytes(),
        status.details(),
        metadata.as_bytes(),
    ];
    places.iter().any(|place| contains(place, input))
}

/// Whether bytes contain an input. Inputs of up to three bytes are ignored, because a refusal may contain them by
/// chance.
fn contains(bytes: &[u8], input: &str) -> bool {
    let needle = input.as_bytes();
    needle.len() > 3 && bytes.windows(needle.len()).any(|window| window == needle)
}

/// The number of rows of each table, except for those that record calls.
async fn row_counts(world: &World) -> Vec<(String, i64)> {
    let mut database = world.database().await;
    let tables = sqlx::query_scalar::<_, String>(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('audit_events', 'batches')
          ORDER BY 1",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let mut counts = Vec::new();
    for table in tables {
        let rows = count(&mut database, &format!("\"{table}\"")).await;
        counts.push((table, rows));
    }
    counts
}
