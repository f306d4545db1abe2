//! The infrastructure: what its files promise the handler and what the handler expects of them, held together without a tool
//! and without Azure. Whether Bicep and Azure's types accept them is `.ci/infra`'s matter.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use azure_core::{credentials::Secret, hmac::hmac_sha256};
use chrono::{TimeDelta, Utc};
use handler::{
    config::Config,
    document::{ContentType, Feed, Rules, document, records::Splitter},
    queue_events::{Outcome, WorkloadReport},
    store_events,
    workload::Workload,
};
use serde_json::Value;
use standins::{
    azurite::ACCOUNT,
    host::{self, LogLevel, LoggedLine},
    tenant::{NewBlob, generate},
};
use url::form_urlencoded::Serializer;

use crate::world::{EXCHANGE, Setting, account_key, azurite, type_command, world};

/// Every role that is given, and to what; each file says why.
const ROLES: [(&str, &str); 10] = [
    ("package.bicep", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"), // Storage Blob Data Reader
    ("package.bicep", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"), // Storage Blob Data Contributor
    ("storage.bicep", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"), // Storage Blob Data Owner
    ("storage.bicep", "974c5e8b-45b9-4653-ba55-5f855dd0fb88"), // Storage Queue Data Contributor
    ("telemetry.bicep", "3913510d-42f4-4e42-8a64-420c390055eb"), // Monitoring Metrics Publisher
    ("vault.bicep", "4633458b-17de-408a-b874-0445c86b69e6"),   // Key Vault Secrets User
    ("database.bicep", "00000000-0000-0000-0000-000000000001"), // Cosmos DB Built-in Data Reader
    ("database.bicep", "00000000-0000-0000-0000-000000000002"), // Cosmos DB Built-in Data Contributor
    ("register-app.sh", "c5393580-f805-4401-95e8-94b7a6ef2fc2"), // the application Office 365 Management APIs
    ("register-app.sh", "00000003-0000-0000-c000-000000000000"), // the application Microsoft Graph
];

/// Settings that the handler reads and no template sets, each for its reason.
const LEFT_OUT: [&str; 3] = [
    "FUNCTIONS_CUSTOMHANDLER_PORT", // the host's word to the handler
    "AzureWebJobsStorage",          // a connection string: there is none, the identity opens storage
    "COSMOS_KEY",                   // the identity opens the database
];

/// Settings that templates set and only the host reads.
const HOSTS_OWN: [&str; 3] =
    ["APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "APPLICATIONINSIGHTS_CONNECTION_STRING", "AzureWebJobsStorage__credential"];

#[test]
fn every_setting_that_the_handler_reads_is_set_and_no_other() {
    let (main, collector) = (infra("main.bicep"), infra("collector.bicep"));
    let set: BTreeSet<_> = [("settings", &main), ("secretSettings", &main), ("hashSettings", &main), ("hostSettings", &collector)]
        .iter()
        .flat_map(|(variable, file)| entries(file, variable))
        .map(|(name, _)| name)
        .collect();
    let read = read_settings();
    let left_out: BTreeSet<_> = read.difference(&set).map(String::as_str).collect();
    assert_eq!(left_out, BTreeSet::from(LEFT_OUT), "read by the handler, set by no template");
    let hosts_own: BTreeSet<_> = set.difference(&read).map(String::as_str).collect();
    assert_eq!(hosts_own, BTreeSet::from(HOSTS_OWN), "set by a template, read by nobody");
}

#[test]
fn what_nobody_chooses_is_in_azure_what_it_is_by_default() {
    let main = infra("main.bicep");
    let defaults: BTreeMap<String, String> = entries(&main, "settings")
        .into_iter()
        .filter_map(|(name, value)| {
            let parameter = value.trim_start_matches("string(").trim_end_matches(')').to_owned();
            let default = line_after(&main, &format!("param {parameter} "))?.split_once("= ")?.1.trim_matches('\'').to_owned();
            (!default.contains('(')).then_some((name, default))
        })
        .collect();
    assert!(defaults.len() > 12, "the defaults are not found any more: {defaults:?}");
    let config = |defaults: &BTreeMap<String, String>| {
        let lookup = |name: &str| least(name).or_else(|| defaults.get(name).cloned());
        format!("{:?}", Config::from_vars(lookup).unwrap())
    };
    assert_eq!(config(&defaults), config(&BTreeMap::new()));
}

#[test]
fn the_container_is_made_for_the_documents_that_the_handler_writes() {
    let (database, mut splitter, mut documents) = (infra("database.bicep"), Splitter::default(), Vec::new());
    let feed = Feed::new(Some(ContentType::Feed(Workload::Exchange)), "c", None);
    let rules = Rules::by_default(Utc::now());
    splitter
        .push(br#"[{"Id":"a","CreationTime":"2026-11-20T10:00:00"}]"#, |record| {
            documents.push(document(record, &feed, rules).unwrap());
        })
        .unwrap();
    let made: Value = serde_json::from_str(&documents[0].json).unwrap();
    let key = between(&database, "paths: [", "]").trim().trim_matches('\'');
    assert_eq!(made[key.trim_start_matches('/')], documents[0].pk.as_str(), "{key}");
    // On, without a default: without it the ttl that each document brings means nothing.
    assert!(made["ttl"].is_number() && database.contains("      defaultTtl: -1\n"));
    for path in ["/pk/?", "/CreationTime/?", "/UserId/?", "/feed/contentType/?", "/edges/[]/from/?", "/edges/[]/to/?"] {
        assert!(database.contains(&format!("{{ path: '{path}' }}")), "{path} is not indexed");
    }
}

#[test]
fn roles_are_the_fewest_and_reach_only_what_they_are_for() {
    let mut found = BTreeSet::new();
    for file in files(&root().join("infra"), &["bicep", "sh"]) {
        let (name, text) = (file.file_name().unwrap().to_string_lossy().into_owned(), read(&file));
        found.extend(guids(&text).into_iter().map(|guid| (name.clone(), guid)));
    }
    assert_eq!(found, ROLES.iter().map(|(file, guid)| ((*file).to_owned(), (*guid).to_owned())).collect());

    let database = infra("database.bicep");
    let scopes: Vec<_> = database.lines().filter_map(|line| line.trim().strip_prefix("scope: '")).collect();
    assert_eq!(scopes, ["${account.id}/dbs/${databaseName}/colls/${containerName}'", "${account.id}/dbs/${databaseName}'"]);
    for name in ["storage.bicep", "package.bicep", "telemetry.bicep", "vault.bicep"] {
        let text = infra(name);
        for role in resources(&text, "Microsoft.Authorization/roleAssignments") {
            assert!(role.contains("\n  scope: "), "{name}: a role without a scope reaches the whole resource group: {role}");
        }
    }
}

/// A handler that was taken over can add documents. It can neither change nor remove one, nor its own program.
#[test]
fn the_identity_changes_neither_documents_nor_its_program() {
    let database = infra("database.bicep");
    let allowed = between(&database, "dataActions: [", "]").lines().map(str::trim).filter(|line| !line.is_empty());
    let actions: Vec<_> = allowed.map(|action| action.trim_matches('\'').rsplit_once("databaseAccounts/").unwrap().1).collect();
    assert_eq!(actions, ["readMetadata", "sqlDatabases/containers/items/create", "sqlDatabases/containers/items/read"]);
    assert!(database.contains("roleDefinitionId: isContributor ? '${account.id}/sqlRoleDefinitions/${dataContributor}' : creator.id"));
    assert!(infra("package.bicep").contains("writesItself ? storageBlobDataContributor : storageBlobDataReader"));
    assert!(infra("collector.bicep").contains("value: packageContainer") && infra("main.bicep").contains("package.outputs.container"));
    for choice in ["databaseContributor", "publishThroughApp"] {
        assert!(infra("main.bicep").contains(&format!("param {choice} bool = false\n")), "{choice}");
    }
}

#[test]
fn what_is_evidence_cannot_be_deleted_unnoticed() {
    for (file, categories) in [
        ("database.bicep", ["DataPlaneRequests", "ControlPlaneRequests"].as_slice()),
        ("storage.bicep", &["StorageDelete"]),
        ("package.bicep", &["StorageWrite", "StorageDelete"]),
        ("vault.bicep", &["AuditEvent"]),
    ] {
        let text = infra(file);
        for category in categories {
            assert!(text.contains(&format!("category: '{category}'\n        enabled: true")), "{file}: {category}");
        }
        // The vault has purge protection in place of a lock.
        let is_locked = text.contains("level: 'CanNotDelete'") || text.contains("enablePurgeProtection: true");
        assert!(is_locked, "{file} can be deleted");
    }
    for file in ["storage.bicep", "package.bicep"] {
        assert!(
            infra(file).contains("deleteRetentionPolicy: {\n      enabled: true\n      days: 30\n      allowPermanentDelete: false\n"),
            "{file}"
        );
    }
    for choice in ["locks", "logAccess"] {
        assert!(infra("main.bicep").contains(&format!("param {choice} bool = true\n")), "{choice}");
    }
}

#[test]
fn two_collectors_in_one_resource_group_share_nothing() {
    let main = infra("main.bicep");
    assert!(main.contains("var unique = uniqueString(resourceGroup().id, name)\n"));
    let named: Vec<_> = main.lines().filter_map(|line| line.strip_prefix("    name: ")).collect();
    assert!(named.len() > 7, "{named:?}");
    for name in named {
        assert!(name == "name" || name.contains("${name}") || name.contains("${unique}"), "{name} is the same for every collector");
    }
}

/// Side by side they are known to be refused for a conflict.
#[test]
fn roles_and_private_endpoints_are_made_one_after_another() {
    let mut loops = 0;
    for file in files(&root().join("infra"), &["bicep"]) {
        let text = read(&file);
        for kind in ["roleAssignments", "sqlRoleAssignments", "privateEndpoints", "privateDnsZoneGroups"] {
            for (at, _) in text.match_indices(&format!("/{kind}@")) {
                let begins = text[..at].rfind("\nresource ").unwrap();
                if text[at..].lines().next().unwrap().contains("[for ") {
                    assert!(text[..begins].ends_with("\n@batchSize(1)"), "{}: {kind}", file.display());
                    loops += 1;
                }
            }
        }
    }
    assert_eq!(loops, 5);
}

/// What a dependency runs while it is built has no way to Azure, and what is published is what was built.
#[test]
fn who_builds_does_not_publish() {
    let workflow = read(&root().join(".github/workflows/publish.yml"));
    let (build, deploy) = workflow.split_once("\n  deploy:\n").unwrap();
    assert!(build.contains("cargo ") && build.contains("actions/attest-build-provenance@"));
    assert!(!build.contains("environment:") && !build.contains("azure/login"), "the identity trusts the environment alone");
    assert!(deploy.contains("    needs: build\n") && deploy.contains("    environment: production\n"));
    for tool in ["cargo", "npm", "checkout"] {
        assert!(!deploy.contains(tool), "{tool} runs beside the identity");
    }
    let (verified, opened) = (deploy.find("gh attestation verify").unwrap(), deploy.find("azure/login@").unwrap());
    assert!(verified < opened);

    for file in files(&root().join(".github"), &["yml"]).into_iter().chain(files(&root().join(".ci"), &[])) {
        let text = read(&file);
        for command in ["npm install", "npm i ", "npx "] {
            assert!(!text.contains(command), "{}: {command}is by no lock", file.display());
        }
        for action in text.split("uses: ").skip(1) {
            let commit = action.split_once('@').unwrap().1.split(' ').next().unwrap();
            assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}: {commit}", file.display());
        }
    }
}

#[test]
fn everything_that_is_pinned_is_watched() {
    let watched = read(&root().join(".github/dependabot.yml"));
    for lock in files(&root(), &["lock", "json", "txt"]) {
        let name = lock.file_name().unwrap().to_str().unwrap();
        if ["Cargo.lock", "package-lock.json", "requirements.txt"].contains(&name) {
            let folder = lock.parent().unwrap().strip_prefix(root()).unwrap().display().to_string();
            assert!(watched.contains(&format!("      - /{folder}\n")), "{}", lock.display());
        }
    }
    assert!(watched.contains("package-ecosystem: github-actions"));
}

/// Each boundary in docs/THREATS.md names the test that holds it.
#[test]
fn every_threat_names_a_test_that_there_is() {
    let threats = read(&root().join("docs/THREATS.md"));
    let rows: Vec<_> =
        threats.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| boundary") && !line.contains("---")).collect();
    assert!(rows.len() > 8, "{rows:?}");
    let sources = ["src", "tests/stories", "standins/src", "standins/tests", "activity/src", "activity/tests"];
    let tests: String = sources
        .iter()
        .map(|folder| root().join(folder))
        .filter(|folder| folder.is_dir())
        .flat_map(|folder| files(&folder, &["rs"]))
        .map(|file| read(&file))
        .collect();
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test in {row}");
        for name in named {
            let there = tests.contains(&format!("fn {name}(")) || root().join(name).exists();
            assert!(there, "THREATS.md names {name}, which is no test: {row}");
        }
    }
}

#[test]
fn no_key_opens_what_identities_open() {
    for (file, line) in [
        ("storage.bicep", "allowSharedKeyAccess: false"),
        ("storage.bicep", "allowBlobPublicAccess: false"),
        ("package.bicep", "allowSharedKeyAccess: false"),
        ("package.bicep", "allowBlobPublicAccess: false"),
        ("database.bicep", "disableLocalAuth: !opensByKey"),
        ("database.bicep", "disableKeyBasedMetadataWriteAccess: true"),
        ("telemetry.bicep", "DisableLocalAuth: true"),
        ("telemetry.bicep", "disableLocalAuth: true"),
        ("vault.bicep", "enableRbacAuthorization: true"),
    ] {
        assert!(infra(file).lines().any(|found| found.trim() == line), "{file}: {line} is missing");
    }
    // Off unless somebody chooses it.
    for choice in ["powerBiKey", "secretInKeyVault"] {
        assert!(infra("main.bicep").contains(&format!("param {choice} bool = false\n")), "{choice}");
    }
    assert_eq!(infra("collector.bicep").matches("    allow: false\n").count(), 2, "publishing by password");
}

#[test]
fn what_is_published_is_what_the_host_starts() {
    let host: Value = serde_json::from_str(&read(&root().join("host.json"))).unwrap();
    let executable = Path::new(env!("CARGO_BIN_EXE_handler")).file_name().unwrap().to_str().unwrap();
    // Equal to the letter: publishing makes that one file executable, and `./handler` is another name.
    assert_eq!(host["customHandler"]["description"]["defaultExecutablePath"], executable);
    let collector = infra("collector.bicep");
    assert!(collector.contains("runtime: {\n        name: 'custom'\n        version: runtimeVersion\n"));
    assert!(infra("main.bicep").contains("param runtimeVersion string = '1.0'\n"));
    for refused in ["FUNCTIONS_WORKER_RUNTIME:", "WEBSITE_RUN_FROM_PACKAGE:"] {
        assert!(!collector.contains(refused) && !infra("main.bicep").contains(refused), "Flex Consumption takes no {refused}");
    }
    for (function, setting) in [("QueueEvents", "%SCHEDULE%"), ("StoreEvents", "%CONTENT_QUEUE%")] {
        assert!(read(&root().join(function).join("function.json")).contains(setting), "{function}");
    }
    assert!(infra("storage.bicep").contains("name: '${contentQueue}-poison'"), "the host's rule for the poison queue's name");
    let azure = read(&root().join("azure.yaml"));
    assert!(azure.contains("\n  collector:\n") && collector.contains("'azd-service-name': 'collector'") && azure.contains("dist: dist\n"));
}

/// Taken out: sampling drops lines under load, and an alert on a line that was dropped never comes.
#[test]
fn alerts_ask_for_lines_that_are_printed_and_kept() {
    let host: Value = serde_json::from_str(&read(&root().join("host.json"))).unwrap();
    assert_eq!(host["logging"]["applicationInsights"]["samplingSettings"]["isEnabled"], false);
    let levels = &host["logging"]["logLevel"];
    assert_eq!((&levels["Host.Function.Console"], &levels["Function"]), (&"Information".into(), &"Information".into()));
    // Else the host logs each of its own requests to storage, with all headers.
    assert_eq!((&levels["Azure"], &levels["Azure.Core"]), (&"Warning".into(), &"Warning".into()));

    let source: String = files(&root().join("src"), &["rs"]).iter().map(|file| read(file)).collect();
    let alerts = infra("alerts.bicep");
    let queries: Vec<&str> = alerts.split("'''").skip(1).step_by(2).collect();
    assert_eq!(queries.len(), 8);
    let mut messages = 0;
    for query in &queries {
        let named = query.split("line.message ").skip(1).flat_map(|rest| {
            let end = if rest.starts_with("in (") { rest.find(')').unwrap() } else { rest.find('\n').unwrap() };
            rest[..end].split('\'').skip(1).step_by(2)
        });
        for message in named {
            assert!(source.contains(&format!("\"{message}\"")), "nothing prints {message:?}");
            messages += 1;
        }
        for field in words_after(query, "line.") {
            assert!(source.contains(&format!("{field}: ")) && ["message", "workloads", "function", "rule"].contains(&field), "{field}");
        }
        let printed = queue_events_fields();
        for field in words_after(query, "entry.") {
            assert!(printed.contains(field), "{field} is no field of a workload's report: {printed:?}");
        }
    }
    assert_eq!(messages, 5, "the messages are not found any more");
    assert_eq!(serde_json::to_value(Outcome::Failed).unwrap(), "failed");
    for function in ["QueueEvents", "StoreEvents"] {
        assert!(alerts.contains(&format!("'{function}'")) && root().join(function).is_dir(), "{function}");
        assert!(source.contains(&format!("Invocation::begin(\"{function}\"")), "{function}");
    }
}

/// What the queries cut out of a message, cut out of what the handler prints, at the severity that they ask for.
#[tokio::test]
async fn the_lines_that_alerts_look_for_are_found_in_what_is_printed() {
    let world = world().await;
    // An error that speaks of a warning is an error still.
    let uri = Some("https://warnings.example/WARNING".to_owned());
    world.tenant.publish(NewBlob { uri, ..NewBlob::new(EXCHANGE, world.ago(90), Vec::new()) });
    world.tick().await;
    // What leads to another root goes back on the queue, hidden.
    world.store_all_visible().await;
    let lines: Vec<(LogLevel, Value)> =
        world.host.lines().into_iter().map(|line| (line.level, serde_json::from_str(&line.text).unwrap())).collect();
    let alerts = infra("alerts.bicep");
    for function in ["QueueEvents", "StoreEvents"] {
        let of_it = |(_, line): &&(LogLevel, Value)| line["function"] == function && line["message"] == "invocation";
        let (level, line) = lines.iter().find(of_it).unwrap_or_else(|| panic!("no line of {function}: {lines:#?}"));
        assert_eq!(*level, LogLevel::Information);
        assert!(line["workloads"].is_array() == (function == "QueueEvents"), "{line}");
    }
    assert!(alerts.contains("SeverityLevel == 1 and Message contains '\"message\":\"invocation\"'"));
    let error = lines.iter().find(|(_, line)| line["level"] == "ERROR" && line.to_string().contains("warn"));
    let (level, line) = error.unwrap_or_else(|| panic!("no error: {lines:#?}"));
    assert_eq!(*level, LogLevel::Error, "{line}");
    for of_errors in ["content-lost", "'lost: this content cannot be had'"] {
        assert!(alerts.contains(of_errors));
    }
    assert!(alerts.contains("SeverityLevel == 3 and Message has_any ('lost', 'gap', 'reduced')"));
}

/// Counts what OPERATIONS.md says of the log's cost.
#[tokio::test]
#[ignore = "measures: cargo test --test stories infra::what_the_log_costs -- --ignored --nocapture"]
async fn what_the_log_costs() {
    let world = Setting::of_all_workloads().start().await;
    for blob in generate::generate(7, 20_000, world.tenant.now()) {
        world.tenant.publish(blob);
    }
    world.tick().await;
    let summary = world.store_all().await;
    world.tick().await;
    let lines = world.host.lines();
    for function in ["QueueEvents", "StoreEvents"] {
        let of_it = |line: &&LoggedLine| line.text.contains("\"message\":\"invocation\"") && line.text.contains(function);
        let bytes: Vec<usize> = lines.iter().filter(of_it).map(|line| line.text.len()).collect();
        println!("{function}: {} lines, {} bytes, the last {}", bytes.len(), bytes.iter().sum::<usize>(), bytes.last().unwrap());
    }
    let sentences = summary.invocations.iter().map(|invocation| match &invocation.outcome {
        host::InvocationOutcome::Succeeded { logs, .. } => logs.iter().map(String::len).sum::<usize>(),
        _ => 0,
    });
    println!("sentences of {} messages: {} bytes; {} lines in all", summary.invocations.len(), sentences.sum::<usize>(), lines.len());
}

/// As OPERATIONS.md has it: a person lends the handler a signature that reads the state container, and nothing else.
#[tokio::test]
async fn a_signature_for_the_state_container_alone_is_enough_to_read_the_status() {
    let world = world().await;
    world.publish(90, &["a"]);
    world.tick().await;
    let mut settings = world.settings.clone();
    settings.insert("AzureWebJobsStorage".to_owned(), by_container_signature(&world.container));
    let typed = type_command(&["status", "--json"], &settings).await;
    assert_eq!(typed.code, Some(0), "{typed:?}");
    assert!(typed.stdout.contains(EXCHANGE), "{typed:?}");
}

/// A connection string that reads and lists one container.
/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas#version-2020-12-06-and-later>
fn by_container_signature(container: &str) -> String {
    let expiry = (Utc::now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let text = format!("rl\n\n{expiry}\n/blob/{ACCOUNT}/{container}\n\n\n\n2022-11-02\nc\n\n\n\n\n\n\n");
    let signature = hmac_sha256(&text, &Secret::new(account_key())).unwrap();
    let query = Serializer::new(String::new())
        .extend_pairs([("sv", "2022-11-02"), ("sr", "c"), ("sp", "rl"), ("se", expiry.as_str()), ("sig", signature.as_str())])
        .finish();
    let endpoints: Vec<_> = azurite().split(';').filter(|part| part.contains("Endpoint=")).collect();
    format!("{};SharedAccessSignature={query}", endpoints.join(";"))
}

#[test]
fn the_documents_explain_every_field_and_every_code() {
    let operations = read(&root().join("docs/OPERATIONS.md"));
    let store_events = serde_json::to_value(store_events::MessageReport::default()).unwrap();
    let fields = queue_events_fields().into_iter().chain(store_events.as_object().unwrap().keys().cloned());
    for field in fields.chain(["succeeded", "milliseconds", "invocation", "function"].map(str::to_owned)) {
        assert!(operations.contains(&format!("`{field}`")), "OPERATIONS.md does not explain {field}");
    }
    for alert in words_after(&infra("alerts.bicep"), "\n    name: '") {
        assert!(operations.contains(&format!("`{alert}`")), "OPERATIONS.md does not explain the alert {alert}");
    }
    let troubleshooting = read(&root().join("docs/TROUBLESHOOTING.md"));
    let source: String = files(&root().join("src/management_api"), &["rs"]).iter().map(|file| read(file)).collect();
    let codes: BTreeSet<_> =
        source.split("\"AF").skip(1).filter_map(|rest| rest.split('"').next()).filter(|code| !code.is_empty()).collect();
    assert!(codes.len() > 8, "the codes are not found any more: {codes:?}");
    for code in codes {
        assert!(troubleshooting.contains(&format!("AF{code}")), "TROUBLESHOOTING.md does not explain AF{code}");
    }
    let deploy = read(&root().join("docs/DEPLOY.md"));
    for parameter in words_after(&infra("main.bicep"), "\nparam ") {
        assert!(deploy.contains(&format!("`{parameter}")), "DEPLOY.md does not name the choice {parameter}");
    }
}

/// Keys of Azurite and of the Cosmos DB emulator are everybody's; nothing else that looks like a secret is in a file.
#[test]
fn no_file_holds_a_secret() {
    let everybodys = ["Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq", "C2y6yDjf5"];
    let mut looked_at = 0;
    for file in files(&root(), &[]) {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        looked_at += 1;
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=~._-".contains(c))) {
            // A storage or database key is 64 bytes in base64; a client secret of Entra ID is 40 characters with `8Q~` or the like.
            let key = word.len() == 88 && word.ends_with("==");
            let secret = word.len() == 40 && word.as_bytes().get(3..6).is_some_and(|at| at[0].is_ascii_digit() && at[2] == b'~');
            // Digests in a lock file of npm are as long.
            let known = || everybodys.iter().any(|start| word.starts_with(start)) || text.contains("\"integrity\"");
            assert!(!(key || secret) || known(), "{} holds what looks like a secret", file.display());
        }
        assert!(!text.contains(&format!("-----BEGIN {}", "PRIVATE KEY-----")), "{} holds a private key", file.display());
    }
    assert!(looked_at > 100, "{looked_at} files were looked at");
}

#[test]
fn registering_says_what_it_would_do_does_it_and_does_it_once() {
    let azure = Azure::new();
    let dry = azure.register(&["--dry-run"]);
    for step in ["would make the managed identity", "federated-credential create", "would consent to ActivityFeed.ReadDlp", "nothing was"] {
        assert!(dry.contains(step), "{step} is missing: {dry}");
    }
    assert_eq!(azure.changes(), Vec::<String>::new());

    let done = azure.register(&[]);
    let (client, identity) = ("22222222-0000-0000-0000-000000000002", "11111111-0000-0000-0000-000000000001");
    assert!(done.ends_with(&format!("OFFICE365_CLIENT_ID={client}\n")), "{done}");
    let changes = azure.changes();
    let trust = changes.iter().find(|change| change.contains("federated-credential")).unwrap();
    for part in [
        format!("\"subject\":\"{identity}\""),
        "\"issuer\":\"https://login.microsoftonline.com/0873ee4d-d342-44f2-8961-74c442a2fad2/v2.0\"".to_owned(),
        "\"audiences\":[\"api://AzureADTokenExchange\"]".to_owned(),
    ] {
        assert!(trust.contains(&part), "{part} is missing: {trust}");
    }
    // The roles' ids are the tenant's own, and consent is given to the app.
    for role in ["44444444-0000-0000-0000-000000000004", "55555555-0000-0000-0000-000000000005"] {
        let consent = format!(
            "\"principalId\":\"33333333-0000-0000-0000-000000000002\",\"resourceId\":\"33333333-f805-4401-95e8-94b7a6ef2fc2\",\"appRoleId\":\"{role}\""
        );
        assert!(changes.iter().any(|change| change.contains(&consent)), "{role}: {changes:#?}");
    }
    // Whoever runs it does not stay the owner of what it made.
    for object in ["applications/77777777-0000-0000-0000-000000000007", "servicePrincipals/33333333-0000-0000-0000-000000000002"] {
        assert!(
            changes.iter().any(|change| change.contains(&format!("delete --url https://graph.microsoft.com/v1.0/{object}/owners/me/$ref")))
        );
    }
    assert!(done.contains("make the app registration") && !done.contains("found the app"), "{done}");
    let again = azure.register(&[]);
    assert_eq!(azure.changes(), changes, "the second time there is nothing to do");
    assert!(again.contains(&format!("found the app registration {client}")) && !again.contains("make the app"), "{again}");
}

#[test]
fn a_collector_has_an_app_of_its_own_and_no_app_is_known_by_the_name_it_displays() {
    let azure = Azure::new();
    azure.register(&[]);
    azure.register(&["--name", "other"]);
    let made: Vec<_> = azure.changes().into_iter().filter(|change| change.contains("Prefer=create-if-missing")).collect();
    for (change, name) in made.iter().zip(["rg-activity", "rg-other"]) {
        assert!(change.contains(&format!("uniqueName='office365-activity-66666666-0000-0000-0000-000000000006-{name}'")), "{change}");
    }
    assert_eq!(made.len(), 2);
}

/// Consent is for the whole tenant: nobody gets it by having registered an app first.
#[test]
fn an_app_that_somebody_else_can_sign_in_as_gets_no_consent() {
    let (client, object, principal) =
        ("22222222-0000-0000-0000-000000000002", "77777777-0000-0000-0000-000000000007", "33333333-0000-0000-0000-000000000002");
    for (file, says) in [
        (format!("owners-{object}"), "has other owners than you"),
        (format!("owners-{principal}"), "has other owners than you"),
        (format!("credentials-{object}"), "has secrets or certificates"),
        (format!("credentials-{principal}"), "has secrets or certificates"),
        ("foreign-trust".to_owned(), "trusts others than the collector's identity"),
    ] {
        for key in ["office365-activity-66666666-0000-0000-0000-000000000006-rg-activity", client] {
            let azure = Azure::new();
            azure.holds(&format!("app-{key}"), &format!("{object} {client}\n"));
            azure.holds(&file, "mallory\n");
            let options = if key == client { vec!["--client-id", client] } else { vec![] };
            let told = azure.refuses(&options);
            assert!(told.contains(says) && told.contains("mallory"), "{file}: {told}");
            assert!(!azure.changes().iter().any(|change| change.contains("appRoleAssignments")), "{file}: {:#?}", azure.changes());
        }
    }
    let azure = Azure::new();
    assert!(azure.refuses(&["--client-id", client]).contains("there is no app registration"));
}

#[test]
fn without_an_app_the_identity_that_the_template_makes_holds_the_role() {
    let azure = Azure::new();
    azure.register(&["--without-app", "--without-dlp"]);
    let changes = azure.changes();
    assert!(!changes.iter().any(|change| change.contains("ad app") || change.contains("55555555")), "{changes:#?}");
    assert!(changes.last().unwrap().contains("\"principalId\":\"11111111-0000-0000-0000-000000000001\""), "{changes:#?}");
    let main = infra("main.bicep");
    let name = line_after(&main, "param name string = ").unwrap().trim_matches('\'').to_owned();
    assert!(main.contains("name: '${name}-identity'") && changes.iter().any(|change| change.contains(&format!("--name {name}-identity "))));
}

/// Whoever can search half a year back reads much: it takes a word of its own.
#[test]
fn history_is_permitted_where_it_is_asked_for_and_nowhere_else() {
    let azure = Azure::new();
    azure.register(&[]);
    let role = "88888888-0000-0000-0000-000000000008";
    assert!(!azure.changes().iter().any(|change| change.contains(role)), "{:#?}", azure.changes());
    let dry = azure.register(&["--history", "--dry-run"]);
    assert!(dry.contains("would consent to AuditLogsQuery.Read.All"), "{dry}");

    let before = azure.changes().len();
    azure.register(&["--history"]);
    let changes = azure.changes();
    let added = &changes[before..];
    assert!(
        added
            .iter()
            .any(|change| change.contains("ad app permission add") && change.contains("--api 00000003-0000-0000-c000-000000000000")),
        "{added:#?}"
    );
    let consent = format!(
        "\"principalId\":\"33333333-0000-0000-0000-000000000002\",\"resourceId\":\"33333333-0000-0000-c000-000000000000\",\"appRoleId\":\"{role}\""
    );
    assert!(added.iter().any(|change| change.contains(&consent)), "{added:#?}");
    azure.register(&["--history"]);
    assert_eq!(azure.changes(), changes, "the second time there is nothing to do");
    assert!(azure.refuses(&["--history", "--without-app"]).contains("exclude each other"));
}

/// A tenant and a subscription with nothing in them, behind a stand-in for the Azure CLI.
struct Azure(PathBuf);

impl Azure {
    fn new() -> Self {
        let state = std::env::temp_dir().join(format!("azure-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&state).unwrap();
        Self(state)
    }

    fn register(&self, options: &[&str]) -> String {
        let (succeeded, told) = self.run(options);
        assert!(succeeded, "{told}");
        told
    }

    fn refuses(&self, options: &[&str]) -> String {
        let (succeeded, told) = self.run(options);
        assert!(!succeeded, "{told}");
        told
    }

    fn run(&self, options: &[&str]) -> (bool, String) {
        let path = format!("{}:{}", root().join("tests/stories/infra").display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .arg(root().join("infra/register-app.sh"))
            .args(["--resource-group", "rg", "--location", "westeurope"])
            .args(options)
            .env("PATH", path)
            .env("AZ_STATE", &self.0)
            .env("RETRY_SECONDS", "0")
            .output()
            .unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        (output.status.success(), told)
    }

    fn holds(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).unwrap();
    }

    fn changes(&self) -> Vec<String> {
        std::fs::read_to_string(self.0.join("changes")).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn infra(name: &str) -> String {
    read(&root().join("infra").join(name))
}

/// All files below a folder that git would keep, of these extensions, or of any.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["target", ".git", "node_modules", "dist", "local.settings.json"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extensions));
        } else if extensions.is_empty() || path.extension().is_some_and(|at| extensions.iter().any(|extension| at == *extension)) {
            found.push(path);
        }
    }
    found
}

/// The names that the handler asks its environment for, with nothing set and with the least that it needs.
fn read_settings() -> BTreeSet<String> {
    let read = RefCell::new(BTreeSet::new());
    for settings in [|_: &str| None, least] {
        let _ = Config::from_vars(|name| {
            read.borrow_mut().insert(name.to_owned());
            settings(name)
        });
    }
    read.into_inner()
}

fn least(name: &str) -> Option<String> {
    let value = match name {
        "OFFICE365_TENANT_ID" => "0873ee4d-d342-44f2-8961-74c442a2fad2",
        "AzureWebJobsStorage__blobServiceUri" => "https://name.blob.core.windows.net/",
        "AzureWebJobsStorage__queueServiceUri" => "https://name.queue.core.windows.net/",
        "COSMOS_ENDPOINT" => "https://name.documents.azure.com:443/",
        _ => return None,
    };
    Some(value.to_owned())
}

/// `NAME: value` of a variable that is an object, or an object if something holds.
fn entries(bicep: &str, variable: &str) -> Vec<(String, String)> {
    let object = between(bicep, &format!("\nvar {variable} = "), "\n}");
    let lines = object.lines().skip(1).filter(|line| !line.trim_start().starts_with("//"));
    let found: Vec<_> =
        lines.filter_map(|line| line.trim().split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(!found.is_empty(), "{variable} is not found any more");
    found
}

/// The text of each resource of a type.
fn resources<'a>(bicep: &'a str, kind: &str) -> Vec<&'a str> {
    let found: Vec<_> =
        bicep.split("\nresource ").skip(1).filter(|text| text.lines().next().unwrap().contains(&format!("'{kind}@"))).collect();
    assert!(!found.is_empty(), "{kind} is not found any more");
    found
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap_or_else(|| panic!("{start:?} is not found any more")) + start.len();
    &text[from..from + text[from..].find(end).unwrap()]
}

fn line_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.find(start).and_then(|at| text[at + start.len()..].lines().next())
}

fn words_after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let word = |rest: &'a str| rest.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))).next();
    text.split(start).skip(1).filter_map(word).collect()
}

fn guids(text: &str) -> Vec<String> {
    let is_guid = |word: &&str| word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    text.split(|c: char| !(c.is_ascii_hexdigit() || c == '-')).filter(is_guid).map(str::to_owned).collect()
}

/// The fields of a workload's entry in QueueEvents' line.
fn queue_events_fields() -> BTreeSet<String> {
    let report = WorkloadReport { late_by: BTreeMap::from([("10m", 1)]), ..WorkloadReport::new(Workload::Exchange) };
    serde_json::to_value(report).unwrap().as_object().unwrap().keys().cloned().collect()
}
