//! Which times a list of filters can match.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Operator, TryCast};
use datafusion::scalar::ScalarValue;
use storage::model::{TIME_COLUMN, TimeRange};

/// The smallest range found that holds every time all of `filters` can match; `None` when they can match none.
/// What is not understood counts as matching everything.
pub(crate) fn time_range(filters: &[Expr]) -> Option<TimeRange> {
    let span = filters.iter().fold(Span::ALL, |s, f| s.and(Span::of(f)));
    TimeRange::new(span.min, span.max)
}

/// Both ends included; empty when they are in the wrong order.
#[derive(Debug, Clone, Copy)]
struct Span {
    min: i64,
    max: i64,
}

impl Span {
    const ALL: Self = Self { min: i64::MIN, max: i64::MAX };
    const NONE: Self = Self { min: i64::MAX, max: i64::MIN };

    fn of(filter: &Expr) -> Self {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => Self::of(left).and(Self::of(right)),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Self::of(left).or(Self::of(right)),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => Self::of_comparison(left, *op, right),
            Expr::Between(Between { expr, negated: false, low, high }) if is_time(expr) => {
                let low = Self::of_comparison(expr, Operator::GtEq, low);
                low.and(Self::of_comparison(expr, Operator::LtEq, high))
            }
            Expr::InList(list) if !list.negated && is_time(&list.expr) => {
                let each = list.list.iter().map(|value| Self::of_comparison(&list.expr, Operator::Eq, value));
                each.fold(Self::NONE, Self::or)
            }
            Expr::Literal(ScalarValue::Boolean(Some(false)), _) => Self::NONE,
            _ => Self::ALL,
        }
    }

    fn of_comparison(left: &Expr, op: Operator, right: &Expr) -> Self {
        let (op, value) = match (is_time(left), is_time(right)) {
            (true, false) => (Some(op), instant(right)),
            (false, true) => (op.swap(), instant(left)),
            _ => return Self::ALL,
        };
        let (Some(op), Some(value)) = (op, value) else { return Self::ALL };
        match op {
            Operator::Eq => Self { min: value, max: value },
            Operator::GtEq => Self { min: value, max: i64::MAX },
            Operator::LtEq => Self { min: i64::MIN, max: value },
            Operator::Gt => value.checked_add(1).map_or(Self::NONE, |min| Self { min, max: i64::MAX }),
            Operator::Lt => value.checked_sub(1).map_or(Self::NONE, |max| Self { min: i64::MIN, max }),
            _ => Self::ALL,
        }
    }

    fn is_empty(self) -> bool {
        self.min > self.max
    }

    fn and(self, other: Self) -> Self {
        Self { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    fn or(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { min: self.min.min(other.min), max: self.max.max(other.max) },
        }
    }
}

/// Whether `expr` is the time column, or that column with the label of a zone whose local time is UTC: such a cast
/// leaves the number as it is. Comparisons with `now()`, which has a zone, have that form.
fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == TIME_COLUMN,
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            is_time(expr) && is_utc_nanoseconds(field.data_type())
        }
        _ => false,
    }
}

fn is_utc_nanoseconds(to: &DataType) -> bool {
    match to {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            zone.as_deref().is_none_or(|z| matches!(z, "UTC" | "+00:00" | "+00"))
        }
        _ => false,
    }
}

/// The nanoseconds of a timestamp literal. A zone does not change the instant a literal with a zone stands for, and
/// the planner compares it with a zoned time only.
fn instant(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::TimestampNanosecond(v, _) => *v,
        ScalarValue::TimestampMicrosecond(Some(v), _) => v.checked_mul(1_000),
        ScalarValue::TimestampMillisecond(Some(v), _) => v.checked_mul(1_000_000),
        ScalarValue::TimestampSecond(Some(v), _) => v.checked_mul(1_000_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{Expr, cast, col, lit};

    use super::*;

    fn at(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), None))
    }

    fn zoned(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), Some("+00:00".into())))
    }

    fn utc_time() -> Expr {
        cast(col("time"), DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())))
    }

    #[test]
    fn filters_give_the_smallest_range_that_holds_what_they_match() {
        let all = Some((i64::MIN, i64::MAX));
        let other = || col("host").eq(lit("a"));
        check(&[], all);
        check(&[col("time").gt_eq(at(5))], Some((5, i64::MAX)));
        check(&[col("time").gt(at(5))], Some((6, i64::MAX)));
        check(&[col("time").lt(at(5))], Some((i64::MIN, 4)));
        check(&[at(5).lt(col("time"))], Some((6, i64::MAX)));
        check(&[col("time").eq(at(5))], Some((5, 5)));
        check(&[col("time").not_eq(at(5))], all);
        check(&[col("time").gt(at(5)), col("time").lt_eq(at(9))], Some((6, 9)));
        check(&[col("time").gt(at(5)).and(other())], Some((6, i64::MAX)));
        check(&[col("time").gt(at(5)).or(other())], all);
        check(&[col("time").eq(at(5)).or(col("time").eq(at(9)))], Some((5, 9)));
        check(&[col("time").between(at(2), at(4))], Some((2, 4)));
        check(&[col("time").in_list(vec![at(7), at(3)], false)], Some((3, 7)));
        check(&[col("time").in_list(vec![at(7), at(3)], true)], all);
        check(&[utc_time().gt(zoned(5))], Some((6, i64::MAX)));
        check(&[col("time").gt(at(9)), col("time").lt(at(3))], None);
        check(&[col("time").gt(at(i64::MAX))], None);
        check(&[lit(false)], None);
        check(
            &[col("time").eq(lit(ScalarValue::TimestampSecond(Some(2), None)))],
            Some((2_000_000_000, 2_000_000_000)),
        );
        check(&[col("time").gt(lit(ScalarValue::TimestampNanosecond(None, None)))], all);
    }

    #[test]
    fn a_cast_to_another_zone_is_not_understood() {
        let berlin = DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into()));
        check(&[cast(col("time"), berlin).gt(zoned(5))], Some((i64::MIN, i64::MAX)));
    }

    #[track_caller]
    fn check(filters: &[Expr], expected: Option<(i64, i64)>) {
        assert_eq!(time_range(filters).map(|r| (r.min, r.max)), expected, "{filters:?}");
    }
}
