//! What one node does because another one passes on what an operator wants.
//!
//! # Promises
//! - `POST /api/v3/weir/order?what=snapshot` puts the rows of this node into files; `what=compact&table=ID&from=NS&to=NS` merges
//!   files of that table with rows of that time, both ends included. It answers once that is done, or that another node is
//!   to be asked. Only admins are obeyed.
//! - What was begun goes on when nobody waits for the answer any more.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sql::{Obeyed, Order};
use storage::compaction::{Merged, Wanted};
use storage::model::{TableId, TimeRange};

use super::Services;
use super::errors::{Refusal, json_answer};
use super::write::parameters;

pub(super) const PATH: &str = "/api/v3/weir/order";

#[derive(Deserialize)]
struct Asked {
    what: String,
    table: Option<u32>,
    from: Option<i64>,
    to: Option<i64>,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Answer {
    Written,
    Merged { files_before: usize, files_after: usize },
    Elsewhere { reason: String },
}

pub(super) async fn obey(State(services): State<Arc<Services>>, uri: Uri) -> Result<Response, Refusal> {
    let order = order(parameters(&uri)?)?;
    let answer = match services.operator.obey(order).await {
        Ok(Obeyed::Written) => Answer::Written,
        Ok(Obeyed::Merged(Merged { files_before, files_after })) => Answer::Merged { files_before, files_after },
        Ok(Obeyed::Elsewhere(reason)) => Answer::Elsewhere { reason },
        Err(reason) => return Err(Refusal::plain(StatusCode::SERVICE_UNAVAILABLE, reason)),
    };
    let body = serde_json::to_value(&answer).map_err(|error| Refusal::bug(format!("encode an answer: {error}")))?;
    Ok(json_answer(StatusCode::OK, &body))
}

fn order(Asked { what, table, from, to }: Asked) -> Result<Order, Refusal> {
    match (what.as_str(), table) {
        ("snapshot", None) => Ok(Order::Snapshot),
        ("compact", Some(table)) => {
            let range = TimeRange::new(from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
            let range = range.ok_or_else(|| Refusal::bad_request("from is after to"))?;
            Ok(Order::Compact(Wanted { table: TableId(table), range }))
        }
        ("compact", None) => Err(Refusal::bad_request("compact needs the id of a table")),
        _ => Err(Refusal::bad_request("what is snapshot, or compact with a table")),
    }
}

/// Path and parameters that say it.
pub(super) fn target(order: Order) -> String {
    match order {
        Order::Snapshot => format!("{PATH}?what=snapshot"),
        Order::Compact(Wanted { table: TableId(table), range: TimeRange { min, max } }) => {
            format!("{PATH}?what=compact&table={table}&from={min}&to={max}")
        }
    }
}

pub(super) fn read(answer: &[u8]) -> Result<Obeyed, String> {
    let answer = serde_json::from_slice(answer).map_err(|error| format!("its answer: {error}"))?;
    Ok(match answer {
        Answer::Written => Obeyed::Written,
        Answer::Merged { files_before, files_after } => Obeyed::Merged(Merged { files_before, files_after }),
        Answer::Elsewhere { reason } => Obeyed::Elsewhere(reason),
    })
}
