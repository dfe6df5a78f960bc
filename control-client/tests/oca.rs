//! `oca` where no daemon answers: usage, configuration, the store's commands.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

fn oca(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oca")).args(arguments).output().expect("oca runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn write(path: &Path, text: &str) -> String {
    fs::write(path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn help_lists_every_command_and_the_exit_codes() {
    let help = oca(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = stdout(&help);
    for command in [
        "status",
        "health",
        "inventory",
        "metrics",
        "adopt",
        "retire",
        "purge",
        "drain",
        "undrain",
        "check-config",
        "init",
        "import",
        "verify",
        "inspect",
        "generate",
    ] {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{command} ")));
        assert!(line.is_some_and(|line| line.trim().len() > command.len() + 10), "{command} in\n{text}");
    }
    assert!(text.contains("69 daemon or agent unreachable"), "{text}");
    assert_eq!(oca(&["--version"]).status.code(), Some(0));
}

#[test]
fn wrong_usage_exits_with_64() {
    for arguments in [
        &[][..],
        &["halth"],
        &["health", "--colour"],
        &["retire"],
        &["retire", "titles/abc"],
        &["retire", "/a/../b"],
        &["retire", "/a", "--generation", "-1"],
        &["health", "--timeout", "30"],
        &["health", "--timeout", "0 s"],
        &["health", "--socket", "/a", "--address", "127.0.0.1:1"],
    ] {
        let output = oca(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
    assert!(stderr(&oca(&["halth"])).contains("health"));
    assert!(stderr(&oca(&["health", "--timeout", "30"])).contains("accepted units: ms, s, min, h, d"));
}

#[test]
fn an_unreachable_daemon_exits_with_69_and_the_next_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.sock");
    let output = oca(&["health", "--socket", missing.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        stderr(&output).contains("is the daemon running (systemctl status oca-daemon)"),
        "{}",
        stderr(&output)
    );

    let left_over = folder.path().join("left-over.sock");
    drop(UnixListener::bind(&left_over).expect("the socket is free"));
    let output = oca(&["drain", "--socket", left_over.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("the socket is a leftover"), "{}", stderr(&output));

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let output = oca(&["status", "--address", &address]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("does its admin.listen name this address"), "{}", stderr(&output));

    let output = oca(&["status", "--address", "nonsense"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("write HOST:PORT"), "{}", stderr(&output));
}

#[test]
fn the_socket_is_found_in_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("elsewhere.sock");
    let config = write(&folder.path().join("config.toml"), &format!("[admin]\nsocket = {socket:?}\n"));
    let output = oca(&["health", "--config", &config]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("elsewhere.sock"), "{}", stderr(&output));

    let broken = write(&folder.path().join("broken.toml"), "[admin]\nsoket = \"/a\"\n");
    let output = oca(&["health", "--config", &broken]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("broken.toml:2:1: unknown key `soket` in [admin]; did you mean `socket`?")
    );
}

#[test]
fn a_sound_configuration_is_said_to_be_so() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../config.example.toml");
    let output = oca(&["check-config", example]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with(&format!("{example}: ok\n")), "{text}");
    assert!(text.contains("  http           0.0.0.0:80 [::]:80\n"), "{text}");
}

#[test]
fn every_problem_of_a_configuration_is_told_and_the_exit_code_is_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let file =
        write(&folder.path().join("config.toml"), "[serve]\nconnections = 0\nlisten_tls = [\"[::]:443\"]\n");
    let output = oca(&["check-config", &file]);
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output);
    assert!(
        text.contains(&format!("{file}:2: serve.connections: 0 is not between 1 and 10000000")),
        "{text}"
    );
    assert!(text.contains(&format!("{file}: tls.certificates: serve.listen_tls has addresses")), "{text}");

    let output = oca(&["check-config", &file, "--json"]);
    assert_eq!(output.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    assert_eq!(report["problems"][0]["key"], "serve.connections");
    assert_eq!(report["problems"][0]["line"], 2);
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(2));

    assert_eq!(oca(&["check-config", "/nonexistent/config.toml"]).status.code(), Some(78));
}

#[test]
fn a_configuration_that_anybody_may_change_is_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    let log = folder.path().join("access.log");
    let volume = folder.path().join("volume");
    let text = format!("[log]\naccess = {log:?}\n[store]\nvolumes = [{{ path = {volume:?} }}]\n");
    let file = write(&path, &text);
    fs::create_dir(&volume).expect("created");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    assert!(
        !stdout(&oca(&["check-config", &file])).contains("warning"),
        "{}",
        stdout(&oca(&["check-config", &file]))
    );

    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("set");
    fs::remove_dir(&volume).expect("removed");
    let output = oca(&["check-config", &file]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("warning: anybody may change") && text.contains("chmod o-w"), "{text}");
    assert!(text.contains("warning: the volume") && text.contains("oca init"), "{text}");
}

/// `oca` in a folder of its own, whose `bin` is all of PATH.
fn oca_in(folder: &Path) -> Command {
    let program = folder.join("oca");
    fs::hard_link(env!("CARGO_BIN_EXE_oca"), &program).expect("linked");
    fs::create_dir(folder.join("bin")).expect("created");
    let mut command = Command::new(program);
    command.env("PATH", folder.join("bin"));
    command
}

/// On the file system of `oca` itself, so that it can be linked. Nothing is copied or written that is
/// executed: another test's child may hold it open for writing for a moment, and it would not start.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

#[test]
fn the_stores_commands_are_executed_beside_oca_first() {
    let folder = folder();
    let mut command = oca_in(folder.path());
    symlink("/bin/echo", folder.path().join("oca-store")).expect("linked");
    symlink("/bin/false", folder.path().join("bin/oca-store")).expect("linked");
    let output = command
        .args(["import", "DIR", "--as", "/titles/abc", "--json", "--help"])
        .output()
        .expect("oca runs");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), "import DIR --as /titles/abc --json --help\n");
}

#[test]
fn the_stores_commands_are_executed_from_the_path_next_and_their_exit_code_is_kept() {
    let folder = folder();
    let mut command = oca_in(folder.path());
    symlink("/bin/echo", folder.path().join("bin/oca-store")).expect("linked");
    let output = command.args(["verify", "--all"]).output().expect("oca runs");
    assert_eq!(stdout(&output), "verify --all\n");

    symlink("/bin/false", folder.path().join("oca-store")).expect("linked");
    assert_eq!(command.output().expect("oca runs").status.code(), Some(1));
}

#[test]
fn a_missing_store_program_is_told_with_the_next_step() {
    let folder = folder();
    let output = oca_in(folder.path()).args(["inspect"]).output().expect("oca runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("oca-store is neither beside oca nor on PATH"), "{}", stderr(&output));
}
