//! The forms of a case: each takes one document after another, in order, and ends with its files.

mod csv;
mod ecs;
mod ndjson;
mod opengraph;
#[cfg(feature = "parquet")]
mod parquet;
mod sql;
mod timeline;
mod timesketch;

use std::io;
use std::path::Path;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use self::csv::guarded;
use super::document::Document;
use super::manifest::Listed;
use crate::geoip::{GeoIp, GeoIpOptions};

/// A form that documents can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `records.ndjson`: the documents, one a line
    Ndjson,
    /// `records.csv` and `edges.csv`: flat columns, for a spreadsheet
    Csv,
    /// `records.parquet` and `edges.parquet`: the same columns, for DuckDB, Spark, pandas
    Parquet,
    /// `ecs.ndjson`: events under Elastic's names
    Ecs,
    /// `timesketch.jsonl`: for Timesketch
    Timesketch,
    /// `opengraph.json`: the graph, for BloodHound
    Opengraph,
    /// `mysql.sql` and `azure.sql`: tables for MySQL or MariaDB, and for Azure SQL
    Sql,
    /// `timeline.html`: a page to read and print, without network
    Timeline,
}

/// In which forms a case is written.
#[derive(Args, Clone, Debug)]
pub struct FormOptions {
    /// The forms, separated by commas
    #[arg(long = "as", value_name = "FORMS", value_delimiter = ',', default_value = "ndjson")]
    pub forms: Vec<Form>,
    /// Country, city and network of addresses, for `--as ecs`
    #[command(flatten)]
    pub geoip: GeoIpOptions,
}

/// A form being written.
trait Writer: Send {
    /// Takes the next document.
    fn write(&mut self, document: &Document) -> io::Result<()>;

    /// Ends, and says what each file is.
    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>>;
}

/// All forms that were asked for, being written side by side.
pub struct Writers(Vec<Box<dyn Writer>>);

impl Writers {
    /// Begins all forms in a folder that is there; where addresses are is told in events under Elastic's names.
    ///
    /// # Errors
    /// A file cannot be made, or this program was built without a form.
    pub fn begin(folder: &Path, forms: &[Form], geoip: &GeoIp) -> Result<Self> {
        let mut forms = forms.to_vec();
        forms.sort_unstable();
        forms.dedup();
        Ok(Self(forms.into_iter().map(|form| form.begin(folder, geoip)).collect::<Result<_>>()?))
    }

    /// Writes a document in every form.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&mut self, document: &Document) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|writer| writer.write(document))
    }

    /// Ends all forms, and says what each file is, by name.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self) -> io::Result<Vec<Listed>> {
        let files: io::Result<Vec<_>> = self.0.into_iter().map(|writer| writer.finish()).collect();
        let mut files = files?.concat();
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }
}

impl Form {
    fn begin(self, folder: &Path, geoip: &GeoIp) -> Result<Box<dyn Writer>> {
        Ok(match self {
            Self::Ndjson => Box::new(ndjson::Ndjson::begin(folder)?),
            Self::Csv => Box::new(csv::Csv::begin(folder)?),
            #[cfg(feature = "parquet")]
            Self::Parquet => Box::new(parquet::Parquet::begin(folder)?),
            #[cfg(not(feature = "parquet"))]
            Self::Parquet => {
                anyhow::bail!("this program was built without Parquet: cargo run --release -p activity --features parquet -- export …")
            }
            Self::Ecs => Box::new(ecs::Ecs::begin(folder, geoip.clone())?),
            Self::Timesketch => Box::new(timesketch::Timesketch::begin(folder)?),
            Self::Opengraph => Box::new(opengraph::OpenGraph::begin(folder)?),
            Self::Sql => Box::new(sql::Sql::begin(folder)?),
            Self::Timeline => Box::new(timeline::Timeline::begin(folder)?),
        })
    }
}

/// Every name that a file of a case can have.
pub const FILES: [&str; 12] = [
    "azure.sql",
    "ecs.ndjson",
    "edges.csv",
    "edges.parquet",
    "mysql.sql",
    "opengraph.json",
    "records.csv",
    "records.ndjson",
    "records.parquet",
    "timeline.html",
    "timesketch.jsonl",
    "windows.ndjson",
];
