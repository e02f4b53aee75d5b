//! Calls of Flight, which come as requests of HTTP/2.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use storage::catalog::Access;

use super::Services;
use super::gate::Presented;
use crate::api::flight::Asker;

pub(super) async fn call(
    State(services): State<Arc<Services>>,
    (Extension(access), Extension(presented)): (Extension<Access>, Extension<Presented>),
    request: Request,
) -> Response {
    let flight = services.flight.as_ref().expect("a node without mode query forwards calls");
    flight.answer(Asker { access, token: presented.token() }, request).await
}
