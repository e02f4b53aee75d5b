//! What a session tells its client.
//!
//! # Promises
//! - What waits to be sent is bounded: it is sent before there is more.
//! - A statement whose client does not read is still cancelled, late, or cut off like any other; what was not sent by
//!   then stays, so that its error comes after whole messages.
//! - A session that is ended alone (`pg_terminate_backend`) goes soon, also when its client does not read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::errors::{Refusal, Severity, stopping};
use super::rows::{PATIENCE, Rows};
use super::session::{Failure, Running, Session, Transaction};

/// What is written is sent when there is so much of it.
const OUT_BYTES_MAX: usize = 32 << 10;
/// Rows of fewer bytes are sent together with others.
const SMALL_BYTES: usize = 8 << 10;
/// A client that does not read for so long sleeps.
const AWAKE: Duration = Duration::from_secs(1);
/// How long a client has for the last words of a session.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn ready(&mut self) {
        let state = match self.transaction {
            Transaction::Idle => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        self.out.message(b'Z', |body| body.extend_from_slice(&[state]));
        self.backend.rests();
    }

    /// Tells of settings that are not what the client was told.
    pub(super) fn report(&mut self) {
        let now = self.settings.reported();
        for (name, value) in now.iter().filter(|(name, value)| self.reported.get(*name) != Some(value)) {
            self.out.texts(b'S', &[name, value]);
        }
        self.reported = now;
    }

    pub(super) fn notice(&mut self, code: &'static str, message: &str) {
        Refusal::new(code, message).write_to(&mut self.out, Severity::Notice);
    }

    /// A session is told once that its times have more digits than it is shown.
    pub(super) fn tell_of_cut(&mut self, rows: &Rows) {
        if rows.cut.happened() && !self.has_told_of_cut {
            self.has_told_of_cut = true;
            self.notice("01004", "times were cut to microseconds; CAST(time AS BIGINT) is the exact nanosecond");
        }
    }

    /// Sends what waits when it is much.
    pub(super) async fn drain(&mut self, running: Option<&Running>) -> Result<(), Failure> {
        if self.out.0.len() > OUT_BYTES_MAX { self.flush(running).await } else { Ok(()) }
    }

    /// Sends what waits, unless `running` is to stop before.
    pub(super) async fn flush(&mut self, running: Option<&Running>) -> Result<(), Failure> {
        let (close, is_ended) = (self.ends.close.clone(), self.backend.is_ended.clone());
        let ended = async {
            is_ended.cancelled().await;
            tokio::time::sleep(LAST_TIMEOUT).await;
        };
        let stopped = async {
            match running {
                Some(running) => running.stopped().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Whatever ends the wait, what was not sent is still there.
            () = close.cancelled() => Err(Failure::Fatal(stopping())),
            () = ended => Err(Failure::Fatal(stopping())),
            refusal = stopped => Err(refusal.into()),
            written = self.write() => Ok(written?),
        }
    }

    /// Dropping it loses nothing.
    async fn write(&mut self) -> io::Result<()> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        loop {
            let rest = if self.piece.is_empty() { &self.out.0[..] } else { &self.piece[..] };
            if rest.is_empty() {
                break;
            }
            match timeout(PATIENCE, self.writer.write(rest)).await.map_err(late)?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent if self.piece.is_empty() => self.out.0.advance(sent),
                sent => self.piece.advance(sent),
            }
        }
        timeout(PATIENCE, self.writer.flush()).await.map_err(late)??;
        self.out.0 = BytesMut::new();
        Ok(())
    }

    /// Sends why the session ends; whoever does not read any more misses nothing.
    pub(super) async fn send_last(&mut self) {
        let _ = timeout(LAST_TIMEOUT, self.write()).await;
    }

    /// Sends rows, at most `rows_max`, and says how many; fewer means that there are no more.
    pub(super) async fn stream(
        &mut self,
        rows: &mut Rows,
        rows_max: usize,
        running: &Running,
    ) -> Result<usize, Failure> {
        let mut sent = 0;
        while sent < rows_max {
            let Some(chunk) = self.watched(running, rows.next(rows_max - sent)).await? else { break };
            sent += chunk.rows;
            let (sleepers, fate) = (Arc::clone(&self.services.sleepers), Arc::clone(&rows.fate));
            let sleep = async {
                tokio::time::sleep(AWAKE).await;
                let _asleep = sleepers.sleep(fate);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                // What ends it says so itself.
                result = self.send_rows(chunk.bytes, running) => result?,
                () = sleep => {}
            }
        }
        self.tell_of_cut(rows);
        Ok(sent)
    }

    async fn send_rows(&mut self, rows: Bytes, running: &Running) -> Result<(), Failure> {
        if rows.len() <= SMALL_BYTES {
            self.out.0.extend_from_slice(&rows);
            return self.drain(Some(running)).await;
        }
        self.flush(Some(running)).await?;
        self.piece = rows;
        self.flush(Some(running)).await
    }
}
