//! What a database remembers of views (`protocol::Memory`), in tables of its own that no other replica has.

use protocol::{
    DatabaseId, Incarnation, Member, Memory, Op, Proposer, RegisterId, ReplicaIndex, ReplicaSet, View,
    ViewNumber,
};
use rusqlite::{Connection, OptionalExtension, params};

/// What it remembers, if it remembers anything yet.
pub(crate) fn read(connection: &Connection) -> Result<Option<Memory>, rusqlite::Error> {
    let members = connection
        .prepare("SELECT replica, database FROM remembered_members ORDER BY replica")?
        .query_map([], |row| {
            Ok(Member { index: ReplicaIndex(row.get(0)?), database: DatabaseId(row.get(1)?) })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let unsigned = i64::cast_unsigned;
    connection
        .query_row(
            "SELECT register, view, in_sync, op, proposer, incarnation, attempt, complete FROM remembered",
            [],
            |row| {
                let view = View {
                    number: ViewNumber(unsigned(row.get(1)?)),
                    members,
                    in_sync: ReplicaSet::from_bits(row.get(2)?),
                    op: Op(unsigned(row.get(3)?)),
                    proposed_by: Proposer {
                        index: ReplicaIndex(row.get(4)?),
                        incarnation: Incarnation(unsigned(row.get(5)?)),
                        attempt: unsigned(row.get(6)?),
                    },
                };
                let complete = ViewNumber(unsigned(row.get(7)?));
                Ok(Memory { register: RegisterId(row.get(0)?), view, complete })
            },
        )
        .optional()
}

/// Whether this is of a newer view of the same register.
pub(crate) fn goes_on(before: &Memory, after: &Memory) -> bool {
    before.register == after.register && before.view.number < after.view.number
}

/// Remembers this instead of what was remembered before: in the transaction that is open, or in one of its own.
pub(crate) fn write(connection: &Connection, memory: &Memory) -> Result<(), rusqlite::Error> {
    connection.execute_batch("SAVEPOINT remember")?;
    let written = write_rows(connection, memory);
    // Without an open transaction the release is the commit.
    let ended = if written.is_ok() { "RELEASE remember" } else { "ROLLBACK TO remember; RELEASE remember" };
    let ended = connection.execute_batch(ended);
    written.and(ended)
}

fn write_rows(connection: &Connection, memory: &Memory) -> Result<(), rusqlite::Error> {
    let Memory { register, view, complete } = memory;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO remembered
             (only_row, register, view, in_sync, op, proposer, incarnation, attempt, complete)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            register.0,
            view.number.0.cast_signed(),
            view.in_sync.bits(),
            view.op.0.cast_signed(),
            view.proposed_by.index.0,
            view.proposed_by.incarnation.0.cast_signed(),
            view.proposed_by.attempt.cast_signed(),
            complete.0.cast_signed(),
        ])?;
    connection.prepare_cached("DELETE FROM remembered_members")?.execute([])?;
    let mut insert =
        connection.prepare_cached("INSERT INTO remembered_members (replica, database) VALUES (?1, ?2)")?;
    for member in &view.members {
        insert.execute(params![member.index.0, member.database.0])?;
    }
    Ok(())
}
