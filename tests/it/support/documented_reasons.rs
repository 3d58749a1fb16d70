//! The reasons that the comment of each method names, and a channel that fails a test if a method answers another one.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use invitations::domain::reason::Reason;
use invitations::proto::{
    AddSuppressionsResponse, BulkCreateResponse, BulkCreateStreamResponse,
    BulkDeleteMembershipsResponse, BulkDeleteUsersResponse, BulkGetResponse, BulkResendResponse,
    BulkRevokeResponse, ErrorReason, LiftSuppressionsResponse, RequeueMessagesResponse,
    UpsertMembershipsResponse, UpsertOrganizationsResponse, UpsertUsersResponse,
};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tonic_types::StatusExt as _;
use tower::Service;

use crate::support::descriptors::{self, MethodDescriptor};

/// Every method may answer these, so no comment names them.
pub(crate) const OF_EVERY_METHOD: [Reason; 10] = [
    Reason::CredentialsInvalid,
    Reason::ScopeMissing,
    Reason::MethodDenied,
    Reason::OrganizationDenied,
    Reason::UserDenied,
    Reason::RequestMalformed,
    Reason::Conflict,
    Reason::Overloaded,
    Reason::DeadlineExceeded,
    Reason::Internal,
];

/// The reasons that a comment names, in the order of the comment.
pub(crate) struct MethodReasons {
    pub(crate) of_call: Vec<Reason>,
    pub(crate) of_items: Vec<Reason>,
}

/// The reasons of each method by its path.
pub(crate) static METHOD_REASONS: LazyLock<BTreeMap<String, MethodReasons>> = LazyLock::new(|| {
    let methods = descriptors::methods();
    let reasons = methods.iter().map(|method| {
        let reasons = MethodReasons {
            of_call: named_in(section(&method.comment, " Errors: ")),
            of_items: named_in(items_section(&method.comment, &methods)),
        };
        (method.path.clone(), reasons)
    });
    reasons.collect()
});

/// The part of a comment after its heading and before the next heading.
fn section<'a>(comment: &'a str, heading: &str) -> &'a str {
    let rest = comment.split_once(heading).map_or("", |(_, rest)| rest);
    rest.split(" Items: ").next().unwrap_or_default()
}

/// What a comment says about items: itself, or the method whose reasons it refers to.
fn items_section<'a>(comment: &'a str, methods: &'a [MethodDescriptor]) -> &'a str {
    let own = section(comment, " Items: ");
    let Some(name) = own.strip_prefix("the reasons of ") else {
        return own;
    };
    let suffix = format!("/{}", name.trim_end_matches('.'));
    let other = methods.iter().find(|other| other.path.ends_with(&suffix));
    section(&other.unwrap().comment, " Items: ")
}

fn named_in(text: &str) -> Vec<Reason> {
    let is_separator = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    text.split(is_separator)
        .filter_map(Reason::from_code)
        .collect()
}

/// A channel that compares each refusal with the comment of its method.
#[derive(Clone)]
pub(crate) struct DocumentedChannel(pub(crate) Channel);

impl Service<http::Request<Body>> for DocumentedChannel {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let response = self.0.call(request);
        response
            .map(|response| response.map(|response| checked(path, response)))
            .boxed()
    }
}

fn checked(path: String, response: http::Response<Body>) -> http::Response<Body> {
    let Some(documented) = METHOD_REASONS.get(&path) else {
        return response;
    };
    check_status(&path, documented, response.headers());
    let mut received = Vec::new();
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(trailers) = frame.trailers_ref() {
                check_status(&path, documented, trailers);
            }
            if let Some(data) = frame.data_ref() {
                received.extend_from_slice(data);
                check_items(&path, documented, &mut received);
            }
            frame
        }))
    })
}

fn check_status(path: &str, documented: &MethodReasons, headers: &HeaderMap) {
    let status = Status::from_header_map(headers);
    let details = status.map(|status| status.get_error_details());
    let Some(info) = details.as_ref().and_then(|details| details.error_info()) else {
        return;
    };
    let reason = Reason::from_code(&info.reason).unwrap();
    let is_documented = documented.of_call.contains(&reason) || OF_EVERY_METHOD.contains(&reason);
    assert!(
        is_documented,
        "{path} answers {reason:?}: its comment does not name it"
    );
}

/// Takes the complete messages out of `received`, and checks the errors of their items.
fn check_items(path: &str, documented: &MethodReasons, received: &mut Vec<u8>) {
    while let Some((prefix, rest)) = received.split_at_checked(5) {
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
        let Some(message) = rest.get(..length) else {
            return;
        };
        for reason in item_reasons(path, message) {
            let is_documented = documented.of_items.contains(&reason);
            assert!(
                is_documented,
                "an item of {path} has {reason:?}: its comment does not name it"
            );
        }
        received.drain(..5 + length);
    }
}

fn item_reasons(path: &str, message: &[u8]) -> Vec<Reason> {
    macro_rules! reasons {
        ($response:ty) => {{
            let results = <$response>::decode(message).unwrap().results.into_iter();
            let errors = results.filter_map(|result| result.error);
            errors.map(|error| error.reason()).collect::<Vec<_>>()
        }};
    }
    let method = path.rsplit('/').next().unwrap();
    let reasons = match method {
        "AddSuppressions" => reasons!(AddSuppressionsResponse),
        "BulkCreate" => reasons!(BulkCreateResponse),
        "BulkCreateStream" => reasons!(BulkCreateStreamResponse),
        "BulkDeleteMemberships" => reasons!(BulkDeleteMembershipsResponse),
        "BulkDeleteUsers" => reasons!(BulkDeleteUsersResponse),
        "BulkGet" => reasons!(BulkGetResponse),
        "BulkResend" => reasons!(BulkResendResponse),
        "BulkRevoke" => reasons!(BulkRevokeResponse),
        "LiftSuppressions" => reasons!(LiftSuppressionsResponse),
        "RequeueMessages" => reasons!(RequeueMessagesResponse),
        "UpsertMemberships" => reasons!(UpsertMembershipsResponse),
        "UpsertOrganizations" => reasons!(UpsertOrganizationsResponse),
        "UpsertUsers" => reasons!(UpsertUsersResponse),
        _ => Vec::new(),
    };
    let codes = reasons.iter().map(ErrorReason::as_str_name);
    codes
        .map(|name| Reason::from_code(name.strip_prefix("ERROR_REASON_").unwrap()).unwrap())
        .collect()
}
