//! Flat tables of documents and edges in Parquet, with the columns of the CSV.
//! <https://parquet.apache.org/docs/file-format/>

use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::Writer;
use crate::case::columns::{Cell, EDGE_COLUMNS, FILE_COLUMNS, Kind, time};
use crate::case::document::Document;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;

/// Rows that are held and then written together: what bounds memory.
const ROWS: usize = 5_000;

pub(super) struct Parquet {
    records: Table,
    edges: Table,
}

struct Table {
    out: SerializedFileWriter<HashedFile>,
    columns: Vec<Held>,
    held: usize,
    rows: u64,
}

/// A column of the rows that are held: for each row whether there is a value, and the values.
struct Held {
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Text(Vec<ByteArray>),
    Integer(Vec<i64>),
    Boolean(Vec<bool>),
    /// Microseconds since 1970, UTC.
    Time(Vec<i64>),
}

impl Parquet {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        let records: Vec<_> = FILE_COLUMNS.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        let edges = EDGE_COLUMNS.map(|name| (name, if name == "CreationTime" { Kind::Time } else { Kind::Text }));
        Ok(Self { records: Table::begin(folder, "records.parquet", &records)?, edges: Table::begin(folder, "edges.parquet", &edges)? })
    }
}

impl Writer for Parquet {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        self.records.row(FILE_COLUMNS.iter().map(|column| column.cell(document)))?;
        let [id, pk, created, workload] = ["id", "pk", "CreationTime", "Workload"].map(|name| document.text(name));
        for edge in document.edges() {
            let text = |text: &str| Some(Cell::Text(text.to_owned()));
            let nodes = [edge.from, edge.from_type, edge.to, edge.to_type, edge.label].map(text);
            let created = Some(Cell::Time(String::new(), time(created)));
            self.edges.row([text(id), text(pk), created, text(workload)].into_iter().chain(nodes))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        Ok(vec![self.records.finish()?, self.edges.finish()?])
    }
}

impl Table {
    fn begin(folder: &Path, name: &'static str, columns: &[(&str, Kind)]) -> io::Result<Self> {
        let fields = columns.iter().map(|(name, kind)| match kind {
            Kind::Text => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
            Kind::Integer => format!("OPTIONAL INT64 {name};"),
            Kind::Boolean => format!("OPTIONAL BOOLEAN {name};"),
            Kind::Time => format!("OPTIONAL INT64 {name} (TIMESTAMP(MICROS,false));"),
        });
        let schema = parse_message_type(&format!("message activity {{ {} }}", fields.collect::<Vec<_>>().join(" ")))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = HashedFile::create(folder, name)?;
        Ok(Self {
            out: SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?,
            columns: columns.iter().map(|(_, kind)| Held { levels: Vec::new(), values: Values::of(*kind) }).collect(),
            held: 0,
            rows: 0,
        })
    }

    fn row(&mut self, cells: impl IntoIterator<Item = Option<Cell>>) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.levels.push(i16::from(column.values.push(cell)));
        }
        self.held += 1;
        self.rows += 1;
        if self.held == ROWS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.held == 0 {
            return Ok(());
        }
        let mut group = self.out.next_row_group()?;
        for held in &mut self.columns {
            let Some(mut column) = group.next_column()? else { break };
            let levels = Some(held.levels.as_slice());
            match &mut held.values {
                Values::Text(texts) => column.typed::<ByteArrayType>().write_batch(texts, levels, None)?,
                Values::Integer(numbers) | Values::Time(numbers) => column.typed::<Int64Type>().write_batch(numbers, levels, None)?,
                Values::Boolean(truths) => column.typed::<BoolType>().write_batch(truths, levels, None)?,
            };
            column.close()?;
            held.levels.clear();
            held.values.clear();
        }
        group.close()?;
        self.held = 0;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Listed> {
        self.write()?;
        let mut file = self.out.into_inner()?;
        file.count(self.rows);
        file.finish()
    }
}

impl Values {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(Vec::new()),
            Kind::Integer => Self::Integer(Vec::new()),
            Kind::Boolean => Self::Boolean(Vec::new()),
            Kind::Time => Self::Time(Vec::new()),
        }
    }

    /// Takes a cell; says whether it has a value.
    fn push(&mut self, cell: Option<Cell>) -> bool {
        match (self, cell) {
            (Self::Text(texts), Some(Cell::Text(text))) => texts.push(ByteArray::from(text.into_bytes())),
            (Self::Integer(numbers), Some(Cell::Integer(number))) => numbers.push(number),
            (Self::Boolean(truths), Some(Cell::Boolean(truth))) => truths.push(truth),
            (Self::Time(times), Some(Cell::Time(_, Some(time)))) => times.push(time.and_utc().timestamp_micros()),
            _ => return false,
        }
        true
    }

    fn clear(&mut self) {
        match self {
            Self::Text(texts) => texts.clear(),
            Self::Integer(numbers) | Self::Time(numbers) => numbers.clear(),
            Self::Boolean(truths) => truths.clear(),
        }
    }
}
