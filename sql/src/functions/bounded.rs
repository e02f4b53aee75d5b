use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::optimizer::AnalyzerRule;

use super::growth::growth;

/// What one call may make of one batch: as much as a few batches of large rows.
const RESULT_BYTES_MAX: u64 = 256 << 20;

/// What a call without a column may make. It becomes a part of the plan, which is compared and printed many times while
/// it is made, and then stands in each row.
const CONSTANT_BYTES_MAX: u64 = 16 << 20;

/// Puts a bound on every call of a function that can make much out of little.
#[derive(Debug)]
pub(crate) struct BoundFunctions;

impl AnalyzerRule for BoundFunctions {
    fn name(&self) -> &'static str {
        "bound_functions"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let bound_all = |plan: LogicalPlan| plan.map_expressions(|expr| expr.transform_up(|expr| Ok(bound(expr))));
        Ok(plan.transform_up_with_subqueries(bound_all)?.data)
    }
}

fn bound(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if growth(func.name()).is_some() => {
            let func = Arc::new(ScalarUDF::from(Bounded { inner: func }));
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        other => Transformed::no(other),
    }
}

/// A function with a bound. In all else it is `inner`, but for rewrites of its calls, which would lose the bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

/// How many bytes a call may make, and how many of those are left.
struct Room {
    limit: u64,
    left: u64,
}

impl Bounded {
    /// What is too large by the estimate is made half by half, and judged by what comes.
    fn invoke(&self, args: ScalarFunctionArgs, room: &mut Room) -> Result<ColumnarValue> {
        let growth = growth(self.inner.name()).expect("only functions that can grow are bound");
        let estimate = growth(&args)?;
        if estimate > room.left {
            return match args.number_rows {
                0 | 1 => self.refuse(estimate, room.limit),
                rows => self.halves(&args, rows / 2, room),
            };
        }
        let result = self.inner.invoke_with_args(args)?;
        let bytes = match &result {
            ColumnarValue::Array(array) => array.get_array_memory_size() as u64,
            ColumnarValue::Scalar(value) => value.size() as u64,
        };
        room.left = room.left.saturating_sub(bytes);
        Ok(result)
    }

    fn halves(&self, args: &ScalarFunctionArgs, middle: usize, room: &mut Room) -> Result<ColumnarValue> {
        let mut halves: Vec<ArrayRef> = Vec::with_capacity(2);
        for (start, len) in [(0, middle), (middle, args.number_rows - middle)] {
            let part = |value: &ColumnarValue| match value {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(start, len)),
                ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.clone()),
            };
            let half =
                ScalarFunctionArgs { args: args.args.iter().map(part).collect(), number_rows: len, ..args.clone() };
            halves.push(self.invoke(half, room)?.into_array(len)?);
        }
        let halves: Vec<_> = halves.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(datafusion::arrow::compute::concat(&halves)?))
    }

    fn refuse<T>(&self, estimate: u64, limit: u64) -> Result<T> {
        let name = self.inner.name();
        plan_err!(
            "the result of {name} could have {estimate} bytes or more for one batch of rows; at most {limit} are allowed"
        )
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let limit = if is_constant { CONSTANT_BYTES_MAX } else { RESULT_BYTES_MAX };
        self.invoke(args, &mut Room { limit, left: limit })
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
