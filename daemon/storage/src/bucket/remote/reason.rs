//! What a client says went wrong, in one line that holds no secret.
//!
//! Services answer an error with a document. That of S3 repeats the access key and what was signed; of it only code and
//! message are told. Of addresses the query is left out, where some services put a signature.

use std::error::Error;

use super::Secret;

/// Longer than any message that helps.
const CHARS_MAX: usize = 400;

/// The message of an error and of what caused it.
pub(super) fn of(error: &(dyn Error + 'static), secrets: &[Secret]) -> String {
    let mut text = plain(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        cause = error.source();
        // Most messages repeat that of their cause; the last one is often left out.
        let last = plain(&error.to_string());
        if cause.is_none() && !text.contains(&last) {
            text = format!("{text}: {last}");
        }
    }
    if let Some((end, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    secrets.iter().fold(text, |text, secret| secret.take_from(text))
}

/// One line, of documents only what they say to a person.
fn plain(text: &str) -> String {
    let document = text.find("<?xml").or_else(|| text.find("<Error>"));
    let told = match document {
        Some(at) => {
            let parts = ["Code", "Message"].into_iter().filter_map(|name| element(&text[at..], name));
            format!("{}{}", &text[..at], parts.collect::<Vec<_>>().join(": "))
        }
        None => text.to_owned(),
    };
    told.split_whitespace().map(without_query).collect::<Vec<_>>().join(" ")
}

fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// An address without what follows its path.
pub(super) fn without_query(word: &str) -> &str {
    let is_address = word.contains("http://") || word.contains("https://");
    if is_address { word.split('?').next().unwrap_or(word) } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, expected: &str) {
        let error = std::io::Error::other(said.to_owned());
        assert_eq!(of(&error, &[Secret::new("AKIAKEY")]), expected);
    }

    #[test]
    fn documents_become_code_and_message() {
        let document = "status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code>\
                        <Message>The signature\nis wrong.</Message><AWSAccessKeyId>AKIAKEY</AWSAccessKeyId>\
                        <StringToSign>AWS4-HMAC-SHA256</StringToSign></Error>";
        check(document, "status code: 403 Forbidden: SignatureDoesNotMatch: The signature is wrong.");
        check("broken: <Error>", "broken:");
    }

    #[test]
    fn secrets_and_queries_are_left_out() {
        check("key AKIAKEY is unknown", "key *** is unknown");
        check("GET https://h/c/b?sig=abc&x=1 failed\n  soon", "GET https://h/c/b failed soon");
        let long = "x".repeat(2 * CHARS_MAX);
        check(&long, &format!("{}…", "x".repeat(CHARS_MAX)));
    }

    #[test]
    fn the_last_cause_is_told_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = object_store::Error::Generic { store: "S3", source: refused.into() };
        assert_eq!(of(&error, &[]), "Generic S3 error: connection refused");
    }
}
