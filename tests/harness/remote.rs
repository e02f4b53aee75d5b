//! An object store behind a network, played by python3: S3, Google or Azure, with faults on demand.
//!
//! # Promises
//! - It refuses requests that are not signed with its keys, as the services do (Google: there is no signature to check).
//! - A fault is in force when `fail` returns, and no longer when `heal` does.
//! - It ends with the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::folder::{certificate, package};
use crate::http::{Client, Request};

pub const BUCKET: &str = "plant";
pub const ACCESS_KEY_ID: &str = "WEIRACCESSKEYID";
pub const SECRET_ACCESS_KEY: &str = "weir/secret+access/key";
pub const AZURE_ACCOUNT: &str = "weiraccount";
/// `the key of the account` in base64.
pub const AZURE_KEY: &str = "dGhlIGtleSBvZiB0aGUgYWNjb3VudA==";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    S3,
    /// With a certificate that nobody vouches for but `data/tls/ca.pem`.
    S3OverTls,
    /// Takes a create for a put, as some servers do that say they speak S3.
    S3WithoutConditions,
    Google,
    Azure,
}

#[derive(Debug)]
pub struct RemoteStore {
    child: Child,
    service: Service,
    port: u16,
}

impl RemoteStore {
    pub fn start(service: Service) -> Self {
        let mut command = Command::new("python3");
        command.arg(package().join("harness/remote/server.py"));
        match service {
            Service::S3 => command.arg("s3"),
            Service::S3OverTls => command.args(["s3", "--certificate"]).arg(certificate("server.pem")),
            Service::S3WithoutConditions => command.args(["s3", "--ignore-conditions"]),
            Service::Google => command.arg("google"),
            Service::Azure => command.arg("azure"),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3 is there");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        said.read_line(&mut line).expect("the server says its port");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port: {line}"));
        Self { child, service, port }
    }

    pub fn url(&self) -> String {
        let scheme = if self.service == Service::S3OverTls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What goes wrong until `heal`: a list of faults in the words of `server.py`.
    pub fn fail(&self, faults: &Value) {
        self.control("/_faults", faults);
    }

    pub fn heal(&self) {
        self.fail(&json!([]));
    }

    /// The keys that are good from now on: id, secret, session token.
    pub fn change_keys(&self, id: &str, secret: &str, token: Option<&str>) {
        self.control("/_keys", &json!({ id: [secret, token] }));
    }

    /// The keys of all objects, in order.
    pub fn objects(&self) -> Vec<String> {
        self.told("/_objects")
    }

    /// The bytes of all objects whose keys hold `part`.
    pub fn bytes_of(&self, part: &str) -> u64 {
        let size = |line: String| {
            let (size, key) = line.split_once(' ').expect("a size and a key");
            if key.contains(part) { size.parse().expect("a number") } else { 0 }
        };
        self.told("/_sizes").into_iter().map(size).sum::<u64>()
    }

    /// Every request so far: its method, and its key or prefix.
    pub fn calls(&self) -> Vec<String> {
        self.told("/_calls")
    }

    fn told(&self, path: &str) -> Vec<String> {
        let answer = Client::new(&self.url()).ask(Request::get(path)).json();
        let names = answer.as_array().expect("a list").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    fn control(&self, path: &str, body: &Value) {
        assert_eq!(Client::new(&self.url()).ask(Request::post(path).json(body)).status, 200);
    }
}

impl Drop for RemoteStore {
    fn drop(&mut self) {
        // It may be gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
