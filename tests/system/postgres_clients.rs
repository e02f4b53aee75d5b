//! Postgres clients: those that others wrote around the protocol.
//!
//! # Promises
//! - Node.js's `pg` and `postgres`, JDBC, ODBC, DuckDB, postgres_fdw, pgcli, psql 18 and Grafana's statements find the
//!   tables there are, ask with parameters, read many rows, learn of errors by their codes, and go on after a restart.
//! - A client that reads a million rows part by part stays small, and so does the node.
//!
//! The libraries are those of `tests/clients/requirements.txt`, and those that `harness::packages` names.

use std::path::PathBuf;
use std::process::Command;

use harness::folder::package;
use harness::node::Node;
use harness::packages::{debian, node_postgres};

use crate::postgres::{drive, python, with_rows};

const MANY: u64 = 1_000_000;
const GROWTH_MAX: u64 = 100 << 20;

/// What only Debian has: drivers, and what they are linked with.
fn drivers() -> PathBuf {
    let wanted = ["libpostgresql-jdbc-java", "odbc-postgresql", "libodbc2", "libodbcinst2", "libltdl7", "libpq5"];
    debian("drivers", &wanted)
}

fn driver() -> Command {
    let folder = drivers();
    let mut command = python("postgres_drivers.py");
    let arch = format!("{}-linux-gnu", std::env::consts::ARCH);
    command.env("LD_LIBRARY_PATH", folder.join("usr/lib").join(arch)).env("DEBIAN", folder);
    command
}

fn javascript() -> Command {
    let [program, packages] = node_postgres();
    let mut command = Command::new(program);
    command.arg(package().join("clients/postgres.cjs")).env("NODE_PATH", packages);
    command
}

#[test]
fn pg_for_node_asks_fetches_cancels_and_pools() {
    drive(javascript(), (&mut with_rows(), "pg"));
}

#[test]
fn postgres_for_node_describes_streams_copies_and_cancels() {
    drive(javascript(), (&mut with_rows(), "porsager"));
}

#[test]
fn jdbc_finds_tables_binds_fetches_and_cancels() {
    drive(driver(), (&mut with_rows(), "jdbc"));
}

#[test]
fn odbc_finds_tables_binds_fetches_and_cancels() {
    drive(driver(), (&mut with_rows(), "odbc"));
}

#[test]
fn duckdb_reads_tables_as_its_own() {
    drive(python("postgres_tools.py"), (&mut with_rows(), "duckdb"));
}

#[test]
fn a_server_of_postgres_takes_tables_as_foreign_ones() {
    drive(python("postgres_tools.py"), (&mut with_rows(), "postgres_fdw"));
}

#[test]
fn the_newest_psql_shows_what_there_is() {
    drive(python("postgres_tools.py"), (&mut with_rows(), "psql"));
}

#[test]
fn pgcli_lists_completes_and_asks() {
    drive(python("postgres_tools.py"), (&mut with_rows(), "pgcli"));
}

#[test]
fn grafana_finds_tables_and_draws() {
    drive(python("postgres_tools.py"), (&mut with_rows(), "grafana"));
}

/// All of them in one test, since the rows are written once.
#[test]
fn a_million_rows_pass_through_small_clients_and_a_small_node() {
    let mut served = with_rows();
    write_many(&served.node);
    // What writing took is not what asking takes.
    served.node.stop();
    served.node.restart();
    let before = served.node.usage().rss_peak_bytes;
    for (command, function) in [
        (python("postgres.py"), "many_psycopg"),
        (python("postgres.py"), "many_asyncpg"),
        (python("postgres.py"), "many_copied"),
        (python("postgres_tools.py"), "many_duckdb"),
        (driver(), "many_jdbc"),
        (driver(), "many_odbc"),
        (javascript(), "many"),
    ] {
        drive(command, (&mut served, function));
        let grown = served.node.usage().rss_peak_bytes.saturating_sub(before);
        assert!(grown < GROWTH_MAX, "after {function}: {} MiB", grown >> 20);
    }
}

fn write_many(node: &Node) {
    let client = node.client();
    for start in (0..MANY).step_by(100_000) {
        let line =
            |v: u64| format!("million,k=k{} v={v}i,f={v}.5 {}", v % 10, 1_700_000_000_000_000_000 + v * 1_000_000);
        client.write("plant", &(start..start + 100_000).map(line).collect::<Vec<_>>().join("\n"));
    }
}
