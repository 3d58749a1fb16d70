//! Bad inputs: what callers send by mistake or on purpose breaks nothing, and each kind of it is told by its reason.
//!
//! Everything goes through the real API to a real Postgres. `docs/bad-inputs.md` is the table of these tests.

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

use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, CreateOutcome, ErrorReason, NewInvitation,
};
use prost::Message as _;
use sqlx::Row as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{World, create_request, item};

/// A caller that may do everything, as a header.
const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

/// An invitation that nobody is mailed about.
fn quiet(email: &str) -> NewInvitation {
    NewInvitation {
        notify: Some(false),
        ..item(email)
    }
}

/// A request with these items.
fn request_of(invitations: Vec<NewInvitation>) -> BulkCreateRequest {
    BulkCreateRequest {
        invitations,
        ..create_request(vec![])
    }
}

async fn bulk_create(world: &World, request: BulkCreateRequest) -> BulkCreateResponse {
    let answer = world.client().bulk_create(request).await.unwrap();
    answer.into_inner()
}

/// Sends one item for each input, all in one call, and sees each of them refused for this field and reason, told with
/// nothing of the input, and nothing written.
async fn assert_refused(
    world: &World,
    inputs: &[&str],
    (field, reason): (&str, ErrorReason),
    item: impl Fn(usize, String) -> NewInvitation,
) {
    let before = rows(world).await;
    let items = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| item(index, (*input).to_owned()));
    let answer = bulk_create(world, request_of(items.collect())).await;
    for (input, result) in inputs.iter().zip(answer.results) {
        let shown = &input.chars().take(60).collect::<String>();
        assert_eq!(result.outcome(), CreateOutcome::Failed, "{shown:?}");
        assert!(result.invitation.is_none(), "{shown:?}");
        let error = result.error.unwrap();
        let told = (error.violations[0].field.as_str(), error.reason());
        assert_eq!(told, (field, reason), "{shown:?}");
        assert_eq!(error.violations.len(), 1, "{shown:?}");
        assert_eq!(error.code(), Code::InvalidArgument, "{shown:?}");
        assert!(!holds(&error.encode_to_vec(), input), "{shown:?} is echoed");
    }
    assert_eq!(rows(world).await, before, "something was written");
}

/// Sees a call refused for one reason, told with nothing of the input.
fn assert_status<T>(answer: Result<T, Status>, code: Code, reason: &str, input: &str) {
    let shown = &input.chars().take(60).collect::<String>();
    let status = answer
        .err()
        .unwrap_or_else(|| panic!("{shown:?} was taken"));
    let told = (status.code(), reason_of(&status));
    assert_eq!(told, (code, reason.to_owned()), "{shown:?}");
    assert!(is_silent(&status, input), "{shown:?} is echoed");
}

fn reason_of(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info();
    info.map_or_else(String::new, |info| info.reason.clone())
}

/// Whether nothing of an input is in a refusal.
fn is_silent(status: &Status, input: &str) -> bool {
    let metadata = format!("{:?}", status.metadata());
    let places: [&[u8]; 3] = [
        status.message().as_bytes(),
        status.details(),
        metadata.as_bytes(),
    ];
    places.iter().all(|place| !holds(place, input))
}

/// Whether bytes hold an input. One that is no longer than a word of ours says nothing.
fn holds(bytes: &[u8], input: &str) -> bool {
    let needle = input.as_bytes();
    needle.len() > 3 && bytes.windows(needle.len()).any(|window| window == needle)
}

/// How many rows each table has, but for the logs of what callers asked.
async fn rows(world: &World) -> Vec<(String, i64)> {
    let mut database = world.database().await;
    let names = sqlx::query_scalar::<_, String>(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('audit_events', 'batches')
          ORDER BY 1",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let mut rows = Vec::new();
    for name in names {
        let count = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT count(*) FROM \"{name}\""
        )))
        .fetch_one(&mut database)
        .await
        .unwrap();
        rows.push((name, count.get(0)));
    }
    rows
}

trait GrpcCode {
    fn code(&self) -> Code;
}

impl GrpcCode for invitations::proto::ItemError {
    fn code(&self) -> Code {
        Code::from_i32(self.code)
    }
}
