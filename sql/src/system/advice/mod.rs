//! `system.advice`: what operators should know and may mend; only in `_internal`. No row is good news.
//!
//! # Promises
//! - Each node judges itself, with what it counts anyway; the node that is asked judges the cluster by the catalog and the
//!   heartbeats.
//! - What happened counts for five minutes, or for as long as it goes on, so a row goes by itself once its cause is gone.
//! - Every row has the numbers it rests on, and a query that shows more. Its statement changes something, and is none where
//!   nothing is known to help.

mod cluster;
mod node;
#[cfg(test)]
mod tests;

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::catalog::Access;

use super::{Definition, Facts, Place, Rows, World, column, full, optional, schema_of};
use node::NodeFacts;

pub(super) const TABLE: Definition = Definition {
    name: "advice",
    place: Place::InternalOnly,
    schema,
    rows: Rows::OfEachNodeAndCluster { rows, cluster },
};

/// What a finding about no single node has in place of its name.
const WHOLE_CLUSTER: &str = "*";

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    code: &'static str,
    finding: String,
    evidence: String,
    /// To be asked in `_internal`, unless it says otherwise.
    query: String,
    /// SQL, or a line of a shell where SQL cannot mend it.
    statement: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Critical from a figure on.
    fn critical_from(limit: f64, figure: f64) -> Self {
        if figure >= limit { Self::Critical } else { Self::Warning }
    }
}

fn schema() -> SchemaRef {
    schema_of(vec![
        full("severity", DataType::Utf8),
        full("code", DataType::Utf8),
        full("finding", DataType::Utf8),
        full("evidence", DataType::Utf8),
        optional("query", DataType::Utf8),
        optional("statement", DataType::Utf8),
    ])
}

fn columns_of(findings: &[Finding]) -> Vec<ArrayRef> {
    let text = |of: fn(&Finding) -> &str| column::<StringArray, _, _>(findings, |finding| Some(of(finding).to_owned()));
    vec![
        text(|finding| finding.severity.text()),
        text(|finding| finding.code),
        text(|finding| &finding.finding),
        text(|finding| &finding.evidence),
        text(|finding| &finding.query),
        column::<StringArray, _, _>(findings, |finding| finding.statement.clone()),
    ]
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    Ok(columns_of(&node::findings(&NodeFacts::of(facts))))
}

fn cluster(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let (nodes, findings): (Vec<String>, Vec<Finding>) = cluster::findings(world).into_iter().unzip();
    let mut columns = columns_of(&findings);
    columns.push(column::<StringArray, _, _>(&nodes, |node| Some(node.clone())));
    columns.push(column::<StringArray, _, _>(&nodes, |_| None::<String>));
    Ok(columns)
}
