//! Skims a record that is too large to hold: keeps its small fields, which tell its key and its edges, and a digest of all of it.

use sha2::{Digest, Sha256};

/// Fields longer than this, name and value, are left out. The longest that a key or an edge is made of are far shorter.
const MAX_FIELD_BYTES: usize = 4 * 1024;
/// Bytes of small fields that are kept at most.
const MAX_KEPT_BYTES: usize = 256 * 1024;

/// The skimmer. Fed an element's bytes in order, from its first to its last.
#[derive(Debug, Default)]
pub(super) struct Skim {
    digest: Sha256,
    is_object: bool,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
    /// The field that is being read, as it stands.
    field: Vec<u8>,
    is_long: bool,
    /// Fields that were kept, parted by commas.
    kept: Vec<u8>,
}

/// The remains of a record that was too large to hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skimmed {
    /// An object of its small fields.
    pub(super) json: Vec<u8>,
    /// SHA-256 of the record's bytes as they came.
    pub(super) digest: [u8; 32],
}

impl Skim {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        for byte in bytes {
            self.take(*byte);
        }
    }

    fn take(&mut self, byte: u8) {
        let is_outside = !self.is_text;
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_text => self.is_escaped = true,
            b'"' => self.is_text = !self.is_text,
            b'{' | b'[' if is_outside => {
                self.depth += 1;
                if self.depth == 1 {
                    self.is_object = byte == b'{';
                    return;
                }
            }
            b'}' | b']' if is_outside => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    return self.end_field();
                }
            }
            b',' if is_outside && self.depth == 1 => return self.end_field(),
            _ => {}
        }
        self.is_long |= self.field.len() == MAX_FIELD_BYTES;
        if !self.is_long {
            self.field.push(byte);
        }
    }

    fn end_field(&mut self) {
        let has_room = self.kept.len() + self.field.len() < MAX_KEPT_BYTES;
        if !self.is_long && has_room && !self.field.trim_ascii().is_empty() {
            if !self.kept.is_empty() {
                self.kept.push(b',');
            }
            self.kept.append(&mut self.field);
        }
        self.field.clear();
        self.is_long = false;
    }

    /// Returns what is left of it, after its closing bracket.
    pub(super) fn finish(self) -> Skimmed {
        let json = [b"{", self.kept.as_slice(), b"}"].concat();
        // What is no JSON inside, or no object at all, tells nothing.
        let is_json = self.is_object && serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok();
        Skimmed { json: if is_json { json } else { b"{}".to_vec() }, digest: self.digest.finalize().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skimmed(record: &str, size: usize) -> Skimmed {
        let mut skim = Skim::default();
        record.as_bytes().chunks(size).for_each(|chunk| skim.push(chunk));
        skim.finish()
    }

    #[test]
    fn small_fields_stay_and_large_ones_go_however_the_record_arrives() {
        let large = "x".repeat(MAX_FIELD_BYTES);
        let record = format!(r#"{{"A":"{large}", "Id" : "a,}}\"b" ,"L":[{{"x":"{large}"}}],"O":{{"n":[1,2]}},"T":"2026-11-20T10:00:00"}}"#);
        let first = skimmed(&record, record.len());
        let kept: serde_json::Value = serde_json::from_slice(&first.json).unwrap();
        assert_eq!(kept, serde_json::json!({"Id": "a,}\"b", "O": {"n": [1, 2]}, "T": "2026-11-20T10:00:00"}));
        assert_eq!(first.digest, <[u8; 32]>::from(Sha256::digest(&record)));
        for size in [1, 7, 1000] {
            assert_eq!(skimmed(&record, size), first, "{size}");
        }
    }

    #[test]
    fn what_is_no_json_leaves_nothing_and_what_is_kept_is_bounded() {
        assert_eq!(skimmed(r#"{"Id":secret,"A":1}"#, 4).json, b"{}");
        assert_eq!(skimmed("{}", 1).json, b"{}");
        let many: Vec<_> = (0..100_000).map(|number| format!(r#""{number}":"some text""#)).collect();
        let kept = skimmed(&format!("{{{}}}", many.join(",")), 1000);
        assert!(kept.json.len() <= MAX_KEPT_BYTES + 2, "{}", kept.json.len());
        assert!(serde_json::from_slice::<serde_json::Value>(&kept.json).unwrap()["0"].is_string());
    }
}
