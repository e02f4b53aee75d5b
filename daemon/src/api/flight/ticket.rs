//! What is asked for: tickets and commands, in the forms in which they come.
//!
//! # Why
//! The forms are told apart by trying them in the order of the original. A message of ours and one of `Any` look alike,
//! so it is the address of its type by which `Any` is known.

use arrow_flight::sql::{Any, Command};
use prost::Message;
use serde::Deserialize;
use serde_json::Value;
use sql::Param;
use tonic::Status;

use super::errors;
use crate::api::params;

/// What a ticket asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    Sql(Question),
    /// A command of FlightSQL; the database may stand beside it.
    Command {
        database: Option<String>,
        command: Command,
    },
}

/// The values of what stands in a statement for them.
pub(super) type Params = Vec<(String, Param)>;

/// A statement with its database.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    pub(super) database: String,
    pub(super) text: String,
    pub(super) params: Params,
}

const TYPES: &str = "type.googleapis.com/";
const READ_INFO: &str = "type.googleapis.com/influxdata.iox.querier.v1.ReadInfo";

/// What a client of the original sends that knows its own format.
#[derive(Clone, PartialEq, Message)]
struct ReadInfo {
    #[prost(string, tag = "1")]
    database: String,
    #[prost(string, tag = "2")]
    sql_query: String,
    /// 0 and 1 are SQL, 2 is InfluxQL, 3 a command.
    #[prost(int32, tag = "3")]
    query_type: i32,
    #[prost(bytes = "vec", tag = "4")]
    flightsql_command: Vec<u8>,
    #[prost(message, repeated, tag = "6")]
    params: Vec<ReadInfoParam>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadInfoParam {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(oneof = "ReadInfoValue", tags = "2, 3, 4, 5, 6, 7")]
    value: Option<ReadInfoValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ReadInfoValue {
    #[prost(int32, tag = "2")]
    Null(i32),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(uint64, tag = "4")]
    UInt(u64),
    #[prost(int64, tag = "5")]
    Int(i64),
    #[prost(double, tag = "6")]
    Float(f64),
    #[prost(string, tag = "7")]
    String(String),
}

/// What the clients of the original send.
#[derive(Deserialize)]
struct JsonTicket {
    #[serde(alias = "namespace_name", alias = "bucket", alias = "bucket-name")]
    database: String,
    sql_query: String,
    query_type: Option<String>,
    params: Option<Value>,
}

pub(super) fn wanted(ticket: &[u8]) -> Result<Wanted, Status> {
    match Any::decode(ticket) {
        Ok(any) if any.type_url == READ_INFO => {
            let info = ReadInfo::decode(any.value).map_err(|error| errors::of_decoding("ticket", error))?;
            return of_read_info(info);
        }
        Ok(any) if any.type_url.starts_with(TYPES) => {
            return Ok(Wanted::Command { database: None, command: of_any(any)? });
        }
        Ok(_) | Err(_) => {}
    }
    match ReadInfo::decode(ticket) {
        Ok(info) => of_read_info(info),
        Err(_) => of_json(ticket),
    }
}

/// A command of FlightSQL.
pub(super) fn command(bytes: &[u8]) -> Result<Command, Status> {
    of_any(Any::decode(bytes).map_err(|error| errors::of_decoding("command", error))?)
}

fn of_any(any: Any) -> Result<Command, Status> {
    Command::try_from(any).map_err(|error| errors::of_decoding("command", error))
}

fn no_influxql() -> Status {
    Status::unimplemented("InfluxQL is not supported yet, only SQL is")
}

fn of_read_info(info: ReadInfo) -> Result<Wanted, Status> {
    let ReadInfo { database, sql_query: text, query_type, flightsql_command, params } = info;
    if database.is_empty() {
        return Err(Status::invalid_argument("the ticket names no database"));
    }
    match query_type {
        0 | 1 => {
            let params = params.into_iter().map(|param| (param.name, of_value(param.value))).collect();
            Ok(Wanted::Sql(Question { database, text, params }))
        }
        2 => Err(no_influxql()),
        3 => Ok(Wanted::Command { database: Some(database), command: command(&flightsql_command)? }),
        other => Err(Status::invalid_argument(format!("the ticket has query type {other}, which is none of 0 to 3"))),
    }
}

fn of_value(value: Option<ReadInfoValue>) -> Param {
    match value {
        None | Some(ReadInfoValue::Null(_)) => Param::Null,
        Some(ReadInfoValue::Bool(v)) => Param::Bool(v),
        Some(ReadInfoValue::UInt(v)) => Param::UInt(v),
        Some(ReadInfoValue::Int(v)) => Param::Int(v),
        Some(ReadInfoValue::Float(v)) => Param::Float(v),
        Some(ReadInfoValue::String(v)) => Param::String(v),
    }
}

fn of_json(ticket: &[u8]) -> Result<Wanted, Status> {
    let ticket: JsonTicket = serde_json::from_slice(ticket).map_err(|error| errors::of_decoding("ticket", error))?;
    let JsonTicket { database, sql_query: text, query_type, params } = ticket;
    match query_type.as_deref() {
        None | Some("sql") => {}
        Some("influxql") => return Err(no_influxql()),
        Some(other) => {
            let shown: String = other.escape_debug().take(40).collect();
            return Err(Status::invalid_argument(format!("the ticket has query type '{shown}', which is not sql")));
        }
    }
    let params = params.map_or_else(|| Ok(Vec::new()), params::from_json).map_err(Status::invalid_argument)?;
    Ok(Wanted::Sql(Question { database, text, params }))
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};

    use super::*;
    use crate::api::flight::handle::Handle;

    #[track_caller]
    fn check(ticket: &[u8], expected: Result<Wanted, &str>) {
        match (wanted(ticket), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(status), Err(part)) => assert!(status.message().contains(part), "{status}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    fn question(params: Vec<(String, Param)>) -> Wanted {
        Wanted::Sql(Question { database: "plant".into(), text: "SELECT 1".into(), params })
    }

    #[test]
    fn tickets_of_json_name_the_database_in_four_ways() {
        for name in ["database", "namespace_name", "bucket", "bucket-name"] {
            check(format!(r#"{{"{name}":"plant","sql_query":"SELECT 1"}}"#).as_bytes(), Ok(question(vec![])));
        }
        let ticket =
            br#"{"database":"plant","sql_query":"SELECT 1","query_type":"sql","params":{"a":1},"is_debug":false}"#;
        check(ticket, Ok(question(vec![("a".into(), Param::Int(1))])));
    }

    #[test]
    fn tickets_that_mean_nothing_are_refused_with_the_reason() {
        check(br#"{"sql_query":"SELECT 1"}"#, Err("missing field `database`"));
        check(br#"{"database":"a","sql_query":"x","query_type":"flux"}"#, Err("'flux', which is not sql"));
        check(br#"{"database":"a","sql_query":"x","query_type":"influxql"}"#, Err("InfluxQL is not supported yet"));
        check(br#"{"database":"a","sql_query":"x","params":{"l":[1]}}"#, Err("param 'l' must be"));
        check(b"", Err("names no database"));
        check(b"\xff\xff", Err("read ticket"));
    }

    fn read_info() -> ReadInfo {
        let param = ReadInfoParam { name: "a".into(), value: Some(ReadInfoValue::Float(0.5)) };
        ReadInfo { database: "plant".into(), sql_query: "SELECT 1".into(), params: vec![param], ..ReadInfo::default() }
    }

    #[test]
    fn tickets_of_the_own_format_come_bare_and_wrapped() {
        let expected = || question(vec![("a".into(), Param::Float(0.5))]);
        let bytes = read_info().encode_to_vec();
        check(&bytes, Ok(expected()));
        let wrapped = Any { type_url: READ_INFO.into(), value: bytes.into() };
        check(&wrapped.encode_to_vec(), Ok(expected()));
        check(&ReadInfo { query_type: 2, ..read_info() }.encode_to_vec(), Err("InfluxQL"));
        check(&ReadInfo { query_type: 9, ..read_info() }.encode_to_vec(), Err("query type 9"));
    }

    #[test]
    fn commands_come_alone_and_with_their_database() {
        let command = CommandStatementQuery { query: "SELECT 1".into(), transaction_id: None };
        let bytes = command.as_any().encode_to_vec();
        let command = Command::CommandStatementQuery(command);
        check(&bytes, Ok(Wanted::Command { database: None, command: command.clone() }));
        let beside = ReadInfo { query_type: 3, flightsql_command: bytes, ..read_info() };
        check(&beside.encode_to_vec(), Ok(Wanted::Command { database: Some("plant".into()), command }));
    }

    #[test]
    fn no_bytes_end_a_node() {
        let command = CommandStatementQuery { query: "SELECT 1".into(), transaction_id: None }.as_any().encode_to_vec();
        let beside = ReadInfo { query_type: 3, flightsql_command: command, ..read_info() }.encode_to_vec();
        let json = br#"{"database":"plant","sql_query":"SELECT 1","params":{"a":1}}"#.to_vec();
        for good in [beside, json] {
            for at in 0..good.len() {
                // What they mean is all the same here.
                let _ = wanted(&good[..at]);
                for byte in [0, 1, 0x0a, 0x7b, 0x80, 0xff] {
                    let mut bytes = good.clone();
                    bytes[at] = byte;
                    let _ = (wanted(&bytes), command_and_handle(&bytes));
                }
            }
        }
    }

    fn command_and_handle(bytes: &[u8]) -> Result<(), Status> {
        command(bytes)?;
        Handle::read(bytes)?.params().map(drop)
    }
}
