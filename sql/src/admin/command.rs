use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use storage::catalog::{CacheKind, Deletion, HardDelete, NewCache, NewTable, PermissionText, WantedCache};
use storage::model::{FieldType, Retention, TimeRange};
use uuid::Uuid;

use crate::system::{conditions, instant};

/// One change that an operator wants. Shown, it is a statement that means the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    CreateDatabase {
        database: Named,
        retention_ns: Option<u64>,
    },
    /// `None` keeps rows for ever.
    SetDatabaseRetention {
        database: String,
        retention_ns: Option<u64>,
    },
    DropDatabase {
        database: Named,
        hard_delete: HardDelete,
    },
    CreateTable {
        table: NewTable,
        tolerant: bool,
    },
    /// `None` leaves it to the database.
    SetTableRetention {
        table: TableRef,
        retention_ns: Option<u64>,
    },
    DropTable {
        table: TableRef,
        tolerant: bool,
        hard_delete: HardDelete,
    },
    /// Without `expiry` it is good for ever.
    CreateToken {
        name: String,
        grant: Grant,
        expiry: Option<Duration>,
    },
    DropToken(Named),
    DrainNode {
        node: String,
    },
    RemoveNode {
        node: String,
    },
    CancelQuery {
        id: Uuid,
    },
    DeleteRows(Deletion),
    CreateCache {
        cache: NewCache,
        tolerant: bool,
    },
    DropCache {
        kind: CacheKind,
        table: TableRef,
        cache: Named,
    },
    /// Of one node, or of all that take writes.
    Snapshot {
        node: Option<String>,
    },
    /// Of rows of this time, or of all.
    CompactTable {
        table: TableRef,
        window: Option<TimeRange>,
    },
    /// Of one node, or of all; no value ends what was set.
    Configure {
        setting: String,
        node: Option<String>,
        value: Option<String>,
    },
    /// Ends all that was set for one node, or for all nodes together.
    ResetAll {
        node: Option<String>,
    },
    /// A setting of the node that is asked.
    Show {
        setting: String,
    },
}

/// A name, and whether it is right that the thing is there already, or not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub tolerant: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    pub database: String,
    pub table: String,
}

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    Everything,
    Permissions(Vec<PermissionText>),
}

impl Named {
    /// Something that must be there, or must not.
    #[must_use]
    pub fn strictly(name: impl Into<String>) -> Self {
        Self { name: name.into(), tolerant: false }
    }
}

impl Command {
    /// Whether nodes carry it out by themselves once they are told, so that nobody needs to wait.
    pub(crate) fn is_order(&self) -> bool {
        matches!(self, Self::Snapshot { .. } | Self::CompactTable { .. })
    }

    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::CreateDatabase { .. } => "CREATE DATABASE",
            Self::SetDatabaseRetention { .. } => "ALTER DATABASE",
            Self::DropDatabase { .. } => "DROP DATABASE",
            Self::CreateTable { .. } => "CREATE TABLE",
            Self::SetTableRetention { .. } => "ALTER TABLE",
            Self::DropTable { .. } => "DROP TABLE",
            Self::CreateToken { .. } => "CREATE TOKEN",
            Self::DropToken(_) => "DROP TOKEN",
            Self::DrainNode { .. } => "DRAIN NODE",
            Self::RemoveNode { .. } => "REMOVE NODE",
            Self::CancelQuery { .. } => "CANCEL QUERY",
            Self::DeleteRows(_) => "DELETE",
            Self::CreateCache { cache, .. } => match cache.wanted.kind() {
                CacheKind::Last => "CREATE LAST CACHE",
                CacheKind::Distinct => "CREATE DISTINCT CACHE",
            },
            Self::DropCache { kind: CacheKind::Last, .. } => "DROP LAST CACHE",
            Self::DropCache { kind: CacheKind::Distinct, .. } => "DROP DISTINCT CACHE",
            Self::Snapshot { .. } => "SNAPSHOT",
            Self::CompactTable { .. } => "COMPACT TABLE",
            Self::Configure { .. } | Self::ResetAll { .. } => "ALTER SYSTEM",
            Self::Show { .. } => "SHOW",
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let retention = |ns: &Option<u64>| ns.map_or(Retention::Forever, Retention::Nanoseconds);
        match self {
            Self::CreateDatabase { database, retention_ns } => {
                let Named { name, tolerant } = database;
                write!(f, "CREATE DATABASE {}{}", If(*tolerant, "IF NOT EXISTS "), Name(name))?;
                with(f, &[retention_ns.map(|ns| ("retention", Retention::Nanoseconds(ns).to_string()))])
            }
            Self::SetDatabaseRetention { database, retention_ns } => {
                write!(f, "ALTER DATABASE {} SET (retention = '{}')", Name(database), retention(retention_ns))
            }
            Self::DropDatabase { database: Named { name, tolerant }, hard_delete } => {
                write!(f, "DROP DATABASE {}{}", If(*tolerant, "IF EXISTS "), Name(name))?;
                with(f, &[hard_delete_option(*hard_delete)])
            }
            Self::CreateTable { table, tolerant } => create_table(f, table, If(*tolerant, "IF NOT EXISTS ")),
            Self::SetTableRetention { table, retention_ns: None } => write!(f, "ALTER TABLE {table} RESET (retention)"),
            Self::SetTableRetention { table, retention_ns } => {
                write!(f, "ALTER TABLE {table} SET (retention = '{}')", retention(retention_ns))
            }
            Self::DropTable { table, tolerant, hard_delete } => {
                write!(f, "DROP TABLE {}{table}", If(*tolerant, "IF EXISTS "))?;
                with(f, &[hard_delete_option(*hard_delete)])
            }
            Self::CreateToken { name, grant, expiry } => create_token(f, name, (grant, *expiry)),
            Self::DropToken(Named { name, tolerant }) => {
                write!(f, "DROP TOKEN {}{}", If(*tolerant, "IF EXISTS "), Name(name))
            }
            Self::DrainNode { node } => write!(f, "DRAIN NODE {}", Text(node)),
            Self::RemoveNode { node } => write!(f, "REMOVE NODE {}", Text(node)),
            Self::DeleteRows(deletion) => delete_rows(f, deletion),
            Self::CancelQuery { id } => write!(f, "CANCEL QUERY '{id}'"),
            Self::CreateCache { cache, tolerant } => {
                write!(f, "{} {}", self.words(), If(*tolerant, "IF NOT EXISTS "))?;
                create_cache(f, cache)
            }
            Self::DropCache { kind: _, table, cache: Named { name, tolerant } } => {
                write!(f, "{} {}{} ON {table}", self.words(), If(*tolerant, "IF EXISTS "), Name(name))
            }
            Self::Snapshot { node: None } => f.write_str("SNAPSHOT"),
            Self::Snapshot { node: Some(node) } => write!(f, "SNAPSHOT NODE {}", Text(node)),
            Self::CompactTable { table, window } => {
                write!(f, "COMPACT TABLE {table}")?;
                let Some(TimeRange { min, max }) = window else { return Ok(()) };
                let (from, to) = (instant(*min), instant(max.saturating_add(1)));
                write!(f, " WINDOW '{from}' TO '{to}'")
            }
            Self::Configure { setting, node, value } => {
                match value {
                    Some(value) => write!(f, "ALTER SYSTEM SET {} = {}", Name(setting), Text(value))?,
                    None => write!(f, "ALTER SYSTEM RESET {}", Name(setting))?,
                }
                for_node(f, node.as_deref())
            }
            Self::ResetAll { node } => {
                f.write_str("ALTER SYSTEM RESET ALL")?;
                for_node(f, node.as_deref())
            }
            Self::Show { setting } => write!(f, "SHOW {}", Name(setting)),
        }
    }
}

fn for_node(f: &mut Formatter<'_>, node: Option<&str>) -> fmt::Result {
    node.map_or(Ok(()), |node| write!(f, " FOR NODE {}", Text(node)))
}

fn create_table(f: &mut Formatter<'_>, table: &NewTable, tolerant: If) -> fmt::Result {
    let NewTable { database, name, tags, fields, retention_ns } = table;
    write!(f, "CREATE TABLE {tolerant}{}.public.{} (", Name(database), Name(name))?;
    let tags = tags.iter().map(|tag| (tag, "TAG"));
    let fields = fields.iter().map(|(name, field)| (name, type_name(*field)));
    for (number, (name, of)) in tags.chain(fields).enumerate() {
        write!(f, "{}{} {of}", if number == 0 { "" } else { ", " }, Name(name))?;
    }
    f.write_str(")")?;
    with(f, &[retention_ns.map(|ns| ("retention", Retention::Nanoseconds(ns).to_string()))])
}

fn delete_rows(f: &mut Formatter<'_>, deletion: &Deletion) -> fmt::Result {
    let Deletion { database, table, first_ns, last_ns, tags } = deletion;
    write!(f, "DELETE FROM {}.public.{}", Name(database), Name(table))?;
    let tags = tags.iter().map(|(tag, values)| (tag.as_str(), values.iter().map(Option::as_deref).collect()));
    match conditions((*first_ns, *last_ns), tags) {
        all if all.is_empty() => Ok(()),
        conditions => write!(f, " WHERE {conditions}"),
    }
}

fn create_cache(f: &mut Formatter<'_>, cache: &NewCache) -> fmt::Result {
    let NewCache { database, table, name, wanted } = cache;
    if let Some(name) = name {
        write!(f, "{} ", Name(name))?;
    }
    write!(f, "ON {}.public.{}", Name(database), Name(table))?;
    let number = |name, value: &Option<u64>| value.map(|value| (name, value.to_string()));
    let duration = |name, seconds: &Option<u64>| {
        let shown = |seconds: u64| Retention::Nanoseconds(seconds.saturating_mul(1_000_000_000)).to_string();
        seconds.map(|seconds| (name, shown(seconds)))
    };
    match wanted {
        WantedCache::Last { keys, values, count, ttl_seconds } => {
            for (word, columns) in [("KEY", keys), ("VALUES", values)] {
                columns.as_ref().map_or(Ok(()), |columns| write!(f, " {word} ({})", Names(columns)))?;
            }
            with(f, &[number("count", count), duration("ttl", ttl_seconds)])
        }
        WantedCache::Distinct { columns, cardinality_max, age_max_seconds } => {
            write!(f, " ({})", Names(columns))?;
            with(f, &[number("max_cardinality", cardinality_max), duration("max_age", age_max_seconds)])
        }
    }
}

fn create_token(f: &mut Formatter<'_>, name: &str, (grant, expiry): (&Grant, Option<Duration>)) -> fmt::Result {
    let nanoseconds = |expiry: Duration| u64::try_from(expiry.as_nanos()).unwrap_or(u64::MAX);
    let expires = expiry.map(|expiry| ("expires_in", Retention::Nanoseconds(nanoseconds(expiry)).to_string()));
    let (kind, permissions) = match grant {
        Grant::Everything => ("ADMIN TOKEN", None),
        Grant::Permissions(texts) => {
            let shown = |text: &PermissionText| {
                let PermissionText { resource_type, resource_names, actions } = text;
                format!("{resource_type}:{}:{}", resource_names.join(","), actions.join(","))
            };
            let shown = texts.iter().map(shown).collect::<Vec<_>>().join("; ");
            ("TOKEN", Some(("permissions", shown)))
        }
    };
    write!(f, "CREATE {kind} {}", Name(name))?;
    with(f, &[permissions, expires])
}

fn hard_delete_option(hard_delete: HardDelete) -> Option<(&'static str, String)> {
    let when = match hard_delete {
        HardDelete::Default => return None,
        HardDelete::Now => "now".to_owned(),
        HardDelete::Never => "never".to_owned(),
        HardDelete::At(ms) => super::instant_text(ms),
    };
    Some(("hard_delete", when))
}

fn with(f: &mut Formatter<'_>, options: &[Option<(&str, String)>]) -> fmt::Result {
    for (number, (name, value)) in options.iter().flatten().enumerate() {
        write!(f, "{}{name} = {}", if number == 0 { " WITH (" } else { ", " }, Text(value))?;
    }
    if options.iter().any(Option::is_some) { f.write_str(")") } else { Ok(()) }
}

/// The first of the names by which `words` knows the type.
fn type_name(field: FieldType) -> &'static str {
    match field {
        FieldType::Float => "DOUBLE",
        FieldType::Integer => "BIGINT",
        FieldType::UInteger => "BIGINT UNSIGNED",
        FieldType::Boolean => "BOOLEAN",
        FieldType::String => "TEXT",
    }
}

impl Display for TableRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.public.{}", Name(&self.database), Name(&self.table))
    }
}

/// The words, if they are to be there.
struct If(bool, &'static str);

impl Display for If {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 { f.write_str(self.1) } else { Ok(()) }
    }
}

struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

struct Names<'a>(&'a [String]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|name| Name(name).to_string());
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}
