//! What a record becomes: every oddity that records are known or feared to have, as the database has it in the end.

use std::collections::BTreeSet;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{Setting, World, record, record_with, world};

/// Stores records as one blob, which all become documents; and the line's figures.
async fn stored(world: &World, records: &[String]) -> Value {
    world.storage.create_container(&world.container).await.unwrap();
    world.store_blobs(&[world.publish_records(records)]).await
}

const SECONDS: &str = "%Y-%m-%dT%H:%M:%S";

#[tokio::test]
async fn ids_are_what_cosmos_takes_and_no_two_records_share_one() {
    let world = world().await;
    let long = "x".repeat(1023);
    let cases = [
        ("plain", "plain"),
        ("a/b\\c?d#e", "a%2Fb%5Cc%3Fd%23e"),
        ("a%2Fb", "a%252Fb"),
        ("a/b", "a%2Fb"),
        ("tab\there\u{1}", "tab%09here%01"),
        ("ends in a space ", "ends in a space%20"),
        ("ünï 😀 'quoted' \"twice\" & <more>", "ünï 😀 'quoted' \"twice\" & <more>"),
        (&long, &long),
    ];
    let mut records: Vec<String> = cases.iter().map(|(id, _)| record(id)).collect();
    records.extend((1..=3).map(|part| record_with("in parts", json!({"RecordNumber": part}))));
    records.push(record_with("in parts", json!({"RecordNumber": "4"})));
    let line = stored(&world, &records).await;
    assert_eq!((&line["documents"], &line["duplicates"]), (&json!(records.len()), &json!(0)), "{line}");

    let documents = world.documents().await;
    for (id, expected) in cases {
        let document = documents.get(expected).unwrap_or_else(|| panic!("{expected} is missing"));
        assert_eq!(document["Id"], json!(id));
    }
    for part in 1..=4 {
        assert_eq!(documents[&format!("in parts-{part}")]["Id"], json!("in parts"));
    }
}

#[tokio::test]
async fn a_record_without_a_usable_id_is_known_by_its_content_whenever_and_however_it_comes() {
    let world = world().await;
    let records = [
        r#"{"CreationTime":"2026-11-20T10:00:00","Operation":"A","More":{"x":1,"y":[true,null]}}"#.to_owned(),
        r#"{"CreationTime":"2026-11-20T10:00:00","Operation":"B","Id":null}"#.to_owned(),
        r#"{"CreationTime":"2026-11-20T10:00:00","Operation":"C","Id":""}"#.to_owned(),
        record(&"y".repeat(1024)),
        record(&"/".repeat(342)),
    ];
    let line = stored(&world, &records).await;
    assert_eq!(line["documents"], json!(5), "{line}");
    let ids = world.ids().await;
    assert!(ids.iter().all(|id| id.starts_with("sha256-") && id.len() == 7 + 64), "{ids:?}");

    let reordered = r#"{ "More":{"y":[true, null],"x":1}, "Operation":"A", "CreationTime":"2026-11-20T10:00:00" }"#.to_owned();
    let line = stored(&world, &[vec![reordered], records[1..].to_vec()].concat()).await;
    assert_eq!((&line["documents"], &line["duplicates"]), (&json!(0), &json!(5)), "{line}");
    assert_eq!(world.ids().await, ids);
}

#[tokio::test]
async fn a_records_own_fields_give_way_to_none_of_the_documents() {
    let world = world().await;
    let taken =
        json!({"id": 1, "pk": "p", "ttl": -1, "feed": [3], "edges": {"a": 4}, "omitted": null, "_etag": "e", "_ts": 5, "_rid": "r"});
    let line = stored(&world, &[record_with("a", taken.clone())]).await;
    assert_eq!((&line["documents"], &line["reduced"]), (&json!(1), &json!(0)), "{line}");
    let document = &world.documents().await["a"];
    for (name, value) in taken.as_object().unwrap() {
        assert_eq!(&document[format!("record_{name}")], value, "{name}");
    }
    assert_eq!((&document["id"], &document["feed"]["contentType"]), (&json!("a"), &json!("Audit.Exchange")));
    assert!(document["pk"].as_str().unwrap().len() == "2026-11-20-0".len() && document["ttl"].as_i64().unwrap() > 86_400);
    assert!(document["edges"].is_array() && document.get("omitted").is_none());
}

#[tokio::test]
async fn numbers_that_a_double_would_change_arrive_as_their_text_and_all_others_as_numbers() {
    let world = world().await;
    let cases = [
        ("9007199254740993", json!("9007199254740993")),
        ("-98765432109876543210", json!("-98765432109876543210")),
        ("0.1234567890123456789", json!("0.1234567890123456789")),
        ("1e400", json!("1e400")),
        ("9007199254740992", json!(9_007_199_254_740_992_i64)),
        ("-1", json!(-1)),
        ("1.5", json!(1.5)),
        ("0", json!(0)),
    ];
    let fields: Vec<_> =
        cases.iter().enumerate().map(|(at, (number, _))| format!(r#""N{at}":{number},"L{at}":[{{"n":{number}}}]"#)).collect();
    let record =
        format!(r#"{{"Id":"a","CreationTime":"{}","RecordType":2,"UserType":0,{}}}"#, Utc::now().format(SECONDS), fields.join(","));
    stored(&world, &[record]).await;
    let document = &world.documents().await["a"];
    for (at, (number, expected)) in cases.iter().enumerate() {
        assert_eq!((&document[format!("N{at}")], &document[format!("L{at}")][0]["n"]), (expected, expected), "{number}");
    }
    assert!(document["RecordType"].is_u64() && document["UserType"].is_u64(), "{document}");
}

#[tokio::test]
async fn what_cosmos_cannot_take_whole_is_stored_without_its_largest_or_deepest_and_said_aloud() {
    let world = world().await;
    let text = |length: usize| "x".repeat(length);
    let deep = |levels: usize| -> Value { (0..levels).fold(json!(1), |inner, _| json!([inner])) };
    let records = [
        record_with("large", json!({"Large": text(1_200_000), "Larger": text(1_300_000), "Small": 1})),
        record_with("deep", json!({"Deep": deep(130), "Deeper": {"in": deep(139)}, "Flat": deep(100)})),
        record_with("both", json!({"Deep": deep(400), "Large": text(3_000_000)})),
        record_with("just", json!({"Large": text(2_000_000), "Deep": deep(120)})),
    ];
    let line = stored(&world, &records).await;
    assert_eq!((&line["documents"], &line["reduced"], &line["requeued"]), (&json!(4), &json!(3), &json!(0)), "{line}");

    let documents = world.documents().await;
    let expected =
        [("large", json!(["Larger"])), ("deep", json!(["Deep", "Deeper"])), ("both", json!(["Deep", "Large"])), ("just", Value::Null)];
    let reduced = world.journalled("reduced").await;
    assert_eq!(reduced.len(), 3);
    for (id, omitted) in expected {
        let sorted = |names: &Value| names.as_array().map(|names| names.iter().map(Value::to_string).collect::<BTreeSet<_>>());
        assert_eq!(sorted(&documents[id]["omitted"]), sorted(&omitted), "{id}");
        assert_eq!(documents[id]["UserId"], json!("megan@contoso.example"), "{id}");
        let line = reduced.iter().find(|line| line["record"] == json!(id));
        assert_eq!(line.and_then(|line| sorted(&line["omitted"])), sorted(&omitted), "{id}");
    }
    assert_eq!((&documents["large"]["Small"], documents["large"]["Large"].as_str().map(str::len)), (&json!(1), Some(1_200_000)));
    assert_eq!((&documents["deep"]["Flat"], &documents["just"]["Deep"]), (&deep(100), &deep(120)));
    assert_eq!(world.logged("ERROR").matches("reduced: a record could not be stored whole").count(), 3);

    let again = stored(&world, &records).await;
    assert_eq!((&again["documents"], &again["duplicates"]), (&json!(0), &json!(4)), "{again}");
}

#[tokio::test]
async fn text_that_is_no_unicode_is_mended_and_a_byte_order_mark_is_no_part_of_the_records() {
    let world = world().await;
    world.storage.create_container(&world.container).await.unwrap();
    let mut body = b"\xef\xbb\xbf [".to_vec();
    body.extend_from_slice(br#"{"Id":"lone","T":"x\ud83dy \ude00","\udc00":1},{"Id":"pair","T":"\ud83d\ude00"},"#);
    body.extend_from_slice(b"{\"Id\":\"bytes\",\"T\":\"\xff\"}]\r\n");
    let line = world.store_blobs(&[world.publish_raw(body, "application/json; charset=utf-8")]).await;
    assert_eq!((&line["documents"], &line["reduced"]), (&json!(3), &json!(2)), "{line}");
    let documents = world.documents().await;
    assert_eq!((&documents["lone"]["T"], &documents["lone"]["\u{fffd}"]), (&json!("x\u{fffd}y \u{fffd}"), &json!(1)));
    assert_eq!((&documents["pair"]["T"], &documents["bytes"]["T"]), (&json!("😀"), &json!("\u{fffd}")));
    let reduced: BTreeSet<_> = world.journalled("reduced").await.iter().map(|line| line["record"].to_string()).collect();
    assert_eq!(reduced, BTreeSet::from(["\"bytes\"".to_owned(), "\"lone\"".to_owned()]));
}

#[tokio::test]
async fn time_to_live_counts_from_the_event_and_the_partition_is_its_day() {
    const DAY: i64 = 86_400;
    for (retention, days) in [("", 90), ("1", 1), ("24855", 24_855)] {
        let world = Setting::default().with("RETENTION_DAYS", retention).start().await;
        let ago = |hours| Utc::now() - TimeDelta::hours(hours);
        let (plain, zoned, fraction, ahead) = (ago(2), ago(26), ago(3), ago(-1));
        let old = "2021-03-23T15:45:38";
        // Id, CreationTime, and the moment that it names, if any.
        let cases = [
            ("zoneless", json!(plain.format(SECONDS).to_string()), Some(plain)),
            ("zoned", json!(zoned.with_timezone(&FixedOffset::east_opt(7200).unwrap()).to_rfc3339()), Some(zoned)),
            ("fraction", json!(format!("{}Z", fraction.format("%Y-%m-%dT%H:%M:%S.1234567"))), Some(fraction)),
            ("ahead", json!(ahead.format(SECONDS).to_string()), Some(ahead)),
            ("old", json!(old), DateTime::parse_from_rfc3339(&format!("{old}Z")).ok().map(|at| at.to_utc())),
            ("missing", Value::Null, None),
            ("unreadable", json!("yesterday at noon"), None),
            ("no text", json!({"at": old}), None),
        ];
        let records: Vec<String> = cases.iter().map(|(id, time, _)| record_with(id, json!({"CreationTime": time}))).collect();
        stored(&world, &records).await;
        let documents = world.documents().await;
        for (id, time, at) in cases {
            let document = &documents[id];
            assert_eq!(document["CreationTime"], time, "{id}: it is what it was");
            let day = at.map_or("unknown".to_owned(), |at| at.format("%Y-%m-%d").to_string());
            let pk = document["pk"].as_str().unwrap();
            assert_eq!(pk.rsplit_once('-').unwrap().0, day, "{id}: {pk}");
            let left = days * DAY - at.map_or(0, |at| (Utc::now() - at).num_seconds());
            // Fractions of a second fall away here and there.
            let (expected, ttl) = (left.clamp(DAY, i64::from(i32::MAX)), document["ttl"].as_i64().unwrap());
            assert!((expected - 2..expected + 60).contains(&ttl), "{days} days, {id}: {ttl}, not {expected}");
        }
    }
}

#[tokio::test]
async fn the_partition_is_a_pure_function_of_the_id() {
    for (setting, partitions) in [("1", 1_u8), ("", 4), ("7", 7), ("100", 100)] {
        let world = Setting::default().with("PARTITIONS_PER_DAY", setting).start().await;
        let records: Vec<String> =
            (0..300).map(|number| record_with(&format!("{number:x}/é"), json!({"CreationTime": "2026-11-20T10:00:00"}))).collect();
        stored(&world, &records).await;
        let documents = world.documents().await;
        assert_eq!(documents.len(), 300);
        for (id, document) in &documents {
            let n = Sha256::digest(id.as_bytes())[0] % partitions;
            assert_eq!(document["pk"], json!(format!("2026-11-20-{n}")), "{id}");
        }
        let used: BTreeSet<_> = documents.values().map(|document| document["pk"].to_string()).collect();
        assert!(used.len() * 10 >= usize::from(partitions) * 8, "{} of {partitions} partitions", used.len());
    }
}
