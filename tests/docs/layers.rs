//! Imports go down only: every `crate::` path under `src/` is held against the table in docs/ARCHITECTURE.md.

use std::{collections::BTreeMap, fs, path::Path};

use super::{files, root};

#[test]
fn imports_go_down_only() {
    let src = root().join("src");
    let rows = rows(&fs::read_to_string(src.join("../docs/ARCHITECTURE.md")).unwrap());
    let mut wrong = Vec::new();
    let mut found: Vec<String> = Vec::new();
    for file in files(&src, "rs") {
        let path = file.strip_prefix(&src).unwrap();
        let module = module_of(path);
        let Some(row) = rows.get(&module) else {
            wrong.push(format!("{}: {module} has no row in docs/ARCHITECTURE.md", path.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap(), path.components().count() - usize::from(path.ends_with("mod.rs"))) {
            match rows.get(&import) {
                _ if import == module => {}
                Some(below) if below > row => {}
                Some(_) => wrong.push(format!("{} imports {import}, which is no lower", path.display())),
                None => wrong.push(format!("{} imports {import}, which has no row", path.display())),
            }
        }
        found.push(module);
    }
    let gone = rows.keys().filter(|module| !found.contains(module));
    wrong.extend(gone.map(|module| format!("{module} has a row in docs/ARCHITECTURE.md and no file")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table's modules, each with its row's number: the names in backticks of the first column.
fn rows(document: &str) -> BTreeMap<String, usize> {
    let layers = document.split("## Layers").nth(1).unwrap().split("\n## ").next().unwrap();
    let table = layers.lines().filter(|line| line.starts_with("| `")).enumerate();
    let names = |(row, line): (usize, &str)| {
        let cell = line.split('|').nth(1).unwrap().to_owned();
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(|name| (name.trim_end_matches('/').trim_end_matches(".rs").to_owned(), row))
            .collect::<Vec<_>>()
    };
    table.flat_map(names).collect()
}

/// The module at the top of `src/` that a file belongs to.
fn module_of(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The top modules that a file names, by `crate::` or by as many `super::` as lead to the top from `depth` levels below it.
fn imports(source: &str, depth: usize) -> Vec<String> {
    let tokens = tokens(source);
    // How deep each open brace leads: an inline module is one level more.
    let (mut braces, mut depth, mut at, mut found) = (Vec::new(), depth, 0, Vec::new());
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                let is_module = at >= 2 && tokens[at - 2] == "mod";
                depth += usize::from(is_module);
                braces.push(is_module);
            }
            "}" => depth -= usize::from(braces.pop().unwrap_or_default()),
            "crate" if tokens.get(at + 1).is_some_and(|next| next == "::") => {
                found.extend(first_names(&tokens[at + 2..]));
                at += 1;
            }
            "super" => {
                let steps = tokens[at..].chunks(2).take_while(|pair| pair[0] == "super").count();
                at += 2 * steps - 1;
                if steps >= depth {
                    found.extend(first_names(&tokens[at + 1..]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first name of a path, or of each path in braces.
fn first_names(tokens: &[String]) -> Vec<String> {
    if tokens[0] != "{" {
        return vec![tokens[0].clone()];
    }
    let (mut level, mut names, mut is_first) = (0, Vec::new(), false);
    for token in tokens {
        match token.as_str() {
            "{" => {
                level += 1;
                is_first = level == 1;
            }
            "}" => {
                level -= 1;
                if level == 0 {
                    break;
                }
            }
            "," => is_first = level == 1,
            name if is_first => {
                names.push(name.to_owned());
                is_first = false;
            }
            _ => {}
        }
    }
    names
}

/// Words, `::` and single signs; comments, texts and characters are left out.
fn tokens(source: &str) -> Vec<String> {
    let (mut rest, mut tokens) = (source, Vec::new());
    while let Some(c) = rest.chars().next() {
        let length = match c {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' | 'b' if raw_text(rest).is_some() => raw_text(rest).unwrap_or(1),
            '"' => text(rest),
            '\'' => character(rest),
            _ if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                tokens.push(rest[..end].to_owned());
                end
            }
            _ if rest.starts_with("::") => {
                tokens.push("::".to_owned());
                2
            }
            _ if c.is_whitespace() => c.len_utf8(),
            _ => {
                tokens.push(c.to_string());
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of `"…"`.
fn text(rest: &str) -> usize {
    let (mut escaped, mut at) = (false, 1);
    for byte in rest.bytes().skip(1) {
        at += 1;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => break,
            _ => {}
        }
    }
    at
}

/// The length of `r"…"`, `r#"…"#`, `br"…"`; none of anything else.
fn raw_text(rest: &str) -> Option<usize> {
    let start = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let body = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - body.len() + body.find(&end)? + end.len())
}

/// The length of `'x'` or `'\n'`; of a lifetime, its quote alone.
fn character(rest: &str) -> usize {
    let after = &rest[1..];
    if let Some(escaped) = after.strip_prefix('\\') {
        return 2 + escaped.char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at) + 1;
    }
    let length = after.chars().next().map_or(0, char::len_utf8);
    if after[length..].starts_with('\'') { 1 + length + 1 } else { 1 }
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let source = r##"
        //! crate::comment
        use crate::a;
        pub use crate::{b, c::{d, e}, f as g};
        use super::h;
        use self::i;
        const TEXT: &str = "crate::text"; const RAW: &str = r#"crate::raw""#; const C: char = '"';
        fn f<'a>() -> crate::j::K { super::l() }
        mod tests { use super::*; use super::super::m; fn g() { crate::n::o() } }
        fn p(c: char) { matches!(c, '\'' | '{'); crate::q() }
    "##;
    assert_eq!(imports(source, 1), ["a", "b", "c", "f", "h", "j", "l", "m", "n", "q"]);
    assert_eq!(imports("use super::a; use super::super::b;", 2), ["b"]);
}
