//! The built binary, from outside: one file per promise.
//!
//! Nothing here links the node. `harness` finds the binary (`WEIR_BIN`, or the one of this profile), starts it, asks it
//! over its documented interfaces, and fails a test whose node left an unexpected warning in its log.
#![allow(clippy::disallowed_methods, reason = "these tests are outside the node: they have real time and real threads")]

mod stores;
mod real_data;
mod ledger;
mod kill_loop;
mod compaction;
mod idle;
mod long_query;
mod one_owner;
mod two_nodes;
mod push;
mod failover;
mod start_up;
mod damaged_log;
mod stopping;
mod cases;
mod bad_input;
mod fuzz;
mod auth;
mod postgres;
mod postgres_clients;
mod postgres_wire;
mod postgres_fuzz;
mod flight;
mod tls;
mod matrix;
mod overload;
mod large_answers;
mod peers;
mod monitoring;
mod commands;
mod deletes;
mod caches;
mod orders;
mod live_settings;
mod advice;
mod token_files;
mod client_commands;
mod client_tls;
mod measured;
mod object_stores;
mod topologies;
mod leaving;
mod store_faults;
mod chaos;
