//! The command line, as an operator uses it: another process, its output and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use control_client::report::DirectiveResult;
use control_client::token::Token;
use control_plane::database::Database;
use control_plane::registry;
use serde_json::Value;
use tempfile::TempDir;

use support::*;

/// The commands go by the real clock, so that what they are told of has to be as new as they are.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

struct Operator {
    folder: TempDir,
}

impl Operator {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "[control_plane]\nlisten = [\"127.0.0.1:0\"]\nclient_origins = [\"https://cdn.example.net\"]\nttl_beyond = \"7 s\"\ndatabase = \"{}\"\nstate = \"{}\"\n",
            Self::url(&folder),
            folder.path().join("state").display()
        );
        std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
        Self { folder }
    }

    fn url(folder: &TempDir) -> String {
        format!("sqlite://{}", folder.path().join("state.db").display())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let config: PathBuf = self.folder.path().join("config.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        command.arg("--config").arg(config).args(arguments);
        command
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test]
async fn every_answer_can_be_explained_and_read_by_programs() {
    let operator = Operator::new();
    operator.says(&["site", "add", "core", "--region", "north"]);
    operator.says(&[
        "site",
        "add",
        "edge",
        "--region",
        "north",
        "--upstream",
        "core",
        "--prefix",
        "192.0.2.0/24",
    ]);
    operator.says(&["prefix", "add", "edge", "2001:db8::/32", "198.51.100.0/24"]);
    operator.says(&["prefix", "remove", "198.51.100.0/24"]);
    assert_eq!(
        operator.json(&["site", "list"])[1]["prefixes"],
        serde_json::json!(["192.0.2.0/24", "2001:db8::/32"])
    );
    let token = operator.says(&["appliance", "add", "oca-1", "--site", "edge"]);
    assert!(Token::parse(token.trim()).is_ok(), "nothing but the token: {token:?}");

    let files = tree(&[("high/1.m4s", "first"), ("low/1.m4s", "one")]);
    let directory = files.path().to_str().unwrap();
    let publish = [
        "publish",
        directory,
        "--title",
        "film",
        "--as",
        "/film",
        "--region",
        "north",
        "--pin",
        "--tag",
        "drama",
        "--season",
        "12-01..01-06 x3",
        "--release",
        "2020-01-01T00:00:00Z",
        "--expires",
        "9000000000",
        "--generation",
        "3",
    ];
    let published = operator.json(&publish);
    assert_eq!(published["title"]["release_at"], 1_577_836_800);
    assert_eq!(published["bundles"][0]["path"], "/film/high");
    assert_eq!(published["bundles"][0]["generation"], 3);
    assert!(operator.says(&publish).contains("2 bundles, 0 of them new or changed"));

    let database = Database::open(&Operator::url(&operator.folder)).await.unwrap();
    let told = enrolment("http://192.0.2.7", "", 1 << 30);
    registry::enrol(&database, &appliance("oca-1"), &told, now()).await.unwrap();
    database.close().await;

    let ranked = operator.json(&["rank", "--region", "north", "--explain"]);
    assert_eq!(ranked["regions"][0]["places"][0]["class"], "pinned");
    assert!(ranked["regions"][0]["places"][0]["why"].as_str().unwrap().contains("0.5 × history"));
    assert!(operator.says(&["rank", "--explain"]).contains("0.3 × trend"));
    assert!(!operator.says(&["rank"]).contains("0.3 × trend"));

    let planned = operator.json(&["plan", "oca-1", "--explain"]);
    assert_eq!((planned["bundles"].as_u64(), planned["manifest_differs"].as_bool()), (Some(2), Some(true)));
    assert!(planned["entries"][0]["why"].as_str().unwrap().contains("held by oca-1"));
    assert!(operator.says(&["plan", "oca-1"]).contains("no manifest has been made yet"));

    let steered = operator.json(&["steer", "--client", "192.0.2.9", "--path", "/film/high", "--explain"]);
    assert_eq!(steered["site"], "edge");
    assert_eq!(steered["explanation"][0]["appliance"], "oca-1");
    let words = operator.says(&["steer", "--client", "192.0.2.9", "--path", "/film/high", "--explain"]);
    assert!(
        words.contains("holds for 7 s")
            && words.contains("1. the origin")
            && words.contains("nothing was heard of it"),
        "{words}"
    );

    for order in [
        &["drain", "oca-1"][..],
        &["purge", "oca-1", "/film", "--prefix"],
        &["fill-now", "oca-1"],
        &["undrain", "oca-1"],
    ] {
        assert!(operator.json(order)["id"].as_u64().is_some());
    }
    assert!(operator.says(&["drain", "oca-1"]).contains("oca-1 hears of it"));
    let listed = operator.json(&["appliance", "list"]);
    assert_eq!((listed[0]["name"].as_str(), listed[0]["withdrawn"].as_bool()), (Some("oca-1"), Some(true)));
    assert_ne!(operator.says(&["appliance", "token", "oca-1"]), token);
    operator.says(&["appliance", "change", "oca-1", "--site", "core", "--link", "20 Gbit/s"]);
    let listed = operator.json(&["appliance", "list"]);
    assert_eq!(
        (&listed[0]["site"], &listed[0]["link_bits_per_second"]),
        (&"core".into(), &20_000_000_000_u64.into())
    );
    let (code, error) = operator.fails(&["site", "remove", "core"]);
    assert!(code == 1 && error.contains("still needed by appliance oca-1"), "{error}");
    assert!(operator.says(&["appliance", "remove", "oca-1"]).contains("forgotten"));
    let (code, error) = operator.fails(&["site", "remove", "core"]);
    assert!(code == 1 && error.contains("still needed by site edge"), "{error}");
    operator.says(&["site", "change", "edge", "--no-upstream", "--region", "south"]);
    operator.says(&["site", "remove", "core"]);
    let sites = operator.json(&["site", "list"]);
    assert_eq!((&sites[0]["region"], &sites[0]["upstream"]), (&"south".into(), &Value::Null));
    assert_eq!(operator.fails(&["site", "change", "edge"]).0, 64, "nothing to change");
    assert_eq!(operator.fails(&["site", "change", "edge", "--upstream", "edge"]).0, 1, "a circle");
    assert_eq!(operator.fails(&["title", "change", "film"]).0, 64, "nothing to change");
    assert_eq!(operator.fails(&["title", "change", "nothing", "--unpin"]).0, 1);
    let (code, error) = operator.fails(&["title", "change", "film", "--expires", "2020-01-01T00:00:00Z"]);
    assert!(code == 1 && error.contains("before the release"), "{error}");
    operator.says(&["title", "change", "film", "--release", "none", "--expires", "2020-01-01T00:00:00Z"]);
    operator.says(&["title", "change", "film", "--unpin", "--all-regions"]);
    let film = &operator.json(&["title", "list"])[0];
    assert_eq!((&film["release_at"], &film["expires_at"]), (&Value::Null, &1_577_836_800.into()));
    assert_eq!((&film["pinned"], &film["regions"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(film["tags"], serde_json::json!(["drama"]), "what was not named stays");
    assert_eq!(film["directories"], serde_json::json!(["/film"]), "and so does where it is");
    assert_eq!(operator.json(&["appliance", "list"]), serde_json::json!([]));
    assert_eq!(operator.json(&["title", "list"])[0]["bundles"], 2);
    assert!(operator.says(&["title", "list"]).contains("film"));
    assert_eq!(operator.json(&["title", "remove", "film"])["bundles"], 2);
    assert_eq!(operator.json(&["title", "list"]), serde_json::json!([]));
}

#[tokio::test]
async fn a_title_is_purged_from_all_appliances_and_each_says_when_it_is_done() {
    let operator = Operator::new();
    operator.says(&["site", "add", "edge", "--region", "north"]);
    operator.says(&["site", "add", "far", "--region", "south"]);
    for (name, at) in [("oca-1", "edge"), ("oca-2", "far")] {
        operator.says(&["appliance", "add", name, "--site", at]);
    }
    let files =
        tree(&[("film/high/1.m4s", "first"), ("film/low/1.m4s", "one"), ("film-2/high/1.m4s", "other")]);
    for title in ["film", "film-2"] {
        let directory = files.path().join(title);
        let at = format!("/titles/{title}");
        operator.says(&["publish", directory.to_str().unwrap(), "--title", title, "--as", &at]);
    }
    let purged = operator.json(&["title", "purge", "film"]);
    let order = serde_json::json!({"kind": "purge", "path": "/titles/film", "prefix": true});
    assert_eq!(purged["orders"], serde_json::json!([order]), "with all below, and not film-2");
    let numbers: Vec<u64> =
        (0..2).map(|place| purged["purges"][place]["directives"][0].as_u64().unwrap()).collect();

    // One has done it, one could not, and says so.
    let database = Database::open(&Operator::url(&operator.folder)).await.unwrap();
    let waiting = operator.json(&["directive", "list", "--waiting"]);
    assert_eq!(waiting.as_array().unwrap().len(), 2, "nobody has said so yet");
    let mut told = report("oca-1", "one", 1);
    let heard = registry::accept(&database, &appliance("oca-1"), &told, now()).await.unwrap().directives;
    assert_eq!(heard.iter().map(|directive| directive.id).collect::<Vec<_>>(), numbers[..1]);
    assert_eq!(
        operator.json(&["directive", "list", "--waiting"]),
        waiting,
        "to hear of it is not to have done it"
    );
    told.sequence = 2;
    told.directives = vec![DirectiveResult { id: numbers[0], failure: None }];
    registry::accept(&database, &appliance("oca-1"), &told, now()).await.unwrap();
    let waiting = operator.json(&["directive", "list", "--waiting"]);
    assert_eq!((waiting.as_array().unwrap().len(), &waiting[0]["appliance"]), (1, &"oca-2".into()));
    let mut told = report("oca-2", "one", 1);
    told.directives = vec![DirectiveResult { id: numbers[1], failure: Some("a volume is away".to_owned()) }];
    registry::accept(&database, &appliance("oca-2"), &told, now()).await.unwrap();
    database.close().await;
    let listed = operator.says(&["directive", "list"]);
    assert!(listed.contains("purge /titles/film --prefix") && listed.contains("done 20"), "{listed}");
    assert!(listed.contains("a volume is away"), "{listed}");
    assert!(!operator.says(&["directive", "list", "--appliance", "oca-1"]).contains("oca-2"));
    assert_eq!(operator.fails(&["directive", "list", "--appliance", "oca-9"]).0, 1);

    // Taken away for good, in one go.
    let removed = operator.json(&["title", "remove", "film", "--purge"]);
    assert_eq!((&removed["bundles"], removed["purges"].as_array().unwrap().len()), (&2.into(), 2));
    assert_eq!(operator.json(&["directive", "list", "--waiting"]).as_array().unwrap().len(), 2);
    for command in [&["title", "purge", "film"][..], &["title", "remove", "film", "--purge"]] {
        let (code, error) = operator.fails(command);
        assert!(code == 1 && error.contains("there is no title film"), "{error}");
    }
    // One for which too much waits is named, the others are told.
    for _ in 0..99 {
        operator.says(&["fill-now", "oca-2"]);
    }
    let output = operator.run(&["title", "purge", "film-2"]);
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("too many directives wait"), "{table}");
    let waiting = operator.json(&["directive", "list", "--waiting", "--appliance", "oca-1"]);
    assert_eq!(waiting[0]["order"]["path"], "/titles/film-2", "all of it, though it has a single bundle");
}

#[test]
fn serve_says_where_it_listens_and_ends_when_it_is_told_to() {
    let operator = Operator::new();
    let mut serving =
        operator.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serving.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"titles\":0,\"bundles\":0}"),
        "{answer}"
    );
    // While it serves, the operator's commands work beside it.
    operator.says(&["site", "add", "edge", "--region", "north"]);
    let id = rustix::process::Pid::from_child(&serving);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(serving.wait().unwrap().success());
}

#[test]
fn keys_follow_each_other() {
    let operator = Operator::new();
    let first = operator.json(&["keys", "new"]);
    assert_eq!(first["state"], "signs");
    let id = first["id"].as_str().unwrap();
    let (code, error) = operator.fails(&["keys", "retire", id]);
    assert!(code == 1 && error.contains("control-plane keys new"), "{error}");
    let second = operator.json(&["keys", "new"]);
    assert_eq!(second["state"], "waits");
    assert_eq!(second["public_key"].as_str().unwrap().len(), 64);
    assert!(operator.says(&["keys", "retire", id]).contains(second["id"].as_str().unwrap()));
    let listed = operator.json(&["keys", "list"]);
    assert_eq!((listed[0]["state"].as_str(), listed[1]["state"].as_str()), (Some("signs"), Some("retired")));
    assert!(operator.says(&["keys", "list"]).contains("{ id = \""));
}

#[test]
fn mistakes_are_answered_with_what_to_do_and_an_exit_code() {
    let operator = Operator::new();
    assert_eq!(operator.fails(&["explode"]).0, 64);
    assert_eq!(operator.fails(&["appliance", "add", "UPPER", "--site", "a"]).0, 64);
    assert_eq!(operator.fails(&["site", "add", "a", "--region", "r", "--prefix", "192.0.2.0/99"]).0, 64);
    let (code, error) = operator.fails(&["appliance", "add", "oca-1", "--site", "nowhere"]);
    assert!(code == 1 && error.contains("control-plane site add"), "{error}");
    let (code, error) = operator.fails(&["drain", "oca-9"]);
    assert!(code == 1 && error.contains("there is no appliance oca-9"), "{error}");
    let (code, error) = operator.fails(&["title", "remove", "film"]);
    assert!(code == 1 && error.contains("title list"), "{error}");
    assert_eq!(operator.fails(&["appliance", "change", "oca-9"]).0, 64, "nothing to change");
    let (code, error) = operator.fails(&["plan", "oca-9"]);
    assert!(code == 1 && error.contains("appliance list"), "{error}");
    assert_eq!(operator.fails(&["rank", "--region", "nowhere"]).0, 1);
    let missing = operator.folder.path().join("missing");
    let (code, error) = operator.fails(&["publish", missing.to_str().unwrap(), "--title", "t", "--as", "/t"]);
    assert!(code == 1 && error.contains("missing"), "{error}");
    std::fs::write(
        operator.folder.path().join("config.toml"),
        "[control_plane]\ndatabase = \"sqlite:///nonexistent/x.db\"\n",
    )
    .unwrap();
    assert_eq!(operator.fails(&["site", "list"]).0, 69);
    std::fs::write(operator.folder.path().join("config.toml"), "[control_plane]\ndatabas = \"\"\n").unwrap();
    assert_eq!(operator.fails(&["site", "list"]).0, 78);
}

#[test]
fn root_makes_nothing_among_the_files_of_another_user() {
    let mine = std::fs::metadata("/proc/self").unwrap().uid();
    let operator = Operator::new();
    operator.says(&["keys", "new"]);
    operator.says(&["site", "list"]);
    if mine != 0 {
        let _ = writeln!(std::io::stderr(), "SKIPPED: the rest of it: only root can give files away");
        return;
    }
    for file in ["state", "state.db"] {
        let file = operator.folder.path().join(file);
        std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
        for command in [["keys", "new"], ["site", "list"]] {
            let (code, error) = operator.fails(&command);
            assert!(code == 1 && error.contains("user 65534") && error.contains("runuser"), "{error}");
        }
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }
}
