//! The configuration, as an operator meets it.

mod problems;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use control_client::config::{AtCapacity, Config, ConfigError, LogLevel, Reader, Workers};
use control_client::limits::CONFIG_FILE_BYTES_MAX;
use control_client::units::ByteCount;
use problems::{assert_only_problem, problems, refusal};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// Every key as `section.key`, with those inside lists of tables.
fn keys(value: &toml::Value, path: &str, keys_found: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys_found.insert(path.clone());
                keys(value, &path, keys_found);
            }
        }
        toml::Value::Array(values) => values.iter().for_each(|value| keys(value, path, keys_found)),
        _ => {}
    }
}

#[test]
fn the_example_is_the_default() {
    assert_eq!(Config::parse(EXAMPLE).expect("the example is readable"), Config::default());
}

#[test]
fn an_empty_file_is_the_default_and_the_default_is_sound() {
    assert_eq!(Config::parse("").expect("readable"), Config::default());
    assert_eq!(Config::default().check(), []);
}

#[test]
fn every_key_of_the_schema_is_in_the_example() {
    let mut config = Config::default();
    config.tls.certificates.clear();
    let schema = toml::Value::try_from(&config).expect("a configuration is TOML");
    let example: toml::Value = EXAMPLE.parse::<toml::Table>().expect("TOML").into();
    let (mut in_schema, mut in_example) = (BTreeSet::new(), BTreeSet::new());
    keys(&schema, "", &mut in_schema);
    keys(&example, "", &mut in_example);
    assert_eq!(in_schema, in_example);
    assert!(in_schema.contains("store.volumes.mount_required") && in_schema.len() > 30);
}

#[test]
fn every_key_of_the_example_has_a_comment_above_it() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for (above, line) in lines.iter().zip(&lines[1..]) {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(above.starts_with("# "), "no comment above: {line}");
        }
    }
}

#[test]
fn a_serialised_configuration_reads_as_the_same() {
    let text = r#"
        [store]
        volumes = [{ path = "/srv/a" }, { path = "/srv/b", mount_required = false }]
        footer_cache = "1 GiB"
        [serve]
        listen = []
        listen_tls = ["[::]:443"]
        workers = 3
        at_capacity = "pause"
        idle_timeout = "1500 ms"
        allow_origin = ""
        [tls]
        certificates = [{ chain = "/etc/a.pem", key = "/etc/a.key" }]
        [log]
        access = ""
        level = "trace"
    "#;
    let config = Config::parse(text).expect("readable");
    assert_eq!(config.check(), []);
    assert!(config.store.volumes[0].mount_required && !config.store.volumes[1].mount_required);
    assert_eq!(config.store.footer_cache, ByteCount::GIB);
    assert_eq!((config.serve.workers, config.serve.at_capacity), (Workers::Count(3), AtCapacity::Pause));
    assert_eq!(config.serve.idle_timeout, Duration::from_millis(1500));
    assert_eq!((&config.serve.allow_origin, &config.log.access), (&None, &None));
    assert_eq!(config.log.level, LogLevel::Trace);
    let again: Config = toml::Table::try_from(&config).expect("TOML").try_into().expect("readable");
    assert_eq!(again, config);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
    let refusal = refusal("[serve]\nworkers = 2\n  listn = []\n");
    assert_eq!(
        refusal,
        "configuration:3:3: unknown key `listn` in [serve]; did you mean `listen`?\n  3 |   listn = []"
    );
}

#[test]
fn a_key_like_no_other_is_refused_with_the_known_ones() {
    let refusal = refusal("[log]\ncolour = 1\n");
    assert!(
        refusal.contains("2:1: unknown key `colour` in [log]; known keys: access, access_queue, level"),
        "{refusal}"
    );
}

#[test]
fn an_unknown_section_is_refused_with_the_nearest_section() {
    let refusal = refusal("[serv]\nlisten = []\n");
    assert!(refusal.contains("1:2: unknown key `serv` at the top level; did you mean `serve`?"), "{refusal}");
}

#[test]
fn an_unknown_key_inside_a_list_is_named_with_its_list() {
    for text in [
        "[store]\nvolumes = [{ path = \"/a\", mount = true }]\n",
        "store.volumes = [\n  { path = \"/a\", mount = true }]\n",
        "[[store.volumes]]\npath = \"/a\"\nmount = true\n",
    ] {
        let refusal = refusal(text);
        let expected = "unknown key `mount` in [store.volumes]; known keys: path, mount_required";
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn a_unit_that_is_missing_or_wrong_is_refused_with_the_accepted_ones() {
    let missing = refusal("[store]\nfooter_cache = 256\n");
    assert!(missing.contains("2:16: \"256\" has no unit; accepted units: B, KiB, MiB"), "{missing}");
    let wrong = refusal("[store]\nfooter_cache = \"256 MB\"\n");
    assert!(wrong.contains("2:16: \"256 MB\" has an unknown unit; accepted units: B, KiB, MiB"), "{wrong}");
    let duration = refusal("[serve]\nidle_timeout = \"1 minute\"\n");
    assert!(
        duration.contains("2:16: \"1 minute\" has an unknown unit; accepted units: ms, s, min, h, d"),
        "{duration}"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_in_plain_words() {
    for (text, expected) in [
        ("[serve]\nconnections = \"many\"\n", "2:15: invalid type: string \"many\", expected a whole number"),
        ("[serve]\nconnections = -1\n", "2:15: invalid value: integer `-1`, expected a whole number"),
        (
            "[serve]\nlisten = \"0.0.0.0:80\"\n",
            "2:10: invalid type: string \"0.0.0.0:80\", expected a list in brackets",
        ),
        (
            "[serve]\nlisten = [80]\n",
            "2:11: invalid type: integer `80`, expected an address and port in quotes",
        ),
        (
            "[serve]\nlisten = [\"here\"]\n",
            "2:11: invalid value: string \"here\", expected an address and port",
        ),
        (
            "[serve]\nworkers = \"all\"\n",
            "2:11: invalid value: string \"all\", expected \"per-core\" or a whole number",
        ),
        ("[serve]\nworkers = 1.5\n", "2:11: invalid type: floating point `1.5`, expected \"per-core\""),
        ("serve = 1\n", "1:9: invalid type: integer `1`, expected a section or a table"),
        ("[store]\nvolumes = [{}]\n", "2:12: `path` is missing"),
        ("[store]\nvolumes = [{ path = 1 }]\n", "2:21: invalid type: integer `1`, expected text in quotes"),
        ("[store]\nvolumes = [{ path = \"/a\", mount_required = 1 }]\n", "expected true or false"),
        (
            "[log]\nlevel = \"information\"\n",
            "2:9: unknown value \"information\"; known values: error, warn, info",
        ),
        ("[log]\nlevel = \"inf\"\n", "2:9: unknown value \"inf\"; did you mean `info`?"),
        ("[serve]\nat_capacity = 1\n", "2:15: expected text in quotes"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "expected {expected}\nfound {refusal}");
    }
}

#[test]
fn a_key_or_section_given_twice_is_refused_at_the_second() {
    let key = refusal("[serve]\nworkers = 1\nworkers = 2\n");
    assert!(key.contains("3:1: duplicate key"), "{key}");
    let section = refusal("[serve]\n[log]\n[serve]\n");
    assert!(section.contains("3:2: duplicate key"), "{section}");
}

#[test]
fn a_broken_line_is_refused_with_its_place() {
    let refusal = refusal("[serve]\nworkers = \n");
    assert!(refusal.starts_with("configuration:2:11: "), "{refusal}");
}

#[test]
fn a_complaint_shows_no_control_character_of_the_file() {
    let refusal = refusal("[serve]\n\"\\u001b[2J\" = 1\n\"a\u{7f}b\" = 2\n");
    assert!(!refusal.replace('\n', "").chars().any(char::is_control), "{refusal:?}");
}

#[test]
fn relative_paths_are_refused() {
    assert_only_problem(
        "[store]\nvolumes = [{ path = \"volume0\" }]",
        "store.volumes[0].path: \"volume0\" is not an abs",
    );
    assert_only_problem(
        "[admin]\nsocket = \"daemon.sock\"",
        "admin.socket: \"daemon.sock\" is not an absolute path",
    );
    assert_only_problem(
        "[log]\naccess = \"access.log\"",
        "log.access: \"access.log\" is not an absolute path",
    );
    assert_only_problem(
        "[tls]\ncertificates = [{ chain = \"/a.pem\", key = \"a.key\" }]",
        "tls.certificates[0].key: \"a.key\" is not an absolute path",
    );
}

#[test]
fn the_file_of_ticket_keys_may_not_be_one_that_the_daemon_must_not_write() {
    assert_only_problem(
        "[tls]\nticket_keys = \"/a.key\"\ncertificates = [{ chain = \"/a.pem\", key = \"/a.key\" }]",
        "tls.ticket_keys: is also a file of tls.certificates[0]",
    );
}

#[test]
fn no_two_listeners_may_want_the_same_port() {
    assert_only_problem(
        "[serve]\nlisten = [\"0.0.0.0:80\", \"0.0.0.0:80\"]",
        "serve.listen[1]: 0.0.0.0:80 is taken by",
    );
    assert_only_problem(
        "[admin]\nlisten = [\"127.0.0.1:80\"]",
        "127.0.0.1:80 is taken by serve.listen[0] = 0.0.0.0:80",
    );
    assert_eq!(problems("[serve]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]"), Vec::<String>::new());
    assert_eq!(problems("[serve]\nlisten = [\"127.0.0.1:80\", \"127.0.0.2:80\"]"), Vec::<String>::new());
}

#[test]
fn there_must_be_something_to_serve_and_somewhere_to_serve_it() {
    assert_only_problem("[serve]\nlisten = []", "serve.listen: no address to serve on");
    assert_only_problem("[store]\nvolumes = []", "store.volumes: the list is empty");
}

#[test]
fn a_tls_listener_needs_a_certificate() {
    assert_only_problem(
        "[serve]\nlisten_tls = [\"[::]:443\"]",
        "tls.certificates: serve.listen_tls has addresses, but",
    );
}

#[test]
fn volumes_may_not_lie_in_each_other() {
    for (one, other) in [("/srv/a", "/srv/a"), ("/srv/a", "/srv/a/"), ("/srv", "/srv/a"), ("/srv/a", "/srv")]
    {
        let text = format!("[store]\nvolumes = [{{ path = {one:?} }}, {{ path = {other:?} }}]");
        assert_only_problem(&text, "store.volumes[1].path: ");
    }
    assert_eq!(
        problems("[store]\nvolumes = [{ path = \"/srv/a\" }, { path = \"/srv/ab\" }]"),
        Vec::<String>::new()
    );
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    for (text, expected) in [
        ("[serve]\nconnections = 0", "serve.connections: 0 is not between 1 and 10000000"),
        ("[serve]\nworkers = 0", "serve.workers: 0 is not between 1 and 1024"),
        ("[serve]\nidle_timeout = \"0 s\"", "serve.idle_timeout: 0 ms is not between 1 ms and 7 d"),
        ("[serve]\nretry_after = \"1500 ms\"", "serve.retry_after: 1500 ms is not a whole number of seconds"),
        (
            "[serve]\nsegment_max_age = \"30000 d\"",
            "serve.segment_max_age: 30000 d is not a whole number of seconds",
        ),
        ("[serve]\nnotsent_lowat = \"1 B\"", "serve.notsent_lowat: 1 B is not between 16 KiB and 64 MiB"),
        (
            "[serve]\npacing_min = \"1 kbit/s\"",
            "serve.pacing_min: 1 kbit/s is not between 100 kbit/s and 1 Tbit/s",
        ),
        (
            "[serve]\npacing_max = \"1 Mbit/s\"",
            "serve.pacing_min: 2 Mbit/s is more than serve.pacing_max, 1 Mbit/s",
        ),
        ("[serve]\nread_buffers = \"1 TiB\"", "serve.read_buffers: 1 TiB is not between 4 MiB and 64 GiB"),
        ("[serve]\nallow_origin = \"play.example\"", "serve.allow_origin: \"play.example\" is not an origin"),
        ("[serve]\nallow_origin = \"https://a\\r\\nx: y\"", "is not an origin"),
        ("[store]\nopen_queue = 0", "store.open_queue: 0 is not between 1 and 65536"),
        ("[store]\nvolume_errors = 0", "store.volume_errors: 0 is not between 1 and 1000000"),
        ("[log]\naccess_queue = \"1 KiB\"", "log.access_queue: 1 KiB is not between 128 KiB and 1 GiB"),
    ] {
        assert_only_problem(text, expected);
    }
    assert_only_problem(
        &format!("[admin]\nsocket = \"/{}\"", "a".repeat(107)),
        "admin.socket: the path has 108 bytes; a Unix socket takes 107",
    );
}

#[test]
fn no_timeout_may_outlast_the_connection() {
    assert_only_problem(
        "[serve]\nheader_timeout = \"5 h\"",
        "serve.header_timeout: 5 h is longer than serve.connection_lifetime, 4 h",
    );
}

#[test]
fn all_problems_of_a_file_are_told_at_once_each_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    fs::write(
        &path,
        "[serve]\nconnections = 0\n\n[log]\naccess = \"a.log\"\n[admin]\nlisten = [\"[::1]:80\"]\n",
    )
    .expect("written");
    let error = Config::load(&path).expect_err("three problems");
    let ConfigError::Problems { problems, .. } = &error else { panic!("{error}") };
    let places: Vec<_> = problems.iter().map(|problem| (problem.key.as_str(), problem.line)).collect();
    assert_eq!(
        places,
        [("serve.connections", Some(2)), ("log.access", Some(5)), ("admin.listen[0]", Some(7))]
    );
    assert!(error.to_string().contains("config.toml:2: serve.connections: 0 is not between"), "{error}");
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn a_process_minds_only_what_is_wrong_in_the_sections_that_it_obeys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    let places = |reader| match Config::load_for(&path, reader) {
        Ok(_) => String::new(),
        Err(error) => error.to_string().lines().map(|line| line.split(": ").nth(1).unwrap_or("")).collect(),
    };
    for (wrong, key, readers) in [
        ("[serve]\nconnections = 0\n", "serve.connections", [true, false, false]),
        ("[fill]\nconcurrency = 0\n", "fill.concurrency", [false, true, false]),
        ("[control_plane]\nmisses = 0\n", "control_plane.misses", [false, false, true]),
        ("[admin]\nsocket = \"a.sock\"\n", "admin.socket", [true, true, false]),
        ("[log]\naccess = \"a.log\"\n", "log.access", [true, true, true]),
        ("[fill]\nsocket = \"/run/oca/daemon.sock\"\n", "fill.socket", [false, true, false]),
    ] {
        fs::write(&path, wrong).expect("written");
        let processes = [Reader::Daemon, Reader::Agent, Reader::ControlPlane];
        let minds = processes.map(|reader| places(reader) == key);
        assert_eq!(minds, readers, "{key}: {:?}", processes.map(places));
        assert!(processes.iter().zip(readers).all(|(reader, minds)| minds || places(*reader).is_empty()));
        assert_eq!(places(Reader::Everyone), key);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_the_next_step() {
    let missing = Config::load(Path::new("/nonexistent/config.toml")).expect_err("no file").to_string();
    assert!(
        missing.contains("/nonexistent/config.toml: ") && missing.contains("copy config.example.toml"),
        "{missing}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    let too_large = usize::try_from(CONFIG_FILE_BYTES_MAX).expect("small") + 1;
    fs::write(&path, "#".repeat(too_large)).expect("written");
    assert!(matches!(Config::load(&path), Err(ConfigError::TooLarge { .. })));

    fs::write(&path, b"[serve]\n# caf\xe9\n").expect("written");
    let latin = Config::load(&path).expect_err("not UTF-8").to_string();
    assert!(latin.contains("config.toml:2:6: not UTF-8"), "{latin}");
}

#[test]
fn the_effective_configuration_names_every_key() {
    let effective = Config::default().effective();
    assert!(effective.contains(&("serve.connections".to_owned(), "16000".to_owned())));
    assert!(effective.contains(&("serve.connection_lifetime".to_owned(), "4 h".to_owned())));
    assert!(effective.contains(&("admin.listen".to_owned(), "[\"127.0.0.1:9090\"]".to_owned())));
    let keys_in_example =
        EXAMPLE.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
    assert_eq!(effective.len(), keys_in_example);
}

#[test]
fn depth_and_length_do_no_harm() {
    let depth = 100_000;
    for text in [
        "[".repeat(depth),
        format!("a = {}", "[".repeat(depth)),
        format!("a = {}{}", "[".repeat(depth), "]".repeat(depth)),
        format!("a = {}", "{a=".repeat(depth)),
        format!("{}a = 1", "a.".repeat(depth)),
        format!("serve.{}a = 1", "a.".repeat(depth)),
        format!("[{}a]", "a.".repeat(depth)),
        format!("{} = 1", "a".repeat(depth)),
        format!("[serve]\nworkers = {}", "9".repeat(depth)),
        format!("[store]\nfooter_cache = \"{} MiB\"", "9".repeat(depth)),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.len() < 1000, "{} bytes", refusal.len());
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in any::<String>()) {
        if let Ok(config) = Config::parse(&text) {
            let _ = config.check();
        }
    }

    #[test]
    fn no_mutation_of_the_example_makes_reading_panic(
        cuts in proptest::collection::vec((0..EXAMPLE.len(), 0_usize..40, "\\PC{0,6}|[\\[\\]{}=\"'.,#\n\r\t 0-9a-z_]{0,6}"), 1..8),
    ) {
        let mut text = EXAMPLE.to_owned();
        for (start, length, replacement) in cuts {
            let boundary = |offset: usize| (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            let (start, end) = (boundary(start).unwrap_or(0), boundary(start + length).unwrap_or(0));
            text.replace_range(start..end.max(start), &replacement);
        }
        match Config::parse(&text) {
            Ok(config) => drop(config.check()),
            Err(error) => prop_assert!(error.to_string().starts_with("configuration:")),
        }
    }

    #[test]
    fn no_key_or_value_makes_reading_panic(section in "[a-z]{1,6}|serve|store|log", key in "\\PC{0,80}", value in "\\PC{0,20}") {
        let _ = Config::parse(&format!("[{section}]\n{key} = {value}\n"));
        let _ = Config::parse(&format!("[{section}]\n{key:?} = {value:?}\n"));
    }
}
