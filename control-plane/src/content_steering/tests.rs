use control_client::content::BundlePath;
use control_client::fleet::ApplianceName;
use control_client::steering::Candidate;
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
    let document = content_steering(&answer, &Pathways::one(HLS_BASE, None).unwrap(), None);
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
    let document = content_steering(&answer, &Pathways::one(DASH_BASE, Some("https")).unwrap(), reload);
    assert_eq!(document.pathway_priority, ["oca-2"]);
    assert_eq!(document.pathway_clones[0].uri_replacement.host, "oca-2.example.net");
    let text = serde_json::to_string(&document).unwrap();
    assert!(text.contains("\"RELOAD-URI\":\"/v1/steer/dash?path=/titles/abc/1080p\""), "{text}");
}

#[test]
fn without_candidates_the_player_stays_where_it_is() {
    let document = content_steering(&answer(vec![]), &Pathways::one(HLS_BASE, None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["."]);
    assert!(document.pathway_clones.is_empty());
}

#[test]
fn an_appliance_with_the_name_of_the_pathway_is_left_out() {
    let answer = answer(vec![candidate(Some("origin"), 0, &["http://192.0.2.7"])]);
    let document = content_steering(&answer, &Pathways::one(DASH_BASE, None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["origin"]);
    assert!(document.pathway_clones.is_empty());
}

#[test]
fn a_pathway_is_letters_digits_dots_hyphens_and_underscores() {
    assert!(Pathways::one("cdn-A_1.x", Some("http")).is_some());
    for bad in ["", "a b", "a\"b", "é", &"x".repeat(65)] {
        assert_eq!(Pathways::one(bad, None), None, "{bad:?}");
    }
    assert_eq!(Pathways::one(".", Some("ftp")), None);
}

#[test]
fn of_a_manifest_that_has_the_appliances_only_others_are_clones() {
    let answer = answer(vec![
        candidate(Some("oca-2"), 0, &["http://192.0.2.8:8080"]),
        candidate(Some("oca-1"), 0, &["http://192.0.2.7:8080"]),
        candidate(Some("oca-3"), 1, &["http://192.0.2.9"]),
        candidate(None, 2, &["https://origin.example.net"]),
    ]);
    let document = content_steering(&answer, &Pathways::listed("oca-1,oca-2,origin", None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["oca-2", "oca-1", "oca-3", "origin"]);
    let clones: Vec<_> = document.pathway_clones.iter().map(|one| (&*one.id, &*one.base_id)).collect();
    assert_eq!(clones, [("oca-3", "oca-1")]);
}

#[test]
fn a_player_for_whom_there_is_nothing_keeps_the_pathways_of_its_manifest() {
    let document = content_steering(&answer(vec![]), &Pathways::listed("oca-1,oca-2", None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["oca-1", "oca-2"]);
    // It has no pathway of the origin, whose host it could not be told either.
    let origin = answer(vec![candidate(None, 2, &["https://origin.example.net"])]);
    let document = content_steering(&origin, &Pathways::listed("oca-1", None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["oca-1"]);
}

#[test]
fn a_list_of_pathways_is_as_long_as_a_manifest_can_make_it() {
    assert!(Pathways::listed("a,b,c,d,e,f,g,h,origin", None).is_some());
    for bad in ["", ",", "a,", "a,b,c,d,e,f,g,h,i,j", "a, b", "a,a"] {
        assert!(Pathways::listed(bad, None).is_none(), "{bad:?}");
    }
}

#[test]
fn pathways_are_the_candidates_in_order_each_with_its_base_url() {
    let answer = answer(vec![
        candidate(Some("oca-2"), 0, &["http://192.0.2.8:8080/", "https://oca-2.example.net"]),
        candidate(Some("oca-1"), 0, &["http://192.0.2.7"]),
        candidate(Some("origin"), 0, &["https://192.0.2.6"]),
        candidate(Some("oca-4"), 0, &["https://oca-4.example.net/\"x"]),
        candidate(None, 2, &["https://cdn.example.net/oca/"]),
    ]);
    let of = |scheme| -> Vec<(String, String)> {
        pathways(&answer, scheme).into_iter().map(|pathway| (pathway.id, pathway.base_url)).collect()
    };
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(id, url)| (id.to_string(), url.to_string())).collect()
    };
    assert_eq!(
        of(None),
        own(&[
            ("oca-2", "http://192.0.2.8:8080"),
            ("oca-1", "http://192.0.2.7"),
            ("origin", "https://cdn.example.net/oca"),
        ])
    );
    assert_eq!(
        of(Some("https")),
        own(&[("oca-2", "https://oca-2.example.net"), ("origin", "https://cdn.example.net/oca")])
    );
}

#[test]
fn what_a_player_says_of_where_it_is_may_be_anything() {
    assert_eq!(last_pathway("oca-1"), Some("oca-1"));
    assert_eq!(last_pathway("\"oca-1,oca-2\""), Some("oca-2"));
    for strange in ["", "\"\"", ",", "a b", &"x".repeat(5_000), "oca-1,"] {
        assert_eq!(last_pathway(strange), None, "{strange:?}");
    }
}

#[test]
fn the_appliances_of_a_manifest_have_one_scheme_and_the_origin_its_own() {
    let answer = answer(vec![
        candidate(Some("origin"), 0, &["http://192.0.2.6"]),
        candidate(Some("oca-1"), 0, &["HTTPS://oca-1.example.net", "http://192.0.2.7"]),
        candidate(Some("oca-2"), 0, &["http://192.0.2.8", "https://oca-2.example.net"]),
        candidate(Some("oca-3"), 1, &["http://192.0.2.9"]),
        candidate(None, 2, &["http://cdn.example.net"]),
    ]);
    assert_eq!(appliances_scheme(&answer), Some("https"));
    let urls: Vec<String> = pathways(&answer, None).into_iter().map(|pathway| pathway.base_url).collect();
    assert_eq!(urls, ["HTTPS://oca-1.example.net", "https://oca-2.example.net", "http://cdn.example.net"]);
}

#[test]
fn the_origin_of_a_manifest_that_was_made_here_has_no_clones() {
    let answer = answer(vec![
        candidate(Some("oca-1"), 0, &["http://192.0.2.7:8080"]),
        candidate(None, 2, &["https://cdn.example.net/oca"]),
    ]);
    let document = content_steering(&answer, &Pathways::listed("origin", None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["origin"]);
    assert!(document.pathway_clones.is_empty());
    let document = content_steering(&answer, &Pathways::listed("origin,oca-2", None).unwrap(), None);
    assert_eq!(document.pathway_priority, ["oca-1", "origin"]);
    assert_eq!(document.pathway_clones[0].base_id, "oca-2");
}
