//! The document in place of one that cannot be taken: without the record's fields, with what the document has of its own. Pure.

use super::{Document, fields::Fields};

/// Names that stay.
const KEPT: [&str; 7] = ["id", "pk", "ttl", "feed", "edges", "findings", "redacted"];
/// The word for what is omitted.
const ALL: &str = "all";

impl Document {
    /// The same document without any field of its record: `omitted` says so.
    #[must_use]
    pub fn stub(&self) -> Self {
        self.with_only(&KEPT)
    }

    /// The stub without edges and findings, should they be what is refused.
    #[must_use]
    pub fn bare_stub(&self) -> Self {
        self.with_only(&KEPT[..4])
    }

    fn with_only(&self, names: &[&str]) -> Self {
        let fields = Fields::of(&self.json).map(|fields| fields.0).unwrap_or_default();
        let kept = fields.iter().filter(|field| names.contains(&&*field.name));
        let kept: Vec<_> = kept.map(|field| format!("\"{}\":{}", field.name, field.value)).collect();
        let edges = if names.contains(&"edges") { "" } else { ",\"edges\":[]" };
        let json = format!("{{{}{edges},\"omitted\":[\"{ALL}\"]}}", kept.join(","));
        Self { json, reduced: Some(vec![ALL.to_owned()]), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_stub_keeps_what_is_the_documents_own_and_nothing_of_the_record() {
        let json = r#"{"id":"a","pk":"p","ttl":1,"feed":{"contentId":"b"},"edges":[{"from":"x"}],"omitted":["L"],"Id":"a","UserId":"u"}"#;
        let document =
            Document { id: "a".to_owned(), pk: "p".to_owned(), json: json.to_owned(), digest: [1; 16], reduced: None, is_left_out: false };
        let stub = document.stub();
        let expected = json!({"id": "a", "pk": "p", "ttl": 1, "feed": {"contentId": "b"}, "edges": [{"from": "x"}], "omitted": ["all"]});
        assert_eq!(serde_json::from_str::<Value>(&stub.json).unwrap(), expected);
        assert_eq!((stub.reduced, &stub.id, stub.digest), (Some(vec!["all".to_owned()]), &document.id, document.digest));
        let bare = serde_json::from_str::<Value>(&document.bare_stub().json).unwrap();
        assert_eq!((&bare["edges"], &bare["omitted"], bare.as_object().unwrap().len()), (&json!([]), &json!(["all"]), 6));
    }
}
