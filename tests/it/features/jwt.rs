//! Callers with JWTs: the scopes and organizations of a token.

mod invalid_tokens;
mod key_sets;
use invitations::clock::Clock as _;
use invitations::proto::ListRequest;
use prost::Message as _;
use prost::bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::Status;

use crate::support::issuer::{JwtSigner, KeyServer, RSA};
use crate::support::raw_grpc;
use crate::support::{ACME, OTHER, World, get_membership_request, reason};

const PLATFORM: &str = "https://platform.example.com/";
const LIST: &str = "/invitation.v1.InvitationService/List";

/// The table of an issuer whose tokens name services.
fn platform(url: &str) -> String {
    format!(
        "[[issuer]]\nname = \"platform\"\nissuer = \"{PLATFORM}\"\naudience = \"invitations\"\n\
         jwks_url = \"{url}\"\nkind = \"service\"\nscopes = [\"invitations:read\", \"invitations:write\"]\n"
    )
}

/// A world that accepts the tokens of the server's keys.
async fn start_world(server: &KeyServer) -> World {
    let table = platform(&server.url());
    World::builder().issuers(&table).start().await
}

/// The claims of a valid token at the time of the world.
fn claims(world: &World) -> Value {
    let now = world.clock.now().unix_timestamp();
    json!({
        "iss": PLATFORM,
        "aud": ["invitations", "other"],
        "sub": "onboarding",
        "iat": now,
        "exp": now + 600,
        "scope": "openid invitations:read directory:read",
    })
}

fn with(world: &World, changes: &Value) -> Value {
    let mut claims = claims(world);
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn list(world: &World, token: &str) -> Result<Vec<u8>, Status> {
    list_of(world, token, ACME).await
}

async fn list_of(world: &World, token: &str, organization_id: &str) -> Result<Vec<u8>, Status> {
    let request = ListRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    raw_grpc::call(world.address(), LIST, &headers, &request.encode_to_vec()).await
}

#[tokio::test]
async fn a_token_of_each_algorithm_has_the_scopes_of_both_token_and_table() {
    let (es, ed) = (JwtSigner::es256("es"), JwtSigner::eddsa("ed"));
    let server = KeyServer::start(&[&RSA[0], &es, &ed]).await;
    let world = start_world(&server).await;
    for signer in [&RSA[0], &es, &ed] {
        let token = signer.sign(&claims(&world));
        list(&world, &token).await.unwrap();
        // The token has this scope, but the table of the issuer does not.
        let mut directory = world.directory_of(&token);
        let refused = directory
            .get_membership(get_membership_request("ada"))
            .await;
        assert_eq!(reason(refused), "SCOPE_MISSING", "{:?}", signer.algorithm);
    }
    let without_scopes = ed.sign(&with(&world, &json!({"scope": null})));
    assert_eq!(reason(list(&world, &without_scopes).await), "SCOPE_MISSING");
    assert_eq!(server.requests(), 1);
    // Static tokens of the callers file remain valid.
    list(&world, "all").await.unwrap();
}

#[tokio::test]
async fn a_service_acts_for_the_organizations_of_both_token_and_table() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let table = format!(
        "{}organizations_claim = \"orgs\"\norganizations = [\"{ACME}\", \"more\"]\n",
        platform(&server.url())
    );
    let world = World::builder().issuers(&table).start().await;
    let token = |orgs: Value| key.sign(&with(&world, &json!({"orgs": orgs})));
    let both = token(json!([ACME, OTHER]));
    list_of(&world, &both, ACME).await.unwrap();
    for (token, organization_id) in [
        (both, OTHER),
        (token(json!([])), ACME),
        (token(json!(null)), ACME),
    ] {
        let refused = list_of(&world, &token, organization_id).await;
        assert_eq!(reason(refused), "ORGANIZATION_DENIED");
    }
}

#[tokio::test]
async fn an_oversized_token_affects_only_its_own_call_or_connection() {
    let world = World::start().await;
    let connect = async || {
        let stream = TcpStream::connect(world.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let call = async |client: &h2::client::SendRequest<Bytes>, bytes: usize| {
        let head = http::Request::post(format!("http://{}{LIST}", world.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", "x".repeat(bytes)))
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await?;
        let (response, _) = client.send_request(head, true)?;
        response.await
    };
    let client = connect().await;
    for bytes in [25 * 1024, 64 * 1024] {
        let refused = call(&client, bytes).await.unwrap();
        assert_eq!(
            refused.status(),
            http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        );
    }
    // The connection still works, and a shorter token gets a gRPC status.
    let refused = call(&client, 8 * 1024).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "16");
    // Headers of four times the limit are treated as an attack.
    let ended = call(&client, 96 * 1024).await.unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    let refused = call(&connect().await, 8 * 1024).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "16");
}
