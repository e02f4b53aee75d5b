//! Databases: list, create, retention, drop.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use sql::{Asker, Command, Named};
use storage::catalog::{self, Access, Action, HardDelete, State as CatalogState};
use storage::model::{ErrorKind, Retention};

use super::errors::{Refusal, Shape};
use super::format::Format;
use super::write::parameters;
use super::{Services, query};

pub(super) const PATH: &str = "/api/v3/configure/database";
pub(super) const RETENTION_PATH: &str = "/api/v3/configure/database/retention_period";

/// The database of the system tables; it is not in the catalog.
const INTERNAL: &str = "_internal";

#[derive(Debug, Deserialize)]
struct List {
    format: Option<String>,
    #[serde(default)]
    show_deleted: bool,
}

/// One database of a list.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    deleted: bool,
    name: String,
}

pub(super) async fn list(
    State(services): State<Arc<Services>>,
    Extension(access): Extension<Access>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let List { format, show_deleted } = parameters(&uri)?;
    let format = format.ok_or_else(|| Refusal::bad_request("missing query parameter 'format'"))?;
    let format = Format::parse(&format)?;
    let mut databases = listed(&services.catalog.state(), &access);
    databases.retain(|database| show_deleted || !database.deleted);
    databases.sort();
    let names = StringArray::from_iter_values(databases.iter().map(|d| &d.name));
    let mut columns: Vec<(Field, ArrayRef)> =
        vec![(Field::new("iox::database", DataType::Utf8, false), Arc::new(names))];
    if show_deleted {
        let deleted = BooleanArray::from_iter(databases.iter().map(|d| Some(d.deleted)));
        columns.push((Field::new("deleted", DataType::Boolean, false), Arc::new(deleted)));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    query::respond(&batch.map_err(|error| Refusal::bug(error.to_string()))?, format)
}

/// What the token may describe; the system tables are for admins.
fn listed(state: &CatalogState, access: &Access) -> Vec<Listed> {
    let described = state.databases.values().filter(|database| access.allows(Some(database.id), Action::Describe));
    let listed = described.map(|d| Listed { deleted: d.dropped.is_some(), name: d.name.to_string() });
    let internal = access.is_admin().then(|| Listed { deleted: false, name: INTERNAL.to_owned() });
    listed.chain(internal).collect()
}

#[derive(Debug, Deserialize)]
struct Create {
    db: String,
    retention_period: Option<String>,
    schema_mode: Option<String>,
}

pub(super) async fn create(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let Create { db, retention_period, schema_mode } = services.admission.declared_json(&headers, body).await?;
    match schema_mode.as_deref() {
        None | Some("implicit") => {}
        Some(other) => {
            let shown: String = other.escape_debug().take(40).collect();
            return Err(Refusal::bad_request(format!("schema mode '{shown}' is not supported yet, only implicit is")));
        }
    }
    let retention_ns = retention(retention_period.as_deref())?;
    let command = Command::CreateDatabase { database: Named::strictly(db), retention_ns };
    services.operator.perform(&command, &asker).await.map_err(name_error)?;
    Ok(StatusCode::OK)
}

/// What is wrong with a name is told as JSON, other errors as a sentence.
fn name_error(error: catalog::Error) -> Refusal {
    let is_name = error.kind() == ErrorKind::Invalid;
    let refusal = Refusal::from(error);
    if is_name { refusal.shaped(Shape::Json) } else { refusal }
}

/// A retention period in nanoseconds; `None` keeps rows for ever.
pub(super) fn retention(text: Option<&str>) -> Result<Option<u64>, Refusal> {
    let parsed = text.map_or(Ok(Retention::Forever), Retention::parse);
    parsed.map(Retention::nanoseconds).map_err(Refusal::bad_request)
}

#[derive(Debug, Deserialize)]
struct Update {
    db: String,
    retention_period: Option<String>,
}

pub(super) async fn update(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let Update { db, retention_period } = services.admission.declared_json(&headers, body).await?;
    let retention_ns = retention(retention_period.as_deref())?;
    services.operator.perform(&Command::SetDatabaseRetention { database: db, retention_ns }, &asker).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
struct SetRetention {
    db: String,
    duration: Option<String>,
}

pub(super) async fn set_retention(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let SetRetention { db, duration } = parameters(&uri)?;
    let duration = duration.ok_or_else(|| Refusal::bad_request("missing query parameter 'duration'"))?;
    let retention_ns = retention(Some(&duration))?;
    services.operator.perform(&Command::SetDatabaseRetention { database: db, retention_ns }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn clear_retention(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let SetRetention { db, duration: _ } = parameters(&uri)?;
    services.operator.perform(&Command::SetDatabaseRetention { database: db, retention_ns: None }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct Drop {
    db: String,
    hard_delete_at: Option<String>,
    #[serde(default)]
    data_only: bool,
}

pub(super) async fn drop(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let Drop { db, hard_delete_at, data_only } = parameters(&uri)?;
    if data_only {
        return Err(Refusal::bad_request("data_only is not supported yet"));
    }
    let hard_delete = hard_delete(hard_delete_at.as_deref())?;
    let command = Command::DropDatabase { database: Named::strictly(db), hard_delete };
    services.operator.perform(&command, &asker).await?;
    Ok(StatusCode::OK)
}

/// When the files of something dropped go.
pub(super) fn hard_delete(text: Option<&str>) -> Result<HardDelete, Refusal> {
    sql::hard_delete_at(text).map_err(Refusal::bad_request)
}
