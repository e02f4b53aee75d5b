//! What each node keeps in memory for system tables: told to other nodes, and asked of them.
//!
//! # Promises
//! - `GET /api/v3/weir/system?table=NAME` answers with this node's rows of `queries` or `compaction_events`, as an Arrow
//!   stream, as far as the token may read them. Any node does, whatever its modes.
//! - All nodes that should live are asked at once, with the token of whoever asks, and waited for no longer than
//!   `ANSWER_WITHIN`; an answer that is too large, broken or from another node counts as none.
//! - A node that left in order is not asked: it keeps nothing.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use http_body_util::{BodyExt, Empty, Limited};
use serde::Deserialize;
use sql::Heard;
use storage::bucket::Secret;
use storage::catalog::{Access, Catalog, Node};
use storage::cluster::{Condition, HEARTBEAT_EVERY, Member};
use storage::model::Mode;

use super::Services;
use super::errors::Refusal;
use super::forward::{self, FORWARDED_TO, NodeClient};
use super::tls::Trust;
use super::write::parameters;

pub(super) const PATH: &str = "/api/v3/weir/system";

const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// More than the largest of these tables.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
struct Asked {
    table: String,
}

pub(super) async fn get(
    State(services): State<Arc<Services>>,
    Extension(access): Extension<Access>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Asked { table } = parameters(&uri)?;
    let facts = Arc::clone(&services.facts);
    let told = services.datafusion.spawn(async move { facts.rows(&table, &access).map(|rows| encode(&rows?)) });
    match told.await {
        Ok(Some(Ok(bytes))) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], bytes).into_response()),
        Ok(Some(Err(error))) => Err(Refusal::bug(format!("encode rows: {error}"))),
        Ok(None) => Err(Refusal::plain(StatusCode::NOT_FOUND, "nodes keep no such table")),
        Err(error) => Err(Refusal::bug(format!("collect rows: {error}"))),
    }
}

fn encode(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(rows)?;
    writer.into_inner()
}

fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(bytes, None)?.collect()
}

/// Asks the other nodes of the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    catalog: Arc<Catalog>,
    member: Member,
    client: NodeClient<Empty<Bytes>>,
}

impl Peers {
    pub(crate) fn new(catalog: Arc<Catalog>, member: Member, trust: &Trust) -> Self {
        Self { catalog, member, client: forward::client(trust) }
    }

    async fn ask_one(&self, node: &Node, table: &str, token: Option<&Secret>) -> Result<Vec<RecordBatch>, String> {
        let address = node.description.http.as_ref().ok_or("it has no address for HTTP")?;
        let addressee = forward::addressee(&self.catalog, &node.id);
        let mut request =
            Request::get(forward::url(address, &format!("{PATH}?table={table}"))).header(FORWARDED_TO, addressee);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request.body(Empty::new()).map_err(|error| format!("its address {address}: {error}"))?;
        let answer =
            self.client.request(request).await.map_err(|error| format!("no answer from {address}: {error}"))?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = bytes.map_err(|error| format!("the answer of {address} broke off: {error}"))?.to_bytes();
        if status != StatusCode::OK {
            let reason: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            return Err(format!("{address} answered {status}: {reason}"));
        }
        decode(&bytes).map_err(|error| format!("the answer of {address}: {error}"))
    }
}

impl sql::Peers for Peers {
    fn ask(&self, table: &'static str, mode: Mode, token: Option<Secret>) -> BoxFuture<'static, Vec<Heard>> {
        let peers = self.clone();
        async move {
            peers.member.observe(HEARTBEAT_EVERY).await;
            let state = peers.catalog.state();
            let others =
                state.members().filter(|node| node.id != *peers.member.node() && node.description.modes.has(mode));
            let (peers, token) = (&peers, token.as_ref());
            let asked = others.map(|node| async move {
                let condition = peers.member.lives().condition(node);
                let rows = match condition {
                    Condition::Stopped | Condition::Removed => return None,
                    Condition::Lost => {
                        Err("this node is lost: its process is gone, and with it what it kept".to_owned())
                    }
                    Condition::Joining | Condition::Running | Condition::Stopping => {
                        let answer = tokio::time::timeout(ANSWER_WITHIN, peers.ask_one(node, table, token));
                        answer.await.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_WITHIN:?}")))
                    }
                };
                Some(Heard { node_id: node.id.to_string(), rows })
            });
            future::join_all(asked).await.into_iter().flatten().collect()
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_over_as_they_were_and_noise_is_no_answer() {
        let facts = sql::Facts::new("n".into(), 0, Arc::default());
        for table in ["queries", "compaction_events"] {
            let rows = facts.rows(table, &Access::unrestricted()).expect("nodes keep it").expect("it has rows");
            let bytes = encode(&rows).expect("any rows can be told");
            assert_eq!(decode(&bytes).expect("they were just told"), [rows]);
            for end in 0..bytes.len() {
                let _ = decode(&bytes[..end]);
            }
        }
        assert!(facts.rows("tokens", &Access::unrestricted()).is_none());
        assert!(decode(b"no stream").is_err());
    }
}
