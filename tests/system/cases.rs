//! One request that must be refused, or taken in an unusual form: what is sent, and what must come back.
//!
//! # Promises
//! - A case is one line of data where it stands; whoever runs it knows the API.

use harness::http::Request;

/// What a case must be answered.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    pub(crate) status: u16,
    /// All of these must stand in the body.
    pub(crate) body: Vec<&'static str>,
}

impl Case {
    pub(crate) fn new(name: &'static str, request: Request, status: u16) -> Self {
        Self { name, request, status, body: Vec::new() }
    }

    #[must_use]
    pub(crate) fn says(mut self, text: &'static str) -> Self {
        self.body.push(text);
        self
    }
}

/// A write of one line that must be refused with 400 and this message.
pub(crate) fn bad_line(name: &'static str, line: &str, message: &'static str) -> Case {
    Case::new(name, lines(line), 400).says("\"error\"").says("line_number").says(message)
}

/// Line protocol for the sentinel's database, all or nothing.
pub(crate) fn lines(body: &str) -> Request {
    write().body(body)
}

pub(crate) fn write() -> Request {
    Request::post("/api/v3/write_lp").query("db", "plant").query("accept_partial", "false")
}

/// A query that must be refused with this status.
pub(crate) fn query(name: &'static str, text: &str, status: u16) -> Case {
    Case::new(name, ask().json(&serde_json::json!({ "db": "plant", "q": text })), status)
}

pub(crate) fn ask() -> Request {
    Request::post("/api/v3/query_sql")
}
