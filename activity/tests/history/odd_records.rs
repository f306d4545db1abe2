//! Odd records over the wire: each comes by the search as the feed has it, or the window says what is odd about it.

use super::*;

/// Searches one day into a case of its own, and returns its window and the documents.
async fn searched_day(tenant: &Tenant, desk: &Desk, case: &str) -> Result<(Value, BTreeMap<String, String>)> {
    let (from, to) = (day(3).to_string(), day(2).to_string());
    desk.collected(tenant, case, &["--source", "search", "--from", &from, "--to", &to]).await?;
    Ok((windows(desk, case)?.remove(0), documents(desk, case)?))
}

/// Records that a reader of values, not of text, would change.
fn odd_records() -> Vec<String> {
    let at = (start(day(3)) + TimeDelta::hours(5)).format("%Y-%m-%dT%H:%M:%S").to_string();
    let members = [
        // Numbers that a float cannot hold, and one number written in several ways.
        r##""Size":9007199254740993,"More":-9223372036854775809,"Most":123456789012345678901234567890"##.to_owned(),
        r##""Half":1.50,"Exponent":15e-1,"Large":1E400,"Zero":-0,"Digits":3.14159265358979323846264338327950288"##.to_owned(),
        // Numbers and lists at depth, each of which comes with an annotation.
        r##""A":[{"B":[{"C":{"D":[1,[2,[3,{"E":9007199254740993}]]],"F":{"G":[]}}}]}],"H":{"I":{"J":{"K":1}}}"##.to_owned(),
        // What looks like an annotation, and is none.
        r##""Text":"Size@odata.type","Quoted":"\"N@odata.type\":\"#Int64\",","Name@":1,"odata.type":"x""##.to_owned(),
        r##""Escaped":"\u00e9\ud83d\ude00\u0000\/","Plain":"é😀","Empty":{},"None":null,"Is":[true,false,null]"##.to_owned(),
        r##""CreationTime2":"2026-01-01T00:00:00Z","Spaced" : { "N" :  1 , "L" : [ 1 , 2 ] }"##.to_owned(),
        // A text that holds an object stays a text.
        r##""AuditData":"{\"N@odata.type\":\"#Int64\",\"N\":1}","ExtendedProperties":[{"Name":"a","Value":"[1]"}]"##.to_owned(),
        format!(r##""Long":"{}""##, "x".repeat(100_000)),
    ];
    let record = |(number, members): (usize, &String)| {
        format!(
            r#"{{"CreationTime":"{at}","Id":"odd-{number}","Operation":"Set-Mailbox","RecordType":1,"Workload":"Exchange","UserId":"megan@contoso.example",{members}}}"#
        )
    };
    members.iter().enumerate().map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_depth_and_what_only_looks_like_an_annotation_come_as_the_feed_has_them() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let records = odd_records();
    tenant.publish(NewBlob::new("Audit.Exchange", start(day(3)) + TimeDelta::hours(7), records.clone()));
    desk.collected(&tenant, "feed", &["--source", "feed"]).await?;
    let feed = documents(&desk, "feed")?;
    assert_eq!(feed.len(), records.len());
    assert!(feed["odd-0"].contains("9007199254740993") && feed["odd-0"].contains("123456789012345678901234567890"), "{}", feed["odd-0"]);
    let (window, search) = searched_day(&tenant, &desk, "search").await?;
    assert_eq!((&window["verdict"], &window["findings"]), (&json!("complete"), &json!([])), "{window:#}");
    for (id, document) in &feed {
        assert_eq!(search.get(id), Some(document));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_odd_form_of_a_record_ends_in_the_feeds_document_or_is_told() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let at = start(day(3)) + TimeDelta::hours(5);
    let parts = json!({"Size": 9_007_199_254_740_993_u64, "Item": {"Parts": [{"Number": 1}, {"Number": 2}]}});
    tenant.publish(NewBlob::new("Audit.Exchange", at + TimeDelta::hours(2), vec![record("one", at, parts)]));
    desk.collected(&tenant, "feed", &["--source", "feed"]).await?;
    let feed = documents(&desk, "feed")?["one"].clone();

    // How the record comes, what the window is then and says, and whether its document is the feed's.
    let forms = [
        (Oddity::IdUnlike, "complete", "envelopes have another id than their record, whose own stands", true),
        (Oddity::IdEmpty, "complete", "[]", true),
        (Oddity::DynamicProperties, "complete", "[]", true),
        (Oddity::AsText, "complete", "[]", true),
        (Oddity::IdNumber, "complete", "envelopes have another id than their record, whose own stands", true),
        // Nothing is filled but the Id, so that ID stays beside it.
        (Oddity::UpperId, "complete", "[]", false),
        (Oddity::NoObject, "incomplete", "rows hold a text that is no record", false),
        (Oddity::Nothing, "incomplete", "rows hold no record: one", false),
        (Oddity::OnlyAnnotation, "incomplete", "rows hold no record: one", false),
        (Oddity::NoEnvelope, "incomplete", "rows hold no record: one without an id", false),
    ];
    for (form, verdict, says, is_equal) in forms {
        tenant.fail_searches(SearchFault::Odd { percent: 100, what: form }, 0, 1);
        let (window, found) = searched_day(&tenant, &desk, &format!("{form:?}")).await?;
        assert!(window["verdict"] == verdict && window.to_string().contains(says), "{form:?}: {window:#}");
        let value = |document: &String| serde_json::from_str::<Value>(document);
        match found.get("one") {
            // The members of a dictionary may stand in another order.
            Some(document) if is_equal => assert_eq!(value(document)?, value(&feed)?, "{form:?}"),
            Some(document) => assert_eq!((form, &value(document)?["ID"]), (Oddity::UpperId, &json!("one"))),
            None => assert_eq!(verdict, "incomplete", "{form:?}"),
        }
        // A text that holds no record is kept as it came.
        let is_there = !matches!(form, Oddity::Nothing | Oddity::OnlyAnnotation | Oddity::NoEnvelope);
        assert_eq!(found.len(), usize::from(is_there), "{form:?}");
    }
    Ok(())
}
