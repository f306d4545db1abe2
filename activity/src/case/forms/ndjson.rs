//! The documents, one a line.

use std::io::{self, Write as _};
use std::path::Path;

use super::Writer;
use crate::case::document::Document;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;

pub(super) struct Ndjson(HashedFile);

impl Ndjson {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        HashedFile::create(folder, "records.ndjson").map(Self)
    }
}

impl Writer for Ndjson {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, document.fields())?;
        self.0.count(1);
        self.0.write_all(b"\n")
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        Ok(vec![self.0.finish()?])
    }
}
