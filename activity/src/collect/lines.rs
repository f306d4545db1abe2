//! Files of lines that are only appended to.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::Result;

/// A run that was killed may have left half a line behind.
pub(crate) fn cut_unfinished_line(file: &mut File) -> Result<()> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let chunk = &mut chunk[..usize::try_from(end - start)?];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    Ok(())
}
