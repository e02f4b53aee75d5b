//! The connection of a client command to a server.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, builder::BoolishValueParser};
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};

/// Where the server is and who asks.
#[derive(Clone, Args)]
pub(crate) struct Connection {
    /// URL of the server
    #[arg(short = 'H', long, value_name = "URL", env = "INFLUXDB3_HOST_URL", default_value = "http://127.0.0.1:8181")]
    host: String,
    /// Token, unless the server runs without authentication
    #[arg(long, env = "INFLUXDB3_AUTH_TOKEN")]
    token: Option<String>,
    /// PEM file of the authority that signed the certificate of an https server; it takes the place of the public ones
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// Do not check the certificate of an https server: whoever answers gets the token
    #[arg(long, env = "INFLUXDB3_TLS_NO_VERIFY", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    tls_no_verify: bool,
}

/// A method and path with its parameters.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) parameters: &'a [(&'a str, &'a str)],
}

/// What is sent along.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    Nothing,
    Json(&'a Value),
    Lines(&'a [u8]),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No more of an error is read than a person would.
const ERROR_BYTES_MAX: u64 = 1 << 20;

impl Connection {
    /// Connects at the first call. An error is about a file that a flag names.
    pub(crate) fn open(&self) -> Result<Client<'_>, String> {
        let mut tls = TlsConfig::builder().disable_verification(self.tls_no_verify);
        if let Some(path) = &self.tls_ca {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
        }
        let config = Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT_TIMEOUT));
        Ok(Client { agent: config.tls_config(tls.build()).build().into(), connection: self })
    }
}

/// The certificates in a PEM file, which may hold other things too.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let named = |problem: &dyn std::fmt::Display| format!("--tls-ca {}: {problem}", path.display());
    let pem = std::fs::read(path).map_err(|error| named(&error))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| named(&error))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(named(&"there is no certificate in it")) } else { Ok(certificates) }
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody got the request.
    Unreached(String),
    /// Whoever got the request may have done what it says.
    NoAnswer(String),
    /// The server said no.
    Refused(String),
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreached(reason) | Failure::NoAnswer(reason) | Failure::Refused(reason) => reason,
        }
    }
}

/// Keeps its connection open between calls.
pub(crate) struct Client<'a> {
    agent: Agent,
    connection: &'a Connection,
}

impl Client<'_> {
    /// The response to the call. A status that is not a success is an error that says what the server said.
    pub(crate) fn call(&self, call: &Call<'_>, payload: &Payload<'_>) -> Result<Response<Body>, Failure> {
        let Call { method, path, parameters } = call;
        let host = self.connection.host.trim_end_matches('/');
        let unbuilt =
            |error: &dyn std::fmt::Display| Failure::Unreached(format!("build the request to {host}: {error}"));
        let query = serde_urlencoded::to_string(parameters).map_err(|error| unbuilt(&error))?;
        let separator = if query.is_empty() { "" } else { "?" };
        let uri = format!("{host}{path}{separator}{query}");
        let mut request = ureq::http::Request::builder().method(*method).uri(&uri);
        if let Some(token) = &self.connection.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let built = match payload {
            Payload::Nothing => request.body(Vec::new()),
            Payload::Json(value) => {
                request.header("content-type", "application/json").body(value.to_string().into_bytes())
            }
            Payload::Lines(lines) => request.header("content-type", "text/plain; charset=utf-8").body(lines.to_vec()),
        };
        let built = built.map_err(|error| unbuilt(&error))?;
        let response = self.agent.run(built).map_err(|error| {
            let reason = format!("ask {host}: {error}");
            if is_unreached(&error) { Failure::Unreached(reason) } else { Failure::NoAnswer(reason) }
        })?;
        if response.status().is_success() { Ok(response) } else { Err(Failure::Refused(refusal(response))) }
    }

    /// The whole body of the response as text.
    pub(crate) fn text(&self, call: &Call<'_>, payload: &Payload<'_>) -> Result<String, Failure> {
        let mut response = self.call(call, payload)?;
        response.body_mut().read_to_string().map_err(|error| Failure::NoAnswer(format!("read the answer: {error}")))
    }
}

/// Whether it is certain that nothing of the request was sent.
fn is_unreached(error: &ureq::Error) -> bool {
    use std::io::ErrorKind as Io;
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Io(error) => {
            matches!(error.kind(), Io::ConnectionRefused | Io::HostUnreachable | Io::NetworkUnreachable)
        }
        _ => false,
    }
}

fn refusal(response: Response<Body>) -> String {
    let status = response.status();
    let mut text = Vec::new();
    // An answer that breaks off still has a status.
    let _ = response.into_body().into_reader().take(ERROR_BYTES_MAX).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let message = serde_json::from_str(&text).ok().and_then(|value| sentence(&value)).unwrap_or(text);
    describe(status, &message)
}

fn describe(status: StatusCode, message: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED => "; use --token or INFLUXDB3_AUTH_TOKEN",
        _ => "",
    };
    format!("the server answers {status}: {message}{hint}")
}

/// The error of a JSON body, with the lines it names.
fn sentence(body: &Value) -> Option<String> {
    let error = body.get("error").or_else(|| body.get("message"))?.as_str()?;
    let lines: Vec<&Value> = match body.get("data") {
        Some(Value::Array(lines)) => lines.iter().collect(),
        Some(line @ Value::Object(_)) => vec![line],
        _ => Vec::new(),
    };
    let line =
        |line: &Value| Some(format!("\n  line {}: {}", line.get("line_number")?, line.get("error_message")?.as_str()?));
    let lines: Vec<String> = lines.into_iter().filter_map(line).collect();
    let more = lines.len().saturating_sub(LINES_SHOWN_MAX);
    let shown: String = lines.into_iter().take(LINES_SHOWN_MAX).collect();
    let more = if more == 0 { String::new() } else { format!("\n  and {more} more lines") };
    Some(format!("{error}{shown}{more}"))
}

const LINES_SHOWN_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_of_the_server_are_told_in_a_sentence() {
        let line = json!({ "error": "partial write", "data": [{ "line_number": 2, "error_message": "bad" }] });
        assert_eq!(sentence(&line).as_deref(), Some("partial write\n  line 2: bad"));
        assert_eq!(sentence(&json!({ "code": "invalid", "message": "no" })).as_deref(), Some("no"));
        assert_eq!(sentence(&json!([1])), None);
        let many: Vec<_> = (0..12).map(|n| json!({ "line_number": n, "error_message": "bad" })).collect();
        let text = sentence(&json!({ "error": "e", "data": many })).expect("it has an error");
        assert!(text.ends_with("line 9: bad\n  and 2 more lines"), "{text}");
    }
}
