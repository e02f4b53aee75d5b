//! `weir show`: what there is, as rows.

use clap::{ArgAction, Args, Subcommand};

use super::client::{Call, Connection, Payload};
use super::query::{Output, ask};

#[derive(Subcommand)]
pub(crate) enum ShowCommand {
    /// Databases
    Databases(ShowDatabases),
    /// Tables of a database
    Tables(ShowInDatabase),
    /// Tokens, without their secrets
    Tokens(Show),
    /// Nodes of the cluster
    Nodes(Show),
    /// How long rows are kept
    Retention(Show),
    /// A system table, or the list of them
    System(ShowSystem),
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct ShowDatabases {
    #[command(flatten)]
    show: Show,
    /// Also those that are deleted and not yet gone
    #[arg(long, action = ArgAction::SetTrue)]
    show_deleted: bool,
}

#[derive(Args)]
pub(crate) struct ShowInDatabase {
    #[command(flatten)]
    show: Show,
    /// Database to look into
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", required = true)]
    database: String,
}

#[derive(Args)]
pub(crate) struct ShowSystem {
    #[command(flatten)]
    connection: Connection,
    /// Database whose system tables are shown
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", required = true)]
    database: String,
    #[command(subcommand)]
    what: SystemCommand,
}

#[derive(Subcommand)]
enum SystemCommand {
    /// Names of the system tables
    TableList {
        #[command(flatten)]
        output: Output,
    },
    /// Rows of a system table
    Table {
        /// Rows at most; 0 shows all
        #[arg(short, long, default_value_t = 10)]
        limit: u32,
        /// Name of the table, such as queries
        name: String,
        /// How rows look
        #[arg(long, default_value = "pretty")]
        format: super::query::OutputFormat,
    },
}

const INTERNAL: &str = "_internal";

/// Whole days in days, everything else in hours.
const RETENTION: &str = r#"
    SELECT database_name AS "Database",
           CASE WHEN ns IS NULL THEN 'infinite'
                WHEN ns % 86400000000000 = 0 THEN concat(ns / 86400000000000, 'd')
                ELSE concat(ns / 3600000000000, 'h') END AS "Retention",
           CASE WHEN ns IS NULL THEN 'infinite' ELSE 'database' END AS "Source"
    FROM (SELECT database_name, CAST(retention_period_ns AS BIGINT) AS ns FROM system.databases WHERE NOT deleted)
    ORDER BY database_name"#;

pub(crate) fn run(command: ShowCommand) -> Result<(), String> {
    match command {
        ShowCommand::Databases(command) => databases(&command),
        ShowCommand::Tables(command) => {
            let text =
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'iox' ORDER BY table_name";
            ask(&command.show.connection, (&command.database, text), checked(&command.show.output)?)
        }
        ShowCommand::Tokens(show) => system(&show, "SELECT * FROM system.tokens ORDER BY token_id"),
        ShowCommand::Nodes(show) => system(&show, "SELECT * FROM system.nodes ORDER BY node_id"),
        ShowCommand::Retention(show) => system(&show, RETENTION),
        ShowCommand::System(command) => {
            let ShowSystem { connection, database, what } = command;
            let (text, output) = match what {
                SystemCommand::TableList { output } => (
                    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'system' ORDER BY table_name"
                        .to_owned(),
                    output,
                ),
                SystemCommand::Table { limit, name, format } => (rows_of(&name, limit), Output::to_terminal(format)),
            };
            ask(&connection, (&database, &text), checked(&output)?)
        }
    }
}

fn rows_of(table: &str, limit: u32) -> String {
    let name = table.replace('"', "\"\"");
    let limit = if limit == 0 { String::new() } else { format!(" LIMIT {limit}") };
    format!("SELECT * FROM system.\"{name}\"{limit}")
}

fn checked(output: &Output) -> Result<&Output, String> {
    output.check()?;
    Ok(output)
}

fn system(show: &Show, text: &str) -> Result<(), String> {
    ask(&show.connection, (INTERNAL, text), checked(&show.output)?)
}

fn databases(command: &ShowDatabases) -> Result<(), String> {
    let ShowDatabases { show: Show { connection, output }, show_deleted } = command;
    output.check()?;
    let deleted = if *show_deleted { "true" } else { "false" };
    let parameters = [("format", output.format()), ("show_deleted", deleted)];
    let call = Call { method: "GET", path: "/api/v3/configure/database", parameters: &parameters };
    let response = connection.open()?.call(&call, &Payload::Nothing)?;
    output.write(response.into_body().into_reader())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_system_tables_are_quoted() {
        assert_eq!(rows_of("queries", 10), "SELECT * FROM system.\"queries\" LIMIT 10");
        assert_eq!(rows_of("a\"b", 0), "SELECT * FROM system.\"a\"\"b\"");
    }
}
