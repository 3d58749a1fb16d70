//! Opens a connection to a relay: name, TCP, TLS, greeting and authentication. Every failure here concerns the lane.

use std::io;
use std::time::Duration;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::Ehlo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::limited_replies::LimitedReplies;
use super::relay_reply::{blames_certificate, check_code, failure_of};
use super::relay_stream::RelayStream;
use super::smtp_config::{RelayEndpoint, RelayTls};
use crate::mail::send_error::{FailureAction, SendError, SendStage};

/// Connects, encrypts and authenticates, as configured. Returns the connection and whether it pipelines commands.
pub(super) async fn connect(
    endpoint: &RelayEndpoint,
) -> Result<(AsyncSmtpConnection, bool), SendError> {
    let config = &endpoint.config;
    let timeouts = &config.timeouts;
    let tcp = dial(&config.host, config.port, timeouts.connect).await?;
    let stream: Box<dyn AsyncTokioStream> = match &endpoint.tls {
        RelayTls::None => Box::new(tcp),
        RelayTls::StartTls(_) => Box::new(RelayStream::LineByLine {
            tcp,
            is_encrypted: false,
        }),
        RelayTls::Implicit { connector, name } => {
            let handshake = connector.connect(name.clone(), tcp);
            let outcome = timeout(timeouts.command, handshake).await;
            let tls = outcome.map_err(|_| SendError::timed_out(SendStage::Tls))?;
            let tls = tls.map_err(|error| handshake_failure(&error))?;
            Box::new(RelayStream::ImplicitTls(Box::new(tls)))
        }
    };
    let stream = Box::new(LimitedReplies::new(stream));
    let greeting = AsyncSmtpConnection::connect_with_transport(stream, &endpoint.hello);
    let mut connection = within(timeouts.greeting, SendStage::Greeting, greeting).await?;
    if let RelayTls::StartTls(parameters) = &endpoint.tls {
        if !connection.can_starttls() {
            let text = "the server does not offer STARTTLS";
            return Err(SendError::misconfigured(SendStage::Tls, text));
        }
        let upgrade = connection.starttls(parameters.clone(), &endpoint.hello);
        within(timeouts.command, SendStage::Tls, upgrade).await?;
    }
    let is_pipelining = config.pipelining && offers_pipelining(&mut connection, endpoint).await?;
    if let Some(credentials) = endpoint.credentials() {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        let authentication = connection.auth(&mechanisms, &credentials);
        let response = within(timeouts.command, SendStage::Auth, authentication).await?;
        check_code(SendStage::Auth, &[235], &response).map_err(|failure| failure.error)?;
    }
    Ok((connection, is_pipelining))
}

/// Whether the server accepts pipelined commands. `lettre` reads the reply to EHLO and does not keep this, so EHLO is
/// sent again; that costs less than the first email saves. A refused EHLO changes nothing (RFC 5321 §4.1.4).
async fn offers_pipelining(
    connection: &mut AsyncSmtpConnection,
    endpoint: &RelayEndpoint,
) -> Result<bool, SendError> {
    let hello = connection.command(Ehlo::new(endpoint.hello.clone()));
    let response = match within(endpoint.config.timeouts.command, SendStage::Greeting, hello).await
    {
        Ok(response) => response,
        Err(error) if error.reply_code.is_some_and(|code| code != 421) => return Ok(false),
        Err(error) => return Err(error),
    };
    check_code(SendStage::Greeting, &[250], &response).map_err(|failure| failure.error)?;
    // The first line is the server's name.
    let mut extensions = response.message().skip(1);
    Ok(extensions.any(|line| line.trim().eq_ignore_ascii_case("PIPELINING")))
}

/// Resolves a host name and tries each of its addresses, each within `limit`.
async fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, SendError> {
    let failure = |text: &str| SendError::fault(FailureAction::PauseLane, SendStage::Connect, text);
    let addresses = timeout(limit, lookup_host((host, port))).await;
    let addresses = addresses.map_err(|_| failure("the host name was not resolved in time"))?;
    let addresses = addresses.map_err(|_| failure("the host name was not resolved"))?;
    let mut last = failure("the host name has no address");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without this the final dot waits 40 ms for the acknowledgement of the body.
                let nodelay = stream.set_nodelay(true);
                nodelay.map_err(|error| failure(&error.to_string()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = failure(&error.to_string()),
            Err(_) => last = failure("no connection in time"),
        }
    }
    Err(last)
}

async fn within<T>(
    limit: Duration,
    stage: SendStage,
    step: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, SendError> {
    let outcome = timeout(limit, step).await;
    let outcome = outcome.map_err(|_| SendError::timed_out(stage))?;
    outcome.map_err(|error| failure_of(stage, &error).error)
}

fn handshake_failure(error: &io::Error) -> SendError {
    let text = error.to_string();
    if blames_certificate(error) {
        SendError::misconfigured(SendStage::Tls, &text)
    } else {
        SendError::fault(FailureAction::PauseLane, SendStage::Tls, &text)
    }
}
