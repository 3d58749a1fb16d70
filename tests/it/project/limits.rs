//! The tables of limits in the documentation, kept by the code's own constants and tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use humantime::format_duration;
use invitations::{grpc, http};

fn bytes(count: usize) -> String {
    const KIB: usize = 1024;
    if count.is_multiple_of(KIB * KIB) {
        format!("{} MiB", count / KIB / KIB)
    } else {
        format!("{} KiB", count / KIB)
    }
}

fn duration(duration: Duration) -> String {
    format_duration(duration).to_string()
}

fn of_grpc() -> BTreeMap<&'static str, String> {
    use grpc::limits::{
        AUTHENTICATED_CONNECTIONS_MAX, BASIC_INVITATION_BYTES_MAX, BULK_CALL_DURATION_MAX,
        BULK_CALL_MEMORY_BYTES, CALL_DURATION_MAX, CALL_MEMORY_BYTES, CALL_WINDOW_BYTES,
        CALLER_BURST, CALLER_CONNECTIONS_MAX, CALLER_RATE_DEFAULT, CALLERS_SWEPT_EVERY,
        CALLS_AT_ONCE_MAX, CALLS_OF_SERVICE_MAX, CALLS_OF_USER_MAX, CERTIFICATE_POLL_INTERVAL,
        CHUNK_AGE_MAX, CHUNK_BYTES_MAX, CHUNK_ITEMS, CHUNK_LINGER, CHUNKS_MEMORY_BYTES,
        CLOSING_CONNECTIONS_MAX, CONCURRENT_STREAMS_MAX, CONNECTION_AGE_JITTER, CONNECTION_AGE_MAX,
        CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, DEADLINE_MARGIN, ECHOED_EMAIL_BYTES_MAX,
        ECHOED_ID_BYTES_MAX, FAILED_ACCEPTS_MAX, FAILED_ACCEPTS_SWEPT_AT, FAILED_ACCEPTS_WINDOW,
        HANDSHAKE_TIMEOUT, HEADER_LIST_BYTES_MAX, HEALTH_WATCH_AGE_MAX, HEALTH_WATCHES_AT_ONCE_MAX,
        ITEM_ERRORS_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, LARGE_FIELDS_BYTES_MAX,
        LOCAL_ERROR_RESETS_MAX, MEMORY_BUDGET_DEFAULT, MEMORY_BUDGET_MIN, MESSAGE_DURATION_MAX,
        MESSAGE_PAUSE_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PENDING_ACCEPT_RESETS_MAX,
        PREFACE_TIMEOUT, PUBLIC_REQUEST_BYTES_MAX, REFLECTION_AGE_MAX, REFLECTION_IDLE_MAX,
        REFLECTIONS_AT_ONCE_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, RESPONSE_DURATION_MAX,
        RETRY_DELAY_JITTER, RETRY_DELAY_MAX, ROWS_BYTES_MAX, ROWS_MEMORY_BYTES,
        SERVICE_MEMORY_PERCENT, STREAM_AGE_MAX, STREAM_HEADER_TIMEOUT, STREAM_IDLE_MAX,
        STREAM_PARTS_AT_ONCE_MAX, STREAM_RATE_WAIT_MAX, STREAMS_AT_ONCE_MAX,
        STREAMS_OF_SERVICE_MAX, STREAMS_OF_USER_MAX, STREAMS_OPENING_MAX, USER_CONNECTIONS_MAX,
        USER_MEMORY_PERCENT, VIOLATIONS_IN_STATUS_MAX, WATCH_PERMISSION_INTERVAL,
        WATCH_SILENCE_MAX, WATCHES_AT_ONCE_MAX, WATCHES_OF_SERVICE_MAX, WATCHES_OF_USER_MAX,
    };
    let bytes_of = |count: u32| bytes(usize::try_from(count).unwrap());
    BTreeMap::from([
        ("MESSAGE_PAUSE_MAX", duration(MESSAGE_PAUSE_MAX)),
        ("MESSAGE_DURATION_MAX", duration(MESSAGE_DURATION_MAX)),
        ("PUBLIC_REQUEST_BYTES_MAX", bytes(PUBLIC_REQUEST_BYTES_MAX)),
        ("MEMORY_BUDGET_DEFAULT", bytes(MEMORY_BUDGET_DEFAULT)),
        ("MEMORY_BUDGET_MIN", bytes(MEMORY_BUDGET_MIN)),
        ("SERVICE_MEMORY_PERCENT", SERVICE_MEMORY_PERCENT.to_string()),
        ("USER_MEMORY_PERCENT", USER_MEMORY_PERCENT.to_string()),
        ("CALL_MEMORY_BYTES", bytes(CALL_MEMORY_BYTES)),
        ("BULK_CALL_MEMORY_BYTES", bytes(BULK_CALL_MEMORY_BYTES)),
        ("ROWS_MEMORY_BYTES", bytes(ROWS_MEMORY_BYTES)),
        ("CHUNKS_MEMORY_BYTES", bytes(CHUNKS_MEMORY_BYTES)),
        ("CALLS_OF_SERVICE_MAX", CALLS_OF_SERVICE_MAX.to_string()),
        ("CALLS_OF_USER_MAX", CALLS_OF_USER_MAX.to_string()),
        ("STREAMS_OF_SERVICE_MAX", STREAMS_OF_SERVICE_MAX.to_string()),
        ("STREAMS_OF_USER_MAX", STREAMS_OF_USER_MAX.to_string()),
        ("STREAMS_OPENING_MAX", STREAMS_OPENING_MAX.to_string()),
        ("STREAM_HEADER_TIMEOUT", duration(STREAM_HEADER_TIMEOUT)),
        ("WATCHES_OF_SERVICE_MAX", WATCHES_OF_SERVICE_MAX.to_string()),
        ("WATCHES_OF_USER_MAX", WATCHES_OF_USER_MAX.to_string()),
        (
            "REFLECTIONS_AT_ONCE_MAX",
            REFLECTIONS_AT_ONCE_MAX.to_string(),
        ),
        (
            "HEALTH_WATCHES_AT_ONCE_MAX",
            HEALTH_WATCHES_AT_ONCE_MAX.to_string(),
        ),
        ("HEALTH_WATCH_AGE_MAX", duration(HEALTH_WATCH_AGE_MAX)),
        ("USER_CONNECTIONS_MAX", USER_CONNECTIONS_MAX.to_string()),
        ("REFLECTION_IDLE_MAX", duration(REFLECTION_IDLE_MAX)),
        ("REFLECTION_AGE_MAX", duration(REFLECTION_AGE_MAX)),
        ("CALL_WINDOW_BYTES", bytes_of(CALL_WINDOW_BYTES)),
        ("CONNECTION_WINDOW_BYTES", bytes_of(CONNECTION_WINDOW_BYTES)),
        ("STREAMS_AT_ONCE_MAX", STREAMS_AT_ONCE_MAX.to_string()),
        ("STREAM_IDLE_MAX", duration(STREAM_IDLE_MAX)),
        ("STREAM_AGE_MAX", duration(STREAM_AGE_MAX)),
        (
            "STREAM_PARTS_AT_ONCE_MAX",
            STREAM_PARTS_AT_ONCE_MAX.to_string(),
        ),
        ("STREAM_RATE_WAIT_MAX", duration(STREAM_RATE_WAIT_MAX)),
        ("CHUNK_ITEMS", CHUNK_ITEMS.to_string()),
        ("CHUNK_BYTES_MAX", bytes(CHUNK_BYTES_MAX)),
        ("CHUNK_LINGER", duration(CHUNK_LINGER)),
        ("CHUNK_AGE_MAX", duration(CHUNK_AGE_MAX)),
        ("ITEM_ERRORS_BYTES_MAX", ITEM_ERRORS_BYTES_MAX.to_string()),
        (
            "BASIC_INVITATION_BYTES_MAX",
            BASIC_INVITATION_BYTES_MAX.to_string(),
        ),
        ("ECHOED_ID_BYTES_MAX", ECHOED_ID_BYTES_MAX.to_string()),
        ("ECHOED_EMAIL_BYTES_MAX", ECHOED_EMAIL_BYTES_MAX.to_string()),
        ("LARGE_FIELDS_BYTES_MAX", bytes(LARGE_FIELDS_BYTES_MAX)),
        ("ROWS_BYTES_MAX", ROWS_BYTES_MAX.to_string()),
        ("RESPONSE_DURATION_MAX", duration(RESPONSE_DURATION_MAX)),
        ("REQUEST_BYTES_MAX", bytes(REQUEST_BYTES_MAX)),
        ("RESPONSE_BYTES_MAX", bytes(RESPONSE_BYTES_MAX)),
        ("CONNECTIONS_MAX", CONNECTIONS_MAX.to_string()),
        (
            "AUTHENTICATED_CONNECTIONS_MAX",
            AUTHENTICATED_CONNECTIONS_MAX.to_string(),
        ),
        ("CALLER_CONNECTIONS_MAX", CALLER_CONNECTIONS_MAX.to_string()),
        (
            "CLOSING_CONNECTIONS_MAX",
            CLOSING_CONNECTIONS_MAX.to_string(),
        ),
        ("PREFACE_TIMEOUT", duration(PREFACE_TIMEOUT)),
        ("HANDSHAKE_TIMEOUT", duration(HANDSHAKE_TIMEOUT)),
        (
            "CERTIFICATE_POLL_INTERVAL",
            duration(CERTIFICATE_POLL_INTERVAL),
        ),
        ("CALLER_RATE_DEFAULT", CALLER_RATE_DEFAULT.to_string()),
        ("CALLER_BURST", CALLER_BURST.to_string()),
        ("CALLERS_SWEPT_EVERY", CALLERS_SWEPT_EVERY.to_string()),
        ("FAILED_ACCEPTS_MAX", FAILED_ACCEPTS_MAX.to_string()),
        ("FAILED_ACCEPTS_WINDOW", duration(FAILED_ACCEPTS_WINDOW)),
        (
            "FAILED_ACCEPTS_SWEPT_AT",
            FAILED_ACCEPTS_SWEPT_AT.to_string(),
        ),
        (
            "HEADER_LIST_BYTES_MAX",
            bytes(usize::try_from(HEADER_LIST_BYTES_MAX).unwrap()),
        ),
        ("CONCURRENT_STREAMS_MAX", CONCURRENT_STREAMS_MAX.to_string()),
        ("LOCAL_ERROR_RESETS_MAX", LOCAL_ERROR_RESETS_MAX.to_string()),
        (
            "PENDING_ACCEPT_RESETS_MAX",
            PENDING_ACCEPT_RESETS_MAX.to_string(),
        ),
        ("KEEPALIVE_INTERVAL", duration(KEEPALIVE_INTERVAL)),
        ("KEEPALIVE_TIMEOUT", duration(KEEPALIVE_TIMEOUT)),
        ("CONNECTION_AGE_MAX", duration(CONNECTION_AGE_MAX)),
        ("CONNECTION_AGE_JITTER", CONNECTION_AGE_JITTER.to_string()),
        ("CALLS_AT_ONCE_MAX", CALLS_AT_ONCE_MAX.to_string()),
        ("BULK_CALL_DURATION_MAX", duration(BULK_CALL_DURATION_MAX)),
        ("CALL_DURATION_MAX", duration(CALL_DURATION_MAX)),
        ("DEADLINE_MARGIN", duration(DEADLINE_MARGIN)),
        ("RETRY_DELAY_MAX", duration(RETRY_DELAY_MAX)),
        ("RETRY_DELAY_JITTER", RETRY_DELAY_JITTER.to_string()),
        (
            "VIOLATIONS_IN_STATUS_MAX",
            VIOLATIONS_IN_STATUS_MAX.to_string(),
        ),
        ("PAGE_SIZE_DEFAULT", PAGE_SIZE_DEFAULT.to_string()),
        ("PAGE_SIZE_MAX", PAGE_SIZE_MAX.to_string()),
        ("WATCHES_AT_ONCE_MAX", WATCHES_AT_ONCE_MAX.to_string()),
        ("WATCH_SILENCE_MAX", duration(WATCH_SILENCE_MAX)),
        (
            "WATCH_PERMISSION_INTERVAL",
            duration(WATCH_PERMISSION_INTERVAL),
        ),
    ])
}

fn of_http() -> BTreeMap<&'static str, String> {
    use http::limits::{
        AUTHENTICATED_CONNECTIONS_MAX, BODY_BYTES_MAX, CALLER_CONNECTIONS_MAX,
        CLOSING_CONNECTIONS_MAX, CONNECTIONS_MAX, EVENT_ID_CHARS_MAX, HEAD_BYTES_MAX, HEADERS_MAX,
        PROVIDER_MEMORY_PERCENT, RETRY_DELAY_SECONDS, SIGNATURE_AGE_MAX, UNSUBSCRIBE_BYTES_MAX,
        UNSUBSCRIBE_MEMORY_PERCENT, UNVERIFIED_NETWORK_PERCENT,
    };
    let age = Duration::try_from(SIGNATURE_AGE_MAX).unwrap();
    BTreeMap::from([
        ("BODY_BYTES_MAX", bytes(BODY_BYTES_MAX)),
        ("UNSUBSCRIBE_BYTES_MAX", bytes(UNSUBSCRIBE_BYTES_MAX)),
        (
            "UNSUBSCRIBE_MEMORY_PERCENT",
            UNSUBSCRIBE_MEMORY_PERCENT.to_string(),
        ),
        (
            "PROVIDER_MEMORY_PERCENT",
            PROVIDER_MEMORY_PERCENT.to_string(),
        ),
        (
            "UNVERIFIED_NETWORK_PERCENT",
            UNVERIFIED_NETWORK_PERCENT.to_string(),
        ),
        ("HEAD_BYTES_MAX", bytes(HEAD_BYTES_MAX)),
        ("HEADERS_MAX", HEADERS_MAX.to_string()),
        ("CONNECTIONS_MAX", CONNECTIONS_MAX.to_string()),
        (
            "AUTHENTICATED_CONNECTIONS_MAX",
            AUTHENTICATED_CONNECTIONS_MAX.to_string(),
        ),
        ("CALLER_CONNECTIONS_MAX", CALLER_CONNECTIONS_MAX.to_string()),
        (
            "CLOSING_CONNECTIONS_MAX",
            CLOSING_CONNECTIONS_MAX.to_string(),
        ),
        ("EVENT_ID_CHARS_MAX", EVENT_ID_CHARS_MAX.to_string()),
        ("SIGNATURE_AGE_MAX", duration(age)),
        ("RETRY_DELAY_SECONDS", RETRY_DELAY_SECONDS.to_string()),
    ])
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_tables_have_every_constant_with_its_value() {
    let text = read("docs/limits.md");
    let (_, text) = text.split_once("## The gRPC port").unwrap();
    let (of_grpc_port, text) = text.split_once("## The HTTP port").unwrap();
    let (of_http_port, _) = text.split_once("## The database").unwrap();
    for (table, source, values) in [
        (of_grpc_port, "src/grpc/wire/limits.rs", of_grpc()),
        (of_http_port, "src/http/limits.rs", of_http()),
    ] {
        for (name, value) in &values {
            let row = format!("| `{name}` | {value} |");
            assert!(table.contains(&row), "docs/limits.md should have {row}");
        }
        let source = read(source);
        let constants = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub const "));
        let mut constants: Vec<_> = constants
            .map(|line| line.split(':').next().unwrap())
            .collect();
        constants.sort_unstable();
        assert!(
            constants.iter().eq(values.keys()),
            "this test should know {constants:?}"
        );
    }
}

#[test]
fn every_test_that_is_said_to_keep_a_limit_is_there() {
    let text = read("docs/limits.md");
    let names = text.split('`').skip(1).step_by(2);
    let names = names.filter(|name| name.matches('_').count() >= 3 && *name == name.to_lowercase());
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut sources,
        );
    }
    let mut count = 0;
    for name in names {
        assert!(
            sources.contains(&format!("fn {name}()")),
            "there is no test {name}"
        );
        count += 1;
    }
    assert!(count > 20, "{count}");
}

fn collect(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
