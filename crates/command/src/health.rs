//! The command `health`, which calls grpc.health.v1.Health/Check. It needs no token.

use std::io::Write;
use std::time::{Duration, Instant};

use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::{CommandError, CommandResult, Exit};
use crate::server::ServerArgs;

const POLL_INTERVAL: Duration = Duration::from_millis(250);

const AFTER_HELP: &str = "\
Both programs, invitations and invitectl, have this command.

Exit status:
  0  the status is SERVING
  1  the status is another one, or the server did not answer
  2  the command line is wrong

Example:
  invitectl health --wait 30s";

/// Check whether the server is ready
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct HealthArgs {
    /// Service to check, such as invitation.v1.InvitationService [default: the whole server]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Repeat the check until the status is SERVING, for at most this time, such as 30s
    #[arg(long, value_name = "TIME")]
    wait: Option<humantime::Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: &HealthArgs, out: &mut dyn Write) -> CommandResult {
    let started = Instant::now();
    let wait = args.wait.map_or(Duration::ZERO, Into::into);
    loop {
        let result = check(args).await;
        let is_last = started.elapsed() >= wait;
        match result {
            Ok(status) if is_last || status == ServingStatus::Serving => {
                writeln!(out, "{}", status.as_str_name())?;
                return Ok(Exit::negative_if(status != ServingStatus::Serving));
            }
            Err(failure) if is_last || matches!(failure, CommandError::Usage(_)) => {
                return Err(failure);
            }
            Ok(_) | Err(_) => {}
        }
        let left = wait.saturating_sub(started.elapsed());
        tokio::time::sleep(POLL_INTERVAL.min(left)).await;
    }
}

async fn check(args: &HealthArgs) -> Result<ServingStatus, CommandError> {
    let channel = args.server.connect().await?;
    let mut request = Request::new(HealthCheckRequest {
        service: args.service.clone().unwrap_or_default(),
    });
    request.set_timeout(args.server.timeout());
    let response = HealthClient::new(channel).check(request).await;
    let response = response.map_err(|status| {
        let (code, message) = (status.code(), status.message());
        CommandError::Refused(format!("the health check failed: {code}: {message}"))
    })?;
    Ok(response.into_inner().status())
}
