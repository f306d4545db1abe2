//! Writes a record anew where Cosmos DB would change it: numbers that a double cannot hold, and text that is no valid Unicode.
//! Pure.

/// A number that a double would change becomes a string of its digits, and a surrogate that stands alone becomes U+FFFD,
/// which sets `repaired`.
pub(super) fn rewrite(text: &str, repaired: &mut bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 16);
    let (mut at, mut copied, mut inside) = (0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                inside = !inside;
                at += 1;
            }
            b'\\' if inside => {
                let length = escape_length(bytes, at);
                if is_lone_surrogate(bytes, at, length) {
                    out.push_str(&text[copied..at]);
                    out.push('\u{fffd}');
                    copied = at + length;
                    *repaired = true;
                }
                at += length;
            }
            b'-' | b'0'..=b'9' if !inside => {
                let length = bytes[at..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
                let number = &text[at..at + length];
                if let Some(other) = replacement(number) {
                    out.push_str(&text[copied..at]);
                    out.push_str(&other);
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Bytes of the escape at a backslash: a surrogate pair is one escape.
fn escape_length(bytes: &[u8], at: usize) -> usize {
    match surrogate(bytes, at) {
        Some(Surrogate::High) if surrogate(bytes, at + 6) == Some(Surrogate::Low) => 12,
        Some(_) => 6,
        None => 2.min(bytes.len() - at),
    }
}

fn is_lone_surrogate(bytes: &[u8], at: usize, length: usize) -> bool {
    length == 6 && surrogate(bytes, at).is_some()
}

#[derive(PartialEq, Eq)]
enum Surrogate {
    High,
    Low,
}

/// The half of a surrogate pair, `\ud800` to `\udfff`, that stands at a position.
fn surrogate(bytes: &[u8], at: usize) -> Option<Surrogate> {
    let escape = bytes.get(at..at + 6)?;
    if !escape.starts_with(b"\\u") || !escape[2..].iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    match escape[2..4].to_ascii_lowercase().as_slice() {
        [b'd', b'8'..=b'9' | b'a'..=b'b'] => Some(Surrogate::High),
        [b'd', b'c'..=b'f'] => Some(Surrogate::Low),
        _ => None,
    }
}

/// The text to put in place of a number; none where a double keeps its value. Cosmos holds numbers as doubles.
fn replacement(number: &str) -> Option<String> {
    let kept = number.parse::<f64>().ok().filter(|double| double.is_finite()).and_then(|double| {
        let text = serde_json::to_string(&double).ok()?;
        (decimal(&text)? == decimal(number)?).then_some(text)
    });
    match kept {
        // An exponent is written out, so that what is measured here is what arrives there.
        Some(text) if number.contains(['e', 'E']) => Some(text),
        Some(_) => None,
        None => Some(format!("\"{number}\"")),
    }
}

/// A decimal number's sign, digits without zeros at either end, and exponent: equal for equal values.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let exponent =
        exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(i64::try_from(zeros).ok()?)?;
    Some((negative, significant.to_owned(), exponent))
}
