//! The sections of the fill and the control plane, as an operator meets them.

mod problems;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use control_client::config::{Config, FillConfig};
use control_client::fleet::ApplianceName;
use control_client::units::{BitRate, ByteCount, DailyWindow};
use problems::{assert_only_problem, refusal};
use proptest::prelude::*;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[test]
fn what_is_written_is_what_is_read() {
    let text = format!(
        r#"
        [control]
        url = "https://control.example.net/edge"
        appliance = "oca-1"
        trusted_keys = [{{ id = "2026a", public_key = "{KEY}" }}]
        serve_urls = ["http://192.0.2.7", "https://oca-1.example.net:8443/"]
        admin_url = "http://[2001:db8::7]:9090"
        [fill]
        window = "22:30-06:00"
        time_zone = "America/Argentina/Ushuaia"
        rate = "200 Mbit/s"
        jitter = "0 s"
        [control_plane]
        database = "postgres://control@db.example.net/fleet"
        escalation = "0 s"
        origins = []
        "#
    );
    let config = Config::parse(&text).expect("readable");
    assert_eq!(config.check(), []);
    assert_eq!(config.control.appliance, Some(ApplianceName::parse("oca-1").expect("a name")));
    assert_eq!(config.control.trusted_keys[0].public_key[..2], [0xd7, 0x5a]);
    assert_eq!(config.fill.window, DailyWindow::new(22 * 60 + 30, 6 * 60).expect("a window"));
    assert_eq!((config.fill.window.minutes(), config.fill.rate), (450, BitRate::new(200_000_000)));
    assert_eq!(config.control_plane.escalation, Duration::ZERO);
    let again: Config = toml::Table::try_from(&config).expect("TOML").try_into().expect("readable");
    assert_eq!(again, config);
}

#[test]
fn the_default_night_takes_what_the_default_rate_brings_in_the_default_window() {
    let FillConfig { window, rate, night_bytes, .. } = FillConfig::default();
    let most = rate.bytes_per_second() * 60 * u64::from(window.minutes());
    assert!(night_bytes.bytes() > most && night_bytes.bytes() < most * 12 / 10, "{most}");
    assert_eq!(night_bytes, ByteCount::gib(6656));
}

#[test]
fn words_that_are_none_are_refused_where_they_stand() {
    for (text, expected) in [
        ("[control]\nappliance = \"OCA 1\"\n", "2:13: \"OCA 1\": a name is 1 to 63 of a-z, 0-9 and \"-\""),
        ("[fill]\nwindow = \"2-14\"\n", "2:10: \"2-14\": a window is two different times of the day"),
        ("[fill]\nwindow = \"02:00-02:00\"\n", "a window is two different times of the day"),
        ("[fill]\nwindow = \"02:60-03:00\"\n", "a window is two different times of the day"),
        ("[fill]\nwindow = \"24:00-03:00\"\n", "a window is two different times of the day"),
        ("[fill]\nwindow = 2\n", "text in quotes"),
        (
            "[control]\ntrusted_keys = [{ id = \"a\", public_key = \"00\" }]\n",
            "a public key is 64 lower-case hexadecimal digits",
        ),
        ("[control]\ntrusted_keys = [{ id = \"a\" }]\n", "`public_key` is missing; add it"),
        (
            "[control]\ntokenfile = \"/a\"\n",
            "unknown key `tokenfile` in [control]; did you mean `token_file`?",
        ),
        ("[control_plane]\norigins = [{ name = \"a\", uri = \"http://a\" }]\n", "did you mean `url`?"),
        ("[fill]\nfill_rate = \"1 Gbit/s\"\n", "unknown key `fill_rate` in [fill]"),
        ("[fill]\nrate = \"1 GB/s\"\n", "bit/s"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{expected} in {refusal}");
    }
}

#[test]
fn a_control_plane_without_a_name_to_tell_it_is_a_problem() {
    assert_only_problem(
        "[control]\nurl = \"https://a\"\n",
        "control.appliance: control.url names a control plane, but this appliance has no name",
    );
}

#[test]
fn urls_are_looked_at() {
    for (key, url) in [
        ("url", "\"control.example.net\""),
        ("url", "\"ftp://control.example.net\""),
        ("url", "\"https://user:password@control.example.net\""),
        ("admin_url", "\"https://a?b\""),
        ("serve_urls", "[\"192.0.2.7:80\"]"),
    ] {
        assert_only_problem(
            &format!("[control]\nappliance = \"a\"\n{key} = {url}\n"),
            "is not a URL that a path can be appended to; write http://HOST or https://HOST",
        );
    }
    for (key, url) in [("admin_url", "\"https://a/b\""), ("serve_urls", "[\"http://a\", \"http://b/c/\"]")] {
        assert_only_problem(&format!("[control]\n{key} = {url}\n"), "has a path");
    }
    assert_only_problem(
        "[control_plane]\nclient_origins = [\"origin\"]\n",
        "control_plane.client_origins[0]: \"origin\" is not a URL",
    );
    assert_only_problem(
        "[control_plane]\norigins = [{ name = \"a\", url = \"origin\" }]\n",
        "control_plane.origins[0].url: \"origin\" is not a URL",
    );
}

#[test]
fn two_keys_or_two_origins_of_one_name_are_a_problem() {
    let key = format!("{{ id = \"a\", public_key = \"{KEY}\" }}");
    assert_only_problem(
        &format!("[control]\ntrusted_keys = [{key}, {key}]\n"),
        "control.trusted_keys[1].id: \"a\" is the id of two keys",
    );
    assert_only_problem(
        "[control_plane]\norigins = [{ name = \"a\", url = \"http://a\" }, { name = \"a\", url = \"http://b\" }]\n",
        "control_plane.origins[1].name: \"a\" is the name of two origins",
    );
    assert_only_problem(
        &format!("[control]\ntrusted_keys = [{{ id = \"\", public_key = \"{KEY}\" }}]\n"),
        "is not a name of 1 to 64 bytes",
    );
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    for (text, expected) in [
        ("[control]\nreport_interval = \"500 ms\"", "500 ms is not between 1 s and 1 h"),
        ("[fill]\nrate = \"1 kbit/s\"", "1 kbit/s is not between 100 kbit/s and 1 Tbit/s"),
        ("[fill]\nnight_bytes = \"0 B\"", "0 B is not between 1 KiB and 1 PiB; the default is 6656 GiB"),
        ("[fill]\nkeep_free = \"2 PiB\"", "2 PiB is not between 0 B and 1 PiB"),
        ("[fill]\nchurn_days = 0", "0 is not between 1 and 365"),
        ("[fill]\nconcurrency = 1000", "1000 is not between 1 and 256"),
        ("[fill]\nstall_timeout = \"0 s\"", "0 ms is not between 1 ms and 1 h"),
        ("[fill]\nyield_latency = \"1 min\"", "1 min is not between 1 ms and 10 s"),
        ("[control_plane]\nmisses = 0", "0 is not between 1 and 1000"),
        ("[control_plane]\nescalation = \"2 d\"", "2 d is longer than 1 d"),
        ("[control_plane]\nlisten = []", "control_plane.listen: the list is empty"),
        ("[control_plane]\nmanifest_interval = \"8 d\"", "8 d is not between 100 ms and 7 d"),
        ("[control_plane]\nttl_own_site = \"0 s\"", "control_plane.ttl_own_site: 0 ms is not a whole number"),
        (
            "[control_plane]\nttl_next_tier = \"2 h\"",
            "2 h is not a whole number of seconds between 1 s and 3600 s",
        ),
        (
            "[control_plane]\nttl_beyond = \"1500 ms\"",
            "control_plane.ttl_beyond: 1500 ms is not a whole number",
        ),
    ] {
        assert_only_problem(text, expected);
    }
}

#[test]
fn a_window_that_the_jitter_may_close_is_a_problem() {
    assert_only_problem(
        "[fill]\nwindow = \"23:50-00:10\"\njitter = \"20 min\"\n",
        "fill.jitter: 20 min is not shorter than the window, 20 min",
    );
}

#[test]
fn a_time_zone_cannot_lead_out_of_the_database() {
    for zone in
        ["", "/etc/passwd", "../passwd", "Europe/../../passwd", "Europe/", "Europe Berlin", "Europe/Zürich"]
    {
        assert_only_problem(
            &format!("[fill]\ntime_zone = {zone:?}\n"),
            "is not the name of a time zone; write \"system\"",
        );
    }
    for zone in ["system", "UTC", "Etc/GMT+5", "America/Port-au-Prince", "America/North_Dakota/Center"] {
        let config = Config::parse(&format!("[fill]\ntime_zone = {zone:?}\n")).expect("readable");
        assert_eq!(config.check(), [], "{zone}");
    }
}

#[test]
fn the_agent_needs_a_socket_of_its_own_that_fits() {
    assert_only_problem("[fill]\nsocket = \"/run/oca/daemon.sock\"\n", "it is the daemon's admin.socket");
    let long = format!("/{}", "a".repeat(107));
    assert_only_problem(
        &format!("[fill]\nsocket = {long:?}\n"),
        "fill.socket: the path has 108 bytes; a Unix socket takes 107",
    );
    assert_only_problem("[fill]\nstate = \"oca-fill\"\n", "fill.state: \"oca-fill\" is not an absolute path");
}

#[test]
fn a_databases_password_is_shown_nowhere() {
    let shown = |database: &str| {
        let mut config = Config::default();
        config.control_plane.database = database.to_owned();
        let facts = config.effective();
        facts.into_iter().find(|(key, _)| key == "control_plane.database").expect("every key").1
    };
    assert_eq!(shown("postgres://control:secret@db:5432/fleet"), "postgres://control@db:5432/fleet");
    assert_eq!(shown("postgres://control:se@cr@et@db/fleet?password=secret"), "postgres://control@db/fleet");
    assert_eq!(shown("sqlite:///var/lib/state.db"), "sqlite:///var/lib/state.db");
    assert_only_problem(
        "[control_plane]\ndatabase = \"mysql://a:secret@b/c\"",
        "\"mysql://a@b/c\" names no database",
    );
}

fn oca_check_config(text: &str, folder: &Path) -> String {
    let file = folder.join("config.toml");
    std::fs::write(&file, text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_oca"))
        .args(["check-config", file.to_str().expect("UTF-8")])
        .output()
        .expect("oca runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn what_would_be_in_the_agents_way_on_this_machine_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    let state = folder.path().join("state");
    let config = |url: &str, key: &str| {
        format!(
            "[control]\nurl = {url:?}\nappliance = \"oca-1\"\ntoken_file = {token:?}\ntrusted_keys = [{key}]\n\
             [fill]\nstate = {state:?}\n"
        )
    };
    let all = oca_check_config(&config("http://control.example.net", ""), folder.path());
    for warning in [
        "the token travels to http://control.example.net unencrypted",
        "put the token there that the control plane gave this appliance",
        "control.trusted_keys is empty, so no fill manifest is obeyed",
        "create it for the fill agent",
    ] {
        assert!(all.contains(&format!("warning: {warning}")) || all.contains(warning), "{warning} in\n{all}");
    }
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("set");
    let key = format!("{{ id = \"a\", public_key = \"{KEY}\" }}");
    let exposed = oca_check_config(&config("http://127.0.0.1:9400", &key), folder.path());
    assert!(exposed.contains("anybody may read or change") && !exposed.contains("unencrypted"), "{exposed}");

    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o640)).expect("set");
    std::fs::create_dir(&state).expect("created");
    let sound = oca_check_config(&config("https://control.example.net", &key), folder.path());
    for fill_warning in ["token", "trusted_keys", "fill agent"] {
        assert!(
            !sound.lines().any(|line| line.starts_with("warning") && line.contains(fill_warning)),
            "{sound}"
        );
    }
    assert!(
        sound.contains("  fill           02:00-14:00 (system), at most 1.2 Gbit/s and 6656 GiB a night\n"),
        "{sound}"
    );
}

proptest! {
    #[test]
    fn a_window_survives_its_text(opens in 0_u16..1440, closes in 0_u16..=1440) {
        match DailyWindow::new(opens, closes) {
            Some(window) => {
                prop_assert_eq!(window.to_string().parse(), Ok(window));
                prop_assert!((1..=1440).contains(&window.minutes()));
            }
            None => prop_assert_eq!(opens, closes),
        }
    }

    #[test]
    fn no_text_makes_a_window_panic(text in "[0-9:-]{0,12}|.*") {
        if let Ok(window) = text.parse::<DailyWindow>() {
            prop_assert_eq!(window.to_string(), text);
        }
    }
}
