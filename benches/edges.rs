//! Measures the edges of records: CPU and bytes a record, over real records where they are at hand, else over those of the tests.
//! `cargo bench --bench edges`; compare versions by turns on one machine, or by `valgrind --tool=callgrind`.

use std::{fs, hint::black_box, path::Path, time::Instant};

use handler::document::Table;

const ROUNDS: usize = 20;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let real = root.join("../shared/data/audit-records.ndjson");
    let path = if real.exists() { real } else { root.join("tests/data/shapes.ndjson") };
    let Ok(text) = fs::read_to_string(&path) else { return eprintln!("cannot read {}", path.display()) };
    let records: Vec<&str> = text.lines().collect();

    let table = Table::built_in();
    let mut bytes = 0;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        bytes = records.iter().map(|record| black_box(table.edges_of(record)).map_or(0, |edges| edges.len())).sum();
        best = best.min(start.elapsed().as_secs_f64());
    }
    let count = records.len() as f64;
    println!("{}: {} records", path.display(), records.len());
    println!(
        "{:.2} µs a record at best of {ROUNDS} rounds, reading its fields included; {:.1} bytes of edges",
        best / count * 1e6,
        bytes as f64 / count
    );
}
