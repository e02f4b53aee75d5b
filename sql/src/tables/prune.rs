//! Leaving out sources by their series keys.

use std::sync::Arc;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use storage::model::SeriesKey;

/// The values the leading tag can have under the filters; `None` is any value.
///
/// Only the leading tag is looked at: of a source only the smallest and largest key are known, and these say nothing
/// about later tags unless the leading one is the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeadingTag(Option<Vec<Arc<str>>>);

impl LeadingTag {
    pub(crate) fn of(tag: &str, filters: &[Expr]) -> Self {
        let lists = filters.iter().filter_map(|filter| values(tag, filter));
        Self(lists.reduce(|a, b| a.into_iter().filter(|v| b.contains(v)).collect()))
    }

    pub(crate) fn any() -> Self {
        Self(None)
    }

    /// Whether a source with these smallest and largest keys can hold a row with one of the values.
    pub(crate) fn may_match(&self, key_min: &SeriesKey, key_max: &SeriesKey) -> bool {
        let Some(values) = &self.0 else { return true };
        let first = |key: &SeriesKey| key.0.first().cloned().flatten();
        let (min, max) = (first(key_min), first(key_max));
        values.iter().any(|v| min.as_ref() <= Some(v) && Some(v) <= max.as_ref())
    }
}

fn values(tag: &str, filter: &Expr) -> Option<Vec<Arc<str>>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let value = if is_column(left, tag) { right } else { left };
            (is_column(left, tag) || is_column(right, tag)).then(|| text(value)).flatten().map(|v| vec![v])
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let (left, right) = (values(tag, left), values(tag, right));
            match (left, right) {
                (Some(l), Some(r)) => Some(l.into_iter().filter(|v| r.contains(v)).collect()),
                (one, other) => one.or(other),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut both = values(tag, left)?;
            both.extend(values(tag, right)?);
            Some(both)
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr, tag) => list.list.iter().map(text).collect(),
        _ => None,
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name)
}

fn text(expr: &Expr) -> Option<Arc<str>> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Utf8(Some(v)) | ScalarValue::LargeUtf8(Some(v)) | ScalarValue::Utf8View(Some(v)) => {
            Some(v.as_str().into())
        }
        ScalarValue::Dictionary(_, inner) => text(&Expr::Literal((**inner).clone(), None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn equality_on_the_leading_tag_leaves_out_keys_beside_it() {
        check(&[], ("a", "c"), true);
        check(&[col("host").eq(lit("b"))], ("a", "c"), true);
        check(&[lit("b").eq(col("host"))], ("c", "d"), false);
        check(&[col("host").eq(lit("b")).or(col("host").eq(lit("d")))], ("c", "e"), true);
        check(&[col("host").eq(lit("b")).or(col("v").eq(lit(1)))], ("c", "e"), true);
        check(&[col("host").eq(lit("b")).and(col("v").eq(lit(1)))], ("c", "e"), false);
        check(&[col("host").in_list(vec![lit("a"), lit("x")], false)], ("b", "c"), false);
        check(&[col("host").in_list(vec![lit("a"), lit("x")], true)], ("b", "c"), true);
        check(&[col("host").eq(lit("a")), col("host").eq(lit("c"))], ("a", "c"), false);
        check(&[col("region").eq(lit("a"))], ("b", "c"), true);
        check(&[col("host").not_eq(lit("b"))], ("b", "b"), true);
    }

    #[test]
    fn a_source_without_the_tag_holds_no_value_of_it() {
        let tag = LeadingTag::of("host", &[col("host").eq(lit("b"))]);
        assert!(!tag.may_match(&SeriesKey::default(), &SeriesKey::default()));
        assert!(tag.may_match(&SeriesKey::default(), &SeriesKey(vec![Some("c".into())])));
        assert!(LeadingTag::any().may_match(&SeriesKey::default(), &SeriesKey::default()));
    }

    #[track_caller]
    fn check(filters: &[Expr], keys: (&str, &str), expected: bool) {
        let key = |tag: &str| SeriesKey(vec![Some(tag.into())]);
        assert_eq!(LeadingTag::of("host", filters).may_match(&key(keys.0), &key(keys.1)), expected, "{filters:?}");
    }
}
