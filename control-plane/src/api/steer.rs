//! Where clients are sent.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use control_client::admin::Failure;
use control_client::content::BundlePath;
use control_client::steering::SteeringAnswer;
use serde::Deserialize;

use super::answer::json;
use super::{Api, Problem, Shared};
use crate::fleet::Fleet;
use crate::steering::Question;

/// Who asks for what.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SteerQuery {
    /// The client's address; left out: whoever asks, or whom a proxy on this machine names last in X-Forwarded-For.
    client: Option<String>,
    /// The directory that it wants objects of.
    path: String,
    /// Whether to say why each appliance is where it is: `1`, `true`, or nothing. Only for operators.
    explain: Option<String>,
}

/// Appliances for one client and one directory, the best first.
#[utoipa::path(
    get, path = "/v1/steer", tag = "anyone", params(SteerQuery), security((), ("operator" = [])),
    responses(
        (status = 200, description = "Where to ask; the list may be empty.", body = SteeringAnswer),
        (status = 400, description = "The question cannot be one.", body = Failure),
        (status = 401, description = "An explanation is for operators.", body = Failure),
    )
)]
pub(super) async fn steer(
    State(api): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    query: Result<Query<SteerQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::refused(error.body_text()))?;
    let explain = query.explain.as_deref().is_some_and(|word| matches!(word, "" | "1" | "true"));
    if explain {
        // It names the whole fleet, and what polls found there.
        api.operator(&headers)?;
    }
    let client = client(query.client.as_deref(), peer, &headers)?;
    let answer = answer(&api, client, &query.path, explain, Fleet::steer)?;
    json(&answer)
}

pub(super) fn answer(
    api: &Api,
    client: IpAddr,
    path: &str,
    explain: bool,
    steer: impl Fn(&Fleet, &Question<'_>) -> SteeringAnswer,
) -> Result<SteeringAnswer, Problem> {
    let path = BundlePath::parse(path).map_err(|error| Problem::refused(format!("path: {error}")))?;
    let answer = steer(&api.plane.fleet(), &Question { client, path: &path, explain });
    let first = match answer.candidates.first() {
        None => "nowhere",
        Some(first) if first.appliance.is_none() => "origin",
        Some(first) if first.tier == 0 => "own_site",
        Some(_) => "next_tier",
    };
    api.plane.metrics.steered.with_label_values(&[first]).inc();
    Ok(answer)
}

/// Only a proxy on this machine is believed about whom it asks for.
pub(super) fn client(told: Option<&str>, peer: SocketAddr, headers: &HeaderMap) -> Result<IpAddr, Problem> {
    if let Some(told) = told {
        return told.parse().map_err(|_| Problem::refused(format!("client: {told:?} is no address")));
    }
    let forwarded = headers
        .get("x-forwarded-for")
        .filter(|_| peer.ip().to_canonical().is_loopback())
        .and_then(|list| list.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    Ok(forwarded.unwrap_or(peer.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_proxy_on_this_machine_is_believed_about_the_client() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 192.0.2.7"));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let of = |told, peer: &str| client(told, SocketAddr::new(address(peer), 1), &headers);
        assert_eq!(of(None, "127.0.0.1").unwrap(), address("192.0.2.7"));
        assert_eq!(of(None, "::1").unwrap(), address("192.0.2.7"));
        assert_eq!(of(None, "198.51.100.1").unwrap(), address("198.51.100.1"));
        assert_eq!(of(Some("2001:db8::1"), "127.0.0.1").unwrap(), address("2001:db8::1"));
        assert!(of(Some("nonsense"), "127.0.0.1").is_err());
    }
}
