//! How a connection begins: which version, whether it is encrypted, who it is, which database it asks.
//!
//! # Promises
//! - Before a client is known it may send 10 000 bytes in one message, and take 10 seconds for all. It takes no place of a
//!   session before it is logged in, and none of the query engine.
//! - A password is a token. It is asked for only where nobody can listen: inside TLS, or on this machine.
//! - What a client sends before its TLS begins is never taken for what it says inside.
//! - A token that is wrong is told apart from one that may not read the database, as over HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sql::Active;
use storage::bucket::Secret;
use storage::catalog::Access;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Services;
use super::command::Value;
use super::errors::{Refusal, Severity};
use super::session::{Failure, Login, Place, Session};
use super::settings::Settings;
use super::strangers::Stranger;
use super::wire::{Body, Malformed, Message, Outbox, Reader};
use crate::api::http::Ends;

const FIRST_BYTES_MAX: usize = 10_000;
const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever guesses tokens waits so long after each.
const GUESS_PAUSE: Duration = Duration::from_millis(500);

const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const VERSION_3: i32 = 3;

/// A connection, encrypted or not.
struct Connection {
    stream: Box<dyn Stream>,
    is_encrypted: bool,
    peer: SocketAddr,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection {
    /// Sends all of it.
    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        say(&mut self.stream, bytes).await
    }

    /// Answers the question whether there is encryption, and begins it. Bytes are read one message at a time, so what
    /// was sent on behind the question goes into the handshake and breaks it.
    async fn encrypt(self, tls: &TlsAcceptor) -> Option<Self> {
        let mut plain = self;
        plain.say(b"S").await.ok()?;
        let accepted = tls.accept(plain.stream).await;
        let stream = accepted.inspect_err(|error| tracing::debug!(%error, "a client does not speak TLS as it must"));
        Some(Self { stream: Box::new(stream.ok()?), is_encrypted: true, peer: plain.peer })
    }

    /// Whether nobody else can hear what this peer says.
    fn check_private(&self) -> Result<(), Refusal> {
        if self.is_encrypted || self.peer.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let message = "a password would cross the network unencrypted: connect with TLS (sslmode=require) to a node that \
                       has --tls-cert, on the same machine, or through a tunnel";
        Err(Refusal::new("28000", message))
    }
}

async fn say(write: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    write.write_all(bytes).await?;
    write.flush().await
}

/// The first message of a session.
#[derive(Debug, PartialEq)]
struct Opening {
    minor_version: i32,
    parameters: Vec<(String, String)>,
}

impl Opening {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn decode(version: i32, mut body: Body) -> Result<Self, Malformed> {
        let mut parameters = Vec::new();
        loop {
            let name = body.text()?;
            if name.is_empty() {
                return Ok(Self { minor_version: version & 0xffff, parameters });
            }
            parameters.push((name, body.text()?));
        }
    }
}

/// Serves a connection from its first byte to its end; says how it ended.
pub(super) async fn serve(
    (stream, peer): (TcpStream, SocketAddr),
    stranger: Stranger,
    services: Arc<Services>,
    ends: Ends,
) -> &'static str {
    let (finish, close) = (ends.finish.clone(), ends.close.clone());
    let opened = tokio::select! {
        biased;
        // Nothing has been promised to a client that is not logged in.
        () = finish.cancelled() => return "stopped",
        () = close.cancelled() => return "stopped",
        () = stranger.displaced.cancelled() => return "displaced",
        opened = tokio::time::timeout(STARTUP_TIMEOUT, open(stream, peer, &services, ends)) => opened,
    };
    drop(stranger);
    match opened {
        Ok(Some(session)) => session.run().await,
        Ok(None) => "not_opened",
        Err(_) => "late",
    }
}

/// `None` when there is no session: a cancel request, a client that went away, or one that was refused.
async fn open(stream: TcpStream, peer: SocketAddr, services: &Arc<Services>, ends: Ends) -> Option<Session> {
    let connection = Connection { stream: Box::new(stream), is_encrypted: false, peer };
    let (opening, connection) = opening(connection, services).await?;
    let private = connection.check_private();
    let (read, mut write) = tokio::io::split(connection.stream);
    let mut reader = Reader::new(Box::new(read));
    match login(&mut reader, &mut write, (&opening, private), services).await {
        Ok((login, settings)) => {
            let Ok(permit) = Arc::clone(&services.room).try_acquire_owned() else {
                refuse(&mut write, &Refusal::new("53300", "too many connections")).await;
                return None;
            };
            // It ends with all the others, or alone.
            let ends = Ends { finish: ends.finish.child_token(), ..ends };
            let backend = services.backends.enter(seen(&login), ends.finish.clone());
            let place = Place { backend, services: Arc::clone(services), ends, permit };
            Some(Session::new(reader, Box::new(write), (login, settings), place))
        }
        Err(Failure::Refused(refusal) | Failure::Fatal(refusal)) => {
            refuse(&mut write, &refusal).await;
            None
        }
        Err(Failure::Gone) => None,
    }
}

async fn refuse(write: &mut (impl AsyncWrite + Unpin), refusal: &Refusal) {
    let mut out = Outbox::default();
    refusal.write_to(&mut out, Severity::Fatal);
    // Whoever has hung up does not want to know.
    let _ = say(write, &out.0).await;
    let _ = write.shutdown().await;
}

/// The message that opens the session, once what may come before it is answered, and the connection it came on. `None`
/// when none comes, or one that was refused.
async fn opening(connection: Connection, services: &Services) -> Option<(Opening, Connection)> {
    let mut connection = connection;
    // Each question about encryption is asked once.
    for _ in 0..3 {
        let first = first_message(&mut connection.stream).await;
        let refusal = match (first, &services.tls) {
            (Ok(Some((SSL, _))), Some(tls)) if !connection.is_encrypted => {
                connection = connection.encrypt(tls).await?;
                continue;
            }
            (Ok(Some((SSL | GSS, _))), _) => {
                connection.say(b"N").await.ok()?;
                continue;
            }
            (Ok(Some((CANCEL, body))), _) => {
                cancel(body, services);
                return None;
            }
            (Ok(Some((version, body))), _) if version >> 16 == VERSION_3 => match Opening::decode(version, body) {
                Ok(opening) => return Some((opening, connection)),
                Err(error) => Refusal::new("08P01", error.to_string()),
            },
            (Ok(Some((other, _))), _) => {
                let (major, minor) = (other >> 16, other & 0xffff);
                let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0");
                Refusal::new("0A000", message)
            }
            (Ok(None), _) => return None,
            (Err(refusal), _) => refusal,
        };
        refuse(&mut connection.stream, &refusal).await;
        return None;
    }
    refuse(&mut connection.stream, &Refusal::new("08P01", "too many questions before the session")).await;
    None
}

async fn first_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<(i32, Body)>, Refusal> {
    let Ok(len) = stream.read_i32().await else { return Ok(None) };
    let len = usize::try_from(len).ok().filter(|len| (8..=FIRST_BYTES_MAX).contains(len));
    let len = len.ok_or_else(|| Refusal::new("08P01", "invalid length of startup packet"))?;
    let mut bytes = BytesMut::zeroed(len - 4);
    if stream.read_exact(&mut bytes).await.is_err() {
        return Ok(None);
    }
    let mut body = Body(Bytes::from(bytes));
    let version = body.int().map_err(|error| Refusal::new("08P01", error.to_string()))?;
    Ok(Some((version, body)))
}

fn cancel(mut body: Body, services: &Services) {
    if let (Ok(number), Ok(secret)) = (body.int(), body.int()) {
        services.backends.cancel(number, secret);
    }
}

async fn login(
    reader: &mut Reader,
    write: &mut (impl AsyncWrite + Unpin),
    (opening, private): (&Opening, Result<(), Refusal>),
    services: &Services,
) -> Result<(Login, Settings), Failure> {
    let unknown: Vec<&str> =
        opening.parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if opening.minor_version > 0 || !unknown.is_empty() {
        say(write, &negotiation(&unknown).0).await?;
    }
    let user = opening.parameter("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| Refusal::new("28000", "no user name in the startup packet"))?;
    let (token, access) = authenticate(reader, write, (user, private), services).await?;
    let database = opening.parameter("database").filter(|name| !name.is_empty()).unwrap_or(user).to_owned();
    let settings = settings(opening, user)?;
    let login = Login { user: user.to_owned(), database, token, access };
    check_database(&login, services)?;
    Ok((login, settings))
}

/// What others see of a session that has asked nothing.
fn seen(login: &Login) -> Active {
    let (user, database) = (login.user.clone(), login.database.clone());
    Active { user, database, token: login.access.token, ..Active::default() }
}

/// Says that the version is 3.0, and which options are not known.
fn negotiation(unknown: &[&str]) -> Outbox {
    let mut out = Outbox::default();
    out.message(b'v', |body| {
        body.extend_from_slice(&(VERSION_3 << 16).to_be_bytes());
        body.extend_from_slice(&i32::try_from(unknown.len()).unwrap_or(0).to_be_bytes());
        unknown.iter().for_each(|name| super::wire::put_text(body, name));
    });
    out
}

async fn authenticate(
    reader: &mut Reader,
    write: &mut (impl AsyncWrite + Unpin),
    (user, private): (&str, Result<(), Refusal>),
    services: &Services,
) -> Result<(Option<Secret>, Access), Failure> {
    if services.auth.is_off() {
        return Ok((None, Access::unrestricted()));
    }
    private?;
    let mut out = Outbox::default();
    out.int(b'R', 3);
    say(write, &out.0).await?;
    let token = match reader.message(FIRST_BYTES_MAX).await? {
        Some(Message::Password(token)) => token,
        Some(_) => return Err(Refusal::new("08P01", "expected a password").into()),
        None => return Err(Failure::Gone),
    };
    match services.auth.access(Some(&token)).await {
        Ok(access) => Ok((Some(Secret::new(token)), access)),
        Err(_) => {
            tokio::time::sleep(GUESS_PAUSE).await;
            Err(Refusal::new("28P01", format!("password authentication failed for user \"{user}\"")).into())
        }
    }
}

/// What the client sets at the start: each parameter that is a setting, and `options` as of a command line.
fn settings(opening: &Opening, user: &str) -> Result<Settings, Refusal> {
    let mut settings = Settings::new(user);
    let known = ["user", "database", "replication", "options"];
    for (name, value) in &opening.parameters {
        if !known.contains(&name.as_str()) && !name.starts_with("_pq_.") {
            settings.set(name, &Value::Text(value.clone()))?;
        }
    }
    if !["", "false", "off", "no", "0"].contains(&opening.parameter("replication").unwrap_or_default()) {
        return Err(Refusal::unsupported("replication"));
    }
    for (name, value) in options(opening.parameter("options").unwrap_or_default()) {
        settings.set(&name, &Value::Text(value))?;
    }
    settings.begin();
    Ok(settings)
}

/// `-c name=value` and `--name=value`; a backslash keeps a blank in its value.
fn options(text: &str) -> Vec<(String, String)> {
    let (mut words, mut word, mut chars) = (Vec::new(), String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    let words = words.iter().filter(|word| !word.is_empty() && *word != "-c");
    let plain = words.map(|word| word.strip_prefix("--").or(word.strip_prefix("-c")).unwrap_or(word));
    plain.filter_map(|word| word.split_once('=')).map(|(n, v)| (n.replace('-', "_"), v.to_owned())).collect()
}

/// Whether the database is there and may be read.
fn check_database(login: &Login, services: &Services) -> Result<(), Refusal> {
    let refused = |error: sql::Error| match error {
        sql::Error::DatabaseNotFound(name) => Refusal::new("3D000", format!("database \"{name}\" does not exist")),
        other => other.into(),
    };
    services.runner.engine.check(&login.database, &login.access).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_of_a_command_line() {
        let expected = [("statement_timeout", "5s"), ("search_path", "a, b"), ("jit", "off")];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(options("-c statement_timeout=5s --search-path=a,\\ b -cjit=off"), expected);
        assert_eq!(options(""), vec![]);
    }

    #[test]
    fn a_password_is_asked_for_inside_tls_or_on_this_machine() {
        let refused = |peer: &str, is_encrypted| {
            let peer = peer.parse().expect("an address");
            let connection = Connection { stream: Box::new(tokio::io::empty()), is_encrypted, peer };
            connection.check_private().err().map(|refusal| refusal.code)
        };
        for near in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(refused(near, false), None, "{near}");
        }
        for far in ["10.0.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1", "0.0.0.0:1"] {
            assert_eq!(refused(far, false), Some("28000"), "{far}");
            assert_eq!(refused(far, true), None, "{far}");
        }
    }

    #[test]
    fn the_first_message_ends_with_an_empty_name() {
        let decode = |bytes: &'static [u8]| Opening::decode(3 << 16, Body(Bytes::from_static(bytes)));
        let parameters = vec![("user".to_owned(), "me".to_owned()), ("database".to_owned(), String::new())];
        assert_eq!(decode(b"user\0me\0database\0\0\0"), Ok(Opening { minor_version: 0, parameters }));
        assert_eq!(decode(b"user\0me\0"), Err(Malformed::Short));
        assert_eq!(decode(b"user"), Err(Malformed::Short));
        assert_eq!(decode(b"\xff\0\0\0"), Err(Malformed::Text));
    }
}
