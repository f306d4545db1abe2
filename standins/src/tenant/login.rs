//! Entra's token endpoint, App Service's managed identity endpoint, and the tokens both hand out. Which token may do what
//! in the feed is decided in `feed`.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::call::Call;
use super::serve::Answer;
use super::{State, World};

/// What a managed identity asks a token for, so that it can sign for an app registration.
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity>
const EXCHANGE: &str = "api://AzureADTokenExchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An access token as its issuer remembers it.
pub(super) struct Token {
    audience: String,
    roles: Vec<String>,
    expires: DateTime<Utc>,
}

/// The roles of a request's bearer token; `None` unless it is one of this API's that lives.
pub(super) fn roles(world: &World, state: &State, headers: &HeaderMap, now: DateTime<Utc>) -> Option<Vec<String>> {
    roles_for(state, headers, now, world.api_url.as_str())
}

/// The roles of a request's bearer token; `None` unless it is one for this resource that lives.
pub(super) fn roles_for(state: &State, headers: &HeaderMap, now: DateTime<Utc>, resource: &str) -> Option<Vec<String>> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = state.tokens.get(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    (token.expires > now && is_same(&token.audience, resource)).then(|| token.roles.clone())
}

fn is_api(world: &World, resource: &str) -> bool {
    is_same(resource, world.api_url.as_str())
}

fn is_graph(world: &World, resource: &str) -> bool {
    is_same(resource, world.graph_url.as_str())
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Makes a token for an app: shaped like Entra's, signed by nobody, known by its text.
fn issue(world: &World, client_id: Uuid, audience: &str, now: DateTime<Utc>) -> String {
    issue_with(world, client_id, audience, now, |roles| ("roles", json!(roles)))
}

/// Makes a token for a person who is signed in, for the API.
pub(super) fn issue_to_person(world: &World, now: DateTime<Utc>) -> String {
    issue_with(world, Uuid::new_v4(), world.api_url.as_str(), now, |roles| ("scp", json!(roles.join(" "))))
}

fn issue_with(
    world: &World,
    client_id: Uuid,
    audience: &str,
    now: DateTime<Utc>,
    permissions: impl Fn(&[String]) -> (&'static str, Value),
) -> String {
    let mut state = world.state();
    let roles = match audience {
        audience if is_api(world, audience) => state.roles.clone(),
        audience if is_graph(world, audience) => state.searches.roles(),
        _ => Vec::new(),
    };
    let expires = now + lifetime(world);
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let tenant = world.options.tenant_id;
    let head = part(json!({ "typ": "JWT", "alg": "RS256", "kid": "simulated" }));
    let (claim, held) = permissions(&roles);
    let claims = part(json!({
        claim: held,
        "aud": audience,
        "iss": format!("https://sts.windows.net/{tenant}/"),
        "iat": now.timestamp(),
        "nbf": now.timestamp(),
        "exp": expires.timestamp(),
        "appid": client_id,
        "tid": tenant,
        "uti": Uuid::new_v4().simple().to_string(),
        "ver": "1.0",
    }));
    let text = format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode("no signature: a simulated tenant's token"));
    state.tokens.insert(text.clone(), Token { audience: audience.to_owned(), roles, expires });
    text
}

fn lifetime(world: &World) -> TimeDelta {
    TimeDelta::from_std(world.options.token_lifetime).unwrap_or(TimeDelta::MAX)
}

/// An error as Entra words it.
/// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>
struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    message: String,
}

impl Refusal {
    fn bad_request(error: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, code, message: message.into() }
    }

    fn invalid_client(code: u32, message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_client", code, message: message.into() }
    }

    fn answer(self, now: DateTime<Utc>) -> Answer {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let timestamp = now.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let description =
            format!("AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}", self.code, self.message);
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        Answer::json(self.status, &body)
    }
}

/// Answers a request for a token by client credentials.
/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>
pub(super) fn token(world: &World, call: &Call, body: &[u8]) -> Answer {
    if call.method != Method::POST {
        return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "text/html", "").with("allow", "POST");
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let now = world.now();
    let v2 = call.path.contains("/v2.0/");
    match grant(world, call, &form, v2, now) {
        Err(refusal) => refusal.answer(now),
        Ok(audience) => {
            let access_token = issue(world, world.client_id, &audience, now);
            let seconds = world.options.token_lifetime.as_secs();
            Answer::json(
                StatusCode::OK,
                &if v2 {
                    json!({
                        "token_type": "Bearer",
                        "expires_in": seconds,
                        "ext_expires_in": seconds,
                        "access_token": access_token,
                    })
                } else {
                    // The older endpoint writes its numbers as text.
                    json!({
                        "token_type": "Bearer",
                        "expires_in": seconds.to_string(),
                        "ext_expires_in": seconds.to_string(),
                        "expires_on": (now + lifetime(world)).timestamp().to_string(),
                        "not_before": now.timestamp().to_string(),
                        "resource": audience,
                        "access_token": access_token,
                    })
                },
            )
        }
    }
}

/// The audience that a request may have a token for.
fn grant(world: &World, call: &Call, form: &HashMap<String, String>, v2: bool, now: DateTime<Utc>) -> Result<String, Refusal> {
    let tenant = call.path.trim_matches('/').split('/').next().unwrap_or_default();
    if Uuid::try_parse(tenant).ok() != Some(world.options.tenant_id) {
        let message = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud."
        );
        return Err(Refusal::bad_request("invalid_request", 90002, message));
    }
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "client_credentials" {
        let message = format!("The app requested an unsupported grant type '{}'.", field("grant_type"));
        return Err(Refusal::bad_request("unsupported_grant_type", 70003, message));
    }
    let client_id = field("client_id");
    if Uuid::try_parse(client_id).ok() != Some(world.client_id) {
        let message = format!("Application with identifier '{client_id}' was not found in the directory.");
        return Err(Refusal::bad_request("unauthorized_client", 700_016, message));
    }
    match (form.get("client_secret"), form.get("client_assertion")) {
        (Some(secret), _) if *secret == world.client_secret => {}
        (Some(_), _) => {
            let message = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
                 not the client secret ID, for a secret added to app '{client_id}'."
            );
            return Err(Refusal::invalid_client(7_000_215, message));
        }
        (None, Some(assertion)) => check_assertion(world, assertion, field("client_assertion_type"), now)?,
        (None, None) => {
            let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
            return Err(Refusal::invalid_client(7_000_218, message));
        }
    }
    let audience = if v2 {
        let scope = field("scope");
        scope.strip_suffix("/.default").ok_or_else(|| {
            let message = format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with \
                 /.default suffixed to the resource identifier (application ID URI)."
            );
            Refusal::bad_request("invalid_scope", 1_002_012, message)
        })?
    } else {
        field("resource")
    };
    if !is_api(world, audience) && !is_graph(world, audience) {
        let message = format!("The resource principal named {audience} was not found in the tenant named {tenant}.");
        return Err(Refusal::bad_request("invalid_resource", 500_011, message));
    }
    Ok(audience.to_owned())
}

/// Takes what this tenant's managed identity was given for the exchange, and nothing else.
fn check_assertion(world: &World, assertion: &str, kind: &str, now: DateTime<Utc>) -> Result<(), Refusal> {
    if kind != JWT_BEARER {
        let message = format!("The value '{kind}' of client_assertion_type is not supported.");
        return Err(Refusal::bad_request("invalid_request", 900_144, message));
    }
    let state = world.state();
    let Some(token) = state.tokens.get(assertion) else {
        return Err(Refusal::invalid_client(50027, "JWT token is invalid or malformed."));
    };
    if token.audience != EXCHANGE {
        let message = format!("No matching federated identity record found for presented assertion audience '{}'.", token.audience);
        return Err(Refusal::invalid_client(700_212, message));
    }
    if !world.options.federated {
        return Err(Refusal::invalid_client(700_213, "No matching federated identity record found for presented assertion subject."));
    }
    if token.expires <= now {
        return Err(Refusal::invalid_client(700_024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}

/// Answers a request to App Service's managed identity endpoint.
/// <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>
pub(super) fn identity(world: &World, call: &Call, headers: &HeaderMap) -> Answer {
    let refuse = |status: StatusCode, message: &str| Answer::json(status, &json!({ "statusCode": status.as_u16(), "message": message }));
    if call.method != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Only GET is supported.").with("allow", "GET");
    }
    if headers.get("x-identity-header").is_none_or(|value| value.as_bytes() != world.identity_header.as_bytes()) {
        return refuse(StatusCode::UNAUTHORIZED, "The X-IDENTITY-HEADER is missing or wrong.");
    }
    if call.parameter("api-version") != Some("2019-08-01") {
        return refuse(StatusCode::BAD_REQUEST, "The api-version is missing or not supported.");
    }
    let Some(resource) = call.parameter("resource") else {
        return refuse(StatusCode::BAD_REQUEST, "The resource is missing.");
    };
    let identity = world.identity_client_id;
    if call.parameter("client_id").is_some_and(|id| Uuid::try_parse(id).ok() != Some(identity)) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
        );
    }
    let now = world.now();
    let access_token = issue(world, identity, resource, now);
    Answer::json(
        StatusCode::OK,
        &json!({
            "access_token": access_token,
            "client_id": identity,
            "expires_on": (now + lifetime(world)).timestamp().to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}
