use std::fmt::Write as _;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::DatabaseError;

/// As databases count: nothing here is near 2⁶³, and what claims to be is cut.
pub fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What was written with [`to_i64`].
pub fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A column of a number.
pub fn number(row: &AnyRow, column: usize) -> Result<u64, DatabaseError> {
    let value: i64 = row.try_get(column)?;
    Ok(from_i64(value))
}

/// `($1, $2), ($3, $4)` for two rows of two columns.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 7);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let separator = if column == 0 { "" } else { ", " };
            let _ = write!(text, "{separator}${}", row * columns + column + 1);
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through_all_rows() {
        assert_eq!(placeholders(1, 3), "($1, $2, $3)");
        assert_eq!(placeholders(2, 2), "($1, $2), ($3, $4)");
    }

    #[test]
    fn numbers_that_no_database_holds_are_cut() {
        assert_eq!(to_i64(u64::MAX), i64::MAX);
        assert_eq!(from_i64(-1), 0);
        assert_eq!(from_i64(to_i64(7)), 7);
    }
}
