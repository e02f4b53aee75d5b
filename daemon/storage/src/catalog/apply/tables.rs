//! Changes of databases, tables and their columns.

use std::sync::Arc;

use super::{Outcome, all_differ, expect_next};
use crate::catalog::{Cache, CacheName, Change, Database, Dropped, State, Table};
use crate::model::{Column, ColumnId, DatabaseId, SEQ_COLUMN, TIME_COLUMN, TableId, TableSchema};

impl State {
    pub(super) fn create_database(&mut self, id: DatabaseId, name: &Arc<str>, retention_ns: Option<u64>) -> Outcome {
        expect_next("database", id.0, self.next_database)?;
        if name.is_empty() || self.database(name).is_some() {
            return Err(format!("database name '{name}' is taken or empty"));
        }
        self.next_database = id.0.checked_add(1).ok_or("there are no database ids left")?;
        let database = Database { id, name: Arc::clone(name), tables: Default::default(), retention_ns, dropped: None };
        self.databases.insert(id, Arc::new(database));
        Ok(())
    }

    pub(super) fn set_database_retention(&mut self, id: DatabaseId, retention_ns: Option<u64>) -> Outcome {
        self.live_database_mut(id)?.retention_ns = retention_ns;
        Ok(())
    }

    pub(super) fn drop_database(&mut self, id: DatabaseId, renamed: &Arc<str>, dropped: Dropped) -> Outcome {
        let taken = self.databases.values().any(|d| d.id != id && d.name == *renamed);
        let database = self.databases.get_mut(&id).map(Arc::make_mut).ok_or_else(|| no_database(id))?;
        let (before, name) = (database.dropped, &database.name);
        Renaming { before, after: dropped, name, renamed, taken }.check()?;
        database.name = Arc::clone(renamed);
        database.dropped = Some(dropped);
        Ok(())
    }

    pub(super) fn forget_database(&mut self, id: DatabaseId) -> Outcome {
        let database = self.databases.get(&id).ok_or_else(|| no_database(id))?;
        if database.dropped.is_none() {
            return Err(format!("database {id} is not dropped"));
        }
        if let Some(table) = self.tables.iter().find(|(_, t)| t.database == id).map(|(table, _)| table) {
            return Err(format!("database {id} still has table {table}"));
        }
        self.databases.remove(&id);
        Ok(())
    }

    pub(super) fn create_table(&mut self, change: &Change) -> Outcome {
        let Change::CreateTable { id, database, name, columns, retention_ns } = change else {
            return Err("not the creation of a table".into());
        };
        expect_next("table", id.0, self.next_table)?;
        check_columns(columns)?;
        let home = self.live_database_mut(*database)?;
        if name.is_empty() || home.tables.contains_key(name) {
            return Err(format!("table name '{name}' is taken or empty in database {database}"));
        }
        home.tables.insert(Arc::clone(name), *id);
        self.next_table = id.0.checked_add(1).ok_or("there are no table ids left")?;
        let schema = Arc::new(TableSchema { table: *id, name: Arc::clone(name), columns: columns.clone() });
        let (database, retention_ns) = (*database, *retention_ns);
        let (files, deletes, caches) = Default::default();
        let table = Table { database, schema, retention_ns, files, deletes, last_delete: 0, caches, dropped: None };
        self.tables.insert(*id, Arc::new(table));
        Ok(())
    }

    pub(super) fn add_columns(&mut self, id: TableId, first: ColumnId, columns: &[Column]) -> Outcome {
        let table = self.live_table_mut(id)?;
        expect_next("column", usize::from(first.0), table.schema.columns.len())?;
        if columns.is_empty() {
            return Err(format!("no columns are added to table {id}"));
        }
        let all: Vec<Column> = table.schema.columns.iter().chain(columns).cloned().collect();
        check_columns(&all)?;
        Arc::make_mut(&mut table.schema).columns = all;
        Ok(())
    }

    pub(super) fn set_table_retention(&mut self, id: TableId, retention_ns: Option<u64>) -> Outcome {
        self.live_table_mut(id)?.retention_ns = retention_ns;
        Ok(())
    }

    pub(super) fn drop_table(&mut self, id: TableId, renamed: &Arc<str>, dropped: Dropped) -> Outcome {
        let database = self.tables.get(&id).ok_or_else(|| no_table(id))?.database;
        self.live_database_mut(database)?.tables.retain(|_, table| *table != id);
        let sibling = |t: &Table| t.schema.table != id && t.database == database;
        let taken = self.tables.values().any(|t| sibling(t) && t.schema.name == *renamed);
        let table = self.tables.get_mut(&id).map(Arc::make_mut).ok_or_else(|| no_table(id))?;
        let (before, name) = (table.dropped, &table.schema.name);
        Renaming { before, after: dropped, name, renamed, taken }.check()?;
        Arc::make_mut(&mut table.schema).name = Arc::clone(renamed);
        table.dropped = Some(dropped);
        Ok(())
    }

    pub(super) fn create_cache(&mut self, id: TableId, name: &Arc<str>, cache: &Cache) -> Outcome {
        let table = self.live_table_mut(id)?;
        check_cache(&table.schema, cache)?;
        let key = (cache.kind(), Arc::clone(name));
        if name.is_empty() || table.caches.contains_key(&key) {
            return Err(format!("cache name '{name}' is taken or empty in table {id}"));
        }
        table.caches.insert(key, cache.clone());
        Ok(())
    }

    pub(super) fn drop_cache(&mut self, id: TableId, name: CacheName) -> Outcome {
        let removed = self.live_table_mut(id)?.caches.remove(&name);
        removed.map(drop).ok_or_else(|| format!("cache '{}' of table {id} does not exist", name.1))
    }

    pub(super) fn forget_table(&mut self, id: TableId) -> Outcome {
        let table = self.tables.get(&id).ok_or_else(|| no_table(id))?;
        if self.is_live(table) {
            return Err(format!("table {id} is not dropped"));
        }
        if !table.files.is_empty() {
            return Err(format!("table {id} still has {} files", table.files.len()));
        }
        let database = table.database;
        if let Some(home) = self.databases.get_mut(&database) {
            Arc::make_mut(home).tables.retain(|_, table| *table != id);
        }
        self.tables.remove(&id);
        Ok(())
    }

    /// Whether users see the table: neither it nor its database is dropped.
    fn is_live(&self, table: &Table) -> bool {
        let database = self.databases.get(&table.database);
        table.dropped.is_none() && database.is_some_and(|d| d.dropped.is_none())
    }

    fn live_database_mut(&mut self, id: DatabaseId) -> Result<&mut Database, String> {
        match self.databases.get_mut(&id) {
            None => Err(no_database(id)),
            Some(database) if database.dropped.is_some() => Err(format!("database {id} is dropped")),
            Some(database) => Ok(Arc::make_mut(database)),
        }
    }

    pub(super) fn live_table_mut(&mut self, id: TableId) -> Result<&mut Table, String> {
        let live = self.tables.get(&id).map(|table| self.is_live(table)).ok_or_else(|| no_table(id))?;
        let table = self.tables.get_mut(&id).filter(|_| live);
        table.map(Arc::make_mut).ok_or_else(|| format!("table {id} is dropped"))
    }

    pub(super) fn check_databases(&self) -> Outcome {
        let live = self.databases.values().filter(|d| d.dropped.is_none());
        all_differ("database name", live.map(|d| &d.name))?;
        for (id, database) in &self.databases {
            if *id != database.id || id.0 >= self.next_database {
                return Err(format!("database {id} is not where it belongs"));
            }
            let listed = |(name, table): (&Arc<str>, &TableId)| {
                self.tables
                    .get(table)
                    .is_some_and(|t| t.schema.name == *name && t.database == *id && t.dropped.is_none())
            };
            if !database.tables.iter().all(listed) {
                return Err(format!("database {id} lists a table that is not its own"));
            }
        }
        Ok(())
    }

    pub(super) fn check_tables(&self) -> Outcome {
        for (id, table) in &self.tables {
            check_columns(&table.schema.columns)?;
            table.caches.values().try_for_each(|cache| check_cache(&table.schema, cache))?;
            let home = self.databases.get(&table.database).ok_or_else(|| no_database(table.database))?;
            let listed = home.tables.get(&table.schema.name) == Some(id);
            if *id != table.schema.table || id.0 >= self.next_table || listed != table.dropped.is_none() {
                return Err(format!("table {id} is not where it belongs"));
            }
        }
        Ok(())
    }
}

/// A thing that is called `name` is dropped and called `renamed` from then on.
struct Renaming<'a> {
    before: Option<Dropped>,
    after: Dropped,
    name: &'a str,
    renamed: &'a str,
    /// Whether something else is called `renamed`.
    taken: bool,
}

impl Renaming<'_> {
    /// A first drop brings a new name, which nothing else has; what is dropped already keeps its name and the time it
    /// was dropped.
    fn check(&self) -> Outcome {
        let Self { before, after, name, renamed, taken } = self;
        match before {
            None if *taken || name == renamed || renamed.is_empty() => {
                Err(format!("'{name}' cannot become '{renamed}' when it is dropped: the name is taken or empty"))
            }
            Some(before) if before.at_ms != after.at_ms || name != renamed => {
                Err(format!("'{name}' is dropped already; only the time of its deletion can change"))
            }
            _ => Ok(()),
        }
    }
}

fn check_columns(columns: &[Column]) -> Outcome {
    if columns.len() > usize::from(u16::MAX) {
        return Err(format!("{} columns are more than can be numbered", columns.len()));
    }
    let reserved = |c: &&Column| c.name.is_empty() || matches!(&*c.name, TIME_COLUMN | SEQ_COLUMN);
    if let Some(column) = columns.iter().find(reserved) {
        return Err(format!("a column cannot be named '{}'", column.name));
    }
    all_differ("column", columns.iter().map(|c| &c.name))
}

fn check_cache(schema: &TableSchema, cache: &Cache) -> Outcome {
    match cache.columns().find(|id| usize::from(id.0) >= schema.columns.len()) {
        Some(id) => Err(format!("a cache names column {id}, which table {} does not have", schema.table)),
        None => Ok(()),
    }
}

fn no_database(id: DatabaseId) -> String {
    format!("database {id} does not exist")
}

pub(super) fn no_table(id: TableId) -> String {
    format!("table {id} does not exist")
}
