//! A content blob of 100 MB: memory does not follow it. Figures are the benchmark's; here is only the bound.

use serde_json::json;
use standins::tenant::{Body, NewBlob};

use crate::world::{EXCHANGE, Setting, record_with};

/// Records of 50 KB: as many bytes as small ones would be, with less work for a database in memory.
const RECORDS: usize = 2000;
const MOST_RESIDENT: usize = 100 * 1024 * 1024;

/// Taken out: where the body is read whole before it is cut, or the channel to the writer is long, this takes several
/// hundred megabytes.
#[tokio::test]
async fn a_blob_of_100_mb_is_stored_in_less_memory_than_it_is_long() {
    let world = Setting::default().with("PARTITIONS_PER_DAY", "16").start().await;
    let record = record_with("{id}", json!({"Item": "x".repeat(50_000)}));
    let blob = world.tenant.publish(NewBlob::of(EXCHANGE, world.ago(30), Body::Repeated { record, count: RECORDS }));
    let line = world.store_blobs(&[blob]).await;
    assert!(line["bytes"].as_u64().unwrap() > 100_000_000, "{line}\n{}", world.host.output().join("\n"));
    assert_eq!((&line["records"], &line["documents"]), (&json!(RECORDS), &json!(RECORDS)), "{line}");
    assert_eq!(world.cosmos.document_count().await.unwrap(), RECORDS);
    let peak = peak_resident(world.host.pid().unwrap());
    assert!(peak < MOST_RESIDENT, "{} MiB at most", peak / 1024 / 1024);
}

/// Bytes of memory a process has held at most. <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>
fn peak_resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
