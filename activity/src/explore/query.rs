//! Asks a Cosmos DB a question in SQL, typed or in a file, and prints the documents of the answer: what `curl` cannot do,
//! because each request is signed.

use std::fs;
use std::io::{Write as _, stderr, stdout};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use azure_core::credentials::Secret;
use clap::Args;
use futures::TryStreamExt as _;
use serde_json::Value;

use crate::explore::database::{Credential, EMULATOR_KEY, connect, without_system_properties};
use crate::explore::question::Question;
use crate::visible::visible_json;

/// A question, and whom to ask.
#[derive(Args, Clone, Debug)]
pub struct QueryOptions {
    /// SQL, such as "select * from c where c.UserId = 'alice@contoso.example'", or a file of it, such as queries/by-user.sql
    pub sql: String,
    /// Value of a parameter: --param user=alice@contoso.example; if not given, the file's own sample
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Address of the database, such as http://127.0.0.1:8081/
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// Account key; that of Microsoft's emulators if not given
    #[arg(long, default_value = EMULATOR_KEY, hide_default_value = true)]
    pub key: String,
    /// Database
    #[arg(long, default_value = "office365")]
    pub database: String,
    /// Container
    #[arg(long, default_value = "activity")]
    pub container: String,
}

/// Prints each result as one line of JSON, without the database's own properties, and returns how many there were.
///
/// # Errors
///
/// The file cannot be read, or the database does not answer, or refuses the key or the question.
pub async fn query(options: &QueryOptions) -> Result<usize> {
    let question = question(options)?;
    let key = Credential::Key(Secret::new(options.key.clone()));
    let container = connect(&options.endpoint, key, &options.database, &options.container).await;
    let container = container.map_err(|error| anyhow!("{error}: is a stack kept up (--keep), and is this the address that it shows?"))?;
    let mut results = question.ask(&container).await?;
    let mut count = 0;
    while let Some(result) = results.try_next().await? {
        count += 1;
        // The same JSON, without characters that would do something to a terminal or to who reads it.
        if writeln!(stdout(), "{}", visible_json(&without_system_properties(result).to_string())).is_err() {
            break; // the reader has gone
        }
    }
    Ok(count)
}

/// The question, and on stderr the samples that stand in for what was not given.
fn question(options: &QueryOptions) -> Result<Question> {
    let is_file = Path::new(&options.sql).extension().is_some_and(|extension| extension == "sql");
    let text = if is_file { fs::read_to_string(&options.sql).with_context(|| options.sql.clone())? } else { options.sql.clone() };
    let mut question = Question::parse(&text)?;
    let mut given = Vec::new();
    for param in &options.param {
        let (name, value) = param.split_once('=').with_context(|| format!("--param {param}: NAME=VALUE is meant"))?;
        let is_text = question.parameters().get(name).is_none_or(Value::is_string);
        question.set(name, if is_text { Value::from(value) } else { serde_json::from_str(value)? })?;
        given.push(name);
    }
    for (name, sample) in question.parameters().iter().filter(|(name, _)| !given.contains(&name.as_str())) {
        let _ = writeln!(stderr(), "@{name} = {sample}, as in the file; for another: --param {name}=…");
    }
    Ok(question)
}
