//! What the tables of `pg_catalog` hold rows of: schemas, tables, columns, types, databases, the role, the settings.

use std::collections::BTreeMap;

use arrow_schema::{DataType, Field, SchemaRef};
use storage::catalog::{Action, State};
use storage::model::{DatabaseId, TableId};

use super::directory::Directory;
use super::spec::{Cell, Row, Spec};
use super::types::{MORE_TYPES, PgType, Scalar, TYPES};
use super::{PgSession, catalog, information};
use crate::system::{self, INTERNAL_DATABASE, World};
use crate::tables::user_schema;

pub(super) const PG_CATALOG_OID: i64 = 11;
pub(super) const PUBLIC_OID: i64 = 2200;
pub(super) const INFORMATION_SCHEMA_OID: i64 = 13_000;
pub(super) const SYSTEM_OID: i64 = 13_001;
/// The one role there is: whoever is logged in.
const ROLE_OID: i64 = 10;
/// The numbers below belong to Postgres.
const FIRST_OID: i64 = 16_384;
const CATALOG_OIDS: i64 = 1_000_000_000;
const SYSTEM_OIDS: i64 = 1_200_000_000;
const INFORMATION_OIDS: i64 = 1_400_000_000;

/// The schemas that are shown.
pub(super) const NAMESPACES: [(i64, &str); 4] = [
    (PG_CATALOG_OID, "pg_catalog"),
    (PUBLIC_OID, "public"),
    (INFORMATION_SCHEMA_OID, "information_schema"),
    (SYSTEM_OID, "system"),
];

/// A table or a view.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: i64,
    pub(super) namespace: i64,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) schema: SchemaRef,
    /// In files; rows in memory are not counted.
    pub(super) rows: i64,
    pub(super) bytes: i64,
}

impl Relation {
    pub(super) fn namespace_name(&self) -> &'static str {
        NAMESPACES.iter().find(|(oid, _)| *oid == self.namespace).map_or("", |(_, name)| name)
    }

    /// What it is, in a sentence.
    pub(super) fn words(&self) -> Option<&'static str> {
        if self.namespace == SYSTEM_OID { system::table_words(&self.name) } else { None }
    }

    /// What its column of this number is, with its unit.
    pub(super) fn column_words(&self, number: i64) -> Option<String> {
        let field = self.schema.fields().get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        let is_ours = self.namespace == SYSTEM_OID;
        let (unit, about) = system::column_words(&self.name, field.name()).filter(|_| is_ours)?;
        Some(unit.map_or_else(|| about.to_owned(), |unit| format!("{about} ({unit})")))
    }
}

pub(super) fn table_oid(id: TableId) -> i64 {
    FIRST_OID + i64::from(id.0)
}

pub(super) fn database_oid(id: DatabaseId) -> i64 {
    FIRST_OID + i64::from(id.0)
}

/// A number that a name always has, on every node and in every version.
fn oid_of_name(first: i64, name: &str) -> i64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    first + i64::try_from(hash % 200_000_000).expect("it is small")
}

/// Everything that can be named in the database of `world`.
pub(super) fn relations(world: &World) -> Vec<Relation> {
    let of_catalog = |first: i64, namespace: i64, spec: &Spec| Relation {
        oid: oid_of_name(first, spec.name),
        namespace,
        name: spec.name.to_owned(),
        kind: "v",
        schema: spec.schema(),
        rows: -1,
        bytes: 0,
    };
    let catalogs = catalog::specs().map(|spec| of_catalog(CATALOG_OIDS, PG_CATALOG_OID, spec));
    let information = information::specs().map(|spec| of_catalog(INFORMATION_OIDS, INFORMATION_SCHEMA_OID, spec));
    user_relations(world).chain(system_relations(world)).chain(catalogs).chain(information).collect()
}

fn user_relations(world: &World) -> impl Iterator<Item = Relation> {
    let ids = world.database.iter().flat_map(|d| d.tables.values());
    ids.filter_map(|id| Some((*id, world.state.table(*id)?))).map(|(id, table)| Relation {
        oid: table_oid(id),
        namespace: PUBLIC_OID,
        name: table.schema.name.to_string(),
        kind: "r",
        schema: user_schema(&table.schema),
        rows: total(table.files.values().map(|file| file.rows)),
        bytes: total(table.files.values().map(|file| file.size_bytes)),
    })
}

fn total(numbers: impl Iterator<Item = u64>) -> i64 {
    i64::try_from(numbers.sum::<u64>()).unwrap_or(i64::MAX)
}

fn system_relations(world: &World) -> impl Iterator<Item = Relation> {
    let tables = system::names(world).into_iter().filter_map(|name| Some((system::table(world, &name)?, name)));
    tables.map(|(table, name)| Relation {
        oid: oid_of_name(SYSTEM_OIDS, &name),
        namespace: SYSTEM_OID,
        name,
        kind: "v",
        schema: table.schema(),
        rows: -1,
        bytes: 0,
    })
}

pub(super) fn namespaces() -> Vec<Row> {
    NAMESPACES.iter().map(|(oid, name)| vec![("oid", Cell::Int(*oid)), ("nspname", (*name).into())]).collect()
}

pub(super) fn classes(known: &Directory) -> Vec<Row> {
    let row = |relation: &Relation| {
        vec![
            ("oid", Cell::Int(relation.oid)),
            ("relname", relation.name.as_str().into()),
            ("relnamespace", Cell::Int(relation.namespace)),
            ("relkind", relation.kind.into()),
            ("relam", Cell::Int(if relation.kind == "r" { 2 } else { 0 })),
            ("reltuples", Cell::Int(relation.rows)),
            ("relnatts", Cell::Int(count(relation.schema.fields().len()))),
        ]
    };
    known.relations().iter().map(row).collect()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn attributes(known: &Directory) -> Vec<Row> {
    let row = |relation: &Relation, (index, field): (usize, &Field)| {
        let data_type = PgType::of(field);
        vec![
            ("attrelid", Cell::Int(relation.oid)),
            ("attname", field.name().as_str().into()),
            ("atttypid", Cell::Int(i64::from(data_type.oid()))),
            ("attlen", Cell::Int(i64::from(data_type.value_len()))),
            ("atttypmod", Cell::Int(modifier(field.data_type()))),
            ("attnum", Cell::Int(count(index + 1))),
            ("attndims", Cell::Int(i64::from(matches!(data_type, PgType::Array(_))))),
            ("attnotnull", (!field.is_nullable()).into()),
            ("attcollation", Cell::Int(if data_type == PgType::TEXT { 100 } else { 0 })),
        ]
    };
    let mut rows = Vec::new();
    for relation in known.relations() {
        rows.extend(relation.schema.fields().iter().map(|f| &**f).enumerate().map(|column| row(relation, column)));
    }
    rows
}

/// How many digits a number has. Where nothing says that, DuckDB makes a `DOUBLE` of it, which loses some.
fn modifier(of: &DataType) -> i64 {
    let digits = |(all, after_point): (i64, i64)| (all << 16 | after_point) + 4;
    match of {
        DataType::UInt64 => digits((20, 0)),
        DataType::Decimal128(all, after_point) if *after_point >= 0 => digits(((*all).into(), (*after_point).into())),
        _ => -1,
    }
}

/// What is said of relations and of their columns.
pub(super) fn descriptions(known: &Directory) -> Vec<Row> {
    let class = known.relation("pg_catalog.pg_class").map_or(0, |class| class.oid);
    let row = |relation: &Relation, number: i64, words: String| {
        let (of, class) = (Cell::Int(relation.oid), Cell::Int(class));
        vec![("objoid", of), ("classoid", class), ("objsubid", Cell::Int(number)), ("description", words.into())]
    };
    let mut rows = Vec::new();
    for relation in known.relations() {
        rows.extend(relation.words().map(|words| row(relation, 0, words.to_owned())));
        let columns = 1..=count(relation.schema.fields().len());
        rows.extend(columns.filter_map(|number| Some(row(relation, number, relation.column_words(number)?))));
    }
    rows
}

/// Types whose functions have their names with an underscore; some clients know a type by that name.
const PARTED_TYPES: [&str; 10] =
    ["date", "interval", "json", "jsonb", "numeric", "record", "time", "timestamp", "timestamptz", "uuid"];

pub(super) fn types() -> Vec<Row> {
    let row = |(oid, name, category, len): (i64, &str, &str, i64)| -> Row {
        let part = if PARTED_TYPES.contains(&name) { "_" } else { "" };
        let function = |suffix: &str| format!("{name}{part}{suffix}");
        vec![
            ("oid", Cell::Int(oid)),
            ("typname", name.into()),
            ("typcategory", category.into()),
            ("typlen", Cell::Int(len)),
            ("typinput", function("in").into()),
            ("typoutput", function("out").into()),
            ("typreceive", function("recv").into()),
            ("typsend", function("send").into()),
        ]
    };
    let mut rows: Vec<Row> = MORE_TYPES.iter().map(|t| row((t.oid, t.name, t.category, t.len))).collect();
    for t in TYPES {
        let (oid, array_oid) = (i64::from(t.oid), i64::from(t.array_oid));
        let mut one = row((oid, t.name, t.category, i64::from(t.len)));
        one.push(("typarray", Cell::Int(array_oid)));
        one.push(("typcollation", Cell::Int(if t.scalar == Scalar::Text { 100 } else { 0 })));
        let mut array = row((array_oid, &format!("_{}", t.name), "A", -1));
        array.retain(|(name, _)| !["typinput", "typoutput", "typreceive", "typsend"].contains(name));
        array.extend([("typinput", "array_in".into()), ("typoutput", "array_out".into())]);
        array.extend([("typreceive", "array_recv".into()), ("typsend", "array_send".into())]);
        array.push(("typelem", Cell::Int(oid)));
        rows.extend([one, array]);
    }
    rows
}

/// The databases that the asker may read.
pub(super) fn databases(world: &World) -> Vec<Row> {
    let readable = names_of_databases(world);
    readable.into_iter().map(|(name, oid)| vec![("oid", Cell::Int(oid)), ("datname", name.into())]).collect()
}

fn names_of_databases(world: &World) -> BTreeMap<String, i64> {
    let state: &State = &world.state;
    let live = state.databases.values().filter(|d| d.dropped.is_none());
    let readable = live.filter(|d| world.access.allows(Some(d.id), Action::Read));
    let mut names: BTreeMap<_, _> = readable.map(|d| (d.name.to_string(), database_oid(d.id))).collect();
    if world.access.is_admin() {
        names.insert(INTERNAL_DATABASE.to_owned(), 1);
    }
    names
}

pub(super) fn roles(session: &PgSession) -> Vec<Row> {
    vec![vec![("oid", Cell::Int(ROLE_OID)), ("rolname", session.user.as_str().into())]]
}

pub(super) fn users(session: &PgSession) -> Vec<Row> {
    vec![vec![("usesysid", Cell::Int(ROLE_OID)), ("usename", session.user.as_str().into())]]
}

pub(super) fn settings(session: &PgSession) -> Vec<Row> {
    let row = |(name, value): &(String, String)| {
        let value = || Cell::from(value.as_str());
        vec![("name", name.as_str().into()), ("setting", value()), ("boot_val", value()), ("reset_val", value())]
    };
    session.settings.iter().map(row).collect()
}

pub(super) fn tables(known: &Directory) -> Vec<Row> {
    let tables = known.relations().iter().filter(|r| r.kind == "r");
    tables.map(|r| vec![("schemaname", r.namespace_name().into()), ("tablename", r.name.as_str().into())]).collect()
}

pub(super) fn views(known: &Directory) -> Vec<Row> {
    let views = known.relations().iter().filter(|r| r.kind == "v");
    views.map(|r| vec![("schemaname", r.namespace_name().into()), ("viewname", r.name.as_str().into())]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_made_of_names_differ() {
        let names = catalog::specs().map(|spec| (CATALOG_OIDS, spec.name));
        let names = names.chain(information::specs().map(|spec| (INFORMATION_OIDS, spec.name)));
        let names: Vec<_> = names.chain(system::all_names().map(|name| (SYSTEM_OIDS, name))).collect();
        let numbers: BTreeSet<i64> = names.iter().map(|(first, name)| oid_of_name(*first, name)).collect();
        assert_eq!(numbers.len(), names.len());
        assert!(numbers.iter().all(|oid| (CATALOG_OIDS..INFORMATION_OIDS + 200_000_000).contains(oid)));
    }
}
