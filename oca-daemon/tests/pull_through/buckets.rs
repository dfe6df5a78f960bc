//! An upstream that is a bucket: what it cannot have, and what is said where it refuses us.

use std::fs;
use std::time::Instant;

use super::client::Client;
use super::origin::{Origin, send, send_file};
use super::support::{Daemon, eventually};
use super::{HELD, cache_status, get};

#[test]
fn what_a_bucket_can_have_no_object_for_is_absent_and_takes_nothing_from_others() {
    let bucket = Origin::start(|asked, stream| send_file(asked, stream, "film", "", asked.target.as_bytes()));
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"bucket\", s3 = {{ bucket = \"b\", endpoint = \"{}\" }} }}]\n",
        bucket.url()
    );
    let daemon = Daemon::start_with(&[(HELD, b"of a bundle")], "workers = 1\n", &pull);
    let mut client = Client::connect(daemon.http());
    for target in ["/", "/films/", "//", "/%ff", "/films/%FF", "/films//a.mp4"].repeat(2) {
        let answer = get(&mut client, target);
        assert_eq!((answer.status, cache_status(&answer)), (404, "oca;detail=no_object"), "{target}");
    }
    assert_eq!(bucket.count(), 0);
    assert_eq!(daemon.metric("oca_pull_upstream_open", ""), 0);
    assert_eq!(get(&mut client, "/films/a.mp4").body, b"/b/films/a.mp4");
    assert!(daemon.metric("oca_requests_total", "\"client_error_absent\"") >= 12);
}

#[test]
fn a_bucket_that_refuses_us_is_told_of_with_what_to_check_once_a_minute_and_without_its_secrets() {
    let bucket = Origin::start(|_, stream| send(stream, "403 Forbidden", "", b"the key is AKIATEST"));
    let folder = tempfile::tempdir().unwrap();
    let (credentials, log) = (folder.path().join("credentials"), folder.path().join("log"));
    fs::write(&credentials, "aws_access_key_id = AKIATEST\naws_secret_access_key = unspoken\n").unwrap();
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"films\", s3 = {{ bucket = \"b\", endpoint = \"{}\", credentials = {credentials:?} }} }}]\n",
        bucket.url()
    );
    let with_log = format!("exec \"$@\" >'{}' 2>&1", log.display());
    let runner = ["sh", "-c", &with_log, "-"].map(str::to_owned);
    let daemon = Daemon::start_by(runner.into(), &[(HELD, b"of a bundle")], "workers = 1\n", &pull);

    let (began, mut client) = (Instant::now(), Client::connect(daemon.http()));
    for number in 0..20 {
        let answer = get(&mut client, &format!("/films/{number}.mp4"));
        assert_eq!((answer.status, cache_status(&answer)), (502, "oca;detail=upstream_invalid"));
    }
    assert_eq!(bucket.count(), 20);
    assert_eq!(daemon.metric("oca_pull_upstream_open", ""), 0);
    let told = || {
        let text = fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains("refuses us")).map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("the log says so", || !told().is_empty());
    let (told, minutes) = (told(), began.elapsed().as_secs() / 60);
    assert!(told.len() as u64 <= 1 + minutes, "{told:?}");
    for word in ["WARN", "films", "403", "s3.credentials", "clock", "policy"] {
        assert!(told[0].contains(word), "{word}: {}", told[0]);
    }
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("AKIATEST") && !text.contains("unspoken"), "{text}");
}
