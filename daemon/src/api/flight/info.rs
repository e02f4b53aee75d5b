//! What FlightSQL clients are told of the server itself: the same for every database.

use std::sync::{Arc, LazyLock};

use arrow_array::RecordBatch;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Command, CommandGetTableTypes, Nullable, Searchable, SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
    XdbcDataType, XdbcDatetimeSubcode,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tonic::Status;

use super::errors;

/// The version of Arrow whose format is spoken.
const ARROW_VERSION: &str = "1.5";

/// The kinds of tables there are, as `information_schema.tables` calls them.
const TABLE_TYPES: [&str; 2] = ["BASE TABLE", "VIEW"];

static SQL_INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Weir");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.build().expect("these values are of their types")
});

static TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let of = |name: &str, data_type: XdbcDataType, column_size: i32| XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        sql_data_type: data_type,
        column_size: Some(column_size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        ..XdbcTypeInfo::default()
    };
    let number = |of: XdbcTypeInfo| XdbcTypeInfo { num_prec_radix: Some(2), unsigned_attribute: Some(false), ..of };
    let quote = || Some("'".to_owned());
    let text = of("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX);
    types.append(XdbcTypeInfo { literal_prefix: quote(), literal_suffix: quote(), case_sensitive: true, ..text });
    types.append(number(of("BIGINT", XdbcDataType::XdbcBigint, 64)));
    types.append(XdbcTypeInfo {
        unsigned_attribute: Some(true),
        ..number(of("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 64))
    });
    types.append(number(of("DOUBLE", XdbcDataType::XdbcDouble, 53)));
    types.append(of("BOOLEAN", XdbcDataType::XdbcBit, 1));
    types.append(XdbcTypeInfo {
        literal_prefix: quote(),
        literal_suffix: quote(),
        maximum_scale: Some(9),
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
        ..of("TIMESTAMP", XdbcDataType::XdbcTimestamp, 29)
    });
    types.build().expect("these values are of their types")
});

/// The rows that answer a command, if it is one about the server.
pub(super) fn rows(command: &Command) -> Option<Result<RecordBatch, Status>> {
    let rows = match command {
        Command::CommandGetSqlInfo(command) => command.clone().into_builder(&SQL_INFO).build(),
        Command::CommandGetXdbcTypeInfo(command) => command.into_builder(&TYPES).build(),
        Command::CommandGetTableTypes(_) => {
            let mut types = CommandGetTableTypes {}.into_builder();
            TABLE_TYPES.iter().for_each(|kind| types.append(kind));
            types.build()
        }
        Command::CommandGetPrimaryKeys(_) => return Some(Ok(RecordBatch::new_empty(primary_keys()))),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => return Some(Ok(RecordBatch::new_empty(foreign_keys()))),
        _ => return None,
    };
    Some(rows.map_err(errors::of_encoding))
}

fn columns(columns: &[(&str, DataType, Nullable)]) -> SchemaRef {
    let field = |(name, of, nullable): &(&str, DataType, Nullable)| {
        Field::new(*name, of.clone(), *nullable == Nullable::NullabilityNullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// There are none: rows are known by their tags and time, and a tag may be null.
fn primary_keys() -> SchemaRef {
    use DataType::{Int32, Utf8};
    use Nullable::{NullabilityNoNulls as No, NullabilityNullable as Yes};
    columns(&[
        ("catalog_name", Utf8, Yes),
        ("db_schema_name", Utf8, Yes),
        ("table_name", Utf8, No),
        ("column_name", Utf8, No),
        ("key_sequence", Int32, No),
        ("key_name", Utf8, Yes),
    ])
}

fn foreign_keys() -> SchemaRef {
    use DataType::{Int32, UInt8, Utf8};
    use Nullable::{NullabilityNoNulls as No, NullabilityNullable as Yes};
    columns(&[
        ("pk_catalog_name", Utf8, Yes),
        ("pk_db_schema_name", Utf8, Yes),
        ("pk_table_name", Utf8, No),
        ("pk_column_name", Utf8, No),
        ("fk_catalog_name", Utf8, Yes),
        ("fk_db_schema_name", Utf8, Yes),
        ("fk_table_name", Utf8, No),
        ("fk_column_name", Utf8, No),
        ("key_sequence", Int32, No),
        ("fk_key_name", Utf8, Yes),
        ("pk_key_name", Utf8, Yes),
        ("update_rule", UInt8, No),
        ("delete_rule", UInt8, No),
    ])
}
