//! Snapshots: a whole database out (`SQLite`'s online backup, while writes go on) and in (checked; `swap.rs` puts it in
//! place).

use crate::before_log::remove_before_log;
use crate::database;
use crate::error::StoreError;
use crate::memory;
use crate::reader::Reader;
use crate::soundness::Check;
use crate::state::{DatabaseState, draw_identity, state};
use protocol::Memory;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::fs::File;
use std::path::Path;

impl Reader<'_> {
    /// Copies the tables, as far as they go, to a new file at `target`, which need not outlive a power failure: it is sent, and removed.
    pub fn snapshot_to(&self, target: &Path) -> Result<(), StoreError> {
        let sql = StoreError::sqlite(target);
        let mut copy = Connection::open(target).map_err(&sql)?;
        // What is neither synced nor kept in a journal is removed before most of it has reached the disk.
        copy.pragma_update(None, "synchronous", "OFF").map_err(&sql)?;
        copy.pragma_update(None, "journal_mode", "OFF").map_err(&sql)?;
        let backup = Backup::new(self.connection(), &mut copy).map_err(&sql)?;
        // All in one step: a reader in WAL mode holds up no other connection.
        loop {
            match backup.step(-1).map_err(&sql)? {
                StepResult::Done => return Ok(()),
                _ => std::thread::yield_now(),
            }
        }
    }
}

/// Checks a snapshot that has arrived at `incoming` completely, draws it a new identity, which has no log yet, and makes it
/// durable. It is then ready for [`crate::swap_in`]. It remembers `memory` of views, and nothing of what the database remembers that it is a copy of.
pub fn check_snapshot(incoming: &Path, memory: Option<&Memory>) -> Result<DatabaseState, StoreError> {
    // Its pages are looked at below, with more than a start looks for.
    let connection = database::open(incoming, Check::Ends)?.connection;
    // Of what a replica of the version before has sent, no copy is needed: that replica has it.
    remove_before_log(incoming)?;
    let sql = StoreError::sqlite(incoming);
    let full: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(&sql)?;
    if full != "ok" {
        return Err(StoreError::Corrupt { path: incoming.to_owned(), what: full });
    }
    // The copy is another database: a replica is its database, and the view names it by this identity.
    draw_identity(&connection).map_err(&sql)?;
    connection.execute_batch("DELETE FROM remembered; DELETE FROM remembered_members").map_err(&sql)?;
    if let Some(memory) = memory {
        memory::write(&connection, memory).map_err(&sql)?;
    }
    let state = state(&connection, incoming)?;
    // One self-contained file, without companions, so that one rename swaps in all of it.
    connection.pragma_update(None, "journal_mode", "DELETE").map_err(&sql)?;
    drop(connection);
    File::open(incoming).and_then(|file| file.sync_all()).map_err(StoreError::file(incoming))?;
    Ok(state)
}
