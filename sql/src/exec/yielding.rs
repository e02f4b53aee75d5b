//! Operators let others have their thread.
//!
//! # Promises
//! - Between two rests of a query lies what a few millions of pairs of rows cost, whatever its joins find: so a query that
//!   nobody waits for any more, or whose time is over, ends its work within a second.
//!
//! # Why
//! The engine makes sources of rows rest now and then. A join makes millions of rows of a few of its source, or compares
//! as many and makes none, and whoever adds up or sorts never waits: such a query could be neither cancelled nor stopped
//! at its time, and kept its thread from all others. So what multiplies or keeps rows rests after some batches, and the
//! second side of a join comes to it in slices, by how many rows of the first each of its rows meets.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, PiecewiseMergeJoinExec, SortMergeJoinExec,
    SymmetricHashJoinExec,
};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use super::pace::{Keys, Place, Side, Tally};

/// The last rule of all.
#[derive(Debug, Default)]
pub(crate) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|plan| {
            let plan = with_paced_sides(plan)?;
            if multiplies(&*plan) || keeps(&*plan) {
                return Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>));
            }
            Ok(Transformed::yes(plan))
        })?;
        Ok(wrapped.data)
    }

    fn name(&self) -> &'static str {
        "Yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether it makes more rows than it takes.
fn multiplies(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<CrossJoinExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>()
        || plan.is::<RecursiveQueryExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<SymmetricHashJoinExec>()
        || plan.is::<UnnestExec>()
}

/// Whether it gives its rows when it has taken all, and then without waiting.
fn keeps(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<AggregateExec>()
        || plan.is::<BoundedWindowAggExec>()
        || plan.is::<PartialSortExec>()
        || plan.is::<SortExec>()
        || plan.is::<WindowAggExec>()
}

/// A join that compares before it gives anything.
fn with_paced_sides(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let (first_keys, second_keys, parts) = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let (first, second) = join.on().iter().cloned().unzip();
        let parts = match join.partition_mode() {
            PartitionMode::Partitioned => join.left().properties().output_partitioning().partition_count(),
            PartitionMode::CollectLeft | PartitionMode::Auto => 1,
        };
        (Keys::Of(first), Keys::Of(second), parts)
    } else if plan.is::<NestedLoopJoinExec>() {
        (Keys::None, Keys::None, 1)
    } else {
        return Ok(plan);
    };
    let [first, second] = plan.children()[..] else { return Ok(plan) };
    let tally = Arc::new(Tally::new(parts));
    let first = Side::new(Arc::clone(first), Place::First, first_keys, Arc::clone(&tally));
    let second = Side::new(Arc::clone(second), Place::Second, second_keys, tally);
    // The sides are as their inputs in all that the join was planned by.
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    plan.replace_children(vec![Arc::new(first), Arc::new(second)], options)
}
