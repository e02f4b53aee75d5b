//! Whether the rows of an object name only what the catalog knows.
//!
//! # Promises
//! - Rows that pass name tables, tags and fields of the catalog, each with its type, or tables that were dropped for good.
//! - What the newest catalog does not know, or knows as another type, is damage of the object, whose name the error tells.
//!
//! # Why
//! Our own log, that of a dead node and that of a living one could each ask by themselves. Whoever forgets a column or a
//! type meets it where rows are sorted, too late for an error that names the object.

use super::{Committed, Error, Reader};
use crate::bucket;
use crate::catalog::{Catalog, State};
use crate::model::{ColumnKind, FieldType, Rows, TableSchema, Values};

/// Why a version of the catalog does not know what some rows name.
#[derive(Debug)]
enum Unknown {
    /// A newer version will, unless the rows are damaged.
    Yet(String),
    /// It says something else, and so will every newer version.
    Otherwise(String),
}

impl Reader {
    /// Waits until this node's version of the catalog knows every table and column of the rows. Their writer knew them,
    /// so they are in the catalog's log; rows of a table that was dropped for good since are nobody's.
    pub async fn expect_known(&self, committed: &Committed, catalog: &Catalog) -> Result<(), Error> {
        let known = match look(committed, &catalog.state()) {
            Err(Unknown::Yet(_)) => look(committed, &*catalog.refresh().await?),
            known => known,
        };
        known.map_err(|unknown| {
            let reason = match unknown {
                Unknown::Yet(what) => format!("names {what}, which the catalog does not know"),
                Unknown::Otherwise(reason) => reason,
            };
            bucket::Error::damaged(&self.key(committed.epoch, committed.position), reason).into()
        })
    }
}

fn look(committed: &Committed, state: &State) -> Result<(), Unknown> {
    for rows in &committed.tables {
        match state.table(rows.table) {
            Some(table) => look_at_columns(rows, &table.schema)?,
            None if rows.table.0 >= state.next_table => return Err(Unknown::Yet(format!("table {}", rows.table))),
            None => {}
        }
    }
    Ok(())
}

fn look_at_columns(rows: &Rows, schema: &TableSchema) -> Result<(), Unknown> {
    let table = schema.table;
    let tags = rows.series.tags.iter().map(|id| (*id, ColumnKind::Tag));
    let fields = rows.fields.iter().map(|field| (field.column, ColumnKind::Field(type_of(&field.values))));
    for (id, kind) in tags.chain(fields) {
        let column = schema.columns.get(usize::from(id.0));
        let column = column.ok_or_else(|| Unknown::Yet(format!("column {id} of table {table}")))?;
        if column.kind != kind {
            let (said, is) = (kind.full_name(), column.kind.full_name());
            return Err(Unknown::Otherwise(format!("column {id} of table {table} is {said}, the catalog says {is}")));
        }
    }
    Ok(())
}

fn type_of(values: &Values) -> FieldType {
    match values {
        Values::Float(_) => FieldType::Float,
        Values::Integer(_) => FieldType::Integer,
        Values::UInteger(_) => FieldType::UInteger,
        Values::Boolean(_) => FieldType::Boolean,
        Values::String(_) => FieldType::String,
    }
}
