//! The signed word of a node that it belongs to the cluster: a JSON web token, HS256, good for a minute.
//!
//! Made anew for each call and good at one node only, so that one that is seen is soon worth nothing. Clocks may differ by
//! `SKEW_MAX_SECONDS`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use storage::bucket::Secret;
use storage::model::NodeId;
use storage::wal::Call;

const LIFETIME_SECONDS: u64 = 60;

/// By how much the clocks of two nodes may differ.
const SKEW_MAX_SECONDS: u64 = 120;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The node that calls, for the log: each node of the cluster may follow each other one.
    pub(super) sub: String,
    /// The cluster's own id, and the node that is called.
    aud: String,
    iat: u64,
    exp: u64,
}

impl Claims {
    pub(super) fn are_for(&self, call: &Call) -> bool {
        self.aud == audience(call)
    }
}

fn audience(call: &Call) -> String {
    let Call { cluster, node, .. } = call;
    format!("{cluster:032x}/{node}")
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disbelief {
    /// The same at each try, for whoever wants to be told once.
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl From<&'static str> for Disbelief {
    fn from(reason: &'static str) -> Self {
        Self { reason, detail: String::new() }
    }
}

/// The secrets of the cluster. The first one signs, each is accepted: so they can be changed one node after the other.
pub(super) struct Secrets(Vec<hmac::Key>);

impl Secrets {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        Self(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes())).collect())
    }

    /// `None` when there are no secrets.
    pub(super) fn sign(&self, node: &NodeId, call: &Call, now_ms: u64) -> Option<String> {
        let key = self.0.first()?;
        let iat = now_ms / 1000;
        let claims = Claims { sub: node.to_string(), aud: audience(call), iat, exp: iat + LIFETIME_SECONDS };
        let claims = serde_json::to_vec(&claims).expect("a plain struct always has a JSON form");
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(key, text.as_bytes());
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What the bearer says of itself. `Ok(None)` when this node has no secrets and asks for no token.
    pub(super) fn check(&self, token: Option<&str>, now_ms: u64) -> Result<Option<Claims>, Disbelief> {
        const MALFORMED: &str = "the token is malformed";
        if self.0.is_empty() {
            return Ok(None);
        }
        let token = token.ok_or("the call has no token, and this node was given a secret for calls")?;
        let (text, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = text.split_once('.').ok_or(MALFORMED)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
        let signature = decode(signature)?;
        if !self.0.iter().any(|key| hmac::verify(key, text.as_bytes(), &signature).is_ok()) {
            return Err("the token is signed with another secret".into());
        }
        // Nothing of it is believed before this point.
        if decode(header)? != HEADER.as_bytes() {
            return Err("the token is not of the one kind that is made here".into());
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| MALFORMED)?;
        let now = now_ms / 1000;
        if now > claims.exp.saturating_add(SKEW_MAX_SECONDS) || now.saturating_add(SKEW_MAX_SECONDS) < claims.iat {
            let Claims { sub, iat, exp, .. } = claims;
            let detail = format!("that of {sub} is good from {iat} to {exp}, the clock here says {now}");
            return Err(Disbelief { reason: "the clocks of the two nodes differ too much for a token", detail });
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
    use storage::model::{Epoch, Position};

    use super::*;

    const NOW_MS: u64 = 1_760_000_000_000;

    fn secrets(all: &[&str]) -> Secrets {
        Secrets::new(&all.iter().map(|text| Secret::new(*text)).collect::<Vec<_>>())
    }

    fn node(id: &str) -> NodeId {
        NodeId::new(id).expect("an id")
    }

    fn call(cluster: u128, callee: &str) -> Call {
        Call { cluster, node: node(callee), epoch: Epoch(1), from: Position(1) }
    }

    fn token(secret: &str) -> String {
        secrets(&[secret]).sign(&node("a"), &call(7, "b"), NOW_MS).expect("there is a secret")
    }

    #[track_caller]
    fn check(signs: &[&str], accepts: &[&str], seconds_later: i64, refused: Option<&str>) {
        let token = secrets(signs).sign(&node("a"), &call(7, "b"), NOW_MS);
        let now_ms = NOW_MS.saturating_add_signed(seconds_later * 1000);
        let found = secrets(accepts).check(token.as_deref(), now_ms);
        match (found, refused) {
            (Ok(claims), None) => assert!(claims.is_none_or(|claims| claims.sub == "a")),
            (Err(why), Some(part)) => assert!(why.reason.contains(part), "{why:?}"),
            (found, _) => panic!("{found:?}, expected {refused:?}"),
        }
    }

    #[test]
    fn a_token_is_good_at_the_node_that_is_called_and_nowhere_else() {
        let claims = secrets(&["s"]).check(Some(&token("s")), NOW_MS).expect("it is good").expect("there is a secret");
        assert!(claims.are_for(&call(7, "b")));
        assert!(!claims.are_for(&call(7, "c")));
        assert!(!claims.are_for(&call(8, "b")));
    }

    #[test]
    fn a_reason_is_the_same_at_each_try() {
        let refused =
            |later_ms| secrets(&["s"]).check(Some(&token("s")), NOW_MS + later_ms).expect_err("it is too old");
        let (first, second) = (refused(1_000_000), refused(2_000_000));
        assert_eq!(first.reason, second.reason);
        assert_ne!(first.detail, second.detail);
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
        check(&["s"], &["s"], 181, Some("clocks of the two nodes differ"));
        check(&["s"], &["s"], -119, None);
        check(&["s"], &["s"], -121, Some("clocks of the two nodes differ"));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let token = token("s");
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
