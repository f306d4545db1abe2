//! `activity check`: tries whether history may be asked for, with one query of a minute, which counts.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use anyhow::{Result, bail};
use azure_core::http::RetryOptions;
use chrono::{SubsecRound as _, TimeDelta};
use clap::Args;
use handler::azure::Connection;
use handler::config::Config;
use handler::error_text::chain;

use super::CLOSED_AFTER;
use super::access::{Access, PERMISSION};
use super::budget::{Budget, MAX_SUBMISSIONS};
use super::client::{Pauses, SearchClient};
use super::window::Window;
use super::wire::NewQuery;
use crate::collect::case::setting;
use crate::collect::sign_in;
use crate::screen::one_line;

/// In the order in which they are tried: each needs those before it.
const NAMES: [&str; 4] = ["sign-in", "permission", "root", "auditing"];

/// What a check may do.
#[derive(Args, Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Divides all pauses, for a simulated tenant whose clock is pushed
    #[arg(long, value_name = "N", default_value_t = 1, hide = true)]
    hurry: u32,
}

/// What was tried, up to the first that is wrong.
#[derive(Debug)]
pub struct Checked {
    found: Vec<String>,
    /// Why the next one is wrong.
    wrong: Option<anyhow::Error>,
}

impl Checked {
    /// True if history may be asked for.
    pub fn is_well(&self) -> bool {
        self.wrong.is_none()
    }
}

impl Display for Checked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let wrong = self.wrong.as_ref().map(|error| ("wrong", one_line(&chain(error.as_ref()))));
        let found = self.found.iter().map(|found| ("well", found.clone())).chain(wrong);
        let untried = std::iter::repeat_with(|| ("untried", "not tried while the one before is wrong".to_owned()));
        let lines = NAMES.iter().zip(found.chain(untried));
        lines
            .enumerate()
            .try_for_each(|(at, (name, (mark, text)))| write!(f, "{}{name:<10}  {mark:<7}  {text}", if at == 0 { "" } else { "\n" }))
    }
}

/// Tries sign-in, permission, root and auditing, with the settings of the environment.
///
/// # Errors
/// The settings are wrong.
pub async fn check(options: CheckOptions) -> Result<Checked> {
    let config = Config::from_vars(setting)?;
    let mut found = Vec::new();
    let wrong = tried(&config, options, &mut found).await.err();
    Ok(Checked { found, wrong })
}

async fn tried(config: &Config, options: CheckOptions, found: &mut Vec<String>) -> Result<()> {
    let connection = Connection::new(config, RetryOptions::none())?;
    let clients = sign_in::services_over(config, &connection)?.clients;
    let access = Access::new(config, &connection, setting)?;
    access.first_token().await?;
    found.push(access.asker().to_string());

    access.check().await?;
    found.push(PERMISSION.to_owned());

    let client = SearchClient::new(connection.http.clone(), access, Pauses::shortened(options.hurry), Arc::clone(clients.clock()));
    client.probe().await?;
    client.ask_time(clients.activity()).await?;
    let is_beta = client.root().ends_with("/beta");
    found.push(format!("{} answers{}", client.root(), if is_beta { ", v1.0 does not" } else { "" }));

    let now = client.now();
    let budget = Budget::of(&config.office365.tenant_id, MAX_SUBMISSIONS)?;
    if !budget.take("office365-activity check", now)? {
        bail!("not known: {}", budget.why_none(now)?);
    }
    let to = (now - CLOSED_AFTER).trunc_subsecs(0);
    let query = client.make(&NewQuery::new("office365-activity check", Window { from: to - TimeDelta::minutes(1), to })).await?;
    let left = budget.left(now)?.0;
    found.push(format!("on: query {} of a minute was taken; {left} of {MAX_SUBMISSIONS} queries left in these 24 hours", query.id));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_first_wrong_one_is_not_tried() {
        let checked = Checked { found: vec!["it".to_owned()], wrong: Some(anyhow::anyhow!("no")) };
        let shown = "sign-in     well     it\npermission  wrong    no\nroot        untried  not tried while the one before is wrong\n\
                     auditing    untried  not tried while the one before is wrong";
        assert_eq!(checked.to_string(), shown);
    }
}
