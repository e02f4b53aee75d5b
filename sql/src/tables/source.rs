use std::fmt::Debug;
use std::sync::Arc;

use storage::catalog::State;
use storage::model::{TableId, TimeRange};
use storage::replica;
use storage::view::{Error, TableView, View, Views};

/// What a query may see, fixed at one moment. `storage::view::View` is the real one.
pub trait Moment: Debug + Send + Sync {
    fn state(&self) -> &Arc<State>;

    /// The files and chunks of a table whose time range overlaps `range`.
    fn table(&self, table: TableId, range: TimeRange) -> Result<TableView, Error>;

    /// Why databases and tables may be there that the catalog does not name.
    fn may_lack(&self) -> Option<Error> {
        None
    }
}

/// Where moments come from. `storage::view::Views` is the real one.
pub trait Moments: Debug + Send + Sync {
    fn open(&self) -> Result<Arc<dyn Moment>, Error>;
}

impl Moment for View {
    fn state(&self) -> &Arc<State> {
        View::state(self)
    }

    fn table(&self, table: TableId, range: TimeRange) -> Result<TableView, Error> {
        View::table(self, table, range)
    }
}

impl Moments for Views {
    fn open(&self) -> Result<Arc<dyn Moment>, Error> {
        match Views::open(self) {
            Ok(view) => Ok(Arc::new(view)),
            // What tells how the nodes are is wanted most of all now.
            Err(Error::Replica(error)) => Ok(Arc::new(WithoutRows { state: self.state(), error })),
            Err(error) => Err(error),
        }
    }
}

/// A moment at which rows that must be shown cannot be: whoever asks for those of a table gets the error.
#[derive(Debug)]
struct WithoutRows {
    state: Arc<State>,
    error: replica::Error,
}

impl Moment for WithoutRows {
    fn state(&self) -> &Arc<State> {
        &self.state
    }

    fn table(&self, _: TableId, _: TimeRange) -> Result<TableView, Error> {
        Err(Error::Replica(self.error.clone()))
    }

    fn may_lack(&self) -> Option<Error> {
        matches!(self.error, replica::Error::Blind { .. }).then(|| Error::Replica(self.error.clone()))
    }
}
