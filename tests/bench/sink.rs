//! A server that reads requests and throws them away: what the client of this benchmark costs by itself.
//!
//! # Promises
//! - It answers 204 to every request, after reading its whole body, on as many connections as the writers open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use harness::http::Client;

use crate::load::{self, Loaded, Server};
use crate::options::Options;

/// Loads the sink; it listens until the program ends, its other threads end with their connections.
pub(crate) fn load(options: &Options, workers: usize) -> Loaded {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let client = Client::new(&format!("http://{}", listener.local_addr().expect("it is bound")));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks ends its thread, and the writer reports it.
            thread::spawn(move || swallow(stream));
        }
    });
    load::run(&client, options, workers, Server::Null)
}

fn swallow(stream: TcpStream) -> std::io::Result<()> {
    let mut answer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut Read::by_ref(&mut reader).take(length), &mut std::io::sink())?;
        answer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}
