//! The calls of Flight, each by what it does.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command,
    DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use sql::{Description, Query};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::handle::Handle;
use super::metadata::Call;
use super::rows::{self, Messages};
use super::ticket::{self, Params, Question, Wanted};
use super::{Parts, describe, errors};
use crate::api::{auth, position};

/// How long a client that shakes hands may think of what to say; some say nothing and wait.
const HELLO_WITHIN: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub(super) struct Service(Arc<Parts>);

/// One caller and the database it asks.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) parts: &'a Parts,
    call: &'a Call,
    database: String,
}

impl Asking<'_> {
    pub(super) fn query(&self, text: String, params: Params) -> Query {
        let timeout = self.call.deadline.into_iter().chain(self.parts.engine.default_timeout()).min();
        Query {
            text,
            database: self.database.clone(),
            params,
            access: self.call.asker.access.clone(),
            token: self.call.asker.token.clone(),
            door: "flight",
            postgres: None,
            timeout,
            patience: None,
        }
    }

    /// What a statement wants and answers, before its parameters are known.
    pub(super) async fn describe(&self, text: String) -> Result<Description, Status> {
        let query = self.query(text, Vec::new());
        self.parts.engine.describe(query, Vec::new()).await.map_err(errors::of_query)
    }
}

impl Service {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    fn asking<'a>(&'a self, call: &'a Call, database: String) -> Asking<'a> {
        Asking { parts: &self.0, call, database }
    }

    /// Waits for the rows the caller has asked for by their position.
    async fn reach(&self, call: &Call) -> Result<(), Status> {
        position::reach(&self.0.views, &call.after, self.0.engine.default_timeout()).await.map_err(errors::of_view)
    }

    /// The columns of what a descriptor asks for.
    async fn schema(&self, call: &Call, command: Command) -> Result<SchemaRef, Status> {
        match statement(&command)? {
            Some((text, params)) => {
                self.reach(call).await?;
                let query = self.asking(call, call.database()?).query(text, params);
                // Drivers compare it with that of the rows.
                let schema = self.0.engine.schema(query).await.map_err(errors::of_query)?;
                Ok(rows::sent(&schema))
            }
            None => describe::schema(&command),
        }
    }

    async fn get(&self, call: &Call, ticket: &[u8]) -> Result<Messages, Status> {
        let (database, command) = match ticket::wanted(ticket)? {
            Wanted::Sql(Question { database, text, params }) => {
                self.reach(call).await?;
                return rows::of_query(&self.0, self.asking(call, database).query(text, params)).await;
            }
            Wanted::Command { database, command } => (database, command),
        };
        let database = database.map_or_else(|| call.database(), Ok)?;
        let asking = self.asking(call, database);
        self.reach(call).await?;
        match statement(&command)? {
            Some((text, params)) => rows::of_query(&self.0, asking.query(text, params)).await,
            None => describe::rows(&asking, command).await.map(rows::of_batch),
        }
    }

    async fn create_prepared(&self, call: &Call, body: &[u8]) -> Result<ActionCreatePreparedStatementResult, Status> {
        let request: ActionCreatePreparedStatementRequest = action(body)?;
        if request.transaction_id.is_some_and(|id| !id.is_empty()) {
            return Err(no_transactions());
        }
        let asking = self.asking(call, call.database()?);
        let Description { params, schema, tag: _ } = asking.describe(request.query.clone()).await?;
        let params = params
            .into_iter()
            .zip(1..)
            .map(|(of, number): (DataType, usize)| Field::new(format!("${number}"), of, true));
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Handle::new(request.query).encode_to_vec().into(),
            dataset_schema: in_ipc(&rows::sent(&schema))?,
            parameter_schema: in_ipc(&Schema::new(params.collect::<Vec<_>>()))?,
        })
    }
}

/// The statement of a command, if it is one that asks with SQL.
fn statement(command: &Command) -> Result<Option<(String, Params)>, Status> {
    match command {
        Command::CommandStatementQuery(command) => {
            if command.transaction_id.as_ref().is_some_and(|id| !id.is_empty()) {
                return Err(no_transactions());
            }
            Ok(Some((command.query.clone(), Vec::new())))
        }
        Command::CommandPreparedStatementQuery(command) => {
            let handle = Handle::read(&command.prepared_statement_handle)?;
            let params = handle.params()?;
            Ok(Some((handle.text, params)))
        }
        _ => Ok(None),
    }
}

fn no_transactions() -> Status {
    Status::unimplemented("there are no transactions: each query sees the rows of its own moment")
}

fn no_writes() -> Status {
    Status::unimplemented("rows are not written with Flight but as line protocol over HTTP (/api/v3/write_lp)")
}

/// The message of an action.
fn action<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let unread = |error: &dyn std::fmt::Display| errors::of_decoding("action", error);
    let any = Any::decode(body).map_err(|error| unread(&error))?;
    let message = any.unpack().map_err(|error| unread(&error))?;
    message.ok_or_else(|| unread(&format!("its message is a {}", any.type_url)))
}

fn in_ipc(schema: &Schema) -> Result<Bytes, Status> {
    let encoded: Result<IpcMessage, ArrowError> = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    encoded.map(|message| message.0).map_err(errors::of_encoding)
}

/// The token of a caller, for a client that asks for one. Without authentication any will do.
fn bearer(metadata: &MetadataMap) -> Option<MetadataValue<tonic::metadata::Ascii>> {
    let token = metadata.get("authorization").and_then(|value| auth::token_in(value.as_bytes()).ok());
    MetadataValue::try_from(format!("Bearer {}", token.as_deref().unwrap_or("none"))).ok()
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn one<T: Send + 'static>(message: T) -> Answers<T> {
    stream::iter([Ok(message)]).boxed()
}

/// Refuses rows that are compressed: how much memory they take when they are not is for the sender to say, and the decoder
/// believes it.
fn plain(message: FlightData) -> Result<FlightData, Status> {
    let is_compressed = |header: arrow_ipc::Message<'_>| {
        let dictionary = header.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        let rows = header.header_as_record_batch().or(dictionary);
        rows.is_some_and(|rows| rows.compression().is_some())
    };
    match arrow_ipc::root_as_message(&message.data_header) {
        Ok(header) if is_compressed(header) => Err(Status::invalid_argument("parameters may not be compressed")),
        // What is no message is told by the decoder.
        _ => Ok(message),
    }
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Messages;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    /// Gives back what was said, and the token for the calls that follow.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let token = bearer(request.metadata());
        let mut said = request.into_inner();
        let answer = async move {
            let said = tokio::time::timeout(HELLO_WITHIN, said.message()).await;
            let HandshakeRequest { protocol_version, payload } = said.unwrap_or(Ok(None))?.unwrap_or_default();
            Ok(HandshakeResponse { protocol_version, payload })
        };
        let mut response = Response::new(stream::once(answer).boxed());
        token.map(|token| response.metadata_mut().insert("authorization", token));
        Ok(response)
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented("ListFlights is not supported"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let call = Call::of(&request)?;
        let descriptor = request.into_inner();
        let schema = self.schema(&call, ticket::command(&descriptor.cmd)?).await?;
        // The command is its own ticket: whoever has it may ask for its rows, on any node.
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(descriptor.cmd.clone()));
        let info = FlightInfo::new().with_endpoint(endpoint).with_descriptor(descriptor);
        info.try_with_schema(&schema).map(Response::new).map_err(errors::of_encoding)
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("PollFlightInfo is not supported"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let call = Call::of(&request)?;
        let schema = self.schema(&call, ticket::command(&request.get_ref().cmd)?).await?;
        Ok(Response::new(SchemaResult { schema: in_ipc(&schema)? }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let call = Call::of(&request)?;
        self.get(&call, &request.get_ref().ticket).await.map(Response::new)
    }

    /// Binds the parameters of a prepared statement.
    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.unwrap_or_default();
        let descriptor = first.flight_descriptor.clone().unwrap_or_default();
        let handle = match ticket::command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(command) => Handle::read(&command.prepared_statement_handle)?,
            _ => return Err(no_writes()),
        };
        let messages = stream::iter([Ok(first)]).chain(messages).and_then(|message| ready(plain(message)));
        let messages = messages.map_err(FlightError::from);
        let mut rows = FlightRecordBatchStream::new_from_flight_data(messages);
        let unread = |error| errors::of_decoding("parameters", error);
        let mut batches = Vec::new();
        // More than one row is refused, so no more need be kept than it takes to see that.
        while let Some(batch) = rows.try_next().await.map_err(unread)? {
            batches.push(batch);
            batches.retain(|batch| batch.num_rows() > 0);
            if batches.len() > 1 {
                break;
            }
        }
        let handle = handle.bind(&batches)?.encode_to_vec();
        let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle.into()) };
        Ok(Response::new(one(PutResult { app_metadata: result.encode_to_vec().into() })))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("DoExchange is not supported"))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let call = Call::of(&request)?;
        let Action { r#type: name, body } = request.into_inner();
        match name.as_str() {
            "CreatePreparedStatement" => {
                let created = self.create_prepared(&call, &body).await?;
                let body = created.as_any().encode_to_vec();
                Ok(Response::new(one(arrow_flight::Result::new(body))))
            }
            // Nothing is kept of it.
            "ClosePreparedStatement" => Ok(Response::new(stream::empty().boxed())),
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => Err(no_transactions()),
            _ => {
                let shown: String = name.escape_debug().take(60).collect();
                Err(Status::unimplemented(format!("the action '{shown}' is not supported")))
            }
        }
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(Status::unimplemented("ListActions is not supported"))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use arrow_ipc::CompressionType;

    use super::*;

    #[tokio::test]
    async fn parameters_that_are_compressed_are_refused_before_they_take_memory() {
        for (compression, expected) in [(None, Ok(2)), (Some(CompressionType::LZ4_FRAME), Err(1))] {
            let batch =
                RecordBatch::try_from_iter([("p", Arc::new(Int64Array::from(vec![7; 1000])) as ArrayRef)]).unwrap();
            let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let rows = stream::iter([Ok(batch)]);
            let messages = FlightDataEncoderBuilder::new().with_options(options).build(rows);
            let messages: Vec<FlightData> = messages.try_collect().await.unwrap();
            let count = messages.len();
            let passed = messages.into_iter().filter(|message| plain(message.clone()).is_ok()).count();
            assert_eq!(if passed == count { Ok(passed) } else { Err(passed) }, expected, "{compression:?}");
        }
    }
}
