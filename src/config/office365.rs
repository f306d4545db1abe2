//! The Office 365 tenant: the app registration, the API's addresses in each cloud, the workloads.

use std::str::FromStr;

use azure_core::credentials::Secret;
use url::Url;

use super::vars::Vars;
use crate::workload::Workload;

/// Office 365 clouds: the API root and the Entra authority of each.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>
const CLOUDS: [(&str, &str, &str); 4] = [
    ("enterprise", "https://manage.office.com", "https://login.microsoftonline.com"),
    ("gcc", "https://manage-gcc.office.com", "https://login.microsoftonline.com"),
    ("gcc-high", "https://manage.office365.us", "https://login.microsoftonline.us"),
    ("dod", "https://manage.protection.apps.mil", "https://login.microsoftonline.us"),
];

/// The tenant, the API's addresses and the app registration.
#[derive(Clone, Debug)]
pub struct Office365 {
    /// The tenant's GUID, lower case.
    pub tenant_id: String,
    /// The app registration; none: the managed identity itself holds the API role.
    pub client_id: Option<String>,
    /// The app's secret; none: the managed identity signs for the app.
    pub client_secret: Option<Secret>,
    /// API root, such as `https://manage.office.com/`; tokens go nowhere else.
    pub api_url: Url,
    /// Entra authority, such as `https://login.microsoftonline.com/`.
    pub login_url: Url,
    /// GUID sent as PublisherIdentifier with every call.
    pub publisher_id: String,
}

impl Office365 {
    pub(super) fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let tenant_id = vars.required("OFFICE365_TENANT_ID").and_then(|id| vars.guid("OFFICE365_TENANT_ID", id));
        let given = vars.optional("OFFICE365_CLIENT_ID");
        let is_app = given.is_some() || vars.is_unresolved("OFFICE365_CLIENT_ID");
        let client_id = given.and_then(|id| vars.guid("OFFICE365_CLIENT_ID", id));
        let client_secret = vars.optional("OFFICE365_CLIENT_SECRET").map(Secret::from);
        if client_secret.is_some() && !is_app {
            vars.fault("OFFICE365_CLIENT_SECRET", "is set but OFFICE365_CLIENT_ID is not: name the app that the secret belongs to");
        }
        let cloud = vars.or_default("OFFICE365_CLOUD", "enterprise");
        let known = CLOUDS.iter().find(|(name, _, _)| *name == cloud);
        if known.is_none() {
            vars.fault("OFFICE365_CLOUD", "must be one of enterprise, gcc, gcc-high, dod");
        }
        let (_, api, login) = known.unwrap_or(&CLOUDS[0]);
        let api_url = vars.secure_url("OFFICE365_API_URL", Some(api));
        let login_url = vars.secure_url("OFFICE365_LOGIN_URL", Some(login));
        let publisher_id = match vars.optional("OFFICE365_PUBLISHER_ID") {
            Some(id) => vars.guid("OFFICE365_PUBLISHER_ID", id),
            None => tenant_id.clone(),
        };
        Some(Self {
            tenant_id: tenant_id?,
            client_id,
            client_secret,
            api_url: api_url?,
            login_url: login_url?,
            publisher_id: publisher_id?,
        })
    }
}

pub(super) fn read_workloads(vars: &mut Vars<'_>) -> Option<Vec<Workload>> {
    let Some(list) = vars.ask("WORKLOADS", Some("all five")) else {
        return Some(Workload::ALL.to_vec());
    };
    let mut workloads = Vec::new();
    let mut is_known = true;
    for (at, name) in list.split(',').map(str::trim).filter(|name| !name.is_empty()).enumerate() {
        match Workload::from_str(name) {
            Ok(workload) if !workloads.contains(&workload) => workloads.push(workload),
            Ok(_) => {}
            Err(unknown) => {
                is_known = false;
                vars.fault("WORKLOADS", format!("names something in place {} that is {unknown}", at + 1));
            }
        }
    }
    if workloads.is_empty() && is_known {
        vars.fault("WORKLOADS", "names no workload");
    }
    Some(workloads)
}
