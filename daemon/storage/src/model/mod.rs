//! Plain values that more than one room needs: ids, schemas, stamps, time ranges, rows, file records.
//!
//! # Promises
//! - No I/O, no async, no serialization: what is stored is written down in the `format.rs` of the room that stores it.
//! - A `TableSchema` lists tags in the order of the series key; that order only ever grows at the end.
//!
//! # Not here
//! - Types that one room alone uses: they stay where they are used.

mod deletes;
mod error;
mod file;
mod ids;
mod modes;
mod retention;
mod rows;
mod schema;
mod stamp;
mod time;
mod window;

pub use deletes::{RowDelete, Selection};
pub use error::ErrorKind;
pub use file::{FileRecord, SeriesKey, Tail};
pub use ids::{ColumnId, DatabaseId, Epoch, FileId, NodeId, Position, TableId};
pub use modes::{Mode, Modes};
pub use retention::Retention;
pub use rows::{FieldColumn, Rows, SeriesSet, Strings, Values};
pub use schema::{Column, ColumnKind, FieldType, SEQ_COLUMN, TIME_COLUMN, TableSchema};
pub use stamp::{Stamp, Writer};
pub use time::TimeRange;
pub use window::Window;
