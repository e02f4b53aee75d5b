//! The series of clients, as texts.
//!
//! # Promises
//! - A text names one set of tags, and begins with the client.
//! - Most have tag `s` alone. Some have a tag `k` besides, some a tag `n` and no `s`: both come to be with their first row.

/// What `k` is where it is.
pub(crate) const K: &str = "y";
/// Behind the name of a series that has `k` too, and of one that has `n` instead.
pub(crate) const WITH_K: &str = "/k";
pub(crate) const WITH_N: &str = "/n";

/// One of the series of a name.
pub(crate) fn named(name: &str, chance: u32) -> String {
    let kind = match chance {
        0 => WITH_K,
        1 => WITH_N,
        _ => "",
    };
    format!("{name}{kind}")
}

/// As line protocol has them.
pub(crate) fn tags(series: &str) -> String {
    match (series.strip_suffix(WITH_K), series.strip_suffix(WITH_N)) {
        (Some(name), _) => format!("k={K},s={name}"),
        (None, Some(name)) => format!("n={name}"),
        (None, None) => format!("s={series}"),
    }
}

/// The series with these values of `s`, `k` and `n`.
pub(crate) fn of(tags: [Option<&str>; 3]) -> String {
    match tags {
        [Some(name), None, None] => name.to_owned(),
        [Some(name), Some(K), None] => format!("{name}{WITH_K}"),
        [None, None, Some(name)] => format!("{name}{WITH_N}"),
        _ => panic!("nobody writes rows with tags {tags:?}"),
    }
}
