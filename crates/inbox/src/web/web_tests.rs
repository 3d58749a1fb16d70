//! The pages and the API as a client gets them.

use axum::body::{Body, to_bytes};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::mailbox::Envelope;

struct TestSite {
    router: Router,
    id: String,
    _folder: TempDir,
}

struct SiteResponse {
    status: StatusCode,
    policy: String,
    body: String,
}

impl TestSite {
    /// A site with one message.
    async fn with(recipient: &str, message: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mailbox = Arc::new(Mailbox::open(folder.path().to_owned()).unwrap());
        let envelope = Envelope {
            sender: String::new(),
            recipients: vec![recipient.to_owned()],
        };
        let id = mailbox.store(&envelope, message.as_bytes()).await.unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 8025));
        Self {
            router: router(mailbox, listen),
            id,
            _folder: folder,
        }
    }

    async fn get_from(&self, host: &str, path: &str) -> SiteResponse {
        let request = Request::builder()
            .uri(path)
            .header(header::HOST, host)
            .body(Body::empty())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let policy = response.headers().get(header::CONTENT_SECURITY_POLICY);
        let policy = policy.map(|policy| policy.to_str().unwrap().to_owned());
        SiteResponse {
            status: response.status(),
            policy: policy.unwrap_or_default(),
            body: String::from_utf8(
                to_bytes(response.into_body(), 1 << 20)
                    .await
                    .unwrap()
                    .to_vec(),
            )
            .unwrap(),
        }
    }

    async fn get(&self, path: &str) -> SiteResponse {
        self.get_from("127.0.0.1:8025", path).await
    }
}

const HOSTILE: &str = "<script>alert(1)</script>\"'";

fn hostile_message() -> String {
    format!(
        "From: {HOSTILE} <x@b.co>\r\nSubject: {HOSTILE}\r\nX-Hostile: {HOSTILE}\r\n\
         Content-Type: multipart/alternative; boundary=x\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\n{HOSTILE}\r\n\
         --x\r\nContent-Type: text/html\r\n\r\n<!DOCTYPE html>\r\n<html>{HOSTILE}</html>\r\n--x--\r\n"
    )
}

#[tokio::test]
async fn values_of_a_message_are_escaped_on_every_page() {
    let site = TestSite::with("\"<script>\"@b.co", &hostile_message()).await;
    let id = &site.id;
    let mut paths = vec![
        "/".to_owned(),
        "/?to=%3Cscript%3E".to_owned(),
        "/welcome".to_owned(),
    ];
    for view in ["html", "text", "headers", "source", "%3Cscript%3E"] {
        paths.push(format!("/mails/{id}?view={view}"));
    }
    for path in paths {
        let answer = site.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.body.contains("<script>"), "{path}: {}", answer.body);
        assert_eq!(answer.policy, PAGE_POLICY, "{path}");
    }
}

#[tokio::test]
async fn the_html_of_a_message_is_served_alone_in_a_sandbox() {
    let site = TestSite::with("a@b.co", &hostile_message()).await;
    let answer = site.get(&format!("/mails/{}/html", site.id)).await;
    assert!(
        answer
            .body
            .starts_with("<!DOCTYPE html><base target=\"_blank\">"),
        "{}",
        answer.body
    );
    assert_eq!(answer.policy, MESSAGE_POLICY);
    for forbidden in [
        "script-src",
        "allow-scripts",
        "allow-same-origin",
        "http:",
        "https:",
        "*",
    ] {
        assert!(!MESSAGE_POLICY.contains(forbidden), "{forbidden}");
    }
    let page = site.get(&format!("/mails/{}", site.id)).await;
    assert!(
        page.body
            .contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\"")
    );
}

#[tokio::test]
async fn the_api_returns_the_same_values() {
    let message =
        "From: A <a@b.co>\r\nSubject: Hi\r\n\r\nhttp://127.0.0.1/welcome#token=inv1_x\r\n";
    let site = TestSite::with("person@b.co", message).await;
    let list: serde_json::Value =
        serde_json::from_str(&site.get("/api/mails?to=PERSON").await.body).unwrap();
    assert_eq!(list[0]["id"], site.id);
    assert_eq!(list[0]["to"][0], "person@b.co");
    assert_eq!(list[0]["subject"], "Hi");
    assert!(list[0]["received"].as_str().unwrap().ends_with('Z'));
    assert_eq!(site.get("/api/mails?to=nobody").await.body, "[]");
    let one = site.get(&format!("/api/mails/{}", site.id)).await;
    let one: serde_json::Value = serde_json::from_str(&one.body).unwrap();
    assert_eq!(one["link"], "http://127.0.0.1/welcome#token=inv1_x");
    assert_eq!(one["html"], serde_json::Value::Null);
    assert_eq!(one["from"], "A <a@b.co>");
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let site = TestSite::with("a@b.co", "\r\n").await;
    for path in [
        "/nothing",
        "/mails/0",
        "/mails/..%2f..%2fx",
        "/mails/0/html",
        "/api/mails/0",
    ] {
        assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let site = TestSite::with("a@b.co", "\r\n").await;
    for host in [
        "127.0.0.1",
        "localhost:8025",
        "[::1]:8025",
        "mail.localhost",
    ] {
        assert_eq!(
            site.get_from(host, "/").await.status,
            StatusCode::OK,
            "{host}"
        );
    }
    for host in [
        "rebound.example:8025",
        "localhost.example",
        "127.0.0.1.example",
        "",
    ] {
        let answer = site.get_from(host, "/").await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
}
