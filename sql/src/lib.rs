//! Asking: SQL text in, record batches out, over stored tables and the system tables.
//!
//! This package knows the bucket only as files to read and keeps the query engine to itself.
//!
//! The order of the rooms below is the order of dependence: a room uses only rooms declared above it.

mod functions;
mod exec;
mod tables;
mod settings;
mod system;
mod postgres;
mod session;
mod admin;
mod run;

pub use admin::{
    Asker, Command, Compacted, Done, Grant, Hands, Named, Operator, TableRef, Tag, hard_delete_at, instant_text,
    is_command,
};
pub use postgres::{
    ARRAY_ITEMS_MAX, Active, Activity, ArrayError, PgSession, PgType, SERVER_VERSION, Scalar, array_items,
};
pub use run::{Answer, Description, Engine, EngineConfig, Error, Param, Query, QueryErrorKind};
pub use session::{judged_options, parse_option};
pub use settings::{Dial, Flag, Live, ReadSize, Settings};
pub use system::{Cancelled, Facts, Heard, Obeyed, Order, Peers, Told};
pub use tables::{Moment, Moments};
