//! Files of a case folder: each is hashed and counted while it is written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::manifest::Listed;

/// A file being written.
#[derive(Debug)]
pub(super) struct HashedFile {
    name: &'static str,
    out: BufWriter<Hashing>,
    rows: u64,
}

#[derive(Debug)]
struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl HashedFile {
    /// Makes the file, or empties it.
    pub(super) fn create(folder: &Path, name: &'static str) -> io::Result<Self> {
        let file = File::create(folder.join(name))?;
        let out = BufWriter::with_capacity(64 * 1024, Hashing { file, hash: Sha256::new(), bytes: 0 });
        Ok(Self { name, out, rows: 0 })
    }

    /// Counts rows that were written.
    pub(super) fn count(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Puts what was written on the disk, and says what it is.
    pub(super) fn finish(self) -> io::Result<Listed> {
        let Hashing { file, hash, bytes } = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(Listed { name: self.name.to_owned(), sha256: format!("{:x}", hash.finalize()), bytes, rows: self.rows })
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The SHA-256, in hexadecimal, the bytes and the lines of a file.
pub(super) fn measure(path: &Path) -> io::Result<(String, u64, u64)> {
    let (mut file, mut hash, mut bytes, mut lines) = (File::open(path)?, Sha256::new(), 0, 0);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = io::Read::read(&mut file, &mut chunk)?;
        if length == 0 {
            return Ok((format!("{:x}", hash.finalize()), bytes, lines));
        }
        hash.update(&chunk[..length]);
        bytes += length as u64;
        lines += chunk[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}
