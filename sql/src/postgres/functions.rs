//! Functions that Postgres answers from its catalogs, answered from what the statement knows of them.
//!
//! # Why
//! Written out as expressions they would repeat all tables or all types in each call.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::arrow::compute::cast;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::directory::{Directory, quoted};
use super::relations::{NAMESPACES, Relation};
use super::spec::{self, Cell};
use super::types::{self, TYPES};
use super::{activity, calls};

/// What a function is asked about.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Number(i64),
    Text(&'a str),
}

struct Definition {
    name: &'static str,
    /// How many arguments it takes; the first alone is looked at.
    arity: &'static [usize],
    returns: DataType,
    answer: fn(&Directory, Asked<'_>) -> Result<Cell>,
}

impl Definition {
    /// What does something does it once for each row, and never while a statement is planned or described.
    fn volatility(&self) -> Volatility {
        if calls::DOERS.contains(&self.name) { Volatility::Volatile } else { Volatility::Stable }
    }
}

type Answer = fn(&Directory, Asked<'_>) -> Result<Cell>;

const fn function(name: &'static str, arity: &'static [usize], returns: DataType, answer: Answer) -> Definition {
    Definition { name, arity, returns, answer }
}

/// Those with an underscore at their start are what a cast becomes.
static FUNCTIONS: [Definition; 20] = [
    function("_regclass_oid", &[1], DataType::Int64, |known, asked| Ok(Cell::Int(class_oid(known, asked)?))),
    function("_regclass_name", &[1], DataType::Utf8, |known, asked| {
        let oid = class_oid(known, asked)?;
        Ok(Cell::Text(known.by_oid(oid).map_or_else(|| oid.to_string(), |r| class_name(known, r))))
    }),
    function("to_regclass", &[1], DataType::Int64, |known, asked| {
        Ok(class(known, asked).map_or(Cell::Null, |relation| Cell::Int(relation.oid)))
    }),
    function("_regtype_oid", &[1], DataType::Int64, |_, asked| Ok(Cell::Int(type_oid(asked)?))),
    function("_regtype_name", &[1], DataType::Utf8, |_, asked| Ok(Cell::Text(type_name(type_oid(asked)?)))),
    function("to_regtype", &[1], DataType::Int64, |_, asked| Ok(type_oid(asked).map_or(Cell::Null, Cell::Int))),
    function("_regnamespace_oid", &[1], DataType::Int64, |_, asked| Ok(Cell::Int(namespace_oid(asked)?))),
    function("_regnamespace_name", &[1], DataType::Utf8, |_, asked| {
        let oid = namespace_oid(asked)?;
        let name = NAMESPACES.iter().find(|(known, _)| *known == oid).map(|(_, name)| (*name).to_owned());
        Ok(Cell::Text(name.unwrap_or_else(|| oid.to_string())))
    }),
    function("format_type", &[1, 2], DataType::Utf8, |_, asked| Ok(Cell::Text(type_name(type_oid(asked)?)))),
    function("obj_description", &[1, 2], DataType::Utf8, |known, asked| {
        Ok(class(known, asked).and_then(Relation::words).map_or(Cell::Null, Cell::from))
    }),
    function("_column_description", &[1], DataType::Utf8, |known, asked| {
        let Asked::Number(column) = asked else { return plan_err!("a column has a number") };
        let words = known.by_oid(column >> 16).and_then(|relation| relation.column_words(column & 0xffff));
        Ok(words.map_or(Cell::Null, Cell::from))
    }),
    function("pg_relation_size", &[1, 2], DataType::Int64, bytes),
    function("pg_table_size", &[1], DataType::Int64, bytes),
    function("pg_total_relation_size", &[1], DataType::Int64, bytes),
    function("pg_table_is_visible", &[1], DataType::Boolean, |known, asked| {
        Ok(class(known, asked).map_or(Cell::Null, |relation| Cell::Bool(known.is_visible(relation))))
    }),
    function("pg_database_size", &[1], DataType::Int64, |known, asked| {
        // Of another one than that of the session nothing is known.
        let is_ours = match asked {
            Asked::Text(name) => name == known.session.database,
            Asked::Number(oid) => {
                known.world.database.as_ref().is_some_and(|d| super::relations::database_oid(d.id) == oid)
            }
        };
        Ok(if is_ours { Cell::Int(known.relations().iter().map(|r| r.bytes).sum()) } else { Cell::Null })
    }),
    function("pg_cancel_backend", &[1], DataType::Boolean, |known, asked| {
        let Asked::Number(backend) = asked else { return plan_err!("a session has a number") };
        Ok(activity::end(known, backend, |activity, backend| activity.cancel(backend)))
    }),
    function("pg_terminate_backend", &[1, 2], DataType::Boolean, |known, asked| {
        let Asked::Number(backend) = asked else { return plan_err!("a session has a number") };
        Ok(activity::end(known, backend, |activity, backend| activity.terminate(backend)))
    }),
    // With the second argument a name that is not there is no error.
    function("current_setting", &[1], DataType::Utf8, |known, asked| {
        let Asked::Text(name) = asked else { return plan_err!("a setting has a name") };
        let missing = || plan_datafusion_err!("unrecognized configuration parameter \"{name}\"");
        Ok(Cell::Text(known.setting(name).ok_or_else(missing)?.to_owned()))
    }),
    function("_setting_or_null", &[1], DataType::Utf8, |known, asked| {
        let Asked::Text(name) = asked else { return plan_err!("a setting has a name") };
        Ok(known.setting(name).map_or(Cell::Null, Cell::from))
    }),
];

fn class<'a>(known: &'a Directory, asked: Asked<'_>) -> Option<&'a Relation> {
    match asked {
        Asked::Number(oid) => known.by_oid(oid),
        Asked::Text(text) => known.relation(text).or_else(|| known.by_oid(text.parse().ok()?)),
    }
}

fn class_oid(known: &Directory, asked: Asked<'_>) -> Result<i64> {
    match (class(known, asked), asked) {
        (Some(relation), _) => Ok(relation.oid),
        (None, Asked::Number(oid)) => Ok(oid),
        (None, Asked::Text(text)) => text.parse().map_err(|_| plan_datafusion_err!("table '{text}' not found")),
    }
}

fn class_name(known: &Directory, relation: &Relation) -> String {
    let name = quoted(&relation.name);
    if known.is_visible(relation) { name } else { format!("{}.{name}", relation.namespace_name()) }
}

fn bytes(known: &Directory, asked: Asked<'_>) -> Result<Cell> {
    if let Asked::Text(_) = asked {
        class_oid(known, asked)?;
    }
    Ok(class(known, asked).map_or(Cell::Null, |relation| Cell::Int(relation.bytes)))
}

fn type_oid(asked: Asked<'_>) -> Result<i64> {
    let text = match asked {
        Asked::Number(oid) => return Ok(oid),
        Asked::Text(text) => text,
    };
    let missing = || plan_datafusion_err!("type \"{text}\" does not exist");
    types::oid_of_name(text).or_else(|| text.parse().ok()).ok_or_else(missing)
}

fn type_name(oid: i64) -> String {
    let one = TYPES.iter().find(|t| i64::from(t.oid) == oid).map(|t| t.sql_name.to_owned());
    let array = || TYPES.iter().find(|t| i64::from(t.array_oid) == oid).map(|t| format!("{}[]", t.sql_name));
    let more = || types::MORE_TYPES.iter().find(|t| t.oid == oid).map(|t| t.sql_name.to_owned());
    one.or_else(array).or_else(more).unwrap_or_else(|| if oid == 0 { "-" } else { "???" }.to_owned())
}

fn namespace_oid(asked: Asked<'_>) -> Result<i64> {
    let text = match asked {
        Asked::Number(oid) => return Ok(oid),
        Asked::Text(text) => text,
    };
    let missing = || plan_datafusion_err!("schema \"{text}\" does not exist");
    let named = NAMESPACES.iter().find(|(_, name)| *name == text).map(|(oid, _)| *oid);
    named.or_else(|| text.parse().ok()).ok_or_else(missing)
}

/// All of them, for one statement.
pub(super) fn of(known: &Arc<Directory>) -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().map(|definition| {
        let arities = definition.arity.iter().map(|count| TypeSignature::Any(*count)).collect();
        let signature = Signature::one_of(arities, definition.volatility());
        Arc::new(ScalarUDF::from(Known { definition, signature, known: Arc::clone(known) }))
    })
}

struct Known {
    definition: &'static Definition,
    signature: Signature,
    known: Arc<Directory>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({})", self.definition.name)
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name && Arc::ptr_eq(&self.known, &other.known)
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl Known {
    fn answer(&self, asked: Option<Asked<'_>>) -> Result<Cell> {
        asked.map_or(Ok(Cell::Null), |asked| (self.definition.answer)(&self.known, asked))
    }
}

impl ScalarUDFImpl for Known {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.definition.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = matches!(args.args.first(), Some(ColumnarValue::Scalar(_)));
        let Some(first) = args.args.into_iter().next() else { return plan_err!("{} of nothing", self.name()) };
        let asked = first.into_array(if is_one { 1 } else { args.number_rows })?;
        let cells: Vec<Cell> = match asked.data_type() {
            DataType::Null => vec![Cell::Null; asked.len()],
            of if of.is_integer() => {
                let numbers = cast(&asked, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>().iter();
                numbers.map(|number| self.answer(number.map(Asked::Number))).collect::<Result<_>>()?
            }
            of if of.is_string() || matches!(of, DataType::Dictionary(..)) => {
                let texts = cast(&asked, &DataType::Utf8)?;
                let texts = texts.as_string::<i32>().iter();
                texts.map(|text| self.answer(text.map(Asked::Text))).collect::<Result<_>>()?
            }
            of => return plan_err!("No function matches the given name and argument types '{}({of})'", self.name()),
        };
        let cells: Vec<&Cell> = cells.iter().collect();
        let answers = spec::array(&self.definition.returns, &cells);
        if is_one {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?));
        }
        Ok(ColumnarValue::Array(answers))
    }
}

/// `ARRAY(SELECT …)` of no rows is an empty list.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ListOrEmpty {
    signature: Signature,
}

impl ListOrEmpty {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ListOrEmpty {
    fn name(&self) -> &str {
        "_list_or_empty"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some(first) = args.args.into_iter().next() else { return plan_err!("a list is missing") };
        let DataType::List(item) = first.data_type() else { return Ok(first) };
        let empty =
            ScalarValue::List(ScalarValue::new_list_nullable(&[], item.data_type())).cast_to(&first.data_type())?;
        Ok(match first {
            ColumnarValue::Scalar(value) if value.is_null() => ColumnarValue::Scalar(empty),
            ColumnarValue::Array(lists) if lists.null_count() > 0 => {
                let is_there = datafusion::arrow::compute::is_not_null(&lists)?;
                let empties: ArrayRef = empty.to_array_of_size(rows)?;
                ColumnarValue::Array(datafusion::arrow::compute::kernels::zip::zip(&is_there, &lists, &empties)?)
            }
            other => other,
        })
    }
}
