use super::*;
use crate::catalog::Action;
use crate::model::DatabaseId;

const NOW_MS: u64 = 1_000_000;

#[test]
fn a_secret_is_long_and_never_printed() {
    let secret = Secret::new(&[0xfb; 64]);
    let body = secret.reveal().strip_prefix("apiv3_").expect("it begins as tokens do");
    assert_eq!(body.len(), 86);
    assert!(body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{body}");
    assert_eq!(format!("{secret:?}"), "***");
}

#[test]
fn a_hash_is_the_sha_512_of_the_whole_string() {
    let expected = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(hash_of("abc"), expected);
}

#[test]
fn there_is_one_operator_token() {
    let mut state = State::default();
    check(decide_regenerate_operator(&state, &secret(1), NOW_MS), Err((ErrorKind::NotFound, "_admin")), &mut state);
    check(decide_create_operator(&state, &secret(1), NOW_MS), Ok("_admin"), &mut state);
    let taken = "token name already exists, _admin";
    check(decide_create_operator(&state, &secret(2), NOW_MS), Err((ErrorKind::Conflict, taken)), &mut state);
    assert!(access(&state, 1).expect("the secret is known").is_admin());
    check(decide_regenerate_operator(&state, &secret(3), NOW_MS), Ok("_admin"), &mut state);
    assert_eq!(access(&state, 1), None, "the old secret is worth nothing");
    assert!(access(&state, 3).expect("the secret is known").is_admin());
    let denied = decide_delete(&state, "_admin").expect_err("it cannot be deleted");
    assert_eq!((denied.kind(), denied.to_string().as_str()), (ErrorKind::Denied, "cannot delete operator token"));
}

#[test]
fn what_is_decided_is_what_the_state_keeps() {
    let mut state = State::default();
    for decide in [decide_create_operator, decide_regenerate_operator] {
        let number = u8::try_from(state.version).expect("there are few entries");
        let (changes, token) = decide(&state, &secret(number), NOW_MS + state.version).expect("it may be made");
        state.apply(state.version + 1, &changes).expect("what is decided holds");
        assert_eq!(*state.tokens[&token.id], token);
    }
}

#[test]
fn a_token_is_named_once() {
    let mut state = State::default();
    check(named_admin(&state, "ops", 1), Ok("ops"), &mut state);
    let taken = "token name already exists, ops";
    check(named_admin(&state, "ops", 2), Err((ErrorKind::Conflict, taken)), &mut state);
    check(named_admin(&state, "_admin", 2), Err((ErrorKind::Conflict, "_admin")), &mut state);
    for name in ["", "a\nb", &"x".repeat(512)] {
        check(named_admin(&state, name, 2), Err((ErrorKind::Invalid, "token name")), &mut state);
    }
    let (changes, ()) = decide_delete(&state, "ops").expect("it can be deleted");
    state.apply(state.version + 1, &changes).expect("what is decided holds");
    assert_eq!(access(&state, 1), None);
    assert_eq!(decide_delete(&state, "ops").expect_err("it is gone").kind(), ErrorKind::NotFound);
}

#[test]
fn an_expired_token_is_as_good_as_none() {
    let mut state = State::default();
    let wanted = Wanted { name: "short", permissions: everything(), expires_in: Some(Duration::from_millis(10)) };
    check(decide_create(&state, wanted, &secret(1), NOW_MS), Ok("short"), &mut state);
    for (at_ms, expected) in [(NOW_MS, true), (NOW_MS + 9, true), (NOW_MS + 10, false), (u64::MAX, false)] {
        assert_eq!(access_of(&state, secret(1).reveal(), at_ms).is_some(), expected, "{at_ms}");
    }
    let wanted = Wanted { name: "long", permissions: everything(), expires_in: Some(Duration::MAX) };
    check(decide_create(&state, wanted, &secret(2), NOW_MS), Ok("long"), &mut state);
    assert!(access(&state, 2).is_some());
}

#[test]
fn only_the_whole_string_is_known() {
    let mut state = State::default();
    check(named_admin(&state, "ops", 1), Ok("ops"), &mut state);
    let known = secret(1).reveal().to_owned();
    for presented in ["", "apiv3_", &known[..known.len() - 1], &format!("{known} "), &hash_of(&known)] {
        assert_eq!(access_of(&state, presented, NOW_MS), None, "{presented}");
    }
    assert!(access_of(&state, &known, NOW_MS).is_some());
}

#[test]
fn permissions_are_read_and_shown_as_people_write_them() {
    for (texts, shown) in [
        (vec!["*:*:*"], "*:*:*"),
        (vec!["db:a,b:read,write"], "db:a,b:read,write"),
        (vec!["db:a:write", "db:a:read", "db:b:read"], "db:a:read,write,db:b:read"),
        (vec!["db:*:*"], "db:*:read,write,describe,create,delete"),
        (vec!["db:a:read", "db:*:read"], "db:a:read,db:*:read"),
        (vec!["system:health,metrics:read"], "system:health,metrics:read"),
        (vec!["system:*:*", "db: a :read"], "system:*:read,db:a:read"),
    ] {
        check_permissions(&texts, Ok(shown));
    }
}

#[test]
fn permissions_that_mean_nothing_are_refused() {
    for (text, kind, message) in [
        ("db:c:read", ErrorKind::NotFound, "Database not found c"),
        ("db:a", ErrorKind::Invalid, "not of the form TYPE:NAMES:ACTIONS"),
        ("db:a:read:x", ErrorKind::Invalid, "not of the form"),
        ("db::read", ErrorKind::Invalid, "at least one resource name"),
        ("db:a:", ErrorKind::Invalid, "at least one action"),
        ("db:a,*:read", ErrorKind::Invalid, "mixed wildcard (*) and resource name"),
        ("db:a:read,*", ErrorKind::Invalid, "mixed wildcard (*) and action"),
        ("db:a:fly", ErrorKind::Invalid, "unknown action 'fly', expected 'read', 'write'"),
        ("*:*:read", ErrorKind::Invalid, "only be granted as a whole"),
        ("*:a:*", ErrorKind::Invalid, "only be granted as a whole"),
        ("table:a:read", ErrorKind::Invalid, "unknown resource type 'table'"),
        ("system:logs:read", ErrorKind::Invalid, "unknown system resource 'logs'"),
        ("system:health:write", ErrorKind::Invalid, "cannot be granted on system resources"),
    ] {
        check_permissions(&[text], Err((kind, message)));
    }
    check_permissions(&[], Err((ErrorKind::Invalid, "at least one permission")));
}

#[test]
fn a_database_of_the_same_name_is_another_database() {
    let mut state = databases();
    let texts = [PermissionText::parse("db:a:read").expect("it has three parts")];
    let permissions = permissions::resolve(&state, &texts).expect("the database exists");
    let wanted = Wanted { name: "reader", permissions, expires_in: None };
    check(decide_create(&state, wanted, &secret(1), NOW_MS), Ok("reader"), &mut state);
    let access = access(&state, 1).expect("the secret is known");
    assert!(access.allows(Some(DatabaseId(1)), Action::Read) && !access.allows(Some(DatabaseId(1)), Action::Write));
    assert!(!access.allows(Some(DatabaseId(3)), Action::Read));
    let token = Token::clone(&state.tokens[&TokenId(0)]);
    state.databases.remove(&DatabaseId(1));
    assert_eq!(permissions_text(&token, &state), "db:#1:read");
}

#[track_caller]
fn check(found: Decision<Token>, expected: Result<&str, (ErrorKind, &str)>, state: &mut State) {
    match (found, expected) {
        (Ok((changes, token)), Ok(name)) => {
            assert_eq!(&*token.name, name);
            state.apply(state.version + 1, &changes).expect("what is decided holds");
        }
        (Err(error), Err((kind, message))) => {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(message), "{error}");
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

#[track_caller]
fn check_permissions(texts: &[&str], expected: Result<&str, (ErrorKind, &str)>) {
    let state = databases();
    let parsed: Result<Vec<PermissionText>, Error> = texts.iter().map(|text| PermissionText::parse(text)).collect();
    match (parsed.and_then(|parsed| permissions::resolve(&state, &parsed)), expected) {
        (Ok(permissions), Ok(shown)) => {
            let wanted = Wanted { name: "t", permissions, expires_in: None };
            let (_, token) = decide_create(&state, wanted, &secret(1), NOW_MS).expect("the name is free");
            assert_eq!(permissions_text(&token, &state), shown, "{texts:?}");
        }
        (Err(error), Err((kind, message))) => {
            assert_eq!(error.kind(), kind, "{texts:?}: {error}");
            assert!(error.to_string().contains(message), "{texts:?}: {error}");
        }
        (found, expected) => panic!("{texts:?}: {found:?} instead of {expected:?}"),
    }
}

fn named_admin(state: &State, name: &str, number: u8) -> Decision<Token> {
    decide_create(state, Wanted { name, permissions: everything(), expires_in: None }, &secret(number), NOW_MS)
}

fn secret(number: u8) -> Secret {
    Secret::new(&[number; 64])
}

fn access(state: &State, number: u8) -> Option<Access> {
    access_of(state, secret(number).reveal(), NOW_MS)
}

/// Databases `a` and `b`.
fn databases() -> State {
    let mut state = State::default();
    let create = |id, name: &str| Change::CreateDatabase { id: DatabaseId(id), name: name.into(), retention_ns: None };
    state.apply(1, &[create(1, "a"), create(2, "b")]).expect("the state is empty");
    state
}
