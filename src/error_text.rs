//! Errors as one line of text: with every cause, without secrets.

use std::error::Error;

/// An error with everything behind it, on one line, without the signature that an address may carry.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own words.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    redact(&text.replace(['\n', '\r'], " "))
}

/// A shared access signature is a secret that travels in addresses, and addresses get into error texts.
fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("sig=") {
        let (before, signature) = rest.split_at(at + 4);
        redacted.push_str(before);
        redacted.push_str("***");
        let end = signature.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '%' | '+' | '/' | '=' | '-' | '_' | '.')));
        rest = &signature[end.unwrap_or(signature.len())..];
    }
    redacted.push_str(rest);
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_names_every_cause_once_and_no_signature() {
        let inner = std::io::Error::other("refused (http://127.0.0.1/q?sv=1&sig=a%2Fb%3D&sp=r)");
        let error = anyhow::Error::new(inner).context("queue").context("outer");
        assert_eq!(chain(error.as_ref()), "outer: queue: refused (http://127.0.0.1/q?sv=1&sig=***&sp=r)");
    }

    #[test]
    fn a_cause_that_its_error_repeats_is_told_once() {
        let error = anyhow::anyhow!("wrong key").context("refused: wrong key (7)").context("it cannot be opened");
        assert_eq!(chain(error.as_ref()), "it cannot be opened: refused: wrong key (7)");
    }
}
