//! What each node keeps in memory for system tables: told to other nodes, and asked of them.
//!
//! # Promises
//! - `GET /api/v3/weir/system?table=NAME` answers with this node's rows of a system table to which each node gives its own, as an Arrow
//!   stream, as far as the token may read them. Any node does, whatever its modes.
//! - `POST /api/v3/weir/query/cancel?id=ID` cancels a query that runs on this node, if the token may; it answers what came of
//!   that, in a word (`sql::Cancelled`).
//! - `POST /api/v3/weir/catalog/follow?version=NUMBER` answers `true` once this node has read the catalog up to that entry.
//! - One node is told to do something, and waited for as long as it lives (see `order`).
//! - All nodes that should live are asked at once, with the token of whoever asks, and waited for no longer than
//!   `ANSWER_WITHIN`; an answer that is too large, broken or from another node counts as none.
//! - A node that left in order is not asked: it keeps nothing. One whose process is gone without a word is told of, also
//!   when all its rows are in files.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use http_body_util::{BodyExt, Empty, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sql::{Cancelled, Heard, Obeyed, Order, Told};
use storage::bucket::Secret;
use storage::catalog::{Access, Catalog, Node};
use storage::cluster::{Condition, HEARTBEAT_EVERY, Lives, Member};
use storage::model::Mode;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::Services;
use super::errors::{Refusal, json_answer};
use super::forward::{self, FORWARDED_TO, NodeClient};
use super::order;
use super::tls::Trust;
use super::write::parameters;

pub(super) const PATH: &str = "/api/v3/weir/system";
pub(super) const FOLLOW_PATH: &str = "/api/v3/weir/catalog/follow";
pub(super) const CANCEL_PATH: &str = "/api/v3/weir/query/cancel";

const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// More than the largest of these tables.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Whether a node that is gone is told of all the same.
type Missed = fn(&Lives, &Node) -> bool;

const SILENT: &str = "its heartbeat stands still, and it has not said that it stopped; REMOVE NODE if it is gone";

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
    let facts = Arc::clone(&services.operator.facts);
    let told = services.datafusion.spawn(async move { facts.rows(&table, &access).map(|rows| encode(&rows?)) });
    match told.await {
        Ok(Some(Ok(bytes))) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], bytes).into_response()),
        Ok(Some(Err(error))) => Err(Refusal::bug(format!("encode rows: {error}"))),
        Ok(None) => Err(Refusal::plain(StatusCode::NOT_FOUND, "nodes keep no such table")),
        Err(error) => Err(Refusal::bug(format!("collect rows: {error}"))),
    }
}

#[derive(Deserialize)]
struct Unwanted {
    id: String,
}

pub(super) async fn cancel(
    State(services): State<Arc<Services>>,
    Extension(access): Extension<Access>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Unwanted { id } = parameters(&uri)?;
    let id = Uuid::parse_str(&id).map_err(|_| Refusal::bad_request("id is not the id of a query"))?;
    Ok(json_answer(StatusCode::OK, &services.operator.facts.cancel(id, &access).word().into()))
}

#[derive(Deserialize)]
struct Followed {
    version: u64,
}

pub(super) async fn follow(State(services): State<Arc<Services>>, uri: Uri) -> Result<Response, Refusal> {
    let Followed { version } = parameters(&uri)?;
    // Rows that are written here from then on are newer than any delete up to it.
    services.catalog.reach(version).await?;
    Ok(json_answer(StatusCode::OK, &true.into()))
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

    /// What a node answers.
    async fn call(&self, node: &Node, (method, path): (Method, &str), token: Option<&Secret>) -> Result<Bytes, String> {
        let address = node.description.http.as_ref().ok_or("it has no address for HTTP")?;
        let addressee = forward::addressee(&self.catalog, &node.id);
        let request = Request::builder().method(method).uri(forward::url(address, path));
        let mut request = request.header(FORWARDED_TO, addressee);
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
        Ok(bytes)
    }

    /// Calls all others that have the mode, at the same time, and reads what they answer. One whose rows are in files may
    /// be `missed` though it is gone.
    async fn call_all<T>(
        &self,
        (mode, missed): (Option<Mode>, Missed),
        (method, path): (Method, &str),
        (token, read): (Option<Secret>, impl Fn(&[u8]) -> Result<T, String>),
    ) -> Vec<(String, Result<T, String>)> {
        self.member.observe(HEARTBEAT_EVERY).await;
        let state = self.catalog.state();
        let others = state.members().filter(|node| node.id != *self.member.node());
        let others = others.filter(|node| mode.is_none_or(|mode| node.description.modes.has(mode)));
        let (token, read, lives) = (token.as_ref(), &read, self.member.lives());
        let asked = others.map(|node| {
            let what = (method.clone(), path);
            async move {
                let answer = match lives.condition(node) {
                    Condition::Stopped if missed(lives, node) => Err(SILENT.to_owned()),
                    Condition::Stopped | Condition::Removed => return None,
                    Condition::Lost => {
                        Err("this node is lost: its process is gone, and with it what it kept".to_owned())
                    }
                    Condition::Joining | Condition::Running | Condition::Stopping => {
                        let answer = tokio::time::timeout(ANSWER_WITHIN, self.call(node, what, token)).await;
                        answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_WITHIN:?}")))
                    }
                };
                Some((node.id.to_string(), answer.and_then(|bytes| read(&bytes))))
            }
        });
        future::join_all(asked).await.into_iter().flatten().collect()
    }
}

impl Peers {
    /// A process that is seen to be gone hears nothing, and need not.
    async fn tell<T: DeserializeOwned>(&self, mode: Option<Mode>, path: &str, token: Option<Secret>) -> Vec<Told<T>> {
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| format!("its answer: {error}"));
        let missed: Missed = |lives, node| !lives.has_ended(node);
        let told = self.call_all((mode, missed), (Method::POST, path), (token, read)).await;
        told.into_iter().map(|(node_id, outcome)| Told { node_id, outcome }).collect()
    }
}

impl sql::Peers for Peers {
    fn ask(&self, table: &'static str, mode: Option<Mode>, token: Option<Secret>) -> BoxFuture<'static, Vec<Heard>> {
        let peers = self.clone();
        async move {
            let read = |bytes: &[u8]| decode(bytes).map_err(|error| format!("its answer: {error}"));
            let path = format!("{PATH}?table={table}");
            let missed: Missed = |lives, node| !lives.has_left(node);
            let heard = peers.call_all((mode, missed), (Method::GET, &path), (token, read)).await;
            heard.into_iter().map(|(node_id, rows)| Heard { node_id, rows }).collect()
        }
        .boxed()
    }

    fn cancel(&self, query: Uuid, token: Option<Secret>) -> BoxFuture<'static, Vec<Told<Cancelled>>> {
        let peers = self.clone();
        async move {
            let told: Vec<Told<String>> =
                peers.tell(Some(Mode::Query), &format!("{CANCEL_PATH}?id={query}"), token).await;
            let outcome = |word: String| Cancelled::by_word(&word).ok_or_else(|| format!("its answer: {word}"));
            told.into_iter()
                .map(|Told { node_id, outcome: word }| Told { node_id, outcome: word.and_then(outcome) })
                .collect()
        }
        .boxed()
    }

    fn follow(&self, version: u64, token: Option<Secret>) -> BoxFuture<'static, Vec<Told>> {
        let peers = self.clone();
        async move { peers.tell(None, &format!("{FOLLOW_PATH}?version={version}"), token).await }.boxed()
    }

    fn order(
        &self,
        node: Arc<Node>,
        order: Order,
        token: Option<Secret>,
    ) -> BoxFuture<'static, Result<Obeyed, String>> {
        let peers = self.clone();
        let asked = async move {
            let path = order::target(order);
            let answer = tokio::select! {
                biased;
                // What was begun there goes on.
                answer = peers.call(&node, (Method::POST, &path), token.as_ref()) => answer?,
                () = forward::gone(&peers.member, &node) => return Err("it does not show any more that it lives".into()),
            };
            order::read(&answer)
        };
        // A node that is slow to take a request forgets it when whoever sent it hangs up. So it is asked to the end, which
        // is that of its process at the latest, also when nobody waits any more.
        let asked = Handle::current().spawn(asked);
        async move { asked.await.unwrap_or_else(|error| Err(format!("the call broke off: {error}"))) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use storage::node::Insight;

    use super::*;

    #[test]
    fn rows_come_over_as_they_were_and_noise_is_no_answer() {
        let facts = sql::Facts::new("n".into(), 0.into(), Insight::default(), Arc::default());
        for table in ["queries", "compaction_events", "settings", "object_store", "processes", "advice"] {
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
