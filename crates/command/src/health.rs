//! `health`: asks grpc.health.v1 if a service serves. Needs no token.

use std::io::Write;
use std::time::{Duration, Instant};

use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::{CommandError, Exit};
use crate::server::ServerArgs;

/// The time between two questions while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Ask if the server is ready
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit status: 0 if the answer is SERVING, 1 for every other answer and for none.\n\n\
                        Example:\n  health --wait 30s"
)]
pub struct HealthArgs {
    /// Service to ask about, such as invitation.v1.InvitationService [default: the server as a whole]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
    /// Keep asking for so long until the answer is SERVING, such as 30s
    #[arg(long, value_name = "TIME")]
    wait: Option<humantime::Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: &HealthArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let patience = args.wait.map_or(Duration::ZERO, Into::into);
    loop {
        let answer = ask(args).await;
        let is_last = started.elapsed() >= patience;
        match answer {
            Ok(ServingStatus::Serving) => {
                writeln!(out, "SERVING")?;
                return Ok(Exit::Done);
            }
            Ok(status) if is_last => {
                writeln!(out, "{}", status.as_str_name())?;
                return Ok(Exit::Negative);
            }
            Err(failure @ CommandError::Usage(_)) => return Err(failure),
            Err(failure) if is_last => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        let left = patience.saturating_sub(started.elapsed());
        tokio::time::sleep(POLL_INTERVAL.min(left)).await;
    }
}

async fn ask(args: &HealthArgs) -> Result<ServingStatus, CommandError> {
    let channel = args.server.connect().await?;
    let mut request = Request::new(HealthCheckRequest {
        service: args.service.clone(),
    });
    request.set_timeout(args.server.timeout());
    let answer: Result<_, Status> = HealthClient::new(channel).check(request).await;
    match answer {
        Ok(response) => Ok(response.into_inner().status()),
        Err(status) => Err(CommandError::Refused(format!(
            "the health check failed: {}: {}",
            status.code(),
            status.message()
        ))),
    }
}
