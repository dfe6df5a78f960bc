//! Who asks: bearer tokens, compared in constant time.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use control_client::content::Sha256;
use control_client::digest::sha256;
use control_client::fleet::ApplianceName;

use super::{Api, Problem};
use crate::registry;

/// Whose an operator's contents and answers are. No appliance has such a name.
pub(super) const OPERATOR: &str = "*operator*";

impl Api {
    /// The appliance of that name, if it shows its own token. Whether there is such an appliance is not told
    /// to others.
    pub(super) async fn appliance(&self, name: &str, headers: &HeaderMap) -> Result<ApplianceName, Problem> {
        let shown = bearer(headers)?;
        let name = ApplianceName::parse(name).map_err(|_| stranger())?;
        let digest = registry::token_digest(&self.plane.database, &name).await?;
        // Compared with something even where there is nothing to compare with.
        let is_known = digest.is_some();
        let matches = matches(shown, &digest.unwrap_or(Sha256::new([0; 32])));
        if matches && is_known { Ok(name) } else { Err(stranger()) }
    }

    /// Any appliance that shows its own token.
    pub(super) async fn any_appliance(&self, headers: &HeaderMap) -> Result<ApplianceName, Problem> {
        let shown = bearer(headers)?;
        let name = registry::appliance_of_token(&self.plane.database, &sha256(shown.as_bytes())).await?;
        name.ok_or_else(stranger)
    }

    /// The operator.
    pub(super) fn operator(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if matches(bearer(headers)?, &self.plane.operator) { Ok(()) } else { Err(stranger()) }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || Problem::unauthorized("show a token: Authorization: Bearer TOKEN");
    let field = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = field.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

/// Whether `shown` is the token of this digest. Takes the same time whatever is shown. A token has as much
/// randomness as a digest, so that one round of hashing is enough.
fn matches(shown: &str, digest: &Sha256) -> bool {
    verify_slices_are_equal(sha256(shown.as_bytes()).bytes(), digest.bytes()).is_ok()
}

fn stranger() -> Problem {
    Problem::unauthorized(
        "the token is not one for this: was it replaced, or does the URL name another appliance?",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use control_client::token::Token;

    use super::*;

    #[test]
    fn a_token_matches_its_digest_and_no_other() {
        let (one, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert!(matches(one.as_str(), &one.sha256()));
        assert!(!matches(one.as_str(), &other.sha256()));
        assert!(!matches("", &one.sha256()));
    }

    #[test]
    fn a_token_comes_after_the_word_bearer() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(text));
            bearer(&headers).map(str::to_owned).ok()
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
        for wrong in ["abc", "Basic abc", "Bearer", ""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert!(bearer(&HeaderMap::new()).is_err());
    }
}
