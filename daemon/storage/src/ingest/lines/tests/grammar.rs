//! What is accepted, and what it means.

use super::*;

#[test]
fn each_type_has_its_spelling() {
    check("m a=1,b=-2i,c=3u,d=\"x\",e=t 9", &["m a=1.0 b=-2i c=3u d=\"x\" e=true 9"]);
    check("m a=-1.5e3,b=1E-2,c=2e+1,d=-0,e=0.1 9", &["m a=-1500.0 b=0.01 c=20.0 d=-0.0 e=0.1 9"]);
    check("m a=t,b=T,c=true,d=True,e=TRUE 1", &["m a=true b=true c=true d=true e=true 1"]);
    check("m a=f,b=F,c=false,d=False,e=FALSE 1", &["m a=false b=false c=false d=false e=false 1"]);
}

#[test]
fn numbers_reach_to_their_ends() {
    let max = "m a=9223372036854775807i,b=-9223372036854775808i,c=18446744073709551615u 9223372036854775807";
    check(max, &["m a=9223372036854775807i b=-9223372036854775808i c=18446744073709551615u 9223372036854775807"]);
    check("m a=00000000000000000000000000012i -9223372036854775808", &["m a=12i -9223372036854775808"]);
    check("m a=1 -00000000000000000000000000012", &["m a=1.0 -12"]);
}

#[test]
fn floats_are_rounded_to_the_nearest() {
    let texts = [
        "0.1",
        "0.3",
        "9007199254740993",
        "9007199254740992.5",
        "10.357019999999999",
        "1.7976931348623157e308",
        "5e-324",
        "1e-400",
        "123456789012345678",
        "1.00000000000000011102230246251565",
        "0.000000000000000001",
        "8.41",
        "99.99",
        "1234567890123456789012345678901234567890",
        "9007199254740991.9",
        "-0.0",
        "4503599627370497.5",
        "0.0000001",
    ];
    for text in texts {
        let value: f64 = text.parse().expect("a float");
        check(&format!("m v={text} 1"), &[&format!("m v={value:?} 1")]);
    }
}

#[test]
fn a_backslash_escapes_what_its_place_allows() {
    check(r"a\,b\ c\\d v=1 1", &[r"a,b c\d v=1.0 1"]);
    check(r"a\=b,k\,\=\ \\=v\,\=\ \\x f\,\=\ \\=1 1", &[r"a\=b k,= \=v,= \x f,= \=1.0 1"]);
    check(r#"m s="a\"b\\c\nd\," 1"#, &[r#"m s="a\"b\\c\\nd\\," 1"#]);
    check(r"m\x,t\y=\z v=1 1", &[r"m\x t\y=\z v=1.0 1"]);
    check("m\\é,t=\\é v=1 1", &["m\\é t=\\é v=1.0 1"]);
    check("m,t=a\\\nb v=1 1", &["m t=a\\\nb v=1.0 1"]);
}

#[test]
fn signs_that_mean_nothing_in_their_place_are_text() {
    check("m\"=x,t=\"a\"b v\"=1 1", &["m\"=x t=\"a\"b v\"=1.0 1"]);
    check("m s=\"a,b=c d\" 1", &["m s=\"a,b=c d\" 1"]);
    check("größe,ort=köln wert=1 1", &["größe ort=köln wert=1.0 1"]);
    check("m a#=1 1", &["m a#=1.0 1"]);
}

#[test]
fn a_line_break_inside_a_string_is_text() {
    check("m s=\"a\nb\" 1\nm s=\"c\" 2", &["m s=\"a\\nb\" 1", "m s=\"c\" 2"]);
    check("m s=\"a\r\n# b\\\"\n\" 1\r\nm s=\"\" 2\r\n", &["m s=\"a\\r\\n# b\\\"\\n\" 1", "m s=\"\" 2"]);
}

#[test]
fn blank_lines_comments_and_white_space_around_are_skipped() {
    check("\n\r\n  \t\n# m v=1 \"\n \t#\n \tm v=1 1\n\n", &["m v=1.0 1"]);
    check(
        "m v=1 1   \r\nm   v=2    2\r\nm v=3   \nm v=4\r",
        &["m v=1.0 1", "m v=2.0 2", &format!("m v=3.0 {NOW}"), &format!("m v=4.0 {NOW}")],
    );
    check("", &[]);
    check("#", &[]);
    check("\r", &[]);
    check(" \t", &[]);
}

#[test]
fn of_a_field_that_stands_twice_the_last_value_counts() {
    check("m v=1,w=1,v=2 1\nm v=1,w=1,v=3 2", &["m v=2.0 w=1.0 1", "m v=3.0 w=1.0 2"]);
    check("m s=\"a\",s=\"b\" 1", &["m s=\"b\" 1"]);
}

#[test]
fn a_name_means_the_same_however_it_is_escaped() {
    // The third line goes the quick way: its name is known, in a spelling of another length than the first one.
    check("m \\\\w=1u 1\nm \\w=12u 2\nm \\w=345u 3", &[r"m \w=1u 1", r"m \w=12u 2", r"m \w=345u 3"]);
    check("m \\w=1u 1\nm \\\\w=12u 2\nm \\\\w=345u 3", &[r"m \w=1u 1", r"m \w=12u 2", r"m \w=345u 3"]);
}

#[test]
fn timestamps_are_scaled_to_nanoseconds() {
    let cases = [
        (Precision::Nanosecond, "7", 7),
        (Precision::Microsecond, "-7", -7_000),
        (Precision::Millisecond, "7", 7_000_000),
        (Precision::Second, "7", 7_000_000_000),
        (Precision::Minute, "7", 420_000_000_000),
        (Precision::Hour, "-7", -25_200_000_000_000),
        (Precision::Auto, "4999999999", 4_999_999_999_000_000_000),
        (Precision::Auto, "-4999999999", -4_999_999_999_000_000_000),
        (Precision::Auto, "5000000000", 5_000_000_000_000_000),
        (Precision::Auto, "4999999999999", 4_999_999_999_999_000_000),
        (Precision::Auto, "5000000000000", 5_000_000_000_000_000),
        (Precision::Auto, "-5000000000000", -5_000_000_000_000_000),
        (Precision::Auto, "4999999999999999", 4_999_999_999_999_999_000),
        (Precision::Auto, "5000000000000000", 5_000_000_000_000_000),
        (Precision::Auto, "-9223372036854775808", i64::MIN),
        (Precision::Auto, "", NOW),
        (Precision::Nanosecond, "", NOW),
        (Precision::Microsecond, "", 1_700_000_000_123_456_000),
        (Precision::Millisecond, "", 1_700_000_000_123_000_000),
        (Precision::Second, "", 1_700_000_000_000_000_000),
        (Precision::Hour, "", 1_699_999_200_000_000_000),
    ];
    for (precision, number, expected) in cases {
        let options = Options { precision, ..options() };
        let row = format!("m v=1.0 {expected}");
        check_with(&format!("m v=1 {number}\nm v=1 {number}"), &options, &Known::default(), &[&row, &row], &[]);
    }
}

#[test]
fn a_time_before_the_epoch_is_cut_downwards() {
    let options = Options { precision: Precision::Second, now_ns: -1, ..options() };
    check_with("m v=1", &options, &Known::default(), &["m v=1.0 -1000000000"], &[]);
    let options = Options { precision: Precision::Hour, now_ns: i64::MIN, ..options };
    check_with("m v=1", &options, &Known::default(), &["m v=1.0 -9223372036854775808"], &[]);
}
