use std::time::Duration;

use datafusion::common::DataFusionError;
use storage::catalog;
use storage::model::ErrorKind;
use storage::view;

use crate::tables::FileError;

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("database not found: {0}")]
    DatabaseNotFound(String),
    /// The text is not one statement that reads, or names what does not exist.
    #[error("{0}")]
    Plan(String),
    /// The query engine does not know this part of SQL.
    #[error("{0}")]
    Unsupported(String),
    #[error("not allowed to read database '{0}'")]
    Denied(String),
    /// The memory of all queries together is used up; try again later or ask for less.
    #[error("{0}")]
    Memory(String),
    #[error("the query took longer than {0:?}")]
    Timeout(Duration),
    #[error("the query was cancelled")]
    Cancelled,
    /// A command that goes on, or whose end is open: who asked was made to wait no longer.
    #[error("the wait was cancelled: {0}")]
    Unwaited(String),
    /// Too many queries wait.
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Execution(String),
    /// A command that is not performed, or is open.
    #[error("{message}")]
    Command { kind: ErrorKind, message: String },
    /// A file could not be read from the store, or rows of another node that must be shown cannot be.
    #[error("{0}")]
    Unavailable(String),
}

/// What kind of trouble an error is; each protocol maps kinds to its answers in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryErrorKind {
    DatabaseNotFound,
    Plan,
    Unsupported,
    Denied,
    Memory,
    Timeout,
    Cancelled,
    Busy,
    Execution,
    Command(ErrorKind),
    Unavailable,
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> QueryErrorKind {
        match self {
            Self::DatabaseNotFound(_) => QueryErrorKind::DatabaseNotFound,
            Self::Plan(_) => QueryErrorKind::Plan,
            Self::Unsupported(_) => QueryErrorKind::Unsupported,
            Self::Denied(_) => QueryErrorKind::Denied,
            Self::Memory(_) => QueryErrorKind::Memory,
            Self::Timeout(_) => QueryErrorKind::Timeout,
            Self::Cancelled | Self::Unwaited(_) => QueryErrorKind::Cancelled,
            Self::Busy(_) => QueryErrorKind::Busy,
            Self::Execution(_) => QueryErrorKind::Execution,
            Self::Command { kind, .. } => QueryErrorKind::Command(*kind),
            Self::Unavailable(_) => QueryErrorKind::Unavailable,
        }
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        Self::Command { kind: error.kind(), message: error.to_string() }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        let root = root(&error);
        if let Some(file) = FileError::within(root) {
            return match file {
                FileError::Unread { .. } => Self::Unavailable(file.to_string()),
                // To ask again is of no use.
                FileError::Damaged(_) => Self::Execution(file.to_string()),
            };
        }
        let message = root.strip_backtrace();
        match root {
            DataFusionError::External(inner) if matches!(inner.downcast_ref(), Some(view::Error::Replica(_))) => {
                Self::Unavailable(inner.to_string())
            }
            DataFusionError::ResourcesExhausted(message) => Self::Memory(first_line(message)),
            DataFusionError::SchemaError(..) | DataFusionError::Configuration(_) => Self::Plan(message),
            DataFusionError::Plan(message) => Self::Plan(first_line(message)),
            DataFusionError::SQL(parser, _) => Self::Plan(parser.to_string()),
            DataFusionError::NotImplemented(message) => Self::Unsupported(first_line(message)),
            DataFusionError::ObjectStore(e) => Self::Unavailable(e.to_string()),
            _ => Self::Execution(message),
        }
    }
}

/// The innermost error of the query engine; of several, the first.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, root),
        DataFusionError::External(inner) => inner.downcast_ref().map_or(error, root),
        DataFusionError::ArrowError(inner, _) => match &**inner {
            arrow_schema::ArrowError::ExternalError(inner) => inner.downcast_ref().map_or(error, root),
            _ => error,
        },
        _ => error,
    }
}

/// A backtrace, when the engine is built to take one, begins on a line of its own; so does the list of memory holders,
/// which stays.
fn first_line(message: &str) -> String {
    message.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(message).to_owned()
}
