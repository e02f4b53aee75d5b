//! Which names users may give, and what a dropped thing is called.
//!
//! # Promises
//! - A name that is accepted can be written down in every stored format, and never hides a column of ours.
//!
//! # Not here
//! - Whether a name is taken: the state knows.

use crate::model::{SEQ_COLUMN, TIME_COLUMN};

/// The longest name of a database, in bytes.
pub const DATABASE_NAME_BYTES_MAX: usize = 511;

/// The longest name of a table or column, in bytes: as long as line protocol may write them.
pub const NAME_BYTES_MAX: usize = 64 << 10;

/// Columns that begin so are ours.
const HIDDEN_PREFIX: &str = "__";
const _: () = assert!(SEQ_COLUMN.len() > HIDDEN_PREFIX.len(), "the hidden column has a name of its own");

/// Whether a database may be called `name`: letters, digits, `_` and `-`, beginning with a letter or digit, and at
/// most one `/` between two such parts.
pub fn check_database_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("db name cannot be empty".into());
    }
    if name.len() > DATABASE_NAME_BYTES_MAX {
        return Err(format!("db name too long: max {DATABASE_NAME_BYTES_MAX}"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("db name did not start with a number or letter".into());
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/')) {
        return Err("invalid character in database or rp name: must be ASCII, containing only letters, numbers, \
                    underscores, or hyphens"
            .into());
    }
    match name.split_once('/') {
        Some((_, policy)) if policy.is_empty() || policy.contains('/') => {
            Err("db name with invalid retention policy, \
             if providing a retention policy name, must be of form '<db_name>/<rp_name>'"
                .into())
        }
        _ => Ok(()),
    }
}

/// Whether a table may be called `name`: any text that line protocol can say.
pub fn check_table_name(name: &str) -> Result<(), String> {
    check_text("table", name)
}

/// Whether a tag or field may be called `name`: any text that line protocol can say and that is not one of our columns.
pub fn check_column_name(name: &str) -> Result<(), String> {
    check_text("column", name)?;
    if name == TIME_COLUMN || name.starts_with(HIDDEN_PREFIX) {
        return Err(format!("'{}' is a reserved column", name.escape_debug()));
    }
    Ok(())
}

/// Whether a cache may be called `name`: as a table.
pub(super) fn check_cache_name(name: &str) -> Result<(), String> {
    check_text("cache", name)
}

fn check_text(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("{what} name cannot be empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{what} name too long: {} bytes, max {NAME_BYTES_MAX}", name.len()));
    }
    if name.contains(['\0', '\n', '\r']) {
        return Err(format!("{what} name '{}' contains a line break or a zero byte", name.escape_debug()));
    }
    Ok(())
}

/// What `name` is called once it is dropped: `<name>-<YYYYMMDDTHHMMSS>`, in UTC.
#[must_use]
pub(super) fn dropped_name(name: &str, at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{name}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}")
}

/// Year, month and day of the `days`-th day after 1970-01-01. Years are counted from March, so that the day that only
/// some years have is the last one.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names_that_keep_the_rules_are_accepted() {
        for name in ["a", "9", "plant_1-b", "db/rp", "A/_x", &"x".repeat(511)] {
            assert_eq!(check_database_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn each_broken_rule_of_database_names_has_its_message() {
        let (start, character) = ("did not start with a number or letter", "invalid character in database or rp name");
        check_refused(check_database_name, "", "db name cannot be empty");
        check_refused(check_database_name, &"x".repeat(512), "db name too long: max 511");
        for name in ["_internal", "-a", "/rp", "é", " a"] {
            check_refused(check_database_name, name, start);
        }
        for name in ["a b", "a.b", "a\u{e9}", "a\0", "a\n"] {
            check_refused(check_database_name, name, character);
        }
        for name in ["a/", "a/b/c", "a//b"] {
            check_refused(check_database_name, name, "must be of form '<db_name>/<rp_name>'");
        }
    }

    #[test]
    fn tables_and_columns_may_be_called_anything_line_protocol_can_say() {
        for name in ["a", "two words", "_x", "a,b=c", "température", &"x".repeat(65_536)] {
            assert_eq!(check_table_name(name), Ok(()), "{name}");
            assert_eq!(check_column_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_table_name("time"), Ok(()));
        for (name, message) in [("", "cannot be empty"), ("a\nb", "contains a line break"), ("\0", "a zero byte")] {
            check_refused(check_table_name, name, message);
            check_refused(check_column_name, name, message);
        }
        check_refused(check_table_name, &"x".repeat(65_537), "table name too long: 65537 bytes, max 65536");
    }

    #[test]
    fn our_columns_cannot_be_named() {
        for name in ["time", "__seq", "__anything"] {
            check_refused(check_column_name, name, &format!("'{name}' is a reserved column"));
        }
        assert_eq!(check_column_name("Time"), Ok(()));
    }

    #[test]
    fn a_dropped_name_says_when() {
        for (at_ms, expected) in [
            (0, "a-19700101T000000"),
            (951_782_399_999, "a-20000228T235959"),
            (951_782_400_000, "a-20000229T000000"),
            (951_868_800_000, "a-20000301T000000"),
            (1_735_689_599_000, "a-20241231T235959"),
            (4_107_542_400_000, "a-21000301T000000"),
        ] {
            assert_eq!(dropped_name("a", at_ms), expected);
        }
    }

    #[track_caller]
    fn check_refused(check: fn(&str) -> Result<(), String>, name: &str, expected: &str) {
        let message = check(name).expect_err("the name breaks a rule");
        assert!(message.contains(expected), "{name:?}: {message}");
    }
}
