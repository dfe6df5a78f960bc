use sqlx::{Any, AssertSqlSafe, SqlSafeStr as _};

use super::to_i64;

/// Arguments of a query.
pub type Arguments = Vec<Value>;

/// One argument of a query.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// A text, or nothing.
    MaybeText(Option<String>),
    /// A number, or nothing.
    MaybeNumber(Option<i64>),
}

/// A query with its arguments.
pub(super) fn query(
    sql: &str,
    arguments: Arguments,
) -> sqlx::query::Query<'static, Any, sqlx::any::AnyArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()).into_sql_str());
    for argument in arguments {
        query = match argument {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::MaybeText(text) => query.bind(text),
            Value::MaybeNumber(number) => query.bind(number),
        };
    }
    query
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(to_i64(number))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Number(i64::from(truth))
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Self {
        Self::MaybeNumber(number.map(to_i64))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::MaybeText(text)
    }
}
