//! Instants as requests and answers write them: RFC 3339.

use arrow_array::TimestampMillisecondArray;
use arrow_cast::display::array_value_to_string;
use arrow_cast::parse::string_to_timestamp_nanos;

/// `2026-01-02T03:04:05.006Z`.
#[must_use]
pub(super) fn to_text(ms: u64) -> String {
    let array = TimestampMillisecondArray::from(vec![i64::try_from(ms).unwrap_or(i64::MAX)]).with_timezone("UTC");
    // Only instants far beyond the year 200 000 have no text.
    array_value_to_string(&array, 0).unwrap_or_else(|_| format!("{ms}ms"))
}

/// Milliseconds since the Unix epoch; instants before it are the epoch.
pub(super) fn from_text(text: &str) -> Result<u64, String> {
    let ns = string_to_timestamp_nanos(text)
        .map_err(|_| format!("'{text}' is not an instant such as 2026-01-31T12:00:00Z"))?;
    Ok(u64::try_from(ns / 1_000_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_being_written_and_read() {
        assert_eq!(to_text(1_767_323_045_006), "2026-01-02T03:04:05.006Z");
        assert_eq!(from_text("2026-01-02T03:04:05.006Z"), Ok(1_767_323_045_006));
        assert_eq!(from_text("2026-01-02T04:04:05.006+01:00"), Ok(1_767_323_045_006));
        assert_eq!(from_text("1900-01-01T00:00:00Z"), Ok(0));
        assert!(from_text("soon").is_err());
    }
}
