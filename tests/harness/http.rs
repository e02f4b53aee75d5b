//! A small blocking HTTP client that looks at every answer and judges none.
//!
//! # Promises
//! - A status is never an error; only a request that got no whole answer is.
//! - The short forms (`write`, `sql`, …) panic with the whole answer when it is not the expected one.

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;
use ureq::http;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::folder::certificate;

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The answer itself, when it has the status one expects.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A request under construction: path, then query parameters, headers and a body.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self { method, target: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target = format!("{}{separator}{name}={}", self.target, percent_encoded(value));
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }
}

/// A client of one server, with or without a token. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// `base` is `http://host:port`, or https with a certificate that `data/tls/ca.pem` vouches for.
    pub fn new(base: &str) -> Self {
        Self::patient(base, Duration::from_secs(120))
    }

    /// One that gives up after so long.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { token: self.token.clone(), ..Self::patient(&self.base, timeout) }
    }

    fn patient(base: &str, timeout: Duration) -> Self {
        let mut config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout)).max_redirects(0);
        if base.starts_with("https:") {
            let roots = RootCerts::new_with_certs(&authority());
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Self { agent: config.build().into(), base: base.to_owned(), token: None }
    }

    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// `Err` when no whole answer came; then nobody knows what became of the request.
    pub fn send(&self, request: Request) -> Result<Answer, ureq::Error> {
        let (parts, body) = self.run(request)?.into_parts();
        let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(named).collect(),
            body: body.into_with_config().limit(1 << 30).read_to_vec()?,
        })
    }

    /// The body of a good answer as it comes; the server waits while it is not read.
    pub fn stream(&self, request: Request) -> Result<impl Read + use<>, String> {
        let answer = self.run(request).map_err(|error| error.to_string())?;
        if answer.status().as_u16() != 200 {
            return Err(format!("answered {}", answer.status()));
        }
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    fn run(&self, request: Request) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let Request { method, target, headers, body } = request;
        let mut builder = http::Request::builder().method(method).uri(format!("{}{target}", self.base));
        if let Some(token) = &self.token {
            builder = builder.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in &headers {
            builder = builder.header(name, value);
        }
        if body.is_empty() && method != "POST" {
            self.agent.run(builder.body(())?)
        } else {
            self.agent.run(builder.body(body)?)
        }
    }

    /// `send` for requests that must be answered.
    #[track_caller]
    pub fn ask(&self, request: Request) -> Answer {
        let what = format!("{} {}", request.method, request.target);
        self.send(request).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Line protocol with nanosecond times, kept as a whole.
    #[track_caller]
    pub fn write(&self, database: &str, lines: &str) {
        self.ask(write_request(database, lines)).expect(204);
    }

    /// The rows of a query as JSON objects.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> Vec<Value> {
        let answer = self.ask(sql_request(database, text, "json"));
        assert_eq!(answer.status, 200, "{text}\n{}", answer.text());
        match answer.json() {
            Value::Array(rows) => rows,
            other => panic!("{text}\nnot an array: {other}"),
        }
    }

    /// The only value of the only row, under the name `n`.
    #[track_caller]
    pub fn number(&self, database: &str, text: &str) -> i64 {
        let rows = self.sql(database, text);
        rows.first().and_then(|row| row["n"].as_i64()).unwrap_or_else(|| panic!("{text}\nno number n: {rows:?}"))
    }
}

fn authority() -> Vec<Certificate<'static>> {
    let pem = fs::read(certificate("ca.pem")).expect("it lies beside the tests");
    vec![Certificate::from_pem(&pem).expect("it is one")]
}

pub fn write_request(database: &str, lines: &str) -> Request {
    Request::post("/api/v3/write_lp")
        .query("db", database)
        .query("precision", "nanosecond")
        .query("accept_partial", "false")
        .body(lines)
}

pub fn sql_request(database: &str, text: &str, format: &str) -> Request {
    Request::post("/api/v3/query_sql").json(&serde_json::json!({ "db": database, "q": text, "format": format }))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte")
}

fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpListener;
    use std::thread;

    /// A server that answers one request with `answer`, and returns what it was asked.
    fn answer_once(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\n") {
                reader.read_line(&mut asked).unwrap();
            }
            let lower = asked.to_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            asked + &String::from_utf8(body).unwrap()
        });
        (base, server)
    }

    #[test]
    fn a_request_says_what_was_put_into_it() {
        let (base, server) = answer_once("HTTP/1.1 204 No Content\r\n\r\n");
        Client::new(&base).with_token("secret").write("a b", "t v=1 1");
        let asked = server.join().unwrap();
        assert!(asked.starts_with("POST /api/v3/write_lp?db=a%20b&precision=nanosecond&accept_partial=false HTTP/1.1"));
        assert!(asked.to_lowercase().contains("authorization: bearer secret"), "{asked}");
        assert!(asked.ends_with("t v=1 1"));
    }

    #[test]
    fn a_status_is_not_an_error() {
        let (base, server) = answer_once("HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nX-A: b\r\n\r\nNot found");
        let answer = Client::new(&base).ask(Request::get("/nothing"));
        assert_eq!((answer.status, answer.text().as_str(), answer.header("x-a")), (404, "Not found", Some("b")));
        server.join().unwrap();
    }

    #[test]
    fn rows_are_values() {
        let (base, server) = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[{\"n\":5}]");
        assert_eq!(Client::new(&base).number("d", "SELECT count(*) AS n FROM t"), 5);
        server.join().unwrap();
    }
}
