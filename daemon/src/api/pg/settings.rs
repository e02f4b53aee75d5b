//! Settings of a session: what clients set and ask for at the start, and the few that change something here.
//!
//! # Promises
//! - A setting that would change answers and cannot is refused: another encoding, another style of dates, strings with
//!   backslashes.
//! - What a transaction set is as before when it is rolled back, to its beginning or to a savepoint.
//! - Own settings are bounded, in number and in bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::timezone::Tz;

use super::command::Value;
use super::errors::Refusal;

/// Name as it is shown, value at the start.
const DEFAULTS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("DateStyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lock_timeout", "0"),
    ("max_connections", "1000"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", ""),
    ("server_version_num", ""),
    ("session_authorization", ""),
    ("session_replication_role", "origin"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("synchronize_seqscans", "on"),
    ("TimeZone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// Clients are told when one of these changes.
const REPORTED: [&str; 13] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

const READ_ONLY: [&str; 12] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_connections",
    "max_identifier_length",
    "max_index_keys",
    "server_encoding",
    "server_version",
    "server_version_num",
    "session_authorization",
];

/// Values of settings that can have no other here; small letters.
const ONLY: [(&str, &[&str]); 5] = [
    ("client_encoding", &["utf8", "utf-8", "unicode"]),
    ("standard_conforming_strings", &["on", "true", "yes", "1"]),
    ("IntervalStyle", &["postgres"]),
    ("bytea_output", &["hex"]),
    ("row_security", &["on", "off"]),
];

/// Own settings (`name.with_dot`) of a session, and what all settings may take; more is refused.
const OWN_MAX: usize = 100;
const OWN_NAME_BYTES_MAX: usize = 127;
const VALUE_BYTES_MAX: usize = 8 << 10;
const BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    values: BTreeMap<String, String>,
    /// As the session began, for RESET.
    first: BTreeMap<String, String>,
    /// What ends with the transaction, and what was before it.
    local: BTreeMap<String, Option<String>>,
}

impl Settings {
    pub(super) fn new(user: &str) -> Self {
        let mut values: BTreeMap<_, _> = DEFAULTS.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let version = sql::SERVER_VERSION;
        values.insert("server_version".to_owned(), version.to_owned());
        values.insert("server_version_num".to_owned(), version_number(version));
        values.insert("session_authorization".to_owned(), user.to_owned());
        Self { first: values.clone(), values, local: BTreeMap::new() }
    }

    /// From now on RESET brings back what is set now.
    pub(super) fn begin(&mut self) {
        self.first = self.values.clone();
    }

    pub(super) fn get(&self, name: &str) -> Result<&str, Refusal> {
        let name = known(name).unwrap_or(name);
        let missing = || Refusal::new("42704", format!("unrecognized configuration parameter \"{name}\""));
        self.values.get(name).map(String::as_str).ok_or_else(missing)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets for the session, whatever was set for the transaction alone.
    pub(super) fn set(&mut self, name: &str, value: &Value) -> Result<(), Refusal> {
        let (named, value) = self.accepted(name, value)?;
        self.local.remove(&named);
        self.values.insert(named, value);
        Ok(())
    }

    /// Sets until the transaction ends.
    pub(super) fn set_local(&mut self, name: &str, value: &Value) -> Result<(), Refusal> {
        let (named, value) = self.accepted(name, value)?;
        let before = self.values.insert(named.clone(), value);
        self.local.entry(named).or_insert(before);
        Ok(())
    }

    /// The name and the value as they are kept.
    fn accepted(&self, name: &str, value: &Value) -> Result<(String, String), Refusal> {
        let named = match known(name) {
            Some(known) => known.to_owned(),
            None if name.contains('.') && name.len() <= OWN_NAME_BYTES_MAX => name.to_owned(),
            None => return Err(Refusal::new("42704", format!("unrecognized configuration parameter \"{name}\""))),
        };
        if READ_ONLY.contains(&named.as_str()) {
            return Err(Refusal::new("55P02", format!("parameter \"{named}\" cannot be changed")));
        }
        let value = match value {
            Value::Default => self.first.get(&named).cloned().unwrap_or_default(),
            Value::Text(text) => checked(&named, text)?,
        };
        let is_new = !self.values.contains_key(&named);
        if is_new && self.values.len() >= DEFAULTS.len() + OWN_MAX || self.bytes() + value.len() > BYTES_MAX {
            let message =
                format!("a session has at most {OWN_MAX} own settings, and all take at most {BYTES_MAX} bytes");
            return Err(Refusal::new("53400", message));
        }
        Ok((named, value))
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        let values = self.values.iter().map(|(name, value)| name.len() + value.len());
        let local = self.local.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
        values.chain(local).sum()
    }

    /// Whether some are for the transaction alone.
    pub(super) fn has_local(&self) -> bool {
        !self.local.is_empty()
    }

    /// What was set for the transaction alone is as before.
    pub(super) fn end_transaction(&mut self) {
        for (name, before) in std::mem::take(&mut self.local) {
            match before {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }

    pub(super) fn reset(&mut self, name: Option<&str>) -> Result<(), Refusal> {
        match name {
            Some(name) => self.set(name, &Value::Default),
            None => {
                self.values = self.first.clone();
                Ok(())
            }
        }
    }

    /// What clients are told of.
    pub(super) fn reported(&self) -> BTreeMap<&'static str, String> {
        REPORTED.iter().map(|name| (*name, self.values.get(*name).cloned().unwrap_or_default())).collect()
    }

    /// The longest a statement may take.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        self.time("statement_timeout")
    }

    /// The longest a client may be silent within a transaction.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.time("idle_in_transaction_session_timeout")
    }

    /// Zero is no limit.
    fn time(&self, name: &str) -> Option<Duration> {
        duration(self.get(name).unwrap_or("0")).filter(|duration| !duration.is_zero())
    }

    pub(super) fn search_path(&self) -> Vec<String> {
        let names = names(self.get("search_path").unwrap_or_default());
        names.into_iter().filter(|name| !name.is_empty() && name != "$user").collect()
    }

    pub(super) fn zone(&self) -> Zone {
        zone(self.get("timezone").unwrap_or("UTC")).unwrap_or(Zone::Utc)
    }
}

/// Where times are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    Utc,
    Other(Tz),
}

fn zone(name: &str) -> Option<Zone> {
    let plain = name.trim();
    if ["utc", "gmt", "z", "etc/utc", "zulu", "etc/gmt", "0"].contains(&plain.to_lowercase().as_str()) {
        return Some(Zone::Utc);
    }
    // `UTC+2` of POSIX means two hours west, which nobody expects: refused.
    plain.parse().ok().map(Zone::Other)
}

fn version_number(version: &str) -> String {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    format!("{major}{:04}", minor.parse::<u32>().unwrap_or(0))
}

/// The name as it is kept.
fn known(name: &str) -> Option<&'static str> {
    DEFAULTS.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(name))
}

fn checked(name: &str, text: &str) -> Result<String, Refusal> {
    let invalid = || Refusal::new("22023", format!("invalid value for parameter \"{name}\": \"{text}\""));
    if text.len() > VALUE_BYTES_MAX {
        return Err(Refusal::new("22023", format!("the value of \"{name}\" is too long")));
    }
    // Some drivers write quotes around it.
    let text = if name == "client_encoding" { text.trim_matches('\'') } else { text };
    if let Some((_, values)) = ONLY.iter().find(|(only, _)| *only == name)
        && !values.contains(&text.to_lowercase().as_str())
    {
        return Err(invalid());
    }
    match name {
        "client_encoding" => Ok("UTF8".to_owned()),
        "DateStyle" => {
            let known = |part: &str| ["iso", "mdy", "dmy", "ymd"].contains(&part.trim().to_lowercase().as_str());
            if text.split(',').all(known) { Ok("ISO, MDY".to_owned()) } else { Err(invalid()) }
        }
        "TimeZone" => match zone(text).ok_or_else(invalid)? {
            Zone::Utc => Ok("UTC".to_owned()),
            Zone::Other(_) => Ok(text.trim().to_owned()),
        },
        "statement_timeout" | "idle_in_transaction_session_timeout" | "lock_timeout" => {
            let milliseconds = duration(text).ok_or_else(invalid)?.as_millis();
            Ok(if milliseconds == 0 { "0".to_owned() } else { format!("{milliseconds}ms") })
        }
        _ => Ok(text.to_owned()),
    }
}

/// The names of a list: between commas, in small letters unless they stand in quotes.
fn names(text: &str) -> Vec<String> {
    let (mut names, mut name, mut in_quotes, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut chars = text.chars().peekable();
    let mut end = |name: &mut String, was_quoted: &mut bool| {
        let said = std::mem::take(name);
        names.push(if std::mem::take(was_quoted) { said } else { said.trim().to_lowercase() });
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if in_quotes && chars.next_if_eq(&'"').is_some() => name.push('"'),
            '"' => (in_quotes, was_quoted) = (!in_quotes, true),
            ',' if !in_quotes => end(&mut name, &mut was_quoted),
            c if c.is_whitespace() && !in_quotes && (name.is_empty() || was_quoted) => {}
            c => name.push(c),
        }
    }
    end(&mut name, &mut was_quoted);
    names
}

/// Milliseconds, or a number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let milliseconds = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[track_caller]
    fn check(name: &str, value: &str, expected: Result<&str, &str>) {
        let mut settings = Settings::new("me");
        let set = settings.set(name, &text(value)).map_err(|refusal| refusal.code);
        let found = set.map(|()| settings.get(name).expect("it is known").to_owned());
        assert_eq!(found.as_deref().map_err(|code| *code), expected, "{name} = {value}");
    }

    #[test]
    fn what_would_change_answers_and_cannot_is_refused() {
        check("client_encoding", "utf-8", Ok("UTF8"));
        check("CLIENT_ENCODING", "LATIN1", Err("22023"));
        check("datestyle", "ISO", Ok("ISO, MDY"));
        check("datestyle", "German", Err("22023"));
        check("standard_conforming_strings", "off", Err("22023"));
        check("server_version", "9", Err("55P02"));
        check("nonsense", "1", Err("42704"));
        check("my.own", "1", Ok("1"));
        check("timezone", "Europe/Berlin", Ok("Europe/Berlin"));
        check("timezone", "Etc/UTC", Ok("UTC"));
        check("timezone", "Mars/Olympus", Err("22023"));
        check("statement_timeout", "2min", Ok("120000ms"));
        check("statement_timeout", "soon", Err("22023"));
        check("idle_in_transaction_session_timeout", "1s", Ok("1000ms"));
        check("idle_in_transaction_session_timeout", "soon", Err("22023"));
        check(&format!("a.{}", "b".repeat(200)), "1", Err("42704"));
    }

    #[test]
    fn what_settings_take_is_bounded() {
        let mut settings = Settings::new("me");
        let long = "x".repeat(VALUE_BYTES_MAX);
        let mut codes = (0..20).map(|number| settings.set(&format!("a.b{number}"), &text(&long)).err());
        assert_eq!(codes.find_map(|refused| refused.map(|refused| refused.code)), Some("53400"));
        assert!(settings.bytes() <= BYTES_MAX);
        let mut settings = Settings::new("me");
        let refused = (0..200).filter(|number| settings.set(&format!("a.b{number}"), &text("1")).is_err()).count();
        assert_eq!(refused, 100);
        settings.set("a.b1", &text("2")).expect("it is there already");
    }

    #[test]
    fn a_path_is_a_list_of_names() {
        let path = |value: &str| {
            let mut settings = Settings::new("me");
            settings.set("search_path", &text(value)).expect("a path");
            settings.search_path()
        };
        assert_eq!(path("\"$user\", Public"), ["public"]);
        assert_eq!(path("\"a,B\" , \"c\"\"\",system"), ["a,B", "c\"", "system"]);
        assert_eq!(path(""), [""; 0]);
    }

    #[test]
    fn a_setting_of_a_transaction_ends_with_it() {
        let mut settings = Settings::new("me");
        settings.set("application_name", &text("a")).expect("known");
        settings.set_local("application_name", &text("b")).expect("known");
        settings.set_local("x.y", &text("1")).expect("own");
        assert_eq!(settings.get("application_name"), Ok("b"));
        settings.end_transaction();
        assert_eq!(settings.get("application_name"), Ok("a"));
        assert!(settings.get("x.y").is_err());
        settings.set_local("application_name", &text("c")).expect("known");
        settings.set("application_name", &text("d")).expect("known");
        settings.end_transaction();
        assert_eq!(settings.get("application_name"), Ok("d"));
        settings.reset(None).expect("all");
        assert_eq!(settings.get("application_name"), Ok(""));
    }

    #[test]
    fn the_version_has_a_number() {
        assert_eq!(version_number("15.13"), "150013");
        assert_eq!(Settings::new("me").statement_timeout(), None);
    }
}
