//! Definitions of caches: what nodes that answer queries are to keep at hand of a table.
//!
//! # Not here
//! - Their contents: no node keeps any yet.

use std::sync::Arc;

use crate::model::ColumnId;

/// What a cache is for. Those of one kind have different names within a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheKind {
    Last,
    Distinct,
}

impl CacheKind {
    /// As names of caches end.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Last => "last_cache",
            Self::Distinct => "distinct_cache",
        }
    }
}

/// The name of a cache within its table.
pub type CacheName = (CacheKind, Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// The newest rows for each combination of keys.
    Last {
        keys: Vec<ColumnId>,
        /// `None` is all columns that are no keys, also those that are added later.
        values: Option<Vec<ColumnId>>,
        count: u64,
        ttl_seconds: u64,
    },
    /// The combinations of values there are.
    Distinct { columns: Vec<ColumnId>, cardinality_max: u64, age_max_seconds: u64 },
}

impl Cache {
    #[must_use]
    pub fn kind(&self) -> CacheKind {
        match self {
            Self::Last { .. } => CacheKind::Last,
            Self::Distinct { .. } => CacheKind::Distinct,
        }
    }

    /// All columns it names.
    pub fn columns(&self) -> impl Iterator<Item = ColumnId> {
        let (first, second) = match self {
            Self::Last { keys, values, .. } => (keys, values.as_deref().unwrap_or_default()),
            Self::Distinct { columns, .. } => (columns, &[][..]),
        };
        first.iter().chain(second).copied()
    }
}
