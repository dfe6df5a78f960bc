//! The same decision as [`crate::steering`] in the words of players: HLS content steering
//! (draft-pantos-hls-rfc8216bis, section 7) and DASH content steering (ETSI TS 103 998), whose documents have
//! one form.
//!
//! A media manifest has one pathway (HLS: `PATHWAY-ID`, `"."` where there is none; DASH: `serviceLocation`).
//! Every appliance is a clone of it with another host, so that a manifest need not know the fleet. A clone
//! keeps scheme, path and query: the media manifest's own URLs must have the paths of bundles, without a
//! prefix. A player that has seen a clone keeps it, so it is called what the appliance is called.

use control_client::steering::{Candidate, SteeringAnswer};
use serde::{Deserialize, Serialize};

/// The pathway of an HLS playlist that names none.
pub const HLS_BASE: &str = ".";

/// The `serviceLocation` that an MPD's `BaseURL` has where the question names no other.
pub const DASH_BASE: &str = "origin";

/// The longest identifier of a pathway that is taken from a question.
const BASE_BYTES_MAX: usize = 64;

/// A steering document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct ContentSteering {
    /// Always 1.
    pub version: u32,
    /// Seconds after which to ask again.
    pub ttl: u32,
    /// Where to ask then; the same place where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_uri: Option<String>,
    /// Pathways, the best first; never empty, none twice.
    pub pathway_priority: Vec<String>,
    /// Pathways that the media manifest does not have itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pathway_clones: Vec<PathwayClone>,
}

/// A pathway like another, with another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct PathwayClone {
    /// The pathway that it is like.
    pub base_id: String,
    /// What it is called.
    pub id: String,
    /// What is different.
    pub uri_replacement: UriReplacement,
}

/// What is different in the URLs of a clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct UriReplacement {
    /// The host, with its port where it has one.
    pub host: String,
}

/// The pathway that the media manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base<'a> {
    id: &'a str,
    scheme: Option<&'a str>,
}

impl<'a> Base<'a> {
    /// The pathway, and the scheme of its URLs where it is known: `http` or `https`. `None` where the
    /// identifier cannot be one (8216bis, section 4.4.6.2: letters, digits, `.`, `-`, `_`), or the scheme is
    /// another.
    pub fn new(id: &'a str, scheme: Option<&'a str>) -> Option<Self> {
        let is_id = (1..=BASE_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        (is_id && matches!(scheme, None | Some("http" | "https"))).then_some(Self { id, scheme })
    }
}

/// The document for a player. The origin is the manifest's own pathway, which also stands where there is
/// nothing else: a document without a pathway would stop the player.
pub fn content_steering(
    answer: &SteeringAnswer,
    base: Base<'_>,
    reload_uri: Option<String>,
) -> ContentSteering {
    let mut document = ContentSteering {
        version: 1,
        ttl: answer.ttl_seconds,
        reload_uri,
        pathway_priority: Vec::with_capacity(answer.candidates.len()),
        pathway_clones: Vec::new(),
    };
    for candidate in &answer.candidates {
        let Some(appliance) = &candidate.appliance else {
            push_once(&mut document.pathway_priority, base.id);
            continue;
        };
        // An appliance that is called as the manifest's own pathway is cannot be told apart from it.
        if let Some(host) = host(candidate, base.scheme)
            && appliance.as_str() != base.id
        {
            push_once(&mut document.pathway_priority, appliance.as_str());
            document.pathway_clones.push(PathwayClone {
                base_id: base.id.to_owned(),
                id: appliance.to_string(),
                uri_replacement: UriReplacement { host: host.to_owned() },
            });
        }
    }
    if document.pathway_priority.is_empty() {
        push_once(&mut document.pathway_priority, base.id);
    }
    document
}

fn push_once(pathways: &mut Vec<String>, pathway: &str) {
    if pathways.iter().all(|known| known != pathway) {
        pathways.push(pathway.to_owned());
    }
}

/// The host and port of the first of the candidate's URLs that has the scheme, or of the first where no
/// scheme is asked for.
fn host<'a>(candidate: &'a Candidate, scheme: Option<&str>) -> Option<&'a str> {
    candidate.urls.iter().find_map(|url| {
        let (found, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?;
        let suits = scheme.is_none_or(|scheme| found.eq_ignore_ascii_case(scheme));
        (suits && !host.is_empty() && !host.contains('@')).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use control_client::content::BundlePath;
    use control_client::fleet::ApplianceName;
    use control_client::wire::DocumentVersion;
    use serde_json::json;

    use super::*;

    fn candidate(name: Option<&str>, tier: u8, urls: &[&str]) -> Candidate {
        Candidate {
            appliance: name.map(|name| ApplianceName::parse(name).unwrap()),
            tier,
            urls: urls.iter().map(|&url| url.to_owned()).collect(),
        }
    }

    fn answer(candidates: Vec<Candidate>) -> SteeringAnswer {
        SteeringAnswer {
            version: DocumentVersion,
            path: BundlePath::parse("/titles/abc/1080p").unwrap(),
            site: None,
            ttl_seconds: 300,
            candidates,
            explanation: vec![],
        }
    }

    #[test]
    fn appliances_are_clones_of_the_playlists_own_pathway_and_the_origin_is_itself() {
        let answer = answer(vec![
            candidate(Some("oca-1"), 0, &["http://192.0.2.7:8080/"]),
            candidate(Some("oca-2"), 1, &["http://[2001:db8::1]", "https://oca-2.example.net"]),
            candidate(None, 2, &["https://origin.example.net"]),
        ]);
        let document = content_steering(&answer, Base::new(HLS_BASE, None).unwrap(), None);
        assert_eq!(
            serde_json::to_value(&document).unwrap(),
            json!({
                "VERSION": 1,
                "TTL": 300,
                "PATHWAY-PRIORITY": ["oca-1", "oca-2", "."],
                "PATHWAY-CLONES": [
                    {"BASE-ID": ".", "ID": "oca-1", "URI-REPLACEMENT": {"HOST": "192.0.2.7:8080"}},
                    {"BASE-ID": ".", "ID": "oca-2", "URI-REPLACEMENT": {"HOST": "[2001:db8::1]"}},
                ],
            })
        );
    }

    #[test]
    fn a_player_of_https_is_sent_to_urls_of_https_only() {
        let answer = answer(vec![
            candidate(Some("oca-1"), 0, &["http://192.0.2.7"]),
            candidate(Some("oca-2"), 0, &["http://192.0.2.8", "https://oca-2.example.net"]),
        ]);
        let reload = Some("/v1/steer/dash?path=/titles/abc/1080p".to_owned());
        let document = content_steering(&answer, Base::new(DASH_BASE, Some("https")).unwrap(), reload);
        assert_eq!(document.pathway_priority, ["oca-2"]);
        assert_eq!(document.pathway_clones[0].uri_replacement.host, "oca-2.example.net");
        let text = serde_json::to_string(&document).unwrap();
        assert!(text.contains("\"RELOAD-URI\":\"/v1/steer/dash?path=/titles/abc/1080p\""), "{text}");
    }

    #[test]
    fn without_candidates_the_player_stays_where_it_is() {
        let document = content_steering(&answer(vec![]), Base::new(HLS_BASE, None).unwrap(), None);
        assert_eq!(document.pathway_priority, ["."]);
        assert!(document.pathway_clones.is_empty());
    }

    #[test]
    fn an_appliance_with_the_name_of_the_pathway_is_left_out() {
        let answer = answer(vec![candidate(Some("origin"), 0, &["http://192.0.2.7"])]);
        let document = content_steering(&answer, Base::new(DASH_BASE, None).unwrap(), None);
        assert_eq!(document.pathway_priority, ["origin"]);
        assert!(document.pathway_clones.is_empty());
    }

    #[test]
    fn a_pathway_is_letters_digits_dots_hyphens_and_underscores() {
        assert!(Base::new("cdn-A_1.x", Some("http")).is_some());
        for bad in ["", "a b", "a\"b", "é", &"x".repeat(65)] {
            assert_eq!(Base::new(bad, None), None, "{bad:?}");
        }
        assert_eq!(Base::new(".", Some("ftp")), None);
    }
}
