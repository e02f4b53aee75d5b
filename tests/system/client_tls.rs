//! The client commands over TLS: to a server that python3 plays, with a certificate of an authority nobody knows.
//!
//! # Promises
//! - A certificate that nobody vouches for is refused before the token is sent, unless it is told otherwise.
//! - `--tls-ca` and `--tls-no-verify` work as flags and as variables.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use harness::command::Weir;
use harness::folder::certificate;

/// Takes every write; prints its port, and the token of each request.
const SERVER: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        print(self.headers['authorization'], flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(http.server.HTTPServer):
    def handle_error(self, *_):
        pass  # A client that does not like the certificate hangs up.
server = Server(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";

struct Server {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(certificate("server.pem")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is there");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut port = String::new();
        said.read_line(&mut port).expect("the server says its port");
        Self { child, said, url: format!("https://127.0.0.1:{}", port.trim()) }
    }

    fn token(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("the server says what it got");
        line.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_is_trusted_only_when_somebody_vouches_for_it() {
    let mut server = Server::start();
    let weir = Weir::at(&server.url).with_token("apiv3_secret");
    let write = ["write", "--database", "plant", "t v=1 1"];
    let refusal = weir.run(&write).failure();
    assert!(refusal.to_lowercase().contains("certificate"), "{refusal}");

    let ca = certificate("ca.pem");
    let ca = ca.to_str().expect("a plain path");
    weir.run(&["write", "--tls-ca", ca, "--database", "plant", "t v=1 1"]).success();
    // The first token to arrive is this one: the refused write sent none.
    weir.clone().variable("INFLUXDB3_AUTH_TOKEN", "second").variable("INFLUXDB3_TLS_CA", ca).run(&write).success();
    weir.run(&["write", "--tls-no-verify", "--database", "plant", "t v=1 1"]).success();
    weir.variable("INFLUXDB3_TLS_NO_VERIFY", "true").run(&write).success();
    let tokens: Vec<_> = (0..4).map(|_| server.token()).collect();
    assert_eq!(tokens, ["Bearer apiv3_secret", "Bearer second", "Bearer apiv3_secret", "Bearer apiv3_secret"]);
}

#[test]
fn a_file_that_vouches_for_nobody_is_named() {
    let weir = Weir::at("https://127.0.0.1:1");
    let readme = certificate("../README.md");
    for (path, problem) in
        [("/no/such/file", "No such file"), (readme.to_str().expect("plain"), "no certificate in it")]
    {
        let refusal = weir.run(&["write", "--tls-ca", path, "--database", "plant", "t v=1 1"]).failure();
        assert!(refusal.contains("--tls-ca") && refusal.contains(path) && refusal.contains(problem), "{refusal}");
    }
}
