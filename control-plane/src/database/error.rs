use std::fmt;

/// Why the database did not do what it was asked to.
#[derive(Debug)]
pub enum DatabaseError {
    /// The URL is of no database that is known: the operator corrects it.
    Url(String),
    /// The database cannot be opened: the operator looks at its address, its rights, its folder.
    Open(sqlx::Error),
    /// Its tables cannot be brought up to date: the operator installs the release that made them, or a newer one.
    Migrate(String),
    /// Others were using it for too long: whoever asked comes again.
    Busy,
    /// A query failed.
    Query(sqlx::Error),
    /// A row is not as this program wrote it.
    Shape(&'static str),
    /// A row is not as this program wrote it; which, and why.
    Row(String),
}

impl DatabaseError {
    pub(super) fn url(error: &sqlx::Error) -> Self {
        Self::Url(error.to_string())
    }

    pub(super) fn open(error: sqlx::Error) -> Self {
        Self::Open(error)
    }

    pub(super) fn migrate(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migrate(error.to_string())
    }

    /// A row holds what its type refuses.
    pub fn row(what: &str, why: impl fmt::Display) -> Self {
        Self::Row(format!("{what}: {why}"))
    }

    /// Whether somebody else has put a row with the same key there already.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Query(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether a row names another one that is not there.
    pub fn is_dangling(&self) -> bool {
        matches!(self, Self::Query(sqlx::Error::Database(error)) if error.is_foreign_key_violation())
    }

    /// Whether two changes stood in each other's way, and this one gave in: PostgreSQL's serialization
    /// failure and deadlock.
    pub fn is_conflict(&self) -> bool {
        let Self::Query(error) = self else { return false };
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| matches!(&*code, "40001" | "40P01"))
    }

    /// Whether asking again later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Query(error) => {
                matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_))
                    || error
                        .as_database_error()
                        .and_then(|error| error.code())
                        // SQLITE_BUSY, SQLITE_LOCKED and their kin.
                        .is_some_and(|code| matches!(&*code, "5" | "6" | "261" | "262" | "517"))
                    || self.is_conflict()
            }
            _ => false,
        }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error)
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(formatter, "control_plane.database is no URL of a database: {why}"),
            Self::Open(error) => write!(
                formatter,
                "the database cannot be opened: {error}; does its folder or server exist, and may this user write there?"
            ),
            Self::Migrate(why) => {
                write!(
                    formatter,
                    "the database's tables cannot be brought up to date: {why}; was it made by a newer release?"
                )
            }
            Self::Busy => {
                write!(formatter, "the database is busy: another program holds its lock, try again")
            }
            Self::Query(error) => write!(formatter, "the database refused: {error}"),
            Self::Shape(what) => write!(formatter, "the database is not as this program left it: {what}"),
            Self::Row(what) => write!(formatter, "the database holds what it cannot hold: {what}"),
        }
    }
}

impl std::error::Error for DatabaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) | Self::Query(error) => Some(error),
            _ => None,
        }
    }
}
