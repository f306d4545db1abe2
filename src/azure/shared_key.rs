//! Signs requests to storage with the account's key.

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use azure_core::{
    Error,
    credentials::Secret,
    error::ErrorKind,
    hmac::hmac_sha256,
    http::{
        Context, Request,
        policies::{Policy, PolicyResult},
    },
};

/// Signs each try with the account's key, which the storage SDKs leave to the caller. A signature in a header ends with
/// its request; one in the address would live on in logs.
/// <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>
pub(super) struct SharedKey {
    pub(super) account: String,
    pub(super) key: Secret,
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.insert_header("x-ms-date", httpdate::fmt_http_date(SystemTime::now()));
        let signature = hmac_sha256(&self.string_to_sign(request), &self.key)?;
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
        match next {
            [first, rest @ ..] => first.send(ctx, request, rest).await,
            [] => Err(Error::with_message(ErrorKind::Other, "the storage pipeline ends before its transport")),
        }
    }
}

impl SharedKey {
    fn string_to_sign(&self, request: &Request) -> String {
        let headers: BTreeMap<&str, &str> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let header = |name: &str| headers.get(name).copied().unwrap_or_default();
        let length = match request.body().len() {
            Some(0) | None => String::new(),
            Some(length) => length.to_string(),
        };
        let mut text = format!(
            "{}\n{}\n{}\n{length}\n{}\n{}\n\n{}\n{}\n{}\n{}\n{}\n",
            request.method().as_str(),
            header("content-encoding"),
            header("content-language"),
            header("content-md5"),
            header("content-type"),
            header("if-modified-since"),
            header("if-match"),
            header("if-none-match"),
            header("if-unmodified-since"),
            header("range"),
        );
        for (name, value) in headers.iter().filter(|(name, _)| name.starts_with("x-ms-")) {
            text.push_str(&format!("{name}:{}\n", value.trim()));
        }
        text.push_str(&format!("/{}{}", self.account, request.url().path()));
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.url().query_pairs() {
            query.entry(name.to_lowercase()).or_default().push(value.into_owned());
        }
        for (name, mut values) in query {
            values.sort();
            text.push_str(&format!("\n{name}:{}", values.join(",")));
        }
        text
    }
}
