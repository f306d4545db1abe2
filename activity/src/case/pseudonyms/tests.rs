//! What pseudonyms promise of a document.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::fs;

use serde_json::json;

use super::*;

fn pseudonyms() -> Pseudonyms {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "k".repeat(32)).unwrap();
    Pseudonyms::new(Key::read(&file).unwrap())
}

fn told(fields: Value) -> Value {
    Value::from(pseudonyms().document(&Document::new(fields.as_object().unwrap().clone())).fields().clone())
}

#[test]
fn a_name_has_one_token_in_every_field_and_in_the_edges() {
    let token = |name: &str| pseudonyms().key.token(name);
    let told = told(json!({
        "id": "a", "pk": "2026-11-20-1", "UserId": "Megan@contoso.com", "UserKey": "i:0h.f|membership|megan@contoso.com",
        "ObjectId": "https://contoso-my.sharepoint.com/personal/megan_contoso_com/a.docx", "ClientIP": "[2001:db8::7]:443",
        "Parameters": [{"Name": "To", "Value": "{\"user\":\"megan@contoso.com\"}"}], "Operation": "FileAccessed",
        "Text": "mysite megan_contoso_com",
        "edges": [{"from": "megan@contoso.com", "fromType": "user", "to": "2001:db8::7", "toType": "ip", "label": "FileAccessed"}],
    }));
    let address = pseudonyms().key.address("2001:db8::7".parse().unwrap());
    assert_eq!(told["UserId"], token("Megan@contoso.com"));
    assert_eq!(told["UserId"].as_str().unwrap().to_lowercase(), token("megan@contoso.com"));
    assert_eq!(told["UserKey"], token("i:0h.f|membership|megan@contoso.com"));
    assert_eq!(told["ObjectId"], format!("https://contoso-my.sharepoint.com/personal/{}/a.docx", token("megan_contoso_com")));
    assert_eq!(told["ClientIP"], format!("[{address}]:443"));
    assert_eq!(told["Parameters"][0]["Value"], format!("{{\"user\":\"{}\"}}", token("megan@contoso.com")));
    assert_eq!(told["Text"], format!("mysite {}", token("megan_contoso_com")));
    let edge =
        json!({"from": token("megan@contoso.com"), "fromType": "user", "to": address.to_string(), "toType": "ip", "label": "FileAccessed"});
    assert_eq!(told["edges"], json!([edge]));
    assert_eq!((&told["id"], &told["pk"], &told["Operation"]), (&json!("a"), &json!("2026-11-20-1"), &json!("FileAccessed")));
}

#[test]
fn apps_and_words_of_the_service_keep_their_names() {
    let document = json!({
        "id": "a", "UserId": "Backup App", "Operation": "Add user.", "Workload": "AzureActiveDirectory", "UserKey": "Not Available",
        "edges": [{"from": "backup app", "fromType": "app", "to": "sales", "toType": "group", "label": "Add user."}],
    });
    assert_eq!(told(document.clone()), document);
}

#[test]
fn an_account_without_a_form_of_its_own_is_found_by_the_edges() {
    let told = told(json!({
        "UserId": "canarybird", "Text": "Canarybird opened it; canarybirds did not", "Operation": "canarybird",
        "edges": [{"from": "canarybird", "fromType": "user", "to": "x", "toType": "file", "label": "canarybird"}],
    }));
    let token = |name: &str| pseudonyms().key.token(name);
    assert_eq!((&told["UserId"], &told["edges"][0]["from"]), (&json!(token("canarybird")), &json!(token("canarybird"))));
    assert_eq!(told["Text"], format!("{} opened it; canarybirds did not", token("Canarybird")));
    assert_eq!(told["Operation"], "canarybird");
}
