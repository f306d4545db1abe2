//! Half a year of a simulated tenant in one run: the last days by the feed, all others by the search, in the same documents.

use super::*;

/// The oldest day. A query reaches 180 days back, less an hour; the runs begin just before midnight, and the tenant's clock runs ahead by
/// half a day in each of them.
const DAYS: i64 = 178;

/// Publishes records of every kind that is made up, all over the time that a search reaches, and some on each day. The last week has more
/// of them, and a story of an attack.
fn publish_half_a_year(tenant: &Tenant) {
    let ago = |number: i64| tenant.now() - TimeDelta::days(7 * number);
    let older = (1..=DAYS / 7).flat_map(|number| generate::generate_calm(100 + number as u64, 120, ago(number)));
    for blob in generate::generate(5, 6_000, ago(0)).into_iter().chain(older) {
        tenant.publish(blob);
    }
    (8..=DAYS).for_each(|days_ago| publish_day(tenant, day(days_ago), 4));
}

/// What tells kinds of records apart.
fn kinds<'a>(documents: impl Iterator<Item = &'a String>) -> Result<BTreeSet<String>> {
    let kind = |text: &String| {
        let record: Value = serde_json::from_str(text)?;
        Ok(format!("{} {} {}", record["Workload"], record["RecordType"], record["Operation"]))
    };
    documents.map(kind).collect()
}

/// By which way each document came.
fn ways(desk: &Desk, case: &str) -> Result<BTreeMap<String, String>> {
    let documents = lines(&desk.case(case).join("records.ndjson"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(documents.iter().map(|document| (text(&document["id"]), text(&document["feed"]["contentType"]))).collect())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute without optimisation"]
async fn half_a_year_in_one_run_is_the_same_whichever_way_it_came() -> Result<()> {
    let (tenant, desk, other) = (tenant().await?, Desk::new()?, Desk::new()?);
    // Two people, of whom each has a floor of his own; the tenant takes both.
    tenant.set_search(|search| search.max_submissions = 400);
    let midnight = start(day(-1));
    tenant.push_clock(midnight - TimeDelta::minutes(5) - tenant.now());
    publish_half_a_year(&tenant);
    let (from, now) = (day(DAYS).to_string(), Utc::now());
    let manifest = desk.collected(&tenant, "both", &["--source", "both", "--from", &from]).await?;
    assert!(tenant.submissions().len() <= 200, "{} queries", tenant.submissions().len());
    other.collected(&tenant, "search", &["--source", "search", "--from", &from]).await?;

    let own = |documents: &mut BTreeMap<String, String>| {
        documents.retain(|_, document| !document.contains("\"Operation\":\"AuditSearchCompleted\""));
    };
    let (mut both, mut search) = (documents(&desk, "both")?, documents(&other, "search")?);
    own(&mut both);
    own(&mut search);
    assert!(both.len() > 8_000, "{}", both.len());
    let missing: Vec<_> = both.keys().filter(|id| !search.contains_key(*id)).take(5).collect();
    assert_eq!((both.len(), missing), (search.len(), Vec::new()));
    for (id, document) in &both {
        assert_eq!(search.get(id), Some(document));
    }

    // What the feed still has is the feed's, and that is every kind of record that is made up.
    let ways = ways(&desk, "both")?;
    let of_feed = || both.iter().filter(|(id, _)| ways[*id] != "AuditSearch").map(|(_, document)| document);
    assert!(of_feed().count() > 5_500 && of_feed().count() < both.len() - 2_500, "{} of {}", of_feed().count(), both.len());
    let made_up = generate::generate(7, 20_000, now);
    let texts = made_up.iter().flat_map(|blob| if let Body::Records(texts) = &blob.body { texts.iter() } else { [].iter() });
    let (all, compared) = (kinds(texts)?, kinds(of_feed())?);
    let untried: Vec<_> = all.difference(&compared).collect();
    assert!(untried.is_empty(), "{untried:?} of {}", all.len());

    // Every day that is old enough is proven, and each has records.
    let proven = searched(&manifest);
    for name in (2..=DAYS).map(|days_ago| day(days_ago).to_string()) {
        let day = proven[name.as_str()];
        assert!(day.verdict == Some(Verdict::Complete) && day.listed > 0, "{day:?}");
    }
    Ok(())
}
