//! The three write endpoints: one way to write, three sets of parameters and error bodies.
//!
//! A token counts at two moments: when the request begins, so that nobody without one has a body read, and when its body
//! is here. A token deleted in between writes nothing (401). From then on the write is on its way to the log and is
//! kept, also when its token is deleted before the answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use storage::catalog::{Access, Action};
use storage::ingest::{Answer, BadLines, Precision, Write};

use super::Services;
use super::body::discard_unread;
use super::errors::{Refusal, Shape, partial_write};
use super::gate::Presented;
use crate::api::auth;
use crate::api::position;

/// A write as one of the endpoints understood it.
#[derive(Debug, PartialEq)]
struct Wish {
    database: String,
    precision: Precision,
    bad_lines: BadLines,
    answer: Answer,
}

#[derive(Debug, Deserialize)]
struct V3 {
    db: Option<String>,
    precision: Option<String>,
    #[serde(default = "yes")]
    accept_partial: bool,
    #[serde(default)]
    no_sync: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct V2 {
    bucket: Option<String>,
    precision: Option<String>,
}

#[derive(Debug, Deserialize)]
struct V1 {
    db: Option<String>,
    rp: Option<String>,
    precision: Option<String>,
}

/// The name `axum` hands to every handler of this file.
type Request = (State<Arc<Services>>, Extension<Access>, Uri, HeaderMap, Extension<Presented>, Body);

pub(super) async fn v3(request: Request) -> Response {
    let wish = parameters(&request.2).and_then(v3_wish);
    write(request, wish).await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn v2(request: Request) -> Response {
    let wish = parameters(&request.2).and_then(v2_wish);
    write(request, wish).await.unwrap_or_else(|refusal| in_sentence(refusal).shaped(Shape::Coded).into_response())
}

pub(super) async fn v1(request: Request) -> Response {
    let wish = parameters(&request.2).and_then(v1_wish);
    write(request, wish).await.unwrap_or_else(|refusal| in_sentence(refusal).shaped(Shape::Json).into_response())
}

fn v3_wish(parameters: V3) -> Result<Wish, Refusal> {
    let V3 { db, precision, accept_partial, no_sync } = parameters;
    Ok(Wish {
        database: db.ok_or_else(|| Refusal::bad_request("missing query parameter 'db'"))?,
        precision: precision.map_or(Ok(Precision::Auto), |text| parse_precision(&text))?,
        bad_lines: if accept_partial { BadLines::Skip } else { BadLines::Refuse },
        answer: if no_sync { Answer::WhenValid } else { Answer::WhenStored },
    })
}

fn v2_wish(parameters: V2) -> Result<Wish, Refusal> {
    let V2 { bucket, precision } = parameters;
    let database = bucket.ok_or_else(|| Refusal::bad_request("missing bucket value"))?;
    whole(database, precision)
}

fn v1_wish(parameters: V1) -> Result<Wish, Refusal> {
    let V1 { db, rp, precision } = parameters;
    let db = db.filter(|db| !db.is_empty()).ok_or_else(|| Refusal::bad_request("no db destination provided"))?;
    let database = match rp.as_deref() {
        None | Some("" | "autogen" | "default") => db,
        Some(rp) => format!("{db}/{}", rp.to_lowercase()),
    };
    whole(database, precision)
}

/// The older endpoints keep all lines or none, and wait until they are stored.
fn whole(database: String, precision: Option<String>) -> Result<Wish, Refusal> {
    let precision = precision.map_or(Ok(Precision::Nanosecond), |text| parse_precision(&text))?;
    if precision == Precision::Auto {
        return Err(Refusal::bad_request("precision 'auto' is for /api/v3/write_lp only"));
    }
    Ok(Wish { database, precision, bad_lines: BadLines::Refuse, answer: Answer::WhenStored })
}

fn parse_precision(text: &str) -> Result<Precision, Refusal> {
    match text {
        "auto" => Ok(Precision::Auto),
        "n" | "ns" | "nanosecond" => Ok(Precision::Nanosecond),
        "u" | "us" | "microsecond" => Ok(Precision::Microsecond),
        "ms" | "millisecond" => Ok(Precision::Millisecond),
        "s" | "second" => Ok(Precision::Second),
        "m" | "minute" => Ok(Precision::Minute),
        "h" | "hour" => Ok(Precision::Hour),
        other => {
            let shown: String = other.escape_debug().take(40).collect();
            Err(Refusal::bad_request(format!("precision '{shown}' is none of auto, ns, us, ms, s, m and h")))
        }
    }
}

/// The parameters of the URL.
pub(super) fn parameters<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    let query = uri.query().unwrap_or_default();
    serde_urlencoded::from_str(query).map_err(|error| Refusal::bad_request(format!("serde error: {error}")))
}

async fn write(request: Request, wish: Result<Wish, Refusal>) -> Result<Response, Refusal> {
    let (State(services), Extension(access), _, headers, Extension(presented), body) = request;
    let permitted = wish.and_then(|wish| permit(&services, &access, &wish.database).map(|()| wish));
    let Wish { database, precision, bad_lines, answer } = match permitted {
        Ok(wish) => wish,
        Err(refusal) => {
            discard_unread(&headers, body).await;
            return Err(refusal);
        }
    };
    let text = services.admission.read(&headers, body).await?;
    // The second moment: the database, too, may be another one by now.
    permit(&services, &presented.access(&services).await?, &database)?;
    let write = Write { database: &database, body: text.as_str(), precision, bad_lines, answer };
    let ingest = services.ingest.as_ref().expect("a node without mode ingest forwards writes");
    let report = ingest.write(write).await?;
    let answer = match report.rejected.as_slice() {
        [] => StatusCode::NO_CONTENT.into_response(),
        rejected => partial_write(rejected).into_response(),
    };
    Ok(position::tell(answer, report.stored.as_ref()))
}

fn permit(services: &Services, access: &Access, database: &str) -> Result<(), Refusal> {
    let id = services.catalog.state().database(database).map(|known| known.id);
    if access.allows(id, Action::Write) { Ok(()) } else { Err(auth::Error::Forbidden.into()) }
}

/// The older endpoints have no place for the line that is wrong but the message.
fn in_sentence(refusal: Refusal) -> Refusal {
    let Shape::JsonWith(data) = &refusal.shape else { return refusal };
    let message = format!("{}: line {}: {}", refusal.message, data["line_number"], text_of(&data["error_message"]));
    Refusal { message, ..refusal }
}

fn text_of(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::errors::status_of_lines;
    use super::*;
    use storage::ingest;

    fn uri(query: &str) -> Uri {
        format!("/write?{query}").parse().expect("a uri")
    }

    #[test]
    fn v1_retention_policies_are_part_of_the_database_name() {
        check_v1("db=a", Ok("a"));
        check_v1("db=a&rp=", Ok("a"));
        check_v1("db=a&rp=autogen", Ok("a"));
        check_v1("db=a&rp=Weekly&u=x&p=y&consistency=all", Ok("a/weekly"));
        check_v1("rp=weekly", Err("no db destination provided"));
    }

    #[track_caller]
    fn check_v1(query: &str, expected: Result<&str, &str>) {
        let wish = parameters(&uri(query)).and_then(v1_wish);
        let found = wish.as_ref().map(|wish| wish.database.as_str()).map_err(|refusal| refusal.message.as_str());
        assert_eq!(found, expected);
    }

    #[test]
    fn v3_keeps_good_lines_and_waits_unless_told() {
        let wish =
            |query: &str| parameters(&uri(query)).and_then(v3_wish).map(|w| (w.precision, w.bad_lines, w.answer));
        assert_eq!(wish("db=a"), Ok((Precision::Auto, BadLines::Skip, Answer::WhenStored)));
        let strict = "db=a&precision=ms&accept_partial=false&no_sync=true";
        assert_eq!(wish(strict), Ok((Precision::Millisecond, BadLines::Refuse, Answer::WhenValid)));
        assert_eq!(wish("").map_err(|refusal| refusal.message), Err("missing query parameter 'db'".to_owned()));
        assert!(wish("db=a&precision=day").is_err());
        assert!(wish("db=a&accept_partial=perhaps").is_err_and(|refusal| refusal.message.starts_with("serde error: ")));
    }

    #[test]
    fn v2_needs_a_bucket_and_does_not_guess_the_precision() {
        let wish =
            |query: &str| parameters(&uri(query)).and_then(v2_wish).map(|w| (w.database, w.precision, w.bad_lines));
        assert_eq!(wish("bucket=a&org=o"), Ok(("a".to_owned(), Precision::Nanosecond, BadLines::Refuse)));
        assert_eq!(wish("org=o").map_err(|refusal| refusal.message), Err("missing bucket value".to_owned()));
        assert!(wish("bucket=a&precision=auto").is_err());
    }

    #[test]
    fn older_endpoints_name_the_wrong_line_in_the_message() {
        let line = ingest::LineError { line_number: 2, original_line: "x".into(), message: "No fields".into() };
        assert_eq!(status_of_lines(std::slice::from_ref(&line)), StatusCode::BAD_REQUEST);
        let refusal = in_sentence(Refusal::from(ingest::Error::Line(line)));
        assert_eq!(refusal.message, "parsing failed for write_lp endpoint: line 2: No fields");
    }
}
