//! Rows by COPY, in its binary format (Postgres documentation, COPY, "Binary Format").
//!
//! Rows that may meet others of their key go by way of a table of the session, since COPY knows no conflicts.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::patience::Patience;
use crate::store::error::Error;
use crate::store::sql::Dialect;
use crate::store::table::{Clash, Target};
use crate::store::values::Values;

/// Bytes that are sent at once. Postgres takes each part as a whole, and moves on only then: see [`Lookout`](super::patience::Lookout).
const CHUNK_BYTES: usize = 1 << 16;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: [u8; 2] = (-1_i16).to_be_bytes();

/// Writes all `rows`; `bind` adds the values of one row in the order of the columns. A row whose key comes twice in
/// one call is an error where rows replace each other.
pub(in crate::store) async fn copy<T: Sync>(
    (connection, patience): (&mut PgConnection, &mut Patience<'_>),
    target: &Target,
    rows: &[T],
    bind: impl Fn(&mut Values, &T) + Send,
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (table, columns) = (target.table, target.table.list(Dialect::Postgres));
    if table.clash == Clash::Never {
        return send(
            (connection, patience),
            &format!("COPY {} ({columns}) FROM STDIN BINARY", target.name),
            target,
            rows,
            bind,
        )
        .await;
    }
    let stage = format!("stage_{}", table.name);
    let create = format!(
        "CREATE TEMP TABLE IF NOT EXISTS {stage} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {} WITH NO DATA",
        target.name
    );
    execute((connection, patience), create).await?;
    send((connection, patience), &format!("COPY {stage} ({columns}) FROM STDIN BINARY"), target, rows, bind)
        .await?;
    let name = &target.name;
    let clash = match table.clash {
        Clash::Never => String::new(),
        // Of its key alone: a row that meets others elsewhere would be left out unheard, and its id is handed out.
        Clash::Keep { key } => format!("ON CONFLICT ({key}) DO NOTHING"),
        Clash::Fold { key, set } => format!("ON CONFLICT ({key}) DO UPDATE SET {set}"),
        Clash::Replace { key } => {
            let taken = table.columns.iter().map(|(name, _)| *name);
            let taken = taken.filter(|name| !key.split(", ").any(|part| part == *name));
            let set: Vec<String> = taken.map(|name| format!("{name} = excluded.{name}")).collect();
            format!("ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "))
        }
    };
    execute(
        (connection, patience),
        format!("INSERT INTO {name} AS t ({columns}) SELECT {columns} FROM {stage} {clash}"),
    )
    .await?;
    execute((connection, patience), format!("TRUNCATE {stage}")).await
}

async fn send<T: Sync>(
    (connection, patience): (&mut PgConnection, &mut Patience<'_>),
    statement: &str,
    target: &Target,
    rows: &[T],
    bind: impl Fn(&mut Values, &T) + Send,
) -> Result<(), Error> {
    let mut values = Values::for_postgres(target.table.columns.iter().map(|(_, kind)| *kind).collect());
    let mut copy = patience.wait(connection.copy_in_raw(statement)).await?;
    let mut chunk = SIGNATURE.to_vec();
    for row in rows {
        bind(&mut values, row);
        if values.copied_bytes() >= CHUNK_BYTES {
            match values.take_copied() {
                Ok(bytes) => chunk.extend(bytes),
                Err(error) => {
                    patience.wait(copy.abort("a value cannot be written")).await?;
                    return Err(error);
                }
            }
            patience.wait(copy.send(std::mem::take(&mut chunk))).await?;
        }
    }
    match values.take_copied() {
        Ok(bytes) => chunk.extend(bytes),
        Err(error) => {
            patience.wait(copy.abort("a value cannot be written")).await?;
            return Err(error);
        }
    }
    chunk.extend(END);
    patience.wait(copy.send(chunk)).await?;
    patience.wait(copy.finish()).await?;
    Ok(())
}

async fn execute(
    (connection, patience): (&mut PgConnection, &mut Patience<'_>),
    statement: String,
) -> Result<(), Error> {
    patience.wait(sqlx::query(AssertSqlSafe(statement)).execute(connection)).await?;
    Ok(())
}
