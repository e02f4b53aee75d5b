//! Changes of the data files that exist.

use std::sync::Arc;

use super::{Outcome, all_differ};
use crate::catalog::{Change, Removed, State};
use crate::model::{FileId, FileRecord};

impl State {
    /// Adds what a snapshot wrote. Files of tables that were deleted for good meanwhile are removed at once.
    pub(super) fn add_snapshot_files(&mut self, files: &[Arc<FileRecord>]) -> Outcome {
        self.check_files_are_new(files)?;
        for file in files {
            let id = file.table;
            if id.0 >= self.next_table {
                return Err(format!("file {} belongs to table {id}, which never existed", file.id));
            }
            match self.tables.get_mut(&id) {
                // A table that was only dropped keeps its rows until it is deleted for good.
                Some(table) => {
                    Arc::make_mut(table).files.insert(file.id, Arc::clone(file));
                }
                // No view ever named this file, so nobody has to be waited for: any time will do.
                None => self.remove(file, 0)?,
            }
        }
        Ok(())
    }

    pub(super) fn replace_files(&mut self, change: &Change) -> Outcome {
        let Change::ReplaceFiles { table: id, removed, added, at_ms } = change else {
            return Err("not a replacement of files".into());
        };
        if let Some(file) = added.iter().find(|file| file.table != *id) {
            return Err(format!("file {} belongs to table {}, not to table {id}", file.id, file.table));
        }
        self.check_files_are_new(added)?;
        let mut table = match self.tables.get(id) {
            Some(table) => Arc::clone(table),
            None if id.0 >= self.next_table => return Err(format!("table {id} never existed")),
            None if removed.is_empty() => return added.iter().try_for_each(|file| self.remove(file, *at_ms)),
            None => return Err(format!("table {id} is gone with its files")),
        };
        let files = &mut Arc::make_mut(&mut table).files;
        for file in removed {
            let record = files.remove(file).ok_or_else(|| format!("file {file} is not a live file of table {id}"))?;
            self.remove(&record, *at_ms)?;
        }
        // Also when the table is dropped: it may come back until its deletion is due, and these are its rows.
        files.extend(added.iter().map(|file| (file.id, Arc::clone(file))));
        self.tables.insert(*id, table);
        Ok(())
    }

    pub(super) fn raise_file_floor(&mut self, floor: FileId) -> Outcome {
        if floor < self.file_floor {
            return Err(format!("the floor of file ids is {}, {floor} is below", self.file_floor));
        }
        self.file_floor = floor;
        Ok(())
    }

    pub(super) fn forget_files(&mut self, files: &[FileId]) -> Outcome {
        files.iter().try_for_each(|file| match self.removed.remove(file) {
            Some(_) => Ok(()),
            None => Err(format!("file {file} is not among the removed")),
        })
    }

    fn remove(&mut self, file: &FileRecord, at_ms: u64) -> Outcome {
        let removed = Removed { path: Arc::clone(&file.path), version: self.version, at_ms };
        match self.removed.insert(file.id, Arc::new(removed)) {
            Some(_) => Err(format!("file {} is removed twice", file.id)),
            None => Ok(()),
        }
    }

    /// Looks for the ids where a mistake could put them: in the entry itself, in their tables, among the removed. An id
    /// names one file of one table, so the other tables need no search.
    fn check_files_are_new(&self, files: &[Arc<FileRecord>]) -> Outcome {
        all_differ("file", files.iter().map(|file| file.id))?;
        if let Some(file) = files.iter().find(|file| file.id < self.file_floor) {
            return Err(format!("file {} is below {}, so its object may be deleted", file.id, self.file_floor));
        }
        let live = |file: &FileRecord| self.tables.get(&file.table).is_some_and(|t| t.files.contains_key(&file.id));
        match files.iter().find(|file| live(file) || self.removed.contains_key(&file.id)) {
            Some(file) => Err(format!("file {} exists already", file.id)),
            None => Ok(()),
        }
    }

    pub(super) fn check_files(&self) -> Outcome {
        let live = self.tables.iter().flat_map(|(table, t)| t.files.iter().map(move |(id, file)| (*table, id, file)));
        for (table, id, file) in live {
            if file.table != table || file.id != *id {
                return Err(format!("file {id} is not where it belongs"));
            }
        }
        Ok(())
    }
}
