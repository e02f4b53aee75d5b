//! The one door: committed rows become visible here.
//!
//! # Promises
//! - Rows of one origin are applied in the order of its log, each log object once.
//! - A view opened after `apply` returns contains the rows.
//!
//! # Not here
//! - Waiting for durability: what arrives is in the bucket already.
//!
//! # Why
//! Writes and replay could each feed the buffer themselves. Whatever else must see every row later (caches,
//! subscribers, rows of peers) would then be wrong after a restart; one door cannot forget one of them.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::wal::Committed;

#[derive(Debug, Clone)]
pub struct Apply {
    buffer: Arc<Buffer>,
}

impl Apply {
    #[must_use]
    pub fn new(buffer: Arc<Buffer>) -> Self {
        Self { buffer }
    }

    pub fn apply(&self, committed: Committed) {
        self.buffer.apply(committed);
    }
}
