//! A token becomes an `Access`.
//!
//! # Promises
//! - Without a valid token nothing is granted, unless the node was started without authentication.
//! - A token that another node made a moment ago is found: before an unknown one is refused, the catalog is brought up
//!   to date, though at most once a second.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use storage::catalog::{Access, Catalog};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{AuthConfig, OpenEndpoint};

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The header is not in one of the three forms.
    #[error(
        "Authorization header was malformed, the request was not in the form of 'Authorization: <auth-scheme> <token>', \
         supported auth-schemes are Bearer, Token and Basic"
    )]
    Malformed,
    /// No token, or one that is unknown or expired.
    #[error("the request was not authenticated")]
    Unauthenticated,
    /// The token does not grant this.
    #[error("unauthorized to perform requested action with the token")]
    Forbidden,
}

#[derive(Debug)]
pub(crate) struct Auth {
    config: AuthConfig,
    catalog: Arc<Catalog>,
    /// When the catalog was last brought up to date for the sake of an unknown token.
    refreshed: Mutex<Option<Instant>>,
}

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

impl Auth {
    #[must_use]
    pub(crate) fn new(config: AuthConfig, catalog: Arc<Catalog>) -> Self {
        Self { config, catalog, refreshed: Mutex::new(None) }
    }

    #[must_use]
    pub(crate) fn is_off(&self) -> bool {
        self.config == AuthConfig::Off
    }

    /// Whether `endpoint` is served without a token.
    #[must_use]
    pub(crate) fn is_open(&self, endpoint: OpenEndpoint) -> bool {
        match &self.config {
            AuthConfig::Off => true,
            AuthConfig::On { open } => open.contains(&endpoint),
        }
    }

    /// What the bearer of `token` may do.
    pub(crate) async fn access(&self, token: Option<&str>) -> Result<Access, Error> {
        if self.is_off() {
            return Ok(Access::unrestricted());
        }
        let token = token.ok_or(Error::Unauthenticated)?;
        if let Some(access) = self.catalog.authenticate(token) {
            return Ok(access);
        }
        self.refresh().await;
        self.catalog.authenticate(token).ok_or(Error::Unauthenticated)
    }

    async fn refresh(&self) {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL) {
            return;
        }
        if let Err(error) = self.catalog.refresh().await {
            tracing::warn!(%error, "an unknown token was judged by an old catalog");
        }
        *refreshed = Some(Instant::now());
    }
}

/// The token of an `Authorization` header: `Bearer T`, `Token T`, or `Basic` of `user:T`. Schemes are case-sensitive, as
/// in the original.
pub(crate) fn token_in(header: &[u8]) -> Result<String, Error> {
    let header = std::str::from_utf8(header).map_err(|_| Error::Malformed)?;
    let (scheme, value) = header.split_once(' ').ok_or(Error::Malformed)?;
    if value.is_empty() || value.contains(' ') {
        return Err(Error::Malformed);
    }
    match scheme {
        "Bearer" | "Token" => Ok(value.to_owned()),
        "Basic" => token_in_basic(value).ok_or(Error::Malformed),
        _ => Err(Error::Malformed),
    }
}

/// The user is ignored and may be empty.
fn token_in_basic(encoded: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, token) = text.rsplit_once(':')?;
    (!user.contains(':') && !token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_in_three_forms() {
        check_token("Bearer apiv3_x", Some("apiv3_x"));
        check_token("Token apiv3_x", Some("apiv3_x"));
        check_token(&basic("me:apiv3_x"), Some("apiv3_x"));
        check_token(&basic(":apiv3_x"), Some("apiv3_x"));
    }

    #[test]
    fn every_other_form_is_malformed() {
        for header in
            ["", "Bearer", "Bearer ", "bearer x", "TOKEN x", "Bearer x y", "Bearer  x", "Digest x", "Basic ???"]
        {
            check_token(header, None);
        }
        for pair in ["no colon", "a:b:token", "user:"] {
            check_token(&basic(pair), None);
        }
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[track_caller]
    fn check_token(header: &str, expected: Option<&str>) {
        assert_eq!(token_in(header.as_bytes()).ok().as_deref(), expected, "{header:?}");
    }
}
