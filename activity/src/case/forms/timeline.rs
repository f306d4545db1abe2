//! One page to read and print, without script and without network: findings first, then what happened by hour, with the graph of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use super::Writer;
use super::timesketch::message;
use crate::case::columns::{address, time};
use crate::case::document::Document;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;
use crate::case::tally::{Seen, Tally};
use crate::text_table::Count;

/// Findings shown; the page says how many there are.
const FINDINGS: usize = 2000;
/// Rows of an hour shown, the most frequent.
const ROWS: usize = 20;
/// Edges of the graph, the most frequent.
const EDGES: usize = 40;
/// Bars of the chart; beyond that it is by day.
const BARS: usize = 400;
const LEVELS: [&str; 5] = ["critical", "high", "medium", "low", "informational"];
const STYLE: &str = include_str!("timeline.css");

pub(super) struct Timeline {
    file: HashedFile,
    documents: u64,
    /// By level and time.
    findings: BTreeMap<(usize, String, u64), Found>,
    found: u64,
    /// By hour, and what happened then.
    hours: Tally,
    edges: Tally,
}

/// A finding, and what it was found in.
struct Found {
    level: String,
    title: String,
    message: String,
    address: String,
    id: String,
}

/// An hour's records, and its most frequent rows.
#[derive(Default)]
struct Hour {
    records: u64,
    kinds: u64,
    rows: Vec<(Vec<String>, u64)>,
}

impl Timeline {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            file: HashedFile::create(folder, "timeline.html")?,
            documents: 0,
            findings: BTreeMap::new(),
            found: 0,
            hours: Tally::new()?,
            edges: Tally::new()?,
        })
    }

    fn find(&mut self, document: &Document) {
        for finding in document.findings() {
            let level = LEVELS.iter().position(|level| *level == finding.level).unwrap_or(LEVELS.len());
            let found = Found {
                level: finding.level.to_owned(),
                title: finding.title.to_owned(),
                message: message(document),
                address: address(document).unwrap_or_default().to_owned(),
                id: document.text("id").to_owned(),
            };
            self.findings.insert((level, document.text("CreationTime").to_owned(), self.found), found);
            self.found += 1;
            if self.findings.len() > FINDINGS {
                self.findings.pop_last();
            }
        }
    }
}

impl Writer for Timeline {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        self.documents += 1;
        self.file.count(1);
        self.find(document);
        let created = document.text("CreationTime");
        let hour = time(created).map_or_else(|| "unknown".to_owned(), |time| time.format("%Y-%m-%d %H:00").to_string());
        let [operation, user, workload] = ["Operation", "UserId", "Workload"].map(|name| document.text(name));
        self.hours.add(&[&hour, operation, user, workload], created)?;
        for edge in document.edges() {
            self.edges.add(&[edge.from, edge.from_type, edge.to, edge.to_type, edge.label], created)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        let Self { mut file, documents, findings, found, hours, edges } = *self;
        let hours = by_hour(hours)?;
        let edges = most_frequent(edges)?;
        write!(
            file,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Office 365 activity</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <h1>Office 365 activity</h1>\n<p id=\"summary\">{} records, {} findings, {} hours. All times are UTC.</p>\n",
            Count(documents),
            Count(found),
            Count(hours.len() as u64),
        )?;
        file.write_all(findings_section(&findings, found).as_bytes())?;
        file.write_all(chart(&hours).as_bytes())?;
        file.write_all(graph(&edges).as_bytes())?;
        file.write_all(b"<h2>What happened, by hour</h2>\n")?;
        for (hour, happened) in &hours {
            file.write_all(hour_section(hour, happened).as_bytes())?;
        }
        file.write_all(b"</body>\n</html>\n")?;
        Ok(vec![file.finish()?])
    }
}

fn by_hour(hours: Tally) -> io::Result<BTreeMap<String, Hour>> {
    let mut by_hour: BTreeMap<String, Hour> = BTreeMap::new();
    hours.each(|mut key, seen| {
        let hour = by_hour.entry(key.remove(0)).or_default();
        hour.records += seen.records;
        hour.kinds += 1;
        keep_most(&mut hour.rows, (key, seen.records), ROWS);
        Ok(())
    })?;
    Ok(by_hour)
}

fn most_frequent(edges: Tally) -> io::Result<Vec<(Vec<String>, u64)>> {
    let mut most = Vec::new();
    edges.each(|key, Seen { records, .. }| {
        keep_most(&mut most, (key, records), EDGES);
        Ok(())
    })?;
    Ok(most)
}

/// Keeps the most frequent rows, most first; of equal ones the first by name.
fn keep_most(rows: &mut Vec<(Vec<String>, u64)>, row: (Vec<String>, u64), most: usize) {
    let at = rows.partition_point(|(key, count)| (*count, &row.0) > (row.1, key));
    if at < most {
        rows.insert(at, row);
        rows.truncate(most);
    }
}

fn findings_section(findings: &BTreeMap<(usize, String, u64), Found>, found: u64) -> String {
    let mut html = "<h2>Findings</h2>\n".to_owned();
    if findings.is_empty() {
        return html + "<p>No rule found anything in these records.</p>\n";
    }
    if found > findings.len() as u64 {
        let _ = writeln!(html, "<p>The {} most severe of {}.</p>", Count(findings.len() as u64), Count(found));
    }
    html += "<table id=\"findings\">\n<tr><th>Level</th><th>Finding</th><th>Time</th><th>What happened</th><th>From</th><th>Document</th></tr>\n";
    for ((_, time, _), Found { level, title, message, address, id }) in findings {
        let class = if LEVELS.contains(&level.as_str()) { level } else { "other" };
        let cells = [level, title, time, message, address, id].map(|cell| format!("<td>{}</td>", escaped(cell))).concat();
        let _ = writeln!(html, "<tr class=\"{class}\">{cells}</tr>");
    }
    html + "</table>\n"
}

/// Records by hour as bars; by day where the hours are too many.
fn chart(hours: &BTreeMap<String, Hour>) -> String {
    let mut bars: BTreeMap<&str, u64> = BTreeMap::new();
    let length = if hours.len() > BARS { 10 } else { 16 };
    for (hour, happened) in hours {
        *bars.entry(hour.get(..length).unwrap_or(hour)).or_default() += happened.records;
    }
    let most = bars.values().copied().max().unwrap_or(1).max(1);
    let width = 1000.0 / bars.len().max(1) as f64;
    let mut svg = format!(
        "<h2>Records by {}</h2>\n<svg id=\"chart\" viewBox=\"0 0 1000 180\" role=\"img\" aria-label=\"Records by time\">\n",
        if length == 10 { "day" } else { "hour" }
    );
    for (at, (name, records)) in bars.iter().enumerate() {
        let height = *records as f64 / most as f64 * 150.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{}: {}</title></rect>",
            at as f64 * width,
            155.0 - height,
            (width * 0.9).max(0.5),
            escaped(name),
            Count(*records)
        );
    }
    let ends = [bars.keys().next(), bars.keys().next_back()].map(|end| end.copied().unwrap_or_default());
    let _ = writeln!(svg, "<text x=\"0\" y=\"174\">{}</text>", escaped(ends[0]));
    let _ = writeln!(svg, "<text x=\"1000\" y=\"174\" text-anchor=\"end\">{}</text>", escaped(ends[1]));
    svg + "</svg>\n"
}

/// The most frequent edges: where they begin on the left, where they end on the right.
fn graph(edges: &[(Vec<String>, u64)]) -> String {
    if edges.is_empty() {
        return String::new();
    }
    let column = |kind: usize| {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for (key, _) in edges {
            let node = (key[kind].as_str(), key[kind + 1].as_str());
            if !names.contains(&node) {
                names.push(node);
            }
        }
        names
    };
    let (left, right) = (column(0), column(2));
    let height = 22 * left.len().max(right.len()) + 20;
    let place = |names: &[(&str, &str)]| -> HashMap<(String, String), usize> {
        names.iter().enumerate().map(|(at, (name, kind))| (((*name).to_owned(), (*kind).to_owned()), 20 + 22 * at)).collect()
    };
    let (from, to) = (place(&left), place(&right));
    let most = edges.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1) as f64;
    let mut svg = format!(
        "<h2>The most frequent edges</h2>\n<svg id=\"graph\" viewBox=\"0 0 1000 {height}\" role=\"img\" aria-label=\"The most frequent edges\">\n"
    );
    for (key, count) in edges {
        let [start, end] =
            [(&from, 0), (&to, 2)].map(|(place, at)| place.get(&(key[at].clone(), key[at + 1].clone())).copied().unwrap_or(0));
        let width = 1.0 + 5.0 * *count as f64 / most;
        let _ = writeln!(
            svg,
            "<path d=\"M390 {start} C500 {start} 500 {end} 610 {end}\" stroke-width=\"{width:.1}\"><title>{}: {}</title></path>",
            escaped(&key[4]),
            Count(*count)
        );
    }
    for (names, x, anchor) in [(&left, 380, "end"), (&right, 620, "start")] {
        for (at, (name, kind)) in names.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\"><title>{} {}</title>{}</text>",
                24 + 22 * at,
                escaped(kind),
                escaped(name),
                escaped(&shortened(name))
            );
        }
    }
    svg + "</svg>\n"
}

fn shortened(name: &str) -> String {
    const LONGEST: usize = 52;
    let letters = name.chars().count();
    if letters <= LONGEST { name.to_owned() } else { format!("…{}", name.chars().skip(letters - LONGEST + 1).collect::<String>()) }
}

fn hour_section(hour: &str, happened: &Hour) -> String {
    let mut html = format!(
        "<section>\n<h3>{} <span>{} records</span></h3>\n<table>\n<tr><th>Records</th><th>Operation</th><th>Account</th><th>Workload</th></tr>\n",
        escaped(hour),
        Count(happened.records)
    );
    for (key, count) in &happened.rows {
        let cells = key.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect::<String>();
        let _ = writeln!(html, "<tr><td>{}</td>{cells}</tr>", Count(*count));
    }
    html += "</table>\n";
    let more = happened.kinds - happened.rows.len() as u64;
    if more > 0 {
        let _ = writeln!(html, "<p>and {} more kinds of records</p>", Count(more));
    }
    html + "</section>\n"
}

/// Audit records hold what strangers typed.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other if other.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_typed_is_text_on_the_page() {
        assert_eq!(escaped("<script>\"&'\n"), "&lt;script&gt;&quot;&amp;&#39; ");
    }

    #[test]
    fn the_most_frequent_rows_are_kept_in_order() {
        let mut rows = Vec::new();
        for (name, count) in [("b", 1), ("a", 3), ("d", 2), ("c", 2), ("e", 9)] {
            keep_most(&mut rows, (vec![name.to_owned()], count), 4);
        }
        let names: Vec<_> = rows.iter().map(|(key, _)| key[0].as_str()).collect();
        assert_eq!(names, ["e", "a", "c", "d"]);
    }
}
