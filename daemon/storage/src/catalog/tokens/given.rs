//! Tokens whose secrets were made before the cluster knew of them, for deployments that nobody attends.
//!
//! Each start of each node gives the same ones again, so they are taken once and left alone after that: what an operator
//! changed since then stays changed.

use std::time::Duration;

use super::{OPERATOR_TOKEN, Permission, Secret, Wanted, check_name, create, everything, permissions, taken};
use crate::catalog::operations::{Asked, Decision, invalid};
use crate::catalog::{Catalog, Change, Error, PermissionText, State, Token, TokenId};
use crate::model::ErrorKind;

/// A token to be made with a secret that somebody holds already.
#[derive(Debug, Clone)]
pub struct GivenToken {
    pub name: String,
    pub secret: Secret,
    /// Milliseconds since the Unix epoch; `None` never expires.
    pub expires_at_ms: Option<u64>,
}

impl GivenToken {
    pub fn new(name: &str, secret: Secret, expires_at_ms: Option<u64>) -> Result<Self, Error> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), secret, expires_at_ms })
    }
}

/// What became of given tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// They are tokens of the cluster from now on.
    Now,
    /// They were tokens of the cluster already, all of them.
    Before,
    /// The cluster has others of their kind, so nothing was made.
    Never,
}

impl Catalog {
    /// Makes an admin token, unless the cluster has one that is still valid.
    pub async fn adopt_admin_token(&self, given: &GivenToken) -> Result<Adopted, Error> {
        self.commit(|state| decide_admin(state, given, self.now_ms())).await
    }

    /// Makes tokens with permissions, all or none, and the databases that are missing; unless the cluster has tokens
    /// with permissions already. A failure may leave some of the databases.
    pub async fn adopt_resource_tokens(
        &self,
        databases: &[String],
        given: &[(GivenToken, Vec<PermissionText>)],
    ) -> Result<Adopted, Error> {
        let state = self.refresh().await?;
        if let Some(adopted) = settled(&state, given) {
            return Ok(adopted);
        }
        for name in databases.iter().filter(|name| state.database(name).is_none()) {
            let statement = format!("CREATE DATABASE \"{name}\"");
            let asked = Asked { door: "token file", statement, ..Asked::default() };
            match self.by(&asked).create_database(name, None).await {
                // Another node starts with the same file.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                created => drop(created?),
            }
        }
        self.commit(|state| decide_resources(state, given, self.now_ms())).await
    }
}

fn decide_admin(state: &State, given: &GivenToken, now_ms: u64) -> Decision<Adopted> {
    if is_known(state, given) {
        return Ok((Vec::new(), Adopted::Before));
    }
    let is_valid = |token: &Token| token.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms);
    if state.tokens.values().any(|token| token.is_admin() && is_valid(token)) {
        return Ok((Vec::new(), Adopted::Never));
    }
    let (changes, _) = decide(state, given, everything(), now_ms)?;
    Ok((changes, Adopted::Now))
}

fn decide_resources(state: &State, given: &[(GivenToken, Vec<PermissionText>)], now_ms: u64) -> Decision<Adopted> {
    if let Some(adopted) = settled(state, given) {
        return Ok((Vec::new(), adopted));
    }
    let mut changes = Vec::new();
    for (id, (given, texts)) in (state.next_token..).zip(given) {
        if given.name == OPERATOR_TOKEN {
            return Err(taken(OPERATOR_TOKEN));
        }
        let (_, token) = decide(state, given, permissions::resolve(state, texts)?, now_ms)?;
        changes.push(Change::CreateToken { token: Token { id: TokenId(id), ..token } });
    }
    Ok((changes, Adopted::Now))
}

/// What became of tokens with permissions if that is known; `None` when they are to be made.
fn settled(state: &State, given: &[(GivenToken, Vec<PermissionText>)]) -> Option<Adopted> {
    if given.iter().all(|(given, _)| is_known(state, given)) {
        return Some(Adopted::Before);
    }
    state.tokens.values().any(|token| !token.is_admin()).then_some(Adopted::Never)
}

fn is_known(state: &State, given: &GivenToken) -> bool {
    let hash = given.secret.hash();
    state.tokens.values().any(|token| token.hash == hash)
}

fn decide(state: &State, given: &GivenToken, permissions: Vec<Permission>, now_ms: u64) -> Decision<Token> {
    let GivenToken { name, secret, expires_at_ms } = given;
    let expires_in = expires_at_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)));
    if expires_in == Some(Duration::ZERO) {
        return Err(invalid(format!("token '{}' has expired", name.escape_debug())));
    }
    create(state, Wanted { name, permissions, expires_in }, secret, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DatabaseId;

    const NOW_MS: u64 = 1_000_000;

    fn given(name: &str, number: u8, expires_at_ms: Option<u64>) -> GivenToken {
        GivenToken { name: name.to_owned(), secret: Secret::new(&[number; 64]), expires_at_ms }
    }

    /// Decides and applies.
    #[track_caller]
    fn adopt(state: &mut State, decision: Decision<Adopted>, expected: Adopted) {
        let (changes, adopted) = decision.expect("nothing is wrong with it");
        assert_eq!(adopted, expected);
        assert_eq!(changes.is_empty(), expected != Adopted::Now);
        if expected == Adopted::Now {
            state.apply(state.version + 1, &changes).expect("what is decided holds");
        }
    }

    fn is_admin(state: &State, number: u8, at_ms: u64) -> bool {
        let presented = Secret::new(&[number; 64]);
        super::super::access_of(state, presented.reveal(), at_ms).is_some_and(|access| access.is_admin())
    }

    #[test]
    fn an_admin_token_is_taken_while_there_is_none_that_is_valid() {
        let mut state = State::default();
        let first = given("ops", 1, Some(NOW_MS + 10));
        let decision = decide_admin(&state, &first, NOW_MS);
        adopt(&mut state, decision, Adopted::Now);
        assert!(is_admin(&state, 1, NOW_MS + 9) && !is_admin(&state, 1, NOW_MS + 10));
        let decision = decide_admin(&state, &first, NOW_MS + 5);
        adopt(&mut state, decision, Adopted::Before);
        let second = given("_admin", 2, None);
        let decision = decide_admin(&state, &second, NOW_MS + 5);
        adopt(&mut state, decision, Adopted::Never);
        let decision = decide_admin(&state, &second, NOW_MS + 10);
        adopt(&mut state, decision, Adopted::Now);
        assert!(is_admin(&state, 2, u64::MAX) && !is_admin(&state, 1, u64::MAX));
    }

    #[test]
    fn nobody_makes_the_operator_token_without_one_beside_a_given_admin_token() {
        let mut state = State::default();
        let decision = decide_admin(&state, &given("ops", 1, None), NOW_MS);
        adopt(&mut state, decision, Adopted::Now);
        let refusal = super::super::decide_create_operator(&state, &Secret::new(&[2; 64]), NOW_MS);
        assert_eq!(refusal.expect_err("there is an admin token").kind(), ErrorKind::Conflict);
    }

    #[test]
    fn tokens_with_permissions_are_taken_together_or_not_at_all() {
        let mut state = State::default();
        let create = Change::CreateDatabase { id: DatabaseId(1), name: "a".into(), retention_ns: None };
        state.apply(1, &[create]).expect("the state is empty");
        let with = |given, text: &str| (given, vec![PermissionText::parse(text).expect("it has three parts")]);
        let two = [with(given("reader", 1, None), "db:a:read"), with(given("writer", 2, None), "db:a:write")];
        let unknown = [two[0].clone(), with(given("x", 3, None), "db:b:read")];
        assert_eq!(decide_resources(&state, &unknown, NOW_MS).expect_err("no b").kind(), ErrorKind::NotFound);
        let decision = decide_resources(&state, &two, NOW_MS);
        adopt(&mut state, decision, Adopted::Now);
        assert_eq!(state.tokens.len(), 2);
        let decision = decide_resources(&state, &two, NOW_MS);
        adopt(&mut state, decision, Adopted::Before);
        let decision = decide_resources(&state, &unknown, NOW_MS);
        adopt(&mut state, decision, Adopted::Never);
    }

    #[test]
    fn an_expired_token_is_refused_by_name() {
        let refusal = decide_admin(&State::default(), &given("ops", 1, Some(NOW_MS)), NOW_MS);
        assert_eq!(refusal.expect_err("it has expired").to_string(), "token 'ops' has expired");
    }
}
