//! The one binary: reads the command line, runs the command, turns its end into an exit status.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use invitations::cli::failure::Failure;
use invitations::cli::{self, Cli, Command, Tool};
use invitations::config::Config;
use invitations::{app, telemetry};
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// A batch is thousands of small strings that come and go together (docs/adr/0030-mimalloc.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit status of a fault that no command foresees.
const EXIT_FAULT: u8 = 1;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(config) => run_service(|runtime| serve(runtime, &config)),
        Command::Migrate(config) => run_service(|runtime| runtime.block_on(app::migrate(&config))),
        Command::Inbox(args) => run_service(|runtime| runtime.block_on(cli::inbox::run(args))),
        Command::Tool(tool) => run_tool(&tool),
    }
}

fn serve(runtime: &Runtime, config: &Config) -> anyhow::Result<()> {
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

fn run_tool(tool: &Tool) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(EXIT_FAULT);
        }
    };
    let mut stdout = io::stdout().lock();
    let result = runtime
        .block_on(cli::run(tool, &mut stdout))
        .and_then(|exit| stdout.flush().map(|()| exit).map_err(Failure::from));
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_broken_pipe() {
                eprintln!("error: {}", with_causes(&failure));
                if let Some(advice) = failure.advice() {
                    eprintln!("  {advice}");
                }
            }
            failure.exit_code()
        }
    }
}

/// The error and what caused it, leaving out a cause that the one before has told already.
fn with_causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        cause = error.source();
    }
    told
}
