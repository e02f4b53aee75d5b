//! Tokens: who presents which secret, and what that allows.
//!
//! # Promises
//! - A secret is shown once, to whoever made it; only its SHA-512 is kept.
//! - A presented secret is compared with every token's, each in constant time.
//! - Permissions name databases by id: a database made later under the same name is not meant.
//! - The operator token, `_admin`, exists at most once and cannot be deleted. It is made for whoever asks, and so only
//!   while there is no other admin token.
//!
//! # Not here
//! - How a token travels in a request: each protocol knows.
//! - What a permission allows: see `Access`.

mod given;
mod permissions;

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::operations::{Decision, Operator, invalid, millis, not_found};
use super::{Access, Catalog, Change, Error, Permission, Resource, State, Token, TokenId};
use crate::model::ErrorKind;

pub use given::{Adopted, GivenToken};
pub use permissions::{PermissionText, permissions_text};

/// The name of the operator token.
pub const OPERATOR_TOKEN: &str = "_admin";

/// What every token string begins with.
const PREFIX: &str = "apiv3_";

/// What follows must be too long to be guessed.
const BODY_BYTES_MIN: usize = 32;

/// The longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 511;

/// The string that proves who is asking. Never printed by accident.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new secret made of `random` bytes.
    #[must_use]
    pub fn new(random: &[u8; 64]) -> Self {
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// A secret that was made elsewhere. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_prefix(PREFIX).ok_or_else(|| format!("does not begin with {PREFIX}"))?;
        if body.len() < BODY_BYTES_MIN || !body.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("must have at least {BODY_BYTES_MIN} characters after {PREFIX}, and no spaces"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The string itself, for the answer to whoever made it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> Arc<str> {
        hash_of(&self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A token that was just made, with the secret nobody will see again.
#[derive(Debug, Clone)]
pub struct CreatedToken {
    pub token: Token,
    pub secret: Secret,
}

impl Operator<'_> {
    /// Makes the operator token; there can be one.
    pub async fn create_admin_token(&self) -> Result<CreatedToken, Error> {
        let secret = Secret::new(&self.catalog.random_bytes());
        let token = self.commit(|state| decide_create_operator(state, &secret, self.now_ms())).await?;
        Ok(CreatedToken { token, secret })
    }

    /// Gives the operator token a new secret; the old one is worth nothing from then on.
    pub async fn regenerate_admin_token(&self) -> Result<CreatedToken, Error> {
        let secret = Secret::new(&self.catalog.random_bytes());
        let token = self.commit(|state| decide_regenerate_operator(state, &secret, self.now_ms())).await?;
        Ok(CreatedToken { token, secret })
    }

    /// Makes a token that may do everything. `None` never expires.
    pub async fn create_named_admin_token(
        &self,
        name: &str,
        expires_in: Option<Duration>,
    ) -> Result<CreatedToken, Error> {
        let secret = Secret::new(&self.catalog.random_bytes());
        let decide = |state: &State| {
            let wanted = Wanted { name, permissions: everything(), expires_in };
            decide_create(state, wanted, &secret, self.now_ms())
        };
        let token = self.commit(decide).await?;
        Ok(CreatedToken { token, secret })
    }

    /// Makes a token that may do what `permissions` say. `None` never expires.
    pub async fn create_resource_token(
        &self,
        name: &str,
        permissions: &[PermissionText],
        expires_in: Option<Duration>,
    ) -> Result<CreatedToken, Error> {
        let secret = Secret::new(&self.catalog.random_bytes());
        let decide = |state: &State| {
            let permissions = permissions::resolve(state, permissions)?;
            decide_create(state, Wanted { name, permissions, expires_in }, &secret, self.now_ms())
        };
        let token = self.commit(decide).await?;
        Ok(CreatedToken { token, secret })
    }

    /// Ends a token; requests that show it are refused from then on.
    pub async fn delete_token(&self, name: &str) -> Result<(), Error> {
        self.commit(|state| decide_delete(state, name)).await
    }
}

impl Catalog {
    /// What whoever presents this string may do; `None` when no token has it, or the token expired.
    #[must_use]
    pub fn authenticate(&self, presented: &str) -> Option<Access> {
        access_of(&self.state(), presented, self.now_ms())
    }
}

/// A token as somebody asks for it, its permissions resolved.
struct Wanted<'a> {
    name: &'a str,
    permissions: Vec<Permission>,
    expires_in: Option<Duration>,
}

fn decide_create_operator(state: &State, secret: &Secret, now_ms: u64) -> Decision<Token> {
    // Whoever asks needs no token, so nobody else may hold one that may do everything.
    let admin = state.tokens.values().find(|token| token.is_admin());
    if let Some(admin) = admin.filter(|_| find(state, OPERATOR_TOKEN).is_err()) {
        return Err(Error::refused(ErrorKind::Conflict, format!("an admin token already exists, {}", admin.name)));
    }
    let wanted = Wanted { name: OPERATOR_TOKEN, permissions: everything(), expires_in: None };
    create(state, wanted, secret, now_ms)
}

fn decide_regenerate_operator(state: &State, secret: &Secret, now_ms: u64) -> Decision<Token> {
    let old = find(state, OPERATOR_TOKEN)?;
    let token = Token { hash: secret.hash(), created_at_ms: now_ms, ..Token::clone(old) };
    let change = Change::ReplaceTokenHash { id: token.id, hash: Arc::clone(&token.hash), at_ms: now_ms };
    Ok((vec![change], token))
}

fn decide_create(state: &State, wanted: Wanted<'_>, secret: &Secret, now_ms: u64) -> Decision<Token> {
    let name = wanted.name;
    check_name(name)?;
    // Taken or not: the operator token is made in its own way.
    if name == OPERATOR_TOKEN {
        return Err(taken(name));
    }
    create(state, wanted, secret, now_ms)
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        let shown = name.escape_debug();
        return Err(invalid(format!(
            "token name '{shown}' must be 1 to {NAME_BYTES_MAX} bytes without control characters"
        )));
    }
    Ok(())
}

fn create(state: &State, wanted: Wanted<'_>, secret: &Secret, now_ms: u64) -> Decision<Token> {
    let Wanted { name, permissions, expires_in } = wanted;
    if find(state, name).is_ok() {
        return Err(taken(name));
    }
    let token = Token {
        id: TokenId(state.next_token),
        name: name.into(),
        hash: secret.hash(),
        permissions,
        created_at_ms: now_ms,
        created_by: None,
        expires_at_ms: expires_in.map(|after| now_ms.saturating_add(millis(after))),
    };
    Ok((vec![Change::CreateToken { token: token.clone() }], token))
}

fn decide_delete(state: &State, name: &str) -> Decision<()> {
    if name == OPERATOR_TOKEN {
        return Err(Error::refused(ErrorKind::Denied, "cannot delete operator token"));
    }
    Ok((vec![Change::DeleteToken { id: find(state, name)?.id }], ()))
}

impl Token {
    fn is_admin(&self) -> bool {
        self.permissions.iter().any(|permission| permission.resource == Resource::All)
    }
}

fn find<'a>(state: &'a State, name: &str) -> Result<&'a Arc<Token>, Error> {
    state.tokens.values().find(|t| &*t.name == name).ok_or_else(|| not_found(name))
}

fn taken(name: &str) -> Error {
    Error::refused(ErrorKind::Conflict, format!("token name already exists, {name}"))
}

fn everything() -> Vec<Permission> {
    vec![Permission { resource: Resource::All, actions: Vec::new() }]
}

fn access_of(state: &State, presented: &str, now_ms: u64) -> Option<Access> {
    let presented = hash_of(presented);
    let mut found: Option<&Token> = None;
    // To the end even after a match: how long this takes must say nothing about which token matched.
    for token in state.tokens.values() {
        let same: Choice = token.hash.as_bytes().ct_eq(presented.as_bytes());
        if bool::from(same) {
            found = Some(token);
        }
    }
    let token = found.filter(|token| token.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms))?;
    Some(Access { token: Some(token.id), permissions: token.permissions.clone() })
}

/// SHA-512 in lower-case hexadecimal.
fn hash_of(secret: &str) -> String {
    Sha512::digest(secret).iter().fold(String::with_capacity(128), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

#[cfg(test)]
mod tests;
