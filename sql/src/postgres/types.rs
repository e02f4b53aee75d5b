//! Which Postgres type a column has.
//!
//! # Promises
//! - Every time is a `timestamptz`: clients read a `timestamp` in the zone of their machine and shift it. What a clock
//!   shows, which `AT TIME ZONE` makes, is a `timestamp`.
//! - What Postgres has no type for is text.

use std::collections::HashMap;

use arrow_schema::{DataType, Field, TimeUnit};

use super::zones::{CLOCK, is_clock};

/// The name under which a field says that its numbers are object identifiers.
const OID_MARK: &str = "postgres.oid";

/// A type of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    Bool,
    Bytea,
    Int2,
    Int4,
    Int8,
    Text,
    Oid,
    Float4,
    Float8,
    Date,
    Time,
    /// What a clock shows.
    Timestamp,
    Timestamptz,
    Interval,
    Numeric,
}

/// A type of a column or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PgType {
    One(Scalar),
    Array(Scalar),
}

/// What Postgres calls a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypeName {
    pub(super) scalar: Scalar,
    pub(super) oid: u32,
    pub(super) array_oid: u32,
    pub(super) name: &'static str,
    /// As SQL spells it.
    pub(super) sql_name: &'static str,
    pub(super) len: i16,
    pub(super) category: &'static str,
}

const fn named(
    scalar: Scalar,
    (oid, array_oid): (u32, u32),
    (name, sql_name): (&'static str, &'static str),
    (len, category): (i16, &'static str),
) -> TypeName {
    TypeName { scalar, oid, array_oid, name, sql_name, len, category }
}

pub(super) const TYPES: [TypeName; 15] = [
    named(Scalar::Bool, (16, 1000), ("bool", "boolean"), (1, "B")),
    named(Scalar::Bytea, (17, 1001), ("bytea", "bytea"), (-1, "U")),
    named(Scalar::Int8, (20, 1016), ("int8", "bigint"), (8, "N")),
    named(Scalar::Int2, (21, 1005), ("int2", "smallint"), (2, "N")),
    named(Scalar::Int4, (23, 1007), ("int4", "integer"), (4, "N")),
    named(Scalar::Text, (25, 1009), ("text", "text"), (-1, "S")),
    named(Scalar::Oid, (26, 1028), ("oid", "oid"), (4, "N")),
    named(Scalar::Float4, (700, 1021), ("float4", "real"), (4, "N")),
    named(Scalar::Float8, (701, 1022), ("float8", "double precision"), (8, "N")),
    named(Scalar::Date, (1082, 1182), ("date", "date"), (4, "D")),
    named(Scalar::Time, (1083, 1183), ("time", "time without time zone"), (8, "D")),
    named(Scalar::Timestamp, (1114, 1115), ("timestamp", "timestamp without time zone"), (8, "D")),
    named(Scalar::Timestamptz, (1184, 1185), ("timestamptz", "timestamp with time zone"), (8, "D")),
    named(Scalar::Interval, (1186, 1187), ("interval", "interval"), (16, "T")),
    named(Scalar::Numeric, (1700, 1231), ("numeric", "numeric"), (-1, "N")),
];

/// A type that no column here has, under which clients look for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct MoreType {
    pub(super) oid: i64,
    pub(super) name: &'static str,
    /// As SQL spells it.
    pub(super) sql_name: &'static str,
    pub(super) category: &'static str,
    pub(super) len: i64,
}

const fn more(
    oid: i64,
    (name, sql_name): (&'static str, &'static str),
    (category, len): (&'static str, i64),
) -> MoreType {
    MoreType { oid, name, sql_name, category, len }
}

pub(super) const MORE_TYPES: [MoreType; 11] = [
    more(18, ("char", "\"char\""), ("Z", 1)),
    more(19, ("name", "name"), ("S", 64)),
    more(114, ("json", "json"), ("U", -1)),
    more(705, ("unknown", "unknown"), ("X", -2)),
    more(1042, ("bpchar", "character"), ("S", -1)),
    more(1043, ("varchar", "character varying"), ("S", -1)),
    more(2205, ("regclass", "regclass"), ("N", 4)),
    more(2206, ("regtype", "regtype"), ("N", 4)),
    more(2249, ("record", "record"), ("P", -1)),
    more(2950, ("uuid", "uuid"), ("U", 16)),
    more(3802, ("jsonb", "jsonb"), ("U", -1)),
];

/// The number of a type by one of its names; also of a list of them.
pub(super) fn oid_of_name(name: &str) -> Option<i64> {
    let name = name.trim().trim_start_matches("pg_catalog.").to_lowercase();
    if let Some(item) = name.strip_suffix("[]") {
        let item = oid_of_name(item)?;
        return TYPES.iter().find(|t| i64::from(t.oid) == item).map(|t| i64::from(t.array_oid));
    }
    let name = match name.as_str() {
        "int" => "int4",
        "decimal" => "numeric",
        "\"char\"" => "char",
        "char" => "bpchar",
        name => name,
    };
    let one = TYPES.iter().find(|t| t.name == name || t.sql_name == name).map(|t| i64::from(t.oid));
    let array = || TYPES.iter().find(|t| name.strip_prefix('_') == Some(t.name)).map(|t| i64::from(t.array_oid));
    let more = || MORE_TYPES.iter().find(|t| t.name == name || t.sql_name == name).map(|t| t.oid);
    one.or_else(array).or_else(more)
}

/// Types that clients declare for parameters, and what each is here.
const ALIASES: [(u32, Scalar); 9] = [
    (18, Scalar::Text),
    (19, Scalar::Text),
    (114, Scalar::Text),
    (705, Scalar::Text),
    (1042, Scalar::Text),
    (1043, Scalar::Text),
    (1114, Scalar::Timestamptz),
    (2205, Scalar::Oid),
    (2950, Scalar::Text),
];

impl Scalar {
    fn named(self) -> &'static TypeName {
        TYPES.iter().find(|t| t.scalar == self).expect("every type is in the table")
    }
}

impl PgType {
    pub const TEXT: Self = Self::One(Scalar::Text);

    /// The type of a column.
    #[must_use]
    pub fn of(field: &Field) -> Self {
        match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::Array(scalar(item.data_type()).unwrap_or(Scalar::Text))
            }
            _ if field.metadata().contains_key(OID_MARK) => Self::One(Scalar::Oid),
            one => Self::One(scalar(one).unwrap_or(Scalar::Text)),
        }
    }

    /// The type a client means by this number, when it is one of those values can have here.
    #[must_use]
    pub fn by_oid(oid: u32) -> Option<Self> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == oid).map(|(_, scalar)| Self::One(*scalar));
        let one = || TYPES.iter().find(|t| t.oid == oid).map(|t| Self::One(t.scalar));
        let array = || TYPES.iter().find(|t| t.array_oid == oid).map(|t| Self::Array(t.scalar));
        alias.or_else(one).or_else(array)
    }

    /// The type SQL means by this name, whatever its length or precision.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase();
        let (name, is_array) = name.strip_suffix("[]").map_or((name.as_str(), false), |item| (item, true));
        let name = name.split('(').next().unwrap_or_default().trim();
        let name = match name {
            "int" => "int4",
            "decimal" => "numeric",
            "varchar" | "character varying" | "char" | "name" | "unknown" => "text",
            "timestamp" | "timestamp without time zone" => "timestamptz",
            other => other,
        };
        let found = TYPES.iter().find(|t| t.name == name || t.sql_name == name)?.scalar;
        Some(if is_array { Self::Array(found) } else { Self::One(found) })
    }

    #[must_use]
    pub fn oid(self) -> u32 {
        match self {
            Self::One(scalar) => scalar.named().oid,
            Self::Array(scalar) => scalar.named().array_oid,
        }
    }

    /// Bytes of a value; `-1` when they differ.
    #[must_use]
    pub fn value_len(self) -> i16 {
        match self {
            Self::One(scalar) => scalar.named().len,
            Self::Array(_) => -1,
        }
    }

    /// As SQL spells it.
    #[must_use]
    pub fn sql_name(self) -> String {
        match self {
            Self::One(scalar) => scalar.named().sql_name.to_owned(),
            Self::Array(scalar) => format!("{}[]", scalar.named().sql_name),
        }
    }

    /// As the catalogs call it.
    #[must_use]
    pub(super) fn name(self) -> String {
        match self {
            Self::One(scalar) => scalar.named().name.to_owned(),
            Self::Array(scalar) => format!("_{}", scalar.named().name),
        }
    }

    /// How values of a parameter of this type reach the query engine.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::One(scalar) => arrow(scalar),
            Self::Array(scalar) => DataType::new_list(arrow(scalar), true),
        }
    }
}

/// A field whose numbers are object identifiers.
pub(super) fn oid_field(name: &str) -> Field {
    let mark = HashMap::from([(OID_MARK.to_owned(), String::new())]);
    Field::new(name, DataType::Int64, true).with_metadata(mark)
}

fn arrow(scalar: Scalar) -> DataType {
    match scalar {
        Scalar::Bool => DataType::Boolean,
        Scalar::Bytea => DataType::Binary,
        Scalar::Int2 => DataType::Int16,
        Scalar::Int4 => DataType::Int32,
        Scalar::Int8 | Scalar::Oid => DataType::Int64,
        Scalar::Text => DataType::Utf8,
        Scalar::Float4 => DataType::Float32,
        Scalar::Float8 => DataType::Float64,
        Scalar::Date => DataType::Date32,
        Scalar::Time => DataType::Time64(TimeUnit::Nanosecond),
        Scalar::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some(CLOCK.into())),
        Scalar::Timestamptz => DataType::Timestamp(TimeUnit::Nanosecond, None),
        Scalar::Interval => DataType::Interval(arrow_schema::IntervalUnit::MonthDayNano),
        // Whole numbers of 64 bits without a sign are shown as this; a client sends back what it was shown.
        Scalar::Numeric => DataType::Decimal128(38, 18),
    }
}

fn scalar(data_type: &DataType) -> Option<Scalar> {
    Some(match data_type {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Scalar::Int2,
        DataType::UInt16 | DataType::Int32 => Scalar::Int4,
        DataType::UInt32 | DataType::Int64 => Scalar::Int8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Scalar::Numeric,
        DataType::Float16 | DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Scalar::Bytea,
        DataType::Date32 | DataType::Date64 => Scalar::Date,
        DataType::Time32(_) | DataType::Time64(_) => Scalar::Time,
        of if is_clock(of) => Scalar::Timestamp,
        DataType::Timestamp(..) => Scalar::Timestamptz,
        DataType::Interval(_) | DataType::Duration(_) => Scalar::Interval,
        DataType::Dictionary(_, values) => return scalar(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Scalar::Text,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_types_clients_expect() {
        check(DataType::Timestamp(TimeUnit::Nanosecond, None), 1184, "timestamp with time zone");
        let clock = DataType::Timestamp(TimeUnit::Nanosecond, Some(CLOCK.into()));
        assert_eq!(PgType::of(&Field::new("c", clock, true)).oid(), 1114);
        check(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), 25, "text");
        check(DataType::UInt64, 1700, "numeric");
        check(DataType::Float64, 701, "double precision");
        check(DataType::new_list(DataType::Int64, true), 1016, "bigint[]");
        check(DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into()), 25, "text");
        assert_eq!(PgType::of(&oid_field("oid")).oid(), 26);
    }

    #[track_caller]
    fn check(data_type: DataType, oid: u32, sql_name: &str) {
        let found = PgType::of(&Field::new("c", data_type, true));
        assert_eq!((found.oid(), found.sql_name().as_str()), (oid, sql_name));
        assert_eq!(PgType::by_oid(oid), Some(found));
    }
}
