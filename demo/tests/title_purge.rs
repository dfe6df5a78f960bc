//! A title that an operator has purged: control plane, agents, daemons and origin, each a process of its own.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
}

use std::fs;
use std::path::Path;
use std::time::Duration;

use demo::catalogue::{self, CatalogueOptions, Title};
use demo::certificate;
use demo::control_plane::ControlPlaneProcess;
use demo::member::Member;
use demo::origin::OriginProcess;
use demo::process::eventually;

use support::http::{Answer, Connection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_demo");
const PATIENCE: Duration = Duration::from_secs(60);
const APPLIANCES: [&str; 2] = ["oca-1", "oca-2"];
const CATALOGUE: CatalogueOptions = CatalogueOptions { titles: 2, title_bytes: 300_000, seed: 1 };

fn get(member: &Member, path: &str) -> Answer {
    let answer = Connection::open(member.http()).unwrap().get(path).unwrap();
    assert_eq!(answer.head.status, 200, "{}: {path}", member.name());
    answer
}

/// Whether the answer came from what the appliance holds.
fn is_hit(answer: &Answer) -> bool {
    answer.head.field("cache-status").unwrap().split(';').any(|part| part.trim() == "hit")
}

/// An object of the title that no bundle has.
fn clip(title: &Title) -> String {
    format!("{}/extras/clip.m4s", title.path)
}

/// An object of the title that a bundle has.
fn segment(title: &Title) -> String {
    title.bundles[0].request_path(&title.bundles[0].objects[0].0)
}

fn write_clip(title: &Title, edition: u32, tree: &Path) {
    let file = tree.join(&clip(title)[1..]);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("edition {edition} of {}", title.name)).unwrap();
}

#[tokio::test]
async fn once_a_title_is_said_to_be_purged_nothing_that_was_filled_or_pulled_of_it_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (program, tree) = (Path::new(PROGRAM), folder.path().join("origin"));
    let titles = [0, 1].map(|index| catalogue::synthetic(&CATALOGUE, index));
    let [film, other] = &titles;
    fs::create_dir(&tree).unwrap();
    let origin = OriginProcess::start(program, &tree).await.unwrap();
    let mut plane =
        ControlPlaneProcess::prepare(&folder.path().join("plane"), program, &origin.url()).await.unwrap();
    plane.add_site("edge", "north", &["127.0.0.0/8"]).await.unwrap();
    for title in &titles {
        catalogue::write(&CATALOGUE, title, 0, &tree).unwrap();
        plane.publish(title, &tree, true).await.unwrap();
        // In no catalogue: on demand only.
        write_clip(title, 0, &tree);
    }
    plane.start().await.unwrap();

    let certificate = certificate::make(folder.path(), "test", &["localhost"]).unwrap();
    let mut members = Vec::new();
    for name in APPLIANCES {
        let home = folder.path().join(name);
        let settings = [
            r#"rules = [{ prefix = "/", on_miss = "pull" }]"#.to_owned(),
            format!(r#"upstreams = [{{ name = "origin", url = "{}" }}]"#, origin.url()),
            format!("missed_purges = {:?}", home.join("missed-purges")),
        ]
        .map(|line| ("pull", line));
        let invitation = plane.invite(name, "edge").await.unwrap();
        members
            .push(Member::start(name, &home, program, &certificate, &invitation, &settings).await.unwrap());
    }
    for member in &members {
        eventually("it has its list", PATIENCE, async || {
            Ok((member.agent()?.progress().await?.manifest_sequence > 0).then_some(()))
        })
        .await
        .unwrap();
        member.agent().unwrap().begin_run().await.unwrap();
    }
    for member in &members {
        eventually("it holds both titles", PATIENCE, async || {
            Ok((member.held().await?.len() == film.bundles.len() + other.bundles.len()).then_some(()))
        })
        .await
        .unwrap();
        for title in &titles {
            assert!(is_hit(&get(member, &segment(title))), "filled");
            assert!(!is_hit(&get(member, &clip(title))), "pulled");
            eventually("what was pulled is held", PATIENCE, async || {
                Ok(is_hit(&get(member, &clip(title))).then_some(()))
            })
            .await
            .unwrap();
        }
    }

    // Upstream has other bytes now, and nobody asks for them.
    let filled = fs::read(tree.join(&segment(film)[1..])).unwrap();
    for title in &titles {
        catalogue::write(&CATALOGUE, title, 1, &tree).unwrap();
        write_clip(title, 1, &tree);
    }
    for member in &members {
        assert!(get(member, &segment(film)).body == filled);
        assert_eq!(get(member, &clip(film)).body, b"edition 0 of title-0001");
    }

    plane.purge_title(&film.name, &APPLIANCES).await.unwrap();
    for member in &members {
        eventually("it says that it is done", PATIENCE, async || {
            let directives = plane.directives(member.name()).await?;
            assert_eq!(directives.len(), 1);
            assert_eq!(directives[0].failure, None);
            Ok(directives[0].done_at.map(drop))
        })
        .await
        .unwrap();
        // From here on, and not a moment later.
        assert_eq!(get(member, &clip(film)).body, b"edition 1 of title-0001");
        assert!(get(member, &segment(film)).body == fs::read(tree.join(&segment(film)[1..])).unwrap());
        assert_eq!(member.held().await.unwrap().len(), other.bundles.len());
        // The other title is as it was.
        assert_eq!(get(member, &clip(other)).body, b"edition 0 of title-0002");
        assert!(is_hit(&get(member, &segment(other))));
    }
    for mut member in members {
        assert!(member.stop().await.unwrap());
    }
    assert!(plane.stop().await.unwrap().unwrap().success());
    assert!(origin.stop().await.unwrap().success());
}
