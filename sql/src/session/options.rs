//! Options of the query engine, as operators say them: `name:value`, parted by commas.

use std::borrow::Cow;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::prelude::SessionConfig;

use super::{CATALOG, USER_SCHEMA};

/// One option as operators say it.
pub fn parse_option(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once(':') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("'{text}' is not of the form key:value")),
    }
}

/// The options as they are kept; the error is what is wrong with the first that is no option.
pub fn judged_options(text: &str) -> std::result::Result<String, String> {
    let mut all = ConfigOptions::new();
    let mut judged = Vec::new();
    for text in texts(text) {
        let (name, value) = parse_option(text)?;
        all.set(&name, &value).map_err(|error| wrong(&all, (&name, &value), &error.strip_backtrace()))?;
        judged.push(format!("{name}:{value}"));
    }
    Ok(judged.join(","))
}

fn texts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|text| !text.is_empty())
}

fn wrong(all: &ConfigOptions, (name, value): (&str, &str), error: &str) -> String {
    let known: Vec<String> = all.entries().into_iter().map(|entry| entry.key).collect();
    if known.iter().any(|known| known == name) {
        return format!("option {name} cannot be '{value}': {error}");
    }
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let near = near.filter(|(distance, known)| *distance <= 1 + known.len() / 4);
    let hint = near.map_or(Cow::Borrowed("information_schema.df_settings has all of them"), |(_, known)| {
        Cow::Owned(format!("there is {known}"))
    });
    format!("there is no option {name}; {hint}")
}

/// Our defaults, then what the operator set, then what answers would be wrong or different without.
pub(super) fn config(target_partitions: usize, options: &str) -> Result<SessionConfig> {
    let mut all = ConfigOptions::new();
    all.execution.target_partitions = target_partitions;
    all.execution.parquet.pushdown_filters = true;
    for text in texts(options) {
        let (name, value) = parse_option(text).map_err(datafusion::common::DataFusionError::Configuration)?;
        all.set(&name, &value)?;
    }
    all.execution.parquet.schema_force_view_types = false;
    all.sql_parser.map_string_types_to_utf8view = false;
    all.catalog.create_default_catalog_and_schema = false;
    all.catalog.default_catalog = CATALOG.to_owned();
    all.catalog.default_schema = USER_SCHEMA.to_owned();
    all.catalog.information_schema = true;
    Ok(SessionConfig::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_does_not_exist_is_refused_with_the_one_that_may_be_meant() {
        for (text, refused_with) in [
            ("datafusion.execution.batch_sighs:1024", "there is datafusion.execution.batch_size"),
            ("datafusion.execution.batch_size:many", "option datafusion.execution.batch_size cannot be 'many'"),
            ("datafusion.execution.batch_size:1024, batch_size:1", "there is no option batch_size; information_schema"),
            ("batch_size", "'batch_size' is not of the form key:value"),
        ] {
            let error = judged_options(text).expect_err(text);
            assert!(error.contains(refused_with), "{error}");
            assert!(config(1, text).is_err(), "{text}");
        }
        let text = " datafusion.execution.batch_size : 1024,,datafusion.optimizer.repartition_joins:false ";
        let judged = "datafusion.execution.batch_size:1024,datafusion.optimizer.repartition_joins:false";
        assert_eq!(judged_options(text).as_deref(), Ok(judged));
        let config = config(1, judged).expect("it was judged");
        assert_eq!((config.batch_size(), config.options().optimizer.repartition_joins), (1024, false));
    }
}
