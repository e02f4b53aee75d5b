//! What is refused, and with which words.

use super::*;

/// `line` is refused with `message`: alone, between good lines, and in the middle of a table the parser knows well.
#[track_caller]
fn check_refused(line: &str, message: &str) {
    check_with(line, &options(), &Known::default(), &[], &[&format!("1: {message}")]);
    let between = format!("m v=1 1\nm v=2 2\n{line}\nm v=3 3\r\n");
    let rows = ["m v=1.0 1", "m v=2.0 2", "m v=3.0 3"];
    check_with(&between, &options(), &Known::default(), &rows, &[&format!("3: {message}")]);
    let refuse = Options { bad_lines: BadLines::Refuse, ..options() };
    let error = parse(&between, &refuse, &Known::default()).expect_err("the line is bad");
    assert_eq!(error_text(&error), format!("3: {message}"));
}

#[test]
fn lines_without_fields() {
    for line in ["m", "m ", "m,t=a", "m,t=a ", "m 1234", "m v 1", "m v= 1", "m ,v=1", "m =1 1", "m v=,w=1"] {
        check_refused(line, "No fields were provided");
    }
}

#[test]
fn measurements_and_tags_out_of_order() {
    check_refused(",t=a v=1", "Invalid measurement was provided");
    check_refused("m\0 v=1", "Invalid measurement was provided");
    check_refused("m,t v=1 1", "Tag set malformed");
    check_refused("m,t= v=1 1", "Tag set malformed");
    check_refused("m,t=a=b v=1 1", "Tag set malformed");
    check_refused("m,t,u=a v=1 1", "Tag set malformed");
    check_refused("m,=a v=1 1", "Expected tag key, got `=a v=1 1`");
    check_refused("m, v=1 1", "Expected tag key, got ` v=1 1`");
    check_refused("m,t=a, v=1 1", "Expected tag key, got ` v=1 1`");
    check_refused("m,", "Expected tag key, got `end of input`");
    check_refused("m\tv=1 1", "Expected at least one space character, got `\tv=1 1`");
    check_refused("m,t=a\tv=1 1", "Expected at least one space character, got `\tv=1 1`");
}

#[test]
fn what_follows_the_fields_or_the_time() {
    let trailing = |content: &str| format!("Could not parse entire line. Found trailing content: `{content}`");
    check_refused("m v=1 1 2", &trailing("2"));
    check_refused("m v=1 1x", &trailing("1x"));
    check_refused("m v=1 abcdefghijklm", &trailing("abcdefghij"));
    check_refused("m v=1 ééééééééééééé", &trailing("éééééééééé"));
    check_refused("m v=1\t1", &trailing("\t1"));
    check_refused("m v=1 1\t", &trailing("\t"));
    check_refused("m v=1 -", &trailing("-"));
    check_refused("m v=1 1.5", &trailing("1.5"));
    check_refused("m v=1,", &trailing(","));
    check_refused("m v=1, w=1", &trailing(", w=1"));
    check_refused("m v=1,w= 1", &trailing(",w= 1"));
    check_refused("m v=1,=2 1", &trailing(",=2 1"));
    check_refused("m s=\"a\"b 1", &trailing("b 1"));
    check_refused("m s=\"a\"\"b\" 1", &trailing("\"b\" 1"));
    check_refused("m v=1 1\rx", &trailing("\rx"));
}

#[test]
fn values_of_no_type() {
    for value in ["1.", ".5", "NaN", "nan", "Inf", "-inf", "+1", "1e400", "-1e400", "1e", "1.e5", "1.0.0", "--1", "abc"]
    {
        check_refused(&format!("m v={value} 1"), &format!("Unable to parse floating-point value `{value}`"));
    }
    for value in ["tRUE", "TRue", "0x10", "1_000", "-", "1f", "'a'"] {
        check_refused(&format!("m w={value} 1"), &format!("Unable to parse floating-point value `{value}`"));
    }
    for value in ["9223372036854775808", "-9223372036854775809", "1.5", "-", "99999999999999999999", "1e3"] {
        check_refused(&format!("m w={value}i 1"), &format!("Unable to parse integer value `{value}`"));
    }
    for value in ["18446744073709551616", "-1", "1.5"] {
        check_refused(&format!("m w={value}u 1"), &format!("Unable to parse unsigned integer value `{value}`"));
    }
}

#[test]
fn times_out_of_range() {
    check_refused("m v=1 9223372036854775808", "Unable to parse timestamp value `9223372036854775808`");
    check_refused("m v=1 -9223372036854775809", "Unable to parse timestamp value `-9223372036854775809`");
    let cases = [
        (Precision::Second, "9223372037", "Second"),
        (Precision::Second, "-9223372037", "Second"),
        (Precision::Millisecond, "9223372036855", "Millisecond"),
        (Precision::Microsecond, "9223372036854776", "Microsecond"),
        (Precision::Minute, "153722868", "Minute"),
        (Precision::Hour, "2562048", "Hour"),
    ];
    for (precision, number, name) in cases {
        let options = Options { precision, ..options() };
        let error = format!("timestamp, {number}, out of range for precision: {name}");
        let body = format!("m v=1 0\nm v=1 {number}");
        check_with(&body, &options, &Known::default(), &["m v=1.0 0"], &[&format!("2: {error}")]);
    }
}

#[test]
fn names_that_end_with_a_backslash() {
    let message = "Measurements, tag keys and values, and field keys may not end with a backslash";
    for line in ["m\\", "m,t\\", "m,t=a\\", "m v\\"] {
        check_with(line, &options(), &Known::default(), &[], &[&format!("1: {message}")]);
        check_with(&format!("{line}\r\n"), &options(), &Known::default(), &[], &[&format!("1: {message}")]);
    }
}

#[test]
fn names_that_are_reserved_or_repeated() {
    check_refused("m,time=1 v=1 1", "'time' is a reserved column");
    check_refused("m time=1 1", "'time' is a reserved column");
    check_refused("m,__seq=1 v=1 1", "'__seq' is a reserved column");
    check_refused("m v=1,__seq=1i 1", "'__seq' is a reserved column");
    check_refused("m,a=1,b=2,a=1 v=1 1", "invalid line protocol - multiple instances of 'a' tag found");
    check_refused("m,a\\ =1,a\\ =2 v=1 1", "invalid line protocol - multiple instances of 'a ' tag found");
    check("m __seq2=1,Time=2 1", &["m Time=2.0 __seq2=1.0 1"]);
}

#[test]
fn columns_of_another_type() {
    let conflict = |column, expected: &str, got: &str| {
        format!(
            "invalid column type for column '{column}', expected iox::column_type::{expected}, got iox::column_type::{got}"
        )
    };
    let types = [("1", "field::float"), ("1i", "field::integer"), ("1u", "field::uinteger")];
    let types = types.into_iter().chain([("t", "field::boolean"), ("\"a\"", "field::string")]);
    for (value, name) in types.clone() {
        for (other, other_name) in types.clone().filter(|(_, n)| *n != name) {
            let body = format!("m x={value} 1\nm x={value} 2\nm x={other} 3\nm x={value} 4");
            let parsed = parsed(&body, &options(), &Known::default());
            let error = format!("3: {}", conflict("x", name, other_name));
            assert_eq!(parsed.rejected.iter().map(error_text).collect::<Vec<_>>(), [error]);
            assert_eq!(parsed.lines_kept, 3);
        }
        check_refused(&format!("m,x=a x={value} 1"), &conflict("x", "tag", name));
    }
    let tag_first = [&*format!("2: {}", conflict("x", "tag", "field::float"))].map(str::to_owned);
    let body = "m,x=a v=1 1\nm x=1 2\nm,x=a v=1 3";
    let parsed = parsed(body, &options(), &Known::default());
    assert_eq!(parsed.rejected.iter().map(error_text).collect::<Vec<_>>(), tag_first);
    let field_first = [format!("2: {}", conflict("v", "field::float", "tag"))];
    let body = "m v=1 1\nm,v=a w=1 2\nm,v=a,v=b w=1 3\nm v=1,z=1,z=2i 4";
    let repeated = "3: invalid line protocol - multiple instances of 'v' tag found".to_owned();
    let in_line = format!("4: {}", conflict("z", "field::float", "field::integer"));
    let parsed = super::parsed(body, &options(), &Known::default());
    assert_eq!(parsed.rejected.iter().map(error_text).collect::<Vec<_>>(), [field_first[0].clone(), repeated, in_line]);
}

#[test]
fn texts_over_their_limits() {
    let options = with_limits(|l| (l.name_bytes_max, l.string_bytes_max) = (3, 1 << 20));
    let (fits, long) = ("x".repeat(1 << 20), "x".repeat((1 << 20) + 1));
    for (body, error) in [
        ("abcd v=1 1".to_owned(), Some("3 bytes")),
        ("abc,abc=abc abd=1 1".to_owned(), None),
        ("abc,abcd=a v=1 1".to_owned(), Some("3 bytes")),
        ("abc,a=abcd v=1 1".to_owned(), Some("3 bytes")),
        ("abc,a=b abcd=1 1".to_owned(), Some("3 bytes")),
        ("abc,a=b\\ c v=1 1".to_owned(), None),
        (format!("m s=\"{fits}\" 1"), None),
        (format!("m s=\"\\\\{}\" 1", &fits[1..]), None),
        (format!("m s=\"{long}\" 1"), Some("1MB")),
    ] {
        // Twice, so that the second line may go the quick way.
        let parsed = parsed(&format!("m s=\"\" 1\n{body}\n{body}"), &options, &Known::default());
        let errors: Vec<_> = parsed.rejected.iter().map(|e| &*e.message).collect();
        let expected = error.map(|size| format!("String is greater than {size}"));
        assert_eq!(errors, expected.iter().chain(&expected).map(|e| &**e).collect::<Vec<_>>());
    }
    let default = parsed(&format!("{} v=1 1", "x".repeat(65_537)), &super::options(), &Known::default());
    assert_eq!(default.rejected[0].message, "String is greater than 64KB");
}

#[test]
fn an_error_names_the_physical_line_and_shows_its_beginning() {
    let body = "m s=\"a\nb\nc\" 1\n\n# comment\n  m x 1\nm s=\"\n\" x\nm s=1 5";
    let parsed = parsed(body, &options(), &Known::default());
    let errors: Vec<_> = parsed.rejected.iter().map(|e| (e.line_number, &*e.original_line)).collect();
    assert_eq!(errors, [(6, "  m x 1"), (7, "m s=\"\n\" x"), (9, "m s=1 5")]);
    for (line, shown) in [
        ("m aaaaaaaaaaaaaaaaaa=x", "m aaaaaaaaaaaaaaaaaa"),
        ("m aaaaaaaaaaaaaaaaaé=x", "m aaaaaaaaaaaaaaaaa"),
        ("m\r", "m"),
    ] {
        let error = parse(line, &Options { bad_lines: BadLines::Refuse, ..options() }, &Known::default())
            .expect_err("the line is bad");
        assert_eq!(error.original_line, shown);
    }
}

#[test]
fn a_quote_that_is_never_closed_takes_the_following_lines_with_it() {
    let message = "Could not parse entire line. Found trailing content: `\"a\nm v=1 1`";
    check_with("m s=\"a\nm v=1 1\nm v=2 2", &options(), &Known::default(), &[], &[&format!("1: {message}")]);
    // A quote elsewhere opens nothing.
    check_with("m,t=\"a v\nm v=2 2", &options(), &Known::default(), &["m v=2.0 2"], &["1: No fields were provided"]);
    check_with(
        "m v\\=\"=x\nm v=2 2",
        &options(),
        &Known::default(),
        &["m v=2.0 2"],
        &["1: Unable to parse floating-point value `x`"],
    );
}

#[test]
fn more_errors_than_the_limit_are_only_counted() {
    let parsed = parsed("m\nm\nm v=1\nm\n", &with_limits(|l| l.errors = 2), &Known::default());
    assert_eq!((parsed.rejected.len(), parsed.lines_rejected, parsed.lines_kept), (2, 3, 1));
}
