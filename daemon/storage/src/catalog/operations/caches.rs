//! What an operator says of caches. A definition is judged against the table it is for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::names::check_cache_name;
use super::super::{Cache, CacheKind, Change, Error, State, Table};
use super::{Decision, Operator, TableName, deleted, exists, invalid, live_database, not_found, table_or_dropped};
use crate::model::{Column, ColumnId, ColumnKind, FieldType, TIME_COLUMN, TableSchema};

/// A cache as somebody asks for it; what is not said is by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCache {
    pub database: String,
    pub table: String,
    pub name: Option<String>,
    pub wanted: WantedCache,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedCache {
    Last { keys: Option<Vec<String>>, values: Option<Vec<String>>, count: Option<u64>, ttl_seconds: Option<u64> },
    Distinct { columns: Vec<String>, cardinality_max: Option<u64>, age_max_seconds: Option<u64> },
}

impl WantedCache {
    #[must_use]
    pub fn kind(&self) -> CacheKind {
        match self {
            Self::Last { .. } => CacheKind::Last,
            Self::Distinct { .. } => CacheKind::Distinct,
        }
    }
}

/// Rows of one key that a cache may keep.
const COUNT_MAX: u64 = 10;
const COUNT: u64 = 1;
const TTL_SECONDS: u64 = 4 * 3600;
const CARDINALITY_MAX: u64 = 100_000;
const AGE_MAX_SECONDS: u64 = 24 * 3600;

impl Operator<'_> {
    /// Defines a cache.
    pub async fn create_cache(&self, new: &NewCache) -> Result<(), Error> {
        self.commit(|state| decide_create(state, new)).await
    }

    pub async fn drop_cache(&self, (database, table): (&str, &str), name: (CacheKind, &str)) -> Result<(), Error> {
        self.commit(|state| decide_drop(state, TableName { database, table }, name)).await
    }
}

fn live_table<'a>(state: &'a State, name: TableName<'_>) -> Result<&'a Arc<Table>, Error> {
    let (_, table) = table_or_dropped(state, live_database(state, name.database)?, name.table)?;
    if table.dropped.is_some() { Err(deleted(name.table)) } else { Ok(table) }
}

/// What a definition comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedCache {
    pub table: Arc<Table>,
    pub name: Arc<str>,
    pub cache: Cache,
}

impl NewCache {
    /// With its defaults, for the table as it is in `state`.
    pub fn resolved(&self, state: &State) -> Result<ResolvedCache, Error> {
        let Self { database, table, name, wanted } = self;
        let table = Arc::clone(live_table(state, TableName { database, table })?);
        let cache = cache(&table.schema, wanted).map_err(invalid)?;
        let name: Arc<str> = match name {
            Some(name) => name.as_str().into(),
            None => default_name(&table.schema, &cache).into(),
        };
        check_cache_name(&name).map_err(invalid)?;
        Ok(ResolvedCache { table, name, cache })
    }
}

fn decide_create(state: &State, new: &NewCache) -> Decision<()> {
    let ResolvedCache { table, name, cache } = new.resolved(state)?;
    if table.caches.contains_key(&(cache.kind(), Arc::clone(&name))) {
        return Err(exists(&name));
    }
    Ok((vec![Change::CreateCache { table: table.schema.table, name, cache }], ()))
}

fn decide_drop(state: &State, table: TableName<'_>, (kind, name): (CacheKind, &str)) -> Decision<()> {
    let table = live_table(state, table)?;
    let key = (kind, Arc::<str>::from(name));
    if !table.caches.contains_key(&key) {
        return Err(not_found(name));
    }
    Ok((vec![Change::DropCache { table: table.schema.table, kind, name: key.1 }], ()))
}

fn cache(schema: &TableSchema, wanted: &WantedCache) -> Result<Cache, String> {
    match wanted {
        WantedCache::Last { keys, values, count, ttl_seconds } => {
            let keys = match keys {
                Some(keys) => columns(schema, keys, Kinds::Keys)?,
                None => schema.tags().map(|(id, _)| id).collect(),
            };
            let values = values.as_ref().map(|values| {
                // Every row has a time, and every cache of rows keeps it.
                let values: Vec<String> = values.iter().filter(|name| *name != TIME_COLUMN).cloned().collect();
                columns(schema, &values, Kinds::Any)
            });
            let values = values.transpose()?;
            if let Some(both) = values.iter().flatten().find(|value| keys.contains(value)) {
                let name = schema.column(*both).name.escape_debug().to_string();
                return Err(format!("column '{name}' cannot be both a key and a value of a last value cache"));
            }
            let (count, ttl_seconds) = (count.unwrap_or(COUNT), ttl_seconds.unwrap_or(TTL_SECONDS));
            if !(1..=COUNT_MAX).contains(&count) {
                return Err(format!("count is {count}: a last value cache keeps from 1 to {COUNT_MAX} rows of a key"));
            }
            expect_some("ttl", ttl_seconds)?;
            Ok(Cache::Last { keys, values, count, ttl_seconds })
        }
        WantedCache::Distinct { columns: names, cardinality_max, age_max_seconds } => {
            let columns = columns(schema, names, Kinds::Texts)?;
            if columns.is_empty() {
                return Err("a distinct value cache needs columns".to_owned());
            }
            let cardinality_max = cardinality_max.unwrap_or(CARDINALITY_MAX);
            let age_max_seconds = age_max_seconds.unwrap_or(AGE_MAX_SECONDS);
            expect_some("max_cardinality", cardinality_max)?;
            expect_some("max_age", age_max_seconds)?;
            Ok(Cache::Distinct { columns, cardinality_max, age_max_seconds })
        }
    }
}

fn expect_some(what: &str, value: u64) -> Result<(), String> {
    if value == 0 { Err(format!("{what} must be more than zero")) } else { Ok(()) }
}

/// Which columns may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Any,
    /// Whatever is equal to itself.
    Keys,
    Texts,
}

impl Kinds {
    fn allow(self, column: &Column) -> bool {
        match (self, column.kind) {
            (Self::Any, _) | (Self::Keys | Self::Texts, ColumnKind::Tag) => true,
            (Self::Keys, ColumnKind::Field(field)) => field != FieldType::Float,
            (Self::Texts, ColumnKind::Field(field)) => field == FieldType::String,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Any => "any column",
            Self::Keys => "a tag or a field that is no float",
            Self::Texts => "a tag or a text",
        }
    }
}

fn columns(schema: &TableSchema, names: &[String], kinds: Kinds) -> Result<Vec<ColumnId>, String> {
    let mut seen = BTreeSet::new();
    let find = |name: &String| {
        let (shown, table) = (name.escape_debug(), &schema.name);
        let (id, column) = schema.find(name).ok_or_else(|| format!("table '{table}' has no column '{shown}'"))?;
        if !kinds.allow(column) {
            let (is, wanted) = (column.kind.full_name(), kinds.in_words());
            return Err(format!("column '{shown}' is {is}, and {wanted} is needed here"));
        }
        if seen.insert(id) { Ok(id) } else { Err(format!("column '{shown}' is named twice")) }
    };
    names.iter().map(find).collect()
}

fn default_name(schema: &TableSchema, cache: &Cache) -> String {
    let columns = match cache {
        Cache::Last { keys, .. } => keys,
        Cache::Distinct { columns, .. } => columns,
    };
    let names = columns.iter().map(|id| &*schema.column(*id).name);
    let parts: Vec<&str> = [&*schema.name].into_iter().chain(names).chain([cache.kind().word()]).collect();
    parts.join("_")
}
