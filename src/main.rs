//! The program `invitations`.

use std::process::ExitCode;

use clap::Parser as _;
use invitations::command_line::{Command, CommandLine, run};
use invitations::settings::arguments::ServeArgs;
use invitations::{app, telemetry};
use invitations_command::program;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// A batch is thousands of small strings that come and go together (docs/adr/0030-mimalloc.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit status of a fault that no command foresees.
const EXIT_FAULT: u8 = 1;

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(config) => run_service(|runtime| serve(runtime, &config)),
        Command::Migrate(config) => run_service(|runtime| runtime.block_on(app::migrate(&config))),
        Command::Tool(tool) => program::run(async |out| run(&tool, out).await),
    }
}

fn serve(runtime: &Runtime, config: &ServeArgs) -> anyhow::Result<()> {
    telemetry::start(&config.log, config.log_format)?;
    let settings = config.load()?;
    runtime.block_on(app::serve(settings))
}

fn run_service(service: impl FnOnce(&Runtime) -> anyhow::Result<()>) -> ExitCode {
    let ended = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let ended = service(&runtime);
            // What was abandoned in a bounded shutdown must not hold the process.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAULT)
        }
    }
}
