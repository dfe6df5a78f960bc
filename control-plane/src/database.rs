//! The database: SQLite by default, PostgreSQL by URL, through one query layer.
//!
//! The layer is `sqlx::Any`, not a backend for each. The queries here are plain: keys, upserts, sums. Both
//! databases understand the same text for them (`$1` placeholders, `ON CONFLICT … DO UPDATE`, `RETURNING`),
//! as long as columns are `TEXT` and `BIGINT`, nothing relies on a database's own numbering, and sums are
//! cast back to `BIGINT`. Two backends would double every query, and the one that is used less would rot; the
//! same tests run on both instead. What differs is here: how a change begins, and SQLite's settings.
//!
//! - A [`Change`] is a transaction. SQLite has one writer: changes of this process wait for each other in a fair queue, and begin with
//!   `BEGIN IMMEDIATE`, so that a reader is never turned into a writer halfway (`SQLITE_BUSY_SNAPSHOT`); another process, such as
//!   the command line, is waited for by the busy timeout. PostgreSQL has many writers, so a change of something that is read first
//!   begins by updating the row, which locks it. That is one way of writing for both.
//! - SQLite runs in WAL mode with `synchronous = FULL`: what was acknowledged survives a power cut.
//! - Migrations are embedded, and run when a program opens the database.

mod error;
mod rows;
mod value;

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Executor as _, Row as _, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use crate::limits;

pub use error::DatabaseError;
pub use rows::{from_i64, number, placeholders, to_i64};
pub use value::{Arguments, Value};

use value::query;

/// The database.
#[derive(Debug)]
pub struct Database {
    pool: AnyPool,
    kind: Kind,
    /// The connection of changes, where there can be but one at a time: whatever the readers do, there is one.
    writer: Option<(AnyPool, Mutex<()>)>,
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One file, one machine.
    Sqlite,
    /// A server.
    Postgres,
}

/// A transaction. It is rolled back unless it is committed.
#[derive(Debug)]
pub struct Change<'a> {
    transaction: Transaction<'static, Any>,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Database {
    /// Opens `sqlite:///path/of/file` (made where it is not there) or `postgres://…`, and brings its tables
    /// up to date.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let kind = Kind::of(url)?;
        let (pool, writer) = match kind {
            Kind::Sqlite => {
                let url = sqlite_url(url);
                let writer = connect(kind, &url, 1).await?;
                let readers = connect(kind, &url, limits::SQLITE_READERS_MAX).await?;
                (readers, Some((writer, Mutex::default())))
            }
            Kind::Postgres => (connect(kind, url, limits::POSTGRES_CONNECTIONS_MAX).await?, None),
        };
        let database = Self { pool, kind, writer };
        database.migrate().await?;
        Ok(database)
    }

    /// Which database it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Connections that are open, and those of them that nobody uses.
    pub fn connections(&self) -> (u32, usize) {
        let writer = self.writer.as_ref().map_or((0, 0), |(writer, _)| (writer.size(), writer.num_idle()));
        (self.pool.size() + writer.0, self.pool.num_idle() + writer.1)
    }

    /// Begins a transaction.
    pub async fn change(&self) -> Result<Change<'_>, DatabaseError> {
        let Some((writer, turn)) = &self.writer else {
            return Ok(Change { transaction: self.pool.begin().await?, _turn: None });
        };
        let turn = tokio::time::timeout(limits::DATABASE_ACQUIRE_TIMEOUT, turn.lock());
        let turn = turn.await.map_err(|_| DatabaseError::Busy)?;
        let transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Change { transaction, _turn: Some(turn) })
    }

    /// Rows of a query that only reads.
    pub async fn read(&self, sql: &str, arguments: Arguments) -> Result<Vec<AnyRow>, DatabaseError> {
        Ok(query(sql, arguments).fetch_all(&self.pool).await?)
    }

    /// Rows of a query that only reads, made something of one by one: for tables that may have a million of
    /// them, each of which takes far more memory than what is made of it.
    pub async fn read_each<T>(
        &self,
        sql: &str,
        arguments: Arguments,
        mut each: impl FnMut(&AnyRow) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        let mut rows = query(sql, arguments).fetch(&self.pool);
        let mut made = Vec::new();
        while let Some(row) = rows.try_next().await? {
            made.push(each(&row)?);
        }
        Ok(made)
    }

    /// The one row of a query that only reads, if there is one.
    pub async fn read_one(&self, sql: &str, arguments: Arguments) -> Result<Option<AnyRow>, DatabaseError> {
        Ok(query(sql, arguments).fetch_optional(&self.pool).await?)
    }

    /// Waits for the connections to close.
    pub async fn close(&self) {
        self.pool.close().await;
        if let Some((writer, _)) = &self.writer {
            writer.close().await;
        }
    }

    async fn migrate(&self) -> Result<(), DatabaseError> {
        let migrations = MIGRATIONS
            .iter()
            .map(|(version, description, sql)| {
                let sql = sqlx::SqlStr::from_static(sql);
                Migration::new(*version, (*description).into(), MigrationType::Simple, sql, false)
            })
            .collect();
        let migrator = Migrator::with_migrations(migrations);
        match self.kind {
            // Another program that opens the same new file waits until it is whole. (PostgreSQL's migrations
            // take a lock of their own.)
            Kind::Sqlite => {
                let mut change = self.change().await?;
                migrator
                    .run_direct(None, &mut *change.transaction, false)
                    .await
                    .map_err(DatabaseError::migrate)?;
                change.commit().await
            }
            Kind::Postgres => migrator.run(&self.pool).await.map_err(DatabaseError::migrate),
        }
    }
}

impl Kind {
    fn of(url: &str) -> Result<Self, DatabaseError> {
        if url.starts_with("sqlite:") {
            Ok(Self::Sqlite)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Ok(Self::Postgres)
        } else {
            Err(DatabaseError::Url(
                "write sqlite:///path/of/state.db or postgres://user@host/database".to_owned(),
            ))
        }
    }
}

impl Change<'_> {
    /// Changes rows, and says how many.
    pub async fn execute(&mut self, sql: &str, arguments: Arguments) -> Result<u64, DatabaseError> {
        Ok(query(sql, arguments).execute(&mut *self.transaction).await?.rows_affected())
    }

    /// Rows of a query, or of a change that returns them.
    pub async fn rows(&mut self, sql: &str, arguments: Arguments) -> Result<Vec<AnyRow>, DatabaseError> {
        Ok(query(sql, arguments).fetch_all(&mut *self.transaction).await?)
    }

    /// The one row of a query, if there is one.
    pub async fn row(&mut self, sql: &str, arguments: Arguments) -> Result<Option<AnyRow>, DatabaseError> {
        Ok(self.rows(sql, arguments).await?.pop())
    }

    /// Runs a change for many rows at once: `sql` holds `{rows}` where the placeholders go.
    pub async fn execute_many(
        &mut self,
        sql: &str,
        columns: usize,
        rows: Vec<Arguments>,
    ) -> Result<(), DatabaseError> {
        for chunk in rows.chunks(limits::ROWS_PER_STATEMENT) {
            let statement = sql.replace("{rows}", &placeholders(chunk.len(), columns));
            self.execute(&statement, chunk.concat()).await?;
        }
        Ok(())
    }

    /// The next value of a counter. Whoever asks for it next waits until this change has ended.
    pub async fn count(&mut self, counter: &str) -> Result<u64, DatabaseError> {
        let sql = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
        let row =
            self.row(sql, vec![counter.into()]).await?.ok_or(DatabaseError::Shape("no such counter"))?;
        number(&row, 0)
    }

    /// As [`Self::count`], and at least `least`: for numbers that must not come again where the database was put back from a copy.
    pub async fn count_from(&mut self, counter: &str, least: u64) -> Result<u64, DatabaseError> {
        let sql = "UPDATE counters SET value = CASE WHEN value < $1 THEN $1 ELSE value + 1 END WHERE name = $2 RETURNING value";
        let row = self.row(sql, vec![least.into(), counter.into()]).await?;
        number(&row.ok_or(DatabaseError::Shape("no such counter"))?, 0)
    }

    /// Makes it so.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        Ok(self.transaction.commit().await?)
    }
}

/// Numbers of changes, one row each, so that other processes see that there is something new.
pub async fn counter(database: &Database, name: &str) -> Result<u64, DatabaseError> {
    let row = database.read_one("SELECT value FROM counters WHERE name = $1", vec![name.into()]).await?;
    number(&row.ok_or(DatabaseError::Shape("no such counter"))?, 0)
}

/// A column of text.
pub fn text(row: &AnyRow, column: usize) -> Result<String, DatabaseError> {
    Ok(row.try_get(column)?)
}

/// A column of text that may be empty.
pub fn maybe_text(row: &AnyRow, column: usize) -> Result<Option<String>, DatabaseError> {
    Ok(row.try_get(column)?)
}

/// A column of a number that may be empty.
pub fn maybe_number(row: &AnyRow, column: usize) -> Result<Option<u64>, DatabaseError> {
    let value: Option<i64> = row.try_get(column)?;
    Ok(value.map(from_i64))
}

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/0001_first.sql")),
    (2, "second", include_str!("../migrations/0002_second.sql")),
    (3, "third", include_str!("../migrations/0003_third.sql")),
    (4, "fourth", include_str!("../migrations/0004_fourth.sql")),
];

/// WAL: readers and the writer do not wait for each other. FULL: a commit is on the disk. The busy timeout is
/// for other processes.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; \
     PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384;";

async fn connect(kind: Kind, url: &str, connections: u32) -> Result<AnyPool, DatabaseError> {
    let options: AnyConnectOptions = url.parse().map_err(|error| DatabaseError::url(&error))?;
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(limits::DATABASE_ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(600))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if kind == Kind::Sqlite {
                    connection.execute(SQLITE_SETTINGS).await?;
                }
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .map_err(DatabaseError::open)
}

fn sqlite_url(url: &str) -> String {
    if url.contains("mode=") {
        return url.to_owned();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}mode=rwc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_that_have_all_their_connections_keep_no_change_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("state.db").display());
        let database = Database::open(&url).await.unwrap();
        let mut readers = Vec::new();
        for _ in 0..limits::SQLITE_READERS_MAX {
            readers.push(database.pool.acquire().await.unwrap());
        }
        assert!(database.pool.try_acquire().is_none(), "there is no connection left to read with");
        let mut change = database.change().await.unwrap();
        change.count("fleet").await.unwrap();
        change.commit().await.unwrap();
        drop(readers);
        assert_eq!(counter(&database, "fleet").await.unwrap(), 1);
    }
}
