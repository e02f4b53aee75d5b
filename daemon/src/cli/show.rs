//! `weir show`: what there is, as rows.

use clap::{ArgAction, Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::client::{Call, Connection, Payload};
use super::query::{Output, OutputFormat, ask};

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
    Retention(ShowRetention),
    /// A system table, the list of them, or the first rows of all
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
pub(crate) struct ShowRetention {
    #[command(flatten)]
    show: Show,
    /// Only the tables of this database; all databases need an admin token
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME")]
    database: Option<String>,
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
        #[command(flatten)]
        few: Few,
        /// Columns to order by, each perhaps with asc or desc after a blank
        #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
        order_by: Vec<String>,
        /// Columns to show
        #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
        select: Vec<String>,
        /// Name of the table, such as queries
        name: String,
    },
    /// The first rows of every system table
    Summary(Few),
}

#[derive(Args)]
struct Few {
    /// Rows of a table at most; 0 shows all
    #[arg(short, long, default_value_t = 10)]
    limit: u32,
    /// How rows look
    #[arg(long, default_value = "pretty")]
    format: OutputFormat,
}

const INTERNAL: &str = "_internal";

/// In the largest unit that leaves nothing over. Unsigned all along: the longest period has no signed number.
const RETENTION: &str = r#"
    SELECT database_name AS "Database", table_name AS "Table",
           CASE WHEN ns IS NULL THEN 'infinite'
                WHEN ns % day = 0 THEN concat(ns / day, 'd')
                WHEN ns % hour = 0 THEN concat(ns / hour, 'h')
                WHEN ns % minute = 0 THEN concat(ns / minute, 'm')
                WHEN ns % second = 0 THEN concat(ns / second, 's')
                ELSE concat(ns, 'ns') END AS "Retention",
           source AS "Source"
    FROM (SELECT database_name, table_name, source, retention_period_ns AS ns,
                 CAST(86400000000000 AS BIGINT UNSIGNED) AS day, CAST(3600000000000 AS BIGINT UNSIGNED) AS hour,
                 CAST(60000000000 AS BIGINT UNSIGNED) AS minute, CAST(1000000000 AS BIGINT UNSIGNED) AS second
          FROM system.retention)
    ORDER BY database_name, table_name"#;

const SYSTEM_TABLES: &str =
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'system' ORDER BY table_name";

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
        ShowCommand::Retention(ShowRetention { show, database }) => {
            ask(&show.connection, (database.as_deref().unwrap_or(INTERNAL), RETENTION), checked(&show.output)?)
        }
        ShowCommand::System(ShowSystem { connection, database, what }) => {
            let show = |text: &str, output: &Output| ask(&connection, (&database, text), checked(output)?);
            match what {
                SystemCommand::TableList { output } => show(SYSTEM_TABLES, &output),
                SystemCommand::Table { few: Few { limit, format }, order_by, select, name } => {
                    let rows = Rows { table: &name, select: &select, order_by: &order_by, limit };
                    show(&rows.query()?, &Output::to_terminal(format))
                }
                SystemCommand::Summary(few) => summary((&connection, &database), &few),
            }
        }
    }
}

/// Every system table under its name, one after the other.
#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
fn summary((connection, database): (&Connection, &str), few: &Few) -> Result<(), String> {
    let output = Output::to_terminal(few.format);
    output.check()?;
    let body = json!({ "db": database, "q": SYSTEM_TABLES, "format": "json" });
    let call = Call { method: "POST", path: "/api/v3/query_sql", parameters: &[] };
    let answer = connection.open()?.text(&call, &Payload::Json(&body))?;
    let tables: Vec<Named> = serde_json::from_str(&answer).map_err(|error| format!("read the answer: {error}"))?;
    for Named { table_name } in tables {
        println!("{table_name}:");
        let rows = Rows { table: &table_name, select: &[], order_by: &[], limit: few.limit };
        ask(connection, (database, &rows.query()?), &output)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Named {
    table_name: String,
}

/// Rows of a system table as somebody asks for them.
struct Rows<'a> {
    table: &'a str,
    select: &'a [String],
    order_by: &'a [String],
    limit: u32,
}

impl Rows<'_> {
    fn query(&self) -> Result<String, String> {
        let Self { table, select, order_by, limit } = self;
        let columns: Vec<_> = select.iter().map(|column| quoted(column)).collect();
        let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
        let order: Result<Vec<_>, String> = order_by.iter().map(|text| order(text)).collect();
        let order = order?;
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        let limit = if *limit == 0 { String::new() } else { format!(" LIMIT {limit}") };
        Ok(format!("SELECT {columns} FROM system.{}{order}{limit}", quoted(table)))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.trim().replace('"', "\"\""))
}

/// A column, perhaps with a direction.
fn order(text: &str) -> Result<String, String> {
    let mut words = text.split_whitespace();
    let column = words.next().map(quoted);
    let direction = words.next().map(str::to_ascii_lowercase);
    match (column, direction.as_deref(), words.next()) {
        (Some(column), None, None) => Ok(column),
        (Some(column), Some(direction @ ("asc" | "desc")), None) => Ok(format!("{column} {direction}")),
        _ => Err(format!("--order-by '{text}' is not a column, perhaps with asc or desc")),
    }
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
    fn names_are_quoted() {
        check_rows("queries", &[], &[], 10, Ok("SELECT * FROM system.\"queries\" LIMIT 10"));
        check_rows("a\"b", &[], &[], 0, Ok("SELECT * FROM system.\"a\"\"b\""));
        let expected = "SELECT \"id\", \"phase\" FROM system.\"queries\" ORDER BY \"phase\", \"id\" desc";
        check_rows("queries", &["id", " phase"], &["phase", "id DESC"], 0, Ok(expected));
        let refusal = "--order-by 'id down' is not a column, perhaps with asc or desc";
        check_rows("queries", &[], &["id down"], 0, Err(refusal));
    }

    #[track_caller]
    fn check_rows(table: &str, select: &[&str], order_by: &[&str], limit: u32, expected: Result<&str, &str>) {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (select, order_by) = (texts(select), texts(order_by));
        let query = Rows { table, select: &select, order_by: &order_by, limit }.query();
        assert_eq!(query.as_deref().map_err(String::as_str), expected);
    }
}
