//! Events under Elastic's names, one a line.

use std::io::{self, Write as _};
use std::path::Path;

use super::Writer;
use crate::case::document::Document;
use crate::case::ecs::event;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;
use crate::geoip::GeoIp;

pub(super) struct Ecs {
    file: HashedFile,
    geoip: GeoIp,
}

impl Ecs {
    pub(super) fn begin(folder: &Path, geoip: GeoIp) -> io::Result<Self> {
        Ok(Self { file: HashedFile::create(folder, "ecs.ndjson")?, geoip })
    }
}

impl Writer for Ecs {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, &event(document.record(), &self.geoip))?;
        self.file.count(1);
        self.file.write_all(b"\n")
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        Ok(vec![self.file.finish()?])
    }
}
