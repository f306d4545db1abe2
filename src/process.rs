//! Starts the handler: without a command, settings, listener and service; with one, what a person asks of it. Prints what
//! stopped it, and says so to the host by its exit code.

use std::{
    io::{Write, stderr},
    os::unix::process::parent_id,
    process::{ExitCode, exit},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle},
    signal::unix::SignalKind,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{config::Config, log, operator, own_rows, server, services::Services};

/// Ended on request. The host starts the handler again after 200 without counting it as an error, and never after 0.
const ENDED: u8 = 200;
/// Between two looks whether the host is still there.
const LOOK: Duration = Duration::from_millis(500);

/// All that the process does; returns what it ends with.
#[must_use]
pub fn start() -> ExitCode {
    match operator::command() {
        None => serve(),
        Some(command) => obey(command),
    }
}

#[tokio::main]
async fn obey(command: operator::Command) -> ExitCode {
    operator::run(command).await.unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve() -> ExitCode {
    log::start();
    end_with_the_host();
    match listen() {
        Ok(()) => ExitCode::from(ENDED),
        Err(error) => {
            // The host shows the last lines of stderr with the exit.
            tracing::error!(error = format!("{error:#}"), "the handler ends");
            ExitCode::FAILURE
        }
    }
}

/// Ends this process once its host has ended, which leaves it behind, listening: the host's own death does not reach it. The
/// parent's id changes then. The kernel's signal for it (PR_SET_PDEATHSIG) is no help: it comes when the *thread* ends that
/// started this process, and .NET starts processes on threads of a pool. What is under way is delivered again.
fn end_with_the_host() {
    let host = parent_id();
    thread::spawn(move || {
        while parent_id() == host {
            thread::sleep(LOOK);
        }
        exit(ENDED.into());
    });
}

/// Two runtimes: the functions have one; the other only listens, answers, and watches the time. The functions' has one thread:
/// further ones would share hardly any work, and each would hold memory and wait for the others' locks.
fn listen() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let address = config.listen_on();
    let work = Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no threads")?;
    let served = Builder::new_current_thread().enable_all().build().context("no thread")?.block_on(async {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {}:{}", address.0, address.1))?;
        run(&config, listener, work.handle().clone()).await
    });
    // What still runs has been answered for.
    work.shutdown_background();
    served
}

/// Serves the host on a listener until asked to end; what is under way then is finished first. The functions run on a
/// runtime of their own, `work`: however busy they keep it, the host is answered.
async fn run(config: &Config, listener: TcpListener, work: Handle) -> anyhow::Result<()> {
    let services = Arc::new(Services::new(config)?);
    let _rows = AbortOnDropHandle::new(work.spawn(own_rows::keep(Arc::clone(&services))));
    axum::serve(listener, server::router(services, work)).with_graceful_shutdown(asked_to_end()).await.context("the listener failed")
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
