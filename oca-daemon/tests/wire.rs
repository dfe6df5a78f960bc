//! Plays the exchanges of `tests/wire/*.exchange` against the daemon, each on a connection of its own, and
//! compares every answer with what the document says. `tests/wire/README.md` explains how an exchange is
//! written.

mod support;

#[path = "wire/client.rs"]
mod client;
#[path = "wire/expected.rs"]
mod expected;
#[path = "wire/fixture.rs"]
mod fixture;
#[path = "wire/script.rs"]
mod script;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::Client;
use fixture::Fixture;
use script::{Case, End, Step};

/// Cases played at once. The few that wait for the daemon's clock then wait beside the others.
const AT_ONCE: usize = 8;

#[test]
fn every_exchange_is_answered_as_the_document_says() {
    let fixture = Fixture::new();
    let daemon = support::Daemon::start(&fixture.objects());
    let address = daemon.http();
    let known = fixture.learn(address);
    let files = script::read_folder(&folder(), &known);
    let cases: Vec<&Case> = files.iter().flat_map(|file| &file.cases).collect();

    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(difference) = play(case, address, &fixture) {
                        let failure = format!("{}\n  {}\n{difference}", case.place, case.title);
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });

    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    for file in &files {
        println!("{:>4} exchanges  {}", file.cases.len(), file.name);
    }
    println!("{:>4} exchanges, {} failed", cases.len(), failures.len());
    assert!(failures.is_empty(), "\n\n{}\n", failures.join("\n\n"));
}

#[test]
fn the_document_is_of_some_size_and_says_nothing_twice() {
    let files = script::read_folder(&folder(), &fixture::Known::example());
    let cases: Vec<&Case> = files.iter().flat_map(|file| &file.cases).collect();
    assert!(cases.len() >= 120, "{} exchanges", cases.len());
    let mut titles = HashSet::new();
    for case in cases {
        assert!(titles.insert(&case.title), "{}: the title is used twice: {}", case.place, case.title);
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// Plays one exchange. The error says what differs, in lines.
fn play(case: &Case, address: SocketAddr, fixture: &Fixture) -> Result<(), String> {
    let mut client = Client::connect(address)?;
    for step in &case.steps {
        match step {
            Step::Send(bytes) => client.send(bytes)?,
            Step::Pause => std::thread::sleep(std::time::Duration::from_millis(30)),
            Step::Finish => client.finish()?,
            Step::Expect(expected) => {
                let head = client.read_head()?;
                expected.compare_head(&head)?;
                let body = client.read_body(expected.body_bytes(&head)?)?;
                expected.compare_body(&head, &body, fixture)?;
            }
        }
    }
    match case.end {
        End::Closed => client.expect_end(),
        End::Reset => client.expect_reset(),
        End::Open => client.expect_usable(fixture),
    }
}
