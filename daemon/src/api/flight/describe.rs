//! What FlightSQL clients are told of a database: its schemas, its tables and their columns, as queries see them.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_flight::sql::metadata::GetTablesBuilder;
use arrow_flight::sql::{Command, CommandGetTables};
use arrow_schema::{Schema, SchemaRef};
use futures::StreamExt;
use tonic::{Code, Status};

use super::rows::sent;
use super::service::Asking;
use super::{errors, info};

const CATALOGS: &str = "SELECT DISTINCT catalog_name FROM information_schema.schemata";
const SCHEMAS: &str = "SELECT catalog_name, schema_name FROM information_schema.schemata";
const TABLES: &str = "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables";

/// The columns of the rows that answer a command.
pub(super) fn schema(command: &Command) -> Result<SchemaRef, Status> {
    if let Some(rows) = info::rows(command) {
        return Ok(rows?.schema());
    }
    match command.clone() {
        Command::CommandGetCatalogs(command) => Ok(command.into_builder().schema()),
        Command::CommandGetDbSchemas(command) => Ok(command.into_builder().schema()),
        Command::CommandGetTables(command) => Ok(command.into_builder().schema()),
        other => Err(unsupported(&other)),
    }
}

/// The rows that answer a command.
pub(super) async fn rows(asking: &Asking<'_>, command: Command) -> Result<RecordBatch, Status> {
    if let Some(rows) = info::rows(&command) {
        return rows;
    }
    let rows = match command {
        Command::CommandGetCatalogs(command) => {
            let mut catalogs = command.into_builder();
            texts(asking, CATALOGS).await?.into_iter().for_each(|[name]| catalogs.append(name));
            catalogs.build()
        }
        Command::CommandGetDbSchemas(command) => {
            let mut schemas = command.into_builder();
            texts(asking, SCHEMAS).await?.iter().for_each(|[catalog, name]| schemas.append(catalog, name));
            schemas.build()
        }
        Command::CommandGetTables(command) => return tables(asking, command).await,
        other => return Err(unsupported(&other)),
    };
    rows.map_err(errors::of_encoding)
}

fn unsupported(command: &Command) -> Status {
    Status::unimplemented(format!("the command {} is not supported", command.type_url()))
}

/// Tables are chosen first, and only the columns of those that were chosen are looked at.
async fn tables(asking: &Asking<'_>, command: CommandGetTables) -> Result<RecordBatch, Status> {
    let mut chosen: GetTablesBuilder = CommandGetTables { include_schema: false, ..command.clone() }.into_builder();
    for [catalog, schema, name, kind] in texts(asking, TABLES).await? {
        chosen.append(catalog, schema, name, kind, &Schema::empty()).map_err(errors::of_encoding)?;
    }
    let chosen = chosen.build().map_err(errors::of_encoding)?;
    if !command.include_schema {
        return Ok(chosen);
    }
    let mut described = command.into_builder();
    for [catalog, schema, name, kind] in rows_of_text(&chosen)? {
        let text = format!("SELECT * FROM {}.{}", quoted(&schema), quoted(&name));
        let description = match asking.describe(text).await {
            Ok(description) => description,
            // One that was dropped a moment ago is no longer there.
            Err(status) if status.code() == Code::InvalidArgument => continue,
            Err(status) => return Err(status),
        };
        described.append(catalog, schema, name, kind, &sent(&description.schema)).map_err(errors::of_encoding)?;
    }
    described.build().map_err(errors::of_encoding)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// All rows of a query about the database; there are as many as it has tables.
async fn texts<const N: usize>(asking: &Asking<'_>, text: &str) -> Result<Vec<[String; N]>, Status> {
    let query = asking.query(text.to_owned(), Vec::new());
    let mut answer = asking.parts.engine.run(query).await.map_err(errors::of_query)?;
    let mut found = Vec::new();
    while let Some(batch) = answer.rows.next().await {
        found.extend(rows_of_text(&batch.map_err(errors::of_query)?)?);
    }
    Ok(found)
}

fn rows_of_text<const N: usize>(batch: &RecordBatch) -> Result<Vec<[String; N]>, Status> {
    let columns: Option<Vec<_>> = batch.columns().iter().map(|column| column.as_string_opt::<i32>()).collect();
    let columns = columns.filter(|columns| columns.len() == N);
    let columns = columns.ok_or_else(|| Status::internal("a description is not made of texts"))?;
    let row = |row: usize| std::array::from_fn(|column| columns[column].value(row).to_owned());
    Ok((0..batch.num_rows()).map(row).collect())
}
