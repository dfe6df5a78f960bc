//! The section of pull-through, as an operator meets it.

mod problems;

use std::path::PathBuf;
use std::time::Duration;

use control_client::config::{Config, OnMiss, UnsafeMethods};
use control_client::units::ByteCount;
use problems::{assert_only_problem, refusal};

const UPSTREAM: &str = "upstreams = [{ name = \"origin\", url = \"https://origin.example\" }]";

#[test]
fn what_is_written_is_what_is_read() {
    let text = r#"
        [pull]
        unsafe_methods = "pass"
        volume_percent = 25
        memory = "1 GiB"
        playlist_ttl = "1 s"
        [[pull.rules]]
        prefix = "/"
        on_miss = "pull"
        [[pull.rules]]
        prefix = "/live/"
        on_miss = "redirect"
        redirect_to = "https://live.example.net/edge"
        [[pull.rules]]
        prefix = "/none/"
        on_miss = "reject"
        [[pull.upstreams]]
        name = "parent"
        url = "http://192.0.2.9"
        host = "media.example.net:8080"
        [[pull.upstreams]]
        name = "archive"
        s3 = { bucket = "films", endpoint = "http://[2001:db8::1]:9000", key_prefix = "a/", credentials = "/etc/oca/s3" }
    "#;
    let config = Config::parse(text).expect("readable");
    assert_eq!(config.check(), []);
    let pull = &config.pull;
    assert!(pull.is_on() && pull.unsafe_methods == UnsafeMethods::Pass && pull.volume_percent == 25);
    assert_eq!((pull.memory, pull.playlist_ttl), (ByteCount::GIB, Duration::from_secs(1)));
    let on_miss: Vec<OnMiss> = pull.rules.iter().map(|rule| rule.on_miss).collect();
    assert_eq!(on_miss, [OnMiss::Pull, OnMiss::Redirect, OnMiss::Reject]);
    assert_eq!(pull.upstreams[0].host.as_deref(), Some("media.example.net:8080"));
    let s3 = pull.upstreams[1].s3.as_ref().expect("an s3");
    assert_eq!(
        (s3.bucket.as_str(), s3.region.as_str(), s3.key_prefix.as_str()),
        ("films", "us-east-1", "a/")
    );
    assert_eq!(s3.credentials, Some(PathBuf::from("/etc/oca/s3")));
    let again: Config = toml::Table::try_from(&config).expect("TOML").try_into().expect("readable");
    assert_eq!(again, config);
}

#[test]
fn without_a_rule_nothing_is_pulled() {
    let pull = Config::default().pull;
    assert!(!pull.is_on() && pull.rules.is_empty() && pull.unsafe_methods == UnsafeMethods::Refuse);
}

#[test]
fn a_rule_needs_what_it_speaks_of() {
    assert_only_problem(
        "pull.rules = [{ prefix = \"/\", on_miss = \"pull\" }]",
        "pull.upstreams: a rule pulls, and there is nowhere to pull from",
    );
    assert_only_problem(
        "pull.rules = [{ prefix = \"/\", on_miss = \"redirect\" }]",
        "pull.rules[0].redirect_to: the rule redirects, and does not say where to",
    );
    assert_only_problem(
        "pull.rules = [{ prefix = \"/\", on_miss = \"reject\", redirect_to = \"http://a\" }]",
        "pull.rules[0].redirect_to: the rule does not redirect",
    );
    assert_only_problem(
        "pull.rules = [{ prefix = \"/\", on_miss = \"redirect\", redirect_to = \"http://a/?b\" }]",
        "pull.rules[0].redirect_to: \"http://a/?b\" is not a URL",
    );
    for prefix in ["", "a", "/a?b", "/a%20b", "/a b"] {
        assert_only_problem(
            &format!("pull.rules = [{{ prefix = {prefix:?}, on_miss = \"reject\" }}]"),
            "is not what a path starts with",
        );
    }
    assert_only_problem(
        "pull.rules = [{ prefix = \"/a\", on_miss = \"reject\" }, { prefix = \"/a\", on_miss = \"reject\" }]",
        "pull.rules[1].prefix: \"/a\" is the prefix of two rules",
    );
}

#[test]
fn an_upstream_is_one_server_or_one_bucket_with_a_name_of_its_own() {
    for (upstream, expected) in [
        ("name = \"a\"", "upstreams[0].url: it is missing"),
        (
            "name = \"a\", url = \"http://a\", s3 = { bucket = \"b\" }",
            "upstreams[0].url: there is an s3 beside it",
        ),
        ("name = \"\", url = \"http://a\"", "upstreams[0].name: \"\" is not a name"),
        ("name = \"a\", url = \"a.example\"", "upstreams[0].url: \"a.example\" is not a URL"),
        (
            "name = \"a\", url = \"http://a\", host = \"b/c\"",
            "upstreams[0].host: \"b/c\" is not what Host can say",
        ),
        (
            "name = \"a\", s3 = { bucket = \"b\" }, host = \"c\"",
            "upstreams[0].host: \"c\" is not what Host can say",
        ),
        ("name = \"a\", s3 = { bucket = \"b/c\" }", "upstreams[0].s3.bucket: \"b/c\" is not a name"),
        (
            "name = \"a\", s3 = { bucket = \"b\", key_prefix = \"/c\" }",
            "s3.key_prefix: \"/c\" is not what the name",
        ),
        (
            "name = \"a\", s3 = { bucket = \"b\", key_prefix = \"c//\" }",
            "s3.key_prefix: \"c//\" is not what the name",
        ),
        (
            "name = \"a\", s3 = { bucket = \"b\", credentials = \"c\" }",
            "s3.credentials: \"c\" is not an absolute path",
        ),
    ] {
        assert_only_problem(&format!("pull.upstreams = [{{ {upstream} }}]"), expected);
    }
    assert_only_problem(
        "pull.upstreams = [{ name = \"a\", url = \"http://a\" }, { name = \"a\", url = \"http://b\" }]",
        "pull.upstreams[1].name: \"a\" is the name of two upstreams",
    );
}

#[test]
fn a_bucket_is_not_asked_to_change_anything() {
    let bucket = "{ name = \"a\", s3 = { bucket = \"b\" } }";
    let server = "{ name = \"c\", url = \"http://c\" }";
    for upstreams in [bucket.to_owned(), format!("{bucket}, {server}")] {
        assert_only_problem(
            &format!("[pull]\nupstreams = [{upstreams}]\nunsafe_methods = \"pass\"\n"),
            "pull.unsafe_methods: \"pass\" is on to the first upstream, and that is a bucket",
        );
    }
    let text = format!("[pull]\nupstreams = [{server}, {bucket}]\nunsafe_methods = \"pass\"\n");
    assert_eq!(Config::parse(&text).expect("readable").check(), []);
}

#[test]
fn bounds_are_kept() {
    for (line, expected) in [
        ("volume_percent = 0", "pull.volume_percent: 0 is not between 1 and 90"),
        ("memory = \"1 MiB\"", "pull.memory: 1 MiB is not between 4 MiB and"),
        ("requests = 0", "pull.requests: 0 is not between"),
        ("request_fields = [\"X-A\", \"b c\"]", "pull.request_fields[1]: \"b c\" is not the name of a field"),
        ("stall_timeout = \"0 s\"", "pull.stall_timeout: 0 ms is not between"),
        ("negative_ttl = \"500 ms\"", "pull.negative_ttl: 500 ms is not a whole number of seconds"),
    ] {
        assert_only_problem(&format!("[pull]\n{UPSTREAM}\n{line}\n"), expected);
    }
}

#[test]
fn an_unknown_word_is_refused_with_the_nearest() {
    let text = refusal("[pull]\nrules = [{ prefix = \"/\", on_miss = \"pul\" }]\n");
    assert!(text.contains("unknown value \"pul\"; did you mean `pull`?"), "{text}");
    let text = refusal("[pull]\nrules = [{ prefix = \"/\", onmiss = \"pull\" }]\n");
    assert!(text.contains("unknown key `onmiss` in [pull.rules]; did you mean `on_miss`?"), "{text}");
    let text = refusal("[pull]\nupstream = []\n");
    assert!(text.contains("unknown key `upstream` in [pull]; did you mean `upstreams`?"), "{text}");
}
