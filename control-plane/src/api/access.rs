//! Who asks: bearer tokens, compared in constant time.

use axum::http::{HeaderMap, header};
use control_client::content::Sha256;
use control_client::digest::sha256;
use control_client::fleet::ApplianceName;

use super::{Api, Problem};
use crate::registry::{self, Token};

impl Api {
    /// The appliance of that name, if it shows its own token. Whether there is such an appliance is not told to others.
    pub(super) async fn appliance(&self, name: &str, headers: &HeaderMap) -> Result<ApplianceName, Problem> {
        let shown = bearer(headers)?;
        let name = ApplianceName::parse(name).map_err(|_| stranger())?;
        let digest = registry::token_digest(&self.plane.database, &name).await?;
        // Compared with something even where there is nothing to compare with.
        let is_known = digest.is_some();
        let matches = Token::matches(shown, &digest.unwrap_or(Sha256::new([0; 32])));
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
        if Token::matches(bearer(headers)?, &self.plane.operator) { Ok(()) } else { Err(stranger()) }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || Problem::unauthorized("show a token: Authorization: Bearer TOKEN");
    let field = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = field.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

fn stranger() -> Problem {
    Problem::unauthorized("the token is not one for this: was it replaced, or does the URL name another appliance?")
}
