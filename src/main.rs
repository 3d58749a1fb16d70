//! The program `invitations`.

use std::process::ExitCode;

use clap::Parser as _;
use invitations::command_line::{Command, CommandLine, run};
use invitations::settings::ServeArgs;
use invitations::{app, telemetry};
use invitations_command::program;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// A batch allocates and frees thousands of small strings together (docs/adr/0030-mimalloc.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(args) => run_service(|runtime| serve(runtime, &args)),
        Command::Migrate(args) => run_service(|runtime| runtime.block_on(app::migrate(&args))),
        Command::Tool(tool) => program::run(async |out| run(&tool, out).await),
    }
}

fn serve(runtime: &Runtime, args: &ServeArgs) -> anyhow::Result<()> {
    telemetry::start(&args.process.log, args.process.log_format)?;
    let settings = args.load()?;
    runtime.block_on(app::serve(settings))
}

fn run_service(service: impl FnOnce(&Runtime) -> anyhow::Result<()>) -> ExitCode {
    let result = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let result = service(&runtime);
            // Tasks that did not end during a bounded shutdown must not block the process.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
