//! Lists as Postgres writes them: `{a,"b c",NULL}`.

/// How many items an array may have.
pub const ARRAY_ITEMS_MAX: usize = 65_535;

/// Why a text is no array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayError {
    Malformed,
    TooMany,
}

/// The items of a list of one dimension; `None` when the text is no such list.
pub fn array_items(text: &str) -> Result<Vec<Option<String>>, ArrayError> {
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or(ArrayError::Malformed)?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    let mut rest = inner;
    loop {
        let (item, after) = item(rest.trim_start()).ok_or(ArrayError::Malformed)?;
        items.push(item);
        if items.len() > ARRAY_ITEMS_MAX {
            return Err(ArrayError::TooMany);
        }
        match after.trim_start() {
            "" => return Ok(items),
            after => rest = after.strip_prefix(',').ok_or(ArrayError::Malformed)?,
        }
    }
}

/// The first item of `text`, and what follows it.
fn item(text: &str) -> Option<(Option<String>, &str)> {
    let is_quoted = text.starts_with('"');
    let body = if is_quoted { &text[1..] } else { text };
    let (mut item, mut is_escaped) = (String::new(), false);
    // How much of the item is not blanks at its end.
    let mut kept = 0;
    let mut chars = body.char_indices();
    loop {
        match chars.next() {
            Some((at, '"')) if is_quoted => return Some((Some(item), &body[at + 1..])),
            None if is_quoted => return None,
            end @ (None | Some((_, ','))) if !is_quoted => {
                item.truncate(kept);
                let after = end.map_or("", |(at, _)| &body[at..]);
                return match item.as_str() {
                    "" => None,
                    word if !is_escaped && word.eq_ignore_ascii_case("null") => Some((None, after)),
                    _ => Some((Some(item), after)),
                };
            }
            Some((_, '{' | '}' | '"')) if !is_quoted => return None,
            Some((_, '\\')) => {
                item.push(chars.next()?.1);
                (is_escaped, kept) = (true, item.len());
            }
            Some((_, c)) => {
                item.push(c);
                if !c.is_whitespace() {
                    kept = item.len();
                }
            }
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_parted_by_commas_outside_of_quotes() {
        check("{}", Some(&[]));
        check(" { } ", Some(&[]));
        check("{a,b}", Some(&[Some("a"), Some("b")]));
        check("{ a b , \"c,d\" }", Some(&[Some("a b"), Some("c,d")]));
        check(r#"{"a\"b","c\\d",e\,f}"#, Some(&[Some("a\"b"), Some("c\\d"), Some("e,f")]));
        check(r#"{NULL,"NULL",null,\null,""}"#, Some(&[None, Some("NULL"), None, Some("null"), Some("")]));
        check(r#"{"{x}"," y "}"#, Some(&[Some("{x}"), Some(" y ")]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "a", "{", "{a", "a}", "{a,}", "{,}", "{,a}", "{{1}}", "{\"a}", "{\"a\"b}", "{a\"b\"}", "{a\\}"]
        {
            check(text, None);
        }
    }

    #[test]
    fn a_list_has_so_many_items_and_no_more() {
        let list = |items: usize| format!("{{{}}}", vec!["a"; items].join(","));
        assert_eq!(array_items(&list(ARRAY_ITEMS_MAX)).map(|items| items.len()), Ok(ARRAY_ITEMS_MAX));
        assert_eq!(array_items(&list(ARRAY_ITEMS_MAX + 1)), Err(ArrayError::TooMany));
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&[Option<&str>]>) {
        let found = array_items(text);
        let found = found.as_ref().ok().map(|items| items.iter().map(Option::as_deref).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected, "{text}");
    }
}
