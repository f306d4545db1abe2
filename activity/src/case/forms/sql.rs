//! Tables of documents and edges as SQL scripts: one for MySQL and MariaDB, one for Azure SQL. The last column of a row is the whole
//! document, as JSON.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::Path;

use super::Writer;
use crate::case::columns::{COLUMNS, Cell, EDGE_COLUMNS, Kind};
use crate::case::document::Document;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;

/// Rows of one INSERT. Azure SQL takes 1,000.
const ROWS: usize = 100;
/// Bytes of one INSERT, unless a single row is longer. MySQL takes 16 MB.
const BYTES: usize = 512 * 1024;

pub(super) struct Sql {
    scripts: [Script; 2],
}

/// A script being written.
struct Script {
    dialect: Dialect,
    file: HashedFile,
    records: Insert,
    edges: Insert,
}

/// An INSERT that grows until it is long enough.
struct Insert {
    /// `INSERT INTO … VALUES`
    head: String,
    values: String,
    rows: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// <https://mariadb.com/docs/server/reference/sql-structure/sql-language-structure/string-literals>
    MySql,
    /// <https://learn.microsoft.com/sql/t-sql/data-types/constants-transact-sql>
    Azure,
}

impl Sql {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            scripts: [
                Script::begin(Dialect::MySql, HashedFile::create(folder, "mysql.sql")?)?,
                Script::begin(Dialect::Azure, HashedFile::create(folder, "azure.sql")?)?,
            ],
        })
    }
}

impl Writer for Sql {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        let cells: Vec<_> = COLUMNS.iter().map(|column| column.cell(document)).collect();
        let whole = serde_json::to_string(document.fields())?;
        self.scripts.iter_mut().try_for_each(|script| script.write(document, &cells, &whole))
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        self.scripts.into_iter().map(Script::finish).collect()
    }
}

impl Script {
    fn begin(dialect: Dialect, mut file: HashedFile) -> io::Result<Self> {
        let records: Vec<_> = COLUMNS.iter().map(|column| (column.name.as_str(), column.kind)).chain([("document", Kind::Text)]).collect();
        let edges = EDGE_COLUMNS.map(|name| (name, if name == "CreationTime" { Kind::Time } else { Kind::Text }));
        file.write_all(dialect.head().as_bytes())?;
        let records = dialect.table(&mut file, "activity", &records)?;
        let edges = dialect.table(&mut file, "edges", &edges)?;
        Ok(Self { dialect, file, records, edges })
    }

    fn write(&mut self, document: &Document, cells: &[Option<Cell>], whole: &str) -> io::Result<()> {
        let dialect = self.dialect;
        let values = cells.iter().map(|cell| dialect.value(cell.as_ref())).chain([dialect.text(whole)]);
        self.records.add(values);
        self.file.count(1);
        let [id, pk, created, workload] = ["id", "pk", "CreationTime", "Workload"].map(|name| document.text(name));
        let created = dialect.value(Some(&Cell::Time(String::new(), crate::case::columns::time(created))));
        for edge in document.edges() {
            let text = |text| dialect.text(text);
            let nodes = [edge.from, edge.from_type, edge.to, edge.to_type, edge.label].map(text);
            self.edges.add([text(id), text(pk), created.clone(), text(workload)].into_iter().chain(nodes));
            self.file.count(1);
            self.edges.write_if_full(&mut self.file, dialect)?;
        }
        self.records.write_if_full(&mut self.file, dialect)
    }

    fn finish(mut self) -> io::Result<Listed> {
        self.records.write(&mut self.file, self.dialect)?;
        self.edges.write(&mut self.file, self.dialect)?;
        if self.dialect == Dialect::MySql {
            self.file.write_all(b"COMMIT;\n")?;
        }
        self.file.finish()
    }
}

impl Insert {
    fn add(&mut self, values: impl IntoIterator<Item = String>) {
        self.values.push_str(if self.rows == 0 { "\n(" } else { ",\n(" });
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.values.push(',');
            }
            self.values.push_str(&value);
        }
        self.values.push(')');
        self.rows += 1;
    }

    fn write_if_full(&mut self, file: &mut HashedFile, dialect: Dialect) -> io::Result<()> {
        if self.rows >= ROWS || self.values.len() >= BYTES { self.write(file, dialect) } else { Ok(()) }
    }

    fn write(&mut self, file: &mut HashedFile, dialect: Dialect) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        write!(file, "{}{};\n{}", self.head, self.values, dialect.end_of_batch())?;
        self.values.clear();
        self.rows = 0;
        Ok(())
    }
}

impl Dialect {
    fn head(self) -> String {
        match self {
            // What follows does not depend on the server's settings.
            Self::MySql => "SET NAMES utf8mb4;\nSET SESSION sql_mode = 'STRICT_ALL_TABLES';\nSTART TRANSACTION;\n".to_owned(),
            Self::Azure => "SET NOCOUNT ON;\nGO\n".to_owned(),
        }
    }

    /// Makes a table, and the beginning of what goes into it.
    fn table(self, file: &mut HashedFile, table: &str, columns: &[(&str, Kind)]) -> io::Result<Insert> {
        let definitions = columns.iter().map(|(name, kind)| format!("  {} {}", self.name(name), self.kind(*kind)));
        let definitions = definitions.collect::<Vec<_>>().join(",\n");
        let options = if self == Self::MySql { " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" } else { "" };
        writeln!(file, "CREATE TABLE {} (\n{definitions}\n){options};\n{}", self.name(table), self.end_of_batch())?;
        let names = columns.iter().map(|(name, _)| self.name(name)).collect::<Vec<_>>().join(",");
        Ok(Insert { head: format!("INSERT INTO {} ({names}) VALUES", self.name(table)), values: String::new(), rows: 0 })
    }

    fn end_of_batch(self) -> &'static str {
        match self {
            Self::MySql => "",
            Self::Azure => "GO\n",
        }
    }

    fn name(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{name}`"),
            Self::Azure => format!("[{name}]"),
        }
    }

    fn kind(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::MySql, Kind::Text) => "LONGTEXT",
            (Self::Azure, Kind::Text) => "nvarchar(max)",
            (_, Kind::Integer) => "bigint",
            (Self::MySql, Kind::Boolean) => "tinyint(1)",
            (Self::Azure, Kind::Boolean) => "bit",
            (Self::MySql, Kind::Time) => "datetime(6)",
            (Self::Azure, Kind::Time) => "datetime2(7)",
        }
    }

    fn value(self, cell: Option<&Cell>) -> String {
        match cell {
            None | Some(Cell::Time(_, None)) => "NULL".to_owned(),
            Some(Cell::Text(text)) => self.text(text),
            Some(Cell::Integer(number)) => number.to_string(),
            Some(Cell::Boolean(truth)) => u8::from(*truth).to_string(),
            Some(Cell::Time(_, Some(time))) => format!("'{}'", time.format("%Y-%m-%d %H:%M:%S%.6f")),
        }
    }

    fn text(self, text: &str) -> String {
        match self {
            Self::MySql => mysql(text),
            Self::Azure => azure(text),
        }
    }
}

fn mysql(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for letter in text.chars() {
        match letter {
            '\'' => literal.push_str("\\'"),
            '\\' => literal.push_str("\\\\"),
            '\0' => literal.push_str("\\0"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\u{1a}' => literal.push_str("\\Z"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// No line break stands in a literal: behind a backslash the server would take it away, and `GO` at the start of a line would end the
/// batch. No `$(` stands there either, which sqlcmd would take for a variable.
fn azure(text: &str) -> String {
    let doubled = if text.contains('\'') { Cow::Owned(text.replace('\'', "''")) } else { Cow::Borrowed(text) };
    if !doubled.contains(['\n', '\r', '\0']) && !doubled.contains("$(") {
        return format!("N'{doubled}'");
    }
    let parted = doubled.replace("$(", "$'+N'(");
    let parted = parted.replace('\r', "'+NCHAR(13)+N'").replace('\n', "'+NCHAR(10)+N'").replace('\0', "'+NCHAR(0)+N'");
    // Parts that are joined are cut off at 4,000 characters, unless the first is of the type that is not.
    format!("CAST(N'' AS nvarchar(max))+N'{parted}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_literal_that_nothing_gets_out_of() {
        assert_eq!(mysql("a'b\\c\nd\0"), "'a\\'b\\\\c\\nd\\0'");
        assert_eq!(azure("a'b\\c"), "N'a''b\\c'");
        assert_eq!(azure("a\\\nGO\n$(x)"), "CAST(N'' AS nvarchar(max))+N'a\\'+NCHAR(10)+N'GO'+NCHAR(10)+N'$'+N'(x)'");
    }
}
