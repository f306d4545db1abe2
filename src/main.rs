//! Starts the handler: without a command, settings, listener and service; with one, what a person asks of it. Prints what
//! stopped it, and says so to the host by its exit code.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use anyhow::Context;
use handler::{config::Config, operator, run};
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Ended on request. The host starts the handler again after 200 without counting it as an error, and never after 0.
const ENDED: u8 = 200;

fn main() -> ExitCode {
    let ended = match operator::command() {
        None => serve().map(|()| ExitCode::from(ENDED)),
        Some(command) => obey(command),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            // The host shows the last lines of stderr with the exit.
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn obey(command: operator::Command) -> anyhow::Result<ExitCode> {
    operator::run(command).await
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    log_to_stdout();
    let config = Config::from_env()?;
    let address = config.listen_on();
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {}:{}", address.0, address.1))?;
    run(&config, listener, asked_to_end()).await
}

/// JSON lines on stdout: on stderr the host would take each for an error.
fn log_to_stdout() {
    let levels = Targets::new().with_default(tracing::Level::WARN).with_target("handler", tracing::Level::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stdout)
        .log_internal_errors(false)
        .with_filter(levels);
    tracing_subscriber::registry().with(lines).init();
    // Where it was, and not what it says: that may be a record's text.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "a panic, which is a fault of the handler's own");
    }));
}

/// Ctrl-C, or the platform's SIGTERM.
async fn asked_to_end() {
    let terminate = async {
        match tokio::signal::unix::signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
}
