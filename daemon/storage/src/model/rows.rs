use super::{ColumnId, TableId, TimeRange};

/// Many strings in one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    /// `ends[i]` is where string `i` ends in `bytes`; it begins where the one before ends.
    pub ends: Vec<u32>,
    pub bytes: Vec<u8>,
}

impl Strings {
    pub fn push(&mut self, value: &str) {
        self.bytes.extend_from_slice(value.as_bytes());
        let end = u32::try_from(self.bytes.len()).expect("a request and a WAL object are limited far below 4 GiB");
        self.ends.push(end);
    }

    #[must_use]
    pub fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |i| self.ends[i] as usize);
        let bytes = &self.bytes[start..self.ends[index] as usize];
        std::str::from_utf8(bytes).expect("only whole strings are pushed, and decoding checks what was stored")
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
}

/// Distinct tag sets. A tag value is never empty in line protocol, so the empty string stands for an absent tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesSet {
    /// The tag columns, in the order of the table's series key.
    pub tags: Vec<ColumnId>,
    /// `tags.len()` values for each series, one series after the other.
    pub values: Strings,
    /// How many series; kept apart because a table without tags has one series and no values.
    pub len: usize,
}

impl SeriesSet {
    /// The value of the `tag`-th of `tags` in `series`; empty when absent.
    #[must_use]
    pub fn value(&self, series: usize, tag: usize) -> &str {
        self.values.get(series * self.tags.len() + tag)
    }
}

/// The values of one field, one for each row; where the row does not set the field, any value.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    UInteger(Vec<u64>),
    Boolean(Vec<bool>),
    String(Strings),
}

impl Values {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Integer(v) => v.len(),
            Self::UInteger(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::String(v) => v.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory the values hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Float(v) => v.len() * 8,
            Self::Integer(v) => v.len() * 8,
            Self::UInteger(v) => v.len() * 8,
            Self::Boolean(v) => v.len(),
            Self::String(v) => v.ends.len() * 4 + v.bytes.len(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct FieldColumn {
    pub column: ColumnId,
    pub values: Values,
    /// `None` when every row sets the field.
    pub set: Option<Vec<bool>>,
}

/// Rows of one table as they were written, in the order they were written, in columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub table: TableId,
    pub series: SeriesSet,
    /// For each row the index of its series in `series`.
    pub row_series: Vec<u32>,
    /// For each row its time, nanoseconds since the Unix epoch.
    pub times: Vec<i64>,
    /// Fields that at least one row sets; each at most once.
    pub fields: Vec<FieldColumn>,
}

impl Rows {
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    #[must_use]
    pub fn time_range(&self) -> Option<TimeRange> {
        TimeRange::of(&self.times)
    }

    /// Memory the rows hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|f| f.values.bytes() + f.set.as_ref().map_or(0, Vec::len)).sum();
        fields + self.times.len() * 12 + self.series.values.bytes.len() + self.series.values.ends.len() * 4
    }
}
