//! The signed word of a node that it belongs to the cluster: a JSON web token, HS256, good for a minute.
//!
//! Made anew for each call, so that one that is seen is soon worth nothing. Clocks may differ by `SKEW_MAX`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use storage::bucket::Secret;

const LIFETIME_SECONDS: u64 = 60;

/// By how much the clocks of two nodes may differ.
const SKEW_MAX_SECONDS: u64 = 120;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The node that calls.
    pub(super) sub: String,
    /// The cluster's own id.
    pub(super) aud: String,
    iat: u64,
    exp: u64,
}

/// The secrets of the cluster. The first one signs, each is accepted: so they can be changed one node after the other.
pub(super) struct Secrets(Vec<hmac::Key>);

impl Secrets {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        Self(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes())).collect())
    }

    /// `None` when there are no secrets.
    pub(super) fn sign(&self, node: &str, cluster: u128, now_ms: u64) -> Option<String> {
        let key = self.0.first()?;
        let iat = now_ms / 1000;
        let claims = Claims { sub: node.to_owned(), aud: format!("{cluster:032x}"), iat, exp: iat + LIFETIME_SECONDS };
        let claims = serde_json::to_vec(&claims).expect("a plain struct always has a JSON form");
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(key, text.as_bytes());
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What the bearer says of itself. `Ok(None)` when this node has no secrets and asks for no token.
    pub(super) fn check(&self, token: Option<&str>, now_ms: u64) -> Result<Option<Claims>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let token = token.ok_or("the call has no token, and this node was given a secret for calls")?;
        let malformed = || "the token is malformed".to_owned();
        let (text, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = text.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let signature = decode(signature)?;
        if !self.0.iter().any(|key| hmac::verify(key, text.as_bytes(), &signature).is_ok()) {
            return Err("the token is signed with another secret".to_owned());
        }
        // Nothing of it is believed before this point.
        if decode(header)? != HEADER.as_bytes() {
            return Err("the token is not of the one kind that is made here".to_owned());
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| malformed())?;
        let now = now_ms / 1000;
        if now > claims.exp.saturating_add(SKEW_MAX_SECONDS) || now + SKEW_MAX_SECONDS < claims.iat {
            let (from, to) = (claims.iat, claims.exp);
            return Err(format!("the token is good from {from} to {to}, the clock here says {now}: the clocks differ"));
        }
        Ok(Some(claims))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_760_000_000_000;

    fn secrets(all: &[&str]) -> Secrets {
        Secrets::new(&all.iter().map(|text| Secret::new(*text)).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(signs: &[&str], accepts: &[&str], seconds_later: i64, refused: Option<&str>) {
        let token = secrets(signs).sign("a", 7, NOW_MS);
        let now_ms = NOW_MS.saturating_add_signed(seconds_later * 1000);
        let found = secrets(accepts).check(token.as_deref(), now_ms);
        match (found, refused) {
            (Ok(claims), None) => assert!(claims.is_none_or(|claims| claims.sub == "a" && claims.aud.ends_with("07"))),
            (Err(reason), Some(part)) => assert!(reason.contains(part), "{reason}"),
            (found, _) => panic!("{found:?}, expected {refused:?}"),
        }
    }

    #[test]
    fn either_secret_is_accepted_and_no_other() {
        check(&["new"], &["new"], 0, None);
        check(&["new", "old"], &["older", "new"], 0, None);
        check(&["old"], &["new", "old"], 0, None);
        check(&["old"], &["new"], 0, Some("another secret"));
        check(&[], &["new"], 0, Some("no token"));
        check(&["new"], &[], 0, None);
    }

    #[test]
    fn a_token_is_good_for_a_short_time() {
        check(&["s"], &["s"], 179, None);
        check(&["s"], &["s"], 181, Some("clocks differ"));
        check(&["s"], &["s"], -119, None);
        check(&["s"], &["s"], -121, Some("clocks differ"));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let token = secrets(&["s"]).sign("a", 7, NOW_MS).expect("there is a secret");
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("letters");
            // The last letter of a part has bits that mean nothing; a strict reader refuses them too.
            assert!(secrets(&["s"]).check(Some(&changed), NOW_MS).is_err(), "{at}");
        }
        for text in ["", ".", "..", "a.b.c", "ä.ä.ä"] {
            assert!(secrets(&["s"]).check(Some(text), NOW_MS).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"a","aud":"7","iat":1,"exp":99999999999}"#);
        assert!(secrets(&["s"]).check(Some(&format!("{none}.{claims}.")), NOW_MS).is_err());
    }
}
