//! A TCP connection between two nodes that a test can cut, or hold.
//!
//! # Promises
//! - While it is cut, no byte passes: what is open is closed, and what is new is refused.
//! - While it is held, no byte passes either, and neither end is told: both stay open, what is sent piles up, and nobody
//!   hears that the other one hung up. What piled up passes afterwards, as it does when packets are sent again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often a connection that is held looks whether it still is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Listens in the place of somebody else, and hands on what comes.
#[derive(Debug, Clone)]
pub struct Wire {
    address: String,
    is_cut: Arc<AtomicBool>,
    is_held: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// To a port of this machine, on which nobody may listen yet.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let wire = Self { address, is_cut: Arc::default(), is_held: Arc::default(), open: Arc::default() };
        let accepting = wire.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.join(stream, port);
            }
        });
        wire
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().expect("nobody panics while holding it").drain(..) {
            // The other end may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
        self.is_held.store(false, Ordering::SeqCst);
    }

    fn join(&self, near: TcpStream, port: u16) {
        let copy = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
        // Before the other side is called, which would wait with a dead connection once the wire is mended.
        let mut open = self.open.lock().expect("nobody panics while holding it");
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { return };
        open.extend([copy(&near), copy(&far)]);
        for (from, to) in [(copy(&near), copy(&far)), (far, near)] {
            let is_held = Arc::clone(&self.is_held);
            thread::spawn(move || hand_on(from, to, &is_held));
        }
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, is_held: &AtomicBool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count) = from.read(&mut bytes) {
        while is_held.load(Ordering::SeqCst) {
            thread::sleep(LOOK_EVERY);
        }
        if count == 0 || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // Whoever was first has closed it.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wire that has carried a byte, and its ends.
    fn carrying() -> (TcpListener, Wire, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire::to(listener.local_addr().unwrap().port());
        let mut near = TcpStream::connect(wire.address()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"a").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"a");
        (listener, wire, near, far)
    }

    #[test]
    fn a_held_wire_carries_nothing_and_tells_nobody() {
        let (_listener, wire, mut near, mut far) = carrying();
        wire.hold();
        near.write_all(b"b").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut bytes = Vec::new();
        let silent = far.read_to_end(&mut bytes).unwrap_err().kind();
        assert!(matches!(silent, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{silent}");
        assert!(bytes.is_empty());
        wire.mend();
        far.set_read_timeout(None).unwrap();
        far.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"b", "what was sent meanwhile, and the end");
    }

    #[test]
    fn a_cut_wire_carries_nothing() {
        let (listener, wire, _near, mut far) = carrying();
        let mut byte = [0];
        wire.cut();
        assert_eq!(far.read(&mut byte).unwrap_or(0), 0, "the end came");
        let mut later = TcpStream::connect(wire.address()).unwrap();
        assert_eq!(later.read(&mut byte).unwrap_or(0), 0, "nobody is there");
        wire.mend();
        let mut mended = TcpStream::connect(wire.address()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"b").unwrap();
        mended.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"b");
    }
}
