//! Asks a Cosmos DB a question in SQL, typed or in a file, and prints the documents of the answer: what `curl` cannot do,
//! because each request is signed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Write as _, stderr, stdout};
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;
use futures::TryStreamExt as _;
use serde_json::Value;

use crate::case::forms::guarded;
use crate::explore::database::{DatabaseOptions, without_system_properties};
use crate::explore::question::Question;
use crate::visible::{visible, visible_json};

/// A question, and whom to ask.
#[derive(Args, Clone, Debug)]
pub struct QueryOptions {
    /// SQL, such as "select * from c where c.UserId = 'alice@contoso.example'", or a file of it, such as queries/by-user.sql
    pub sql: String,
    /// Value of a parameter: --param user=alice@contoso.example; if not given, the file's own sample
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseOptions,
    /// Print a table of comma-separated values, with a header, in which no cell is a formula
    #[arg(long)]
    pub csv: bool,
}

/// Prints each result as one line of JSON, without the database's own properties, and returns how many there were.
///
/// # Errors
///
/// The file cannot be read, or the database does not answer, or refuses the key or the question.
pub async fn query(options: &QueryOptions) -> Result<usize> {
    let question = question(options)?;
    let container = options.database.open().await?;
    let mut results = question.ask(&container).await?;
    if options.csv {
        let rows: Vec<Value> = results.map_ok(without_system_properties).try_collect().await?;
        print_table(&rows);
        return Ok(rows.len());
    }
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

/// One column for each field that any row has.
fn print_table(rows: &[Value]) {
    let names: BTreeSet<&str> = rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys().map(String::as_str)).collect();
    let names = if names.is_empty() { BTreeSet::from(["value"]) } else { names };
    let mut out = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).terminator(csv::Terminator::CRLF).from_writer(stdout());
    let written = out.write_record(&names).and_then(|()| {
        rows.iter().try_for_each(|row| {
            let cell = |name: &&str| if row.is_object() { row.get(*name) } else { Some(row) };
            out.write_record(names.iter().map(|name| match cell(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => guarded(visible(text).into_owned()),
                Some(other) => other.to_string(),
            }))
        })
    });
    let _ = written.map(|()| out.flush()); // the reader may have gone
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
