//! Where rows stand in the log of the node that took them, as clients carry it from a write to a query.
//!
//! `node:epoch:position`, several separated by commas: `ingest-1:3:1742`. A write tells it in the header `x-weir-position`.
//! A query that carries it, in the same header or as `after_position`, waits until these rows are visible on its node. A
//! token stays good for ever: positions are never used again, also when its node has left the cluster. Flight has it as
//! metadata under the same name.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use storage::model::{Epoch, NodeId, Position};
use storage::view::{self, Views};
use storage::wal::Mark;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-weir-position");

/// More than the nodes of a large cluster.
const MARKS_MAX: usize = 64;

/// The longest a query waits for rows that it was told to show; its own time begins after that.
const REACH_WITHIN: Duration = Duration::from_secs(10);

/// Tells a writer where its rows stand.
pub(super) fn tell(mut response: Response, stored: Option<&Mark>) -> Response {
    if let Some(mark) = stored {
        let Mark { node, epoch, position } = mark;
        let value = HeaderValue::try_from(format!("{node}:{epoch}:{position}"));
        response.headers_mut().insert(HEADER, value.expect("a node id is plain letters"));
    }
    response
}

/// What a query waits for, by its headers and its parameter. The error says what is wrong with them.
pub(super) fn asked(headers: &HeaderMap, parameter: Option<&str>) -> Result<Vec<Mark>, String> {
    let malformed = |text: &str| {
        let shown: String = text.escape_debug().take(100).collect();
        format!("position '{shown}' is not node:epoch:position, as a write tells it")
    };
    let lists = headers.get_all(HEADER).iter().map(|value| value.to_str().map_err(|_| malformed("not text")));
    let mut marks = Vec::new();
    for list in lists.chain(parameter.map(Ok)) {
        for text in list?.split(',') {
            if marks.len() == MARKS_MAX {
                return Err(format!("a query may wait for {MARKS_MAX} positions, here are more"));
            }
            marks.push(mark(text.trim()).ok_or_else(|| malformed(text))?);
        }
    }
    Ok(marks)
}

/// Waits until the rows at these positions are visible here. `timeout` is that of the query.
pub(super) async fn reach(views: &Views, marks: &[Mark], timeout: Option<Duration>) -> Result<(), view::Error> {
    if marks.is_empty() {
        return Ok(());
    }
    views.reach(marks, timeout.map_or(REACH_WITHIN, |timeout| timeout.min(REACH_WITHIN))).await
}

fn mark(text: &str) -> Option<Mark> {
    let mut parts = text.split(':');
    let node = NodeId::new(parts.next()?).ok()?;
    let (epoch, position) = (number(parts.next()?)?, number(parts.next()?)?);
    let epoch = Epoch(u32::try_from(epoch).ok()?);
    parts.next().is_none().then_some(Mark { node, epoch, position: Position(position) })
}

/// Digits only: `parse` would take a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn check(header: Option<&str>, parameter: Option<&str>, expected: Result<&[(&str, u32, u64)], &str>) {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|text| (HEADER, HeaderValue::from_str(text).expect("a header"))));
        let found = asked(&headers, parameter);
        let found = found
            .as_ref()
            .map(|marks| marks.iter().map(|m| (m.node.to_string(), m.epoch.0, m.position.0)).collect::<Vec<_>>());
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<_> = found.iter().map(|(node, epoch, position)| (&**node, *epoch, *position)).collect();
                assert_eq!(found, expected);
            }
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn positions_come_by_header_and_by_parameter() {
        check(None, None, Ok(&[]));
        check(Some("a:1:2"), None, Ok(&[("a", 1, 2)]));
        check(
            Some("a:1:2, b.c-d:3:18446744073709551615"),
            Some("e:0:0"),
            Ok(&[("a", 1, 2), ("b.c-d", 3, u64::MAX), ("e", 0, 0)]),
        );
    }

    #[test]
    fn what_no_write_has_told_is_refused_by_name() {
        for text in [
            "",
            "a",
            "a:1",
            "a:1:",
            "a::1",
            "a:1:x",
            "a:1:2:3",
            "a:-1:2",
            "a:+1:2",
            "a:1:2,",
            ":1:2",
            "a b:1:2",
            "a:4294967296:1",
            "a:1:18446744073709551616",
        ] {
            check(None, Some(text), Err("is not node:epoch:position"));
        }
    }

    #[test]
    fn no_more_positions_are_looked_at_than_a_query_may_wait_for() {
        let most = vec!["a:1:1"; 64].join(",");
        check(None, Some(&most), Ok(&[("a", 1, 1); 64]));
        check(Some(&most), None, Ok(&[("a", 1, 1); 64]));
        for more in ["a:1:1", "what no write has told"] {
            check(None, Some(&format!("{most},{more}")), Err("wait for 64 positions"));
            check(Some(&most), Some(more), Err("wait for 64 positions"));
        }
    }

    #[test]
    fn what_a_write_tells_a_query_understands() {
        let mark = Mark { node: NodeId::new("ingest-1").unwrap(), epoch: Epoch(3), position: Position(1742) };
        let response = tell(().into_response(), Some(&mark));
        assert_eq!(response.headers()[HEADER], "ingest-1:3:1742");
        assert_eq!(asked(response.headers(), None), Ok(vec![mark]));
    }
}
