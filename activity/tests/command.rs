//! The command as a person starts it: a process of its own, told by its arguments and its environment, judged by what it
//! prints, how it exits, and what it leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use activity::collect::run::collect;
use activity::collect::stack::{Source, StackOptions};
use activity::keep;
use activity::paths::keep_file;
use activity::screen::Screen;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use standins::cosmos::CosmosOptions;
use standins::tenant::{Tenant, TenantOptions, generate};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Nothing of this process's environment but what programs are found by.
const INHERITED: [&str; 6] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"];
/// The first run may have to install Azurite and to build the handler.
const LIMIT: Duration = Duration::from_secs(900);

fn activity(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
    let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(arguments).env_clear().envs(inherited).env("CARGO", env!("CARGO")).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Exit code, standard output and standard error.
async fn run(mut command: Command) -> Result<(Option<i32>, String, String)> {
    let output = timeout(LIMIT, command.output()).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// The one line of an error.
async fn error(command: Command) -> Result<String> {
    let (code, stdout, stderr) = run(command).await?;
    ensure!(code == Some(1), "exit code {code:?}: {stdout}{stderr}");
    ensure!(stderr.lines().count() == 1, "more than a line: {stderr}");
    Ok(stderr.trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn collects_a_made_up_tenant() -> Result<()> {
    let options =
        StackOptions { source: Source::Generated { count: 700, seed: 3, is_calm: false }, state: None, cosmos: CosmosOptions::default() };
    let account = collect(options, None, &Screen::quiet()).await?;
    assert_eq!(account.faults, [] as [&str; 0]);
    let (first, again) = (account.first.total(), account.again.total());
    assert_eq!((first.records, first.documents + first.duplicates, first.lost), (700, 700, 0));
    assert_eq!((again.queued, again.fetched, again.documents), (0, 0, 0));
    assert!(again.listed > 0, "{again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn collects_the_tenant_that_the_environment_names() -> Result<()> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    let ids: usize = generate::publish(&tenant, 5, 400).values().map(|tally| tally.ids).sum();
    let mut command = activity(&[]);
    command.envs(tenant.settings());
    let (code, stdout, stderr) = run(command).await?;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("the real one"), "{stdout}");
    let total: Vec<_> = stdout.lines().find(|line| line.starts_with("total")).context("no total")?.split_whitespace().collect();
    assert_eq!(&total[4..6], ["400", &ids.to_string()], "{stdout}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_one_line_that_says_what_to_do() -> Result<()> {
    let mut broken = tempfile::NamedTempFile::new()?;
    broken.write_all(b"{\"Id\":\"a\"}\n{\"Id\":\n")?;
    let broken = broken.path().display().to_string();
    let line = error(activity(&["--records", &broken])).await?;
    assert!(line.contains(&format!("{broken}, line 2")), "{line}");
    let line = error(activity(&["--records", "/nowhere/records.ndjson"])).await?;
    assert!(line.contains("/nowhere/records.ndjson cannot be opened"), "{line}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let line = error(activity(&["--records-count", "1", "--port", &port])).await?;
    assert!(line.contains(&format!("port {port}")) && line.contains("choose another"), "{line}");

    let mut without_node = activity(&["--records-count", "1"]);
    without_node.env("PATH", "/nowhere");
    let line = error(without_node).await?;
    assert!(line.contains("was not found") && line.contains("https://nodejs.org"), "{line}");

    let mut without_cargo = activity(&["--records-count", "1"]);
    without_cargo.env("CARGO", "/nowhere/cargo");
    let line = error(without_cargo).await?;
    assert!(line.contains("https://rustup.rs"), "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_of_a_tenant_are_told_in_one_line() -> Result<()> {
    let wrong = BTreeMap::from([("OFFICE365_CLIENT_SECRET", "s"), ("OFFICE365_CLIENT_ID", "c"), ("OFFICE365_TENANT_ID", "not a GUID")]);
    let mut command = activity(&[]);
    command.envs(&wrong);
    let line = error(command).await?;
    assert!(line.contains("the handler exited with code 1") && line.contains("OFFICE365_TENANT_ID"), "{line}");
    let mut command = activity(&["--records", "records.ndjson"]);
    command.envs(&wrong);
    let line = error(command).await?;
    assert!(line.contains("drop one"), "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_everything_up_until_ctrl_c_and_leaves_nothing_behind() -> Result<()> {
    let mut child = activity(&["--records-count", "50", "--keep"]).stdout(Stdio::piped()).spawn()?;
    let text = until(&mut child, "Graph  ").await?;
    let pid = child.id().context("no process id")?;
    let children = children(pid)?;
    assert!(!children.is_empty());

    // Neither address nor key is typed, and the key is shown nowhere.
    let kept = keep::read()?.context("nothing is noted")?;
    assert!(text.contains(&kept.endpoint) && !text.contains(&kept.key), "{text}");
    let mode = fs::metadata(keep_file())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, stdout, stderr) = run(activity(&["query", "select * from c"])).await?;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.lines().count() > 40 && stdout.lines().all(|line| line.starts_with('{')), "{stdout}");

    let graph = text.split_whitespace().next_back().context("no address of the graph")?.to_owned();
    let page = reqwest::get(&graph).await?.error_for_status()?.text().await?;
    assert!(page.contains("<title>"), "{page}");

    interrupt(pid)?;
    assert_eq!(timeout(Duration::from_secs(20), child.wait()).await??.code(), Some(0));
    assert!(reqwest::get(&graph).await.is_err(), "the page outlived the run");
    assert_eq!(keep::read()?, None);
    let line = error(activity(&["graph"])).await?;
    assert!(line.contains("--keep"), "{line}");
    all_gone(&children).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_cargo_runs_leaves_nothing_behind() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let slow = directory.path().join("cargo");
    fs::write(&slow, "#!/bin/sh\nsleep 600 & echo '   Compiling handler' >&2; wait\n")?;
    fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut child = activity(&["--records-count", "50"]).env("CARGO", &slow).stdout(Stdio::piped()).spawn()?;
    until(&mut child, "takes minutes").await?;
    let pid = child.id().context("no process id")?;
    // Azurite starts meanwhile.
    let started = timeout(LIMIT, async {
        loop {
            let started = descendants(pid)?;
            if started.len() >= 3 {
                return anyhow::Ok(started);
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let started = started.await.context("Azurite, cargo and what it runs")??;

    interrupt(pid)?;
    assert_eq!(timeout(Duration::from_secs(20), child.wait()).await??.code(), Some(130));
    all_gone(&started).await
}

/// Reads standard output until a line holds this.
async fn until(child: &mut Child, wanted: &str) -> Result<String> {
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut text = String::new();
    let found = async {
        while let Some(line) = lines.next_line().await? {
            text += &line;
            text.push('\n');
            if line.contains(wanted) {
                return Ok(());
            }
        }
        bail!("it ended without {wanted:?}")
    };
    let found: Result<()> = timeout(LIMIT, found).await?;
    found.with_context(|| text.clone())?;
    Ok(text)
}

fn interrupt(pid: u32) -> Result<()> {
    Ok(kill_process(process(pid)?, Signal::INT)?)
}

fn process(pid: u32) -> Result<Pid> {
    Pid::from_raw(i32::try_from(pid)?).context("no process id")
}

/// Processes that it started, and those that these started.
fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut found = children(pid)?;
    let below: Vec<_> = found.iter().flat_map(|child| children(*child).unwrap_or_default()).collect();
    found.extend(below);
    Ok(found)
}

/// Processes whose parent this is.
fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may end while it is looked at.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(pid.to_string().as_str()) {
            children.push(id);
        }
    }
    Ok(children)
}

async fn all_gone(pids: &[u32]) -> Result<()> {
    for _ in 0..100 {
        let is_gone = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        if pids.iter().all(is_gone) {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("some of {pids:?} are left behind")
}
