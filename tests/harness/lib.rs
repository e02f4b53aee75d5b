//! What every test program shares: a node as a child process, a client for it, waiting with a deadline, chance from a seed.
//!
//! It stands outside the node, links nothing of it, and knows only what is documented: the command line, the HTTP API and
//! what a process shows of itself. A failed expectation panics, since that is how a test fails.
#![allow(clippy::disallowed_methods, reason = "the harness is outside the node: it has real time and real threads")]

pub mod random;
pub mod wait;
pub mod folder;
pub mod http;
pub mod log;
pub mod binary;
pub mod process;
pub mod power;
pub mod remote;
pub mod node;
pub mod packages;
pub mod server;
pub mod wire;
pub mod postgres;
pub mod command;
pub mod data;
pub mod tsbs;
