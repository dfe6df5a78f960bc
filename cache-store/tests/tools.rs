//! `oca-store`, as an operator uses it: its output, its exit codes, and that what it makes is served and
//! verified.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use cache_store::{
    BundleId, IncomingBundle, Layout, PlannedObject, Store, StoreOptions, Volume, VolumeOptions,
};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::units::ByteCount;
use serde_json::Value;
use tempfile::TempDir;

struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        site.succeed(&["init", &site.volume()]);
        site
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn volume(&self) -> String {
        self.path().join("volume").to_str().unwrap().to_owned()
    }

    /// A title with two representations, a playlist, and things that are no media.
    fn title(&self) -> PathBuf {
        let title = self.path().join("title");
        for (file, bytes) in [
            ("master.m3u8", &b"#EXTM3U\n"[..]),
            ("1080p/init.mp4", b"init"),
            ("1080p/1.m4s", &[1; 100_000]),
            ("1080p/2.m4s", &[2; 5]),
            ("audio/1.m4s", b""),
            ("audio/notes", b"?"),
        ] {
            fs::create_dir_all(title.join(file).parent().unwrap()).unwrap();
            fs::write(title.join(file), bytes).unwrap();
        }
        fs::create_dir(title.join("empty")).unwrap();
        symlink("/etc/passwd", title.join("1080p/link.m4s")).unwrap();
        title
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_oca-store")).args(arguments).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeed(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn import(&self) -> Value {
        self.json(&[
            "import",
            self.title().to_str().unwrap(),
            "--as",
            "/titles/abc",
            "--volume",
            &self.volume(),
        ])
    }

    fn store(&self) -> std::sync::Arc<Store> {
        let volumes = vec![VolumeOptions { path: self.volume().into(), mount_required: false }];
        let footer_cache = ByteCount::mib(16);
        let options =
            StoreOptions { volumes, footer_cache, open_bundles: 64, open_queue: 64, volume_errors: 8 };
        Store::open(options).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let directories = fs::read_dir(self.path().join("volume/bundles")).unwrap();
        let files = directories.flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }
}

#[test]
fn a_directory_tree_becomes_one_bundle_for_each_directory_with_files() {
    let site = Site::new();
    let report = site.import();
    let published = report["published"].as_array().unwrap();
    let paths: Vec<_> = published.iter().map(|bundle| bundle["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/titles/abc", "/titles/abc/1080p", "/titles/abc/audio"]);
    assert_eq!(report["skipped"].as_array().unwrap().len(), 1);
    assert!(report["skipped"][0]["reason"].as_str().unwrap().contains("symbolic link"));
    assert_eq!(report["is_adopted"], true);
    let store = site.store();
    assert_eq!(store.inventory().len(), 3);
    let bundle = site.json(&["inspect", &site.volume(), "/titles/abc/1080p"]);
    let names: Vec<_> = bundle["objects"].as_array().unwrap().iter().map(|object| &object["name"]).collect();
    assert_eq!(names, ["1.m4s", "2.m4s", "init.mp4"]);
    assert_eq!(bundle["objects"][0]["media_type"], "video/iso.segment");
    assert_eq!(bundle["objects"][0]["bytes"], 100_000);
    let modified = fs::metadata(site.path().join("title/1080p/1.m4s")).unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(bundle["objects"][0]["last_modified"], modified);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[2; 5]);
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bundle["objects"][1]["sha256"], digits);
}

#[test]
fn what_is_imported_again_replaces_what_was_imported_before() {
    let site = Site::new();
    let first = site.import();
    fs::remove_dir_all(site.path().join("title")).unwrap();
    let second = site.import();
    let generation = |report: &Value| report["published"][0]["generation"].as_u64().unwrap();
    assert!(generation(&second) > generation(&first));
    let store = site.store();
    let serving = store.lookup("/titles/abc").unwrap();
    assert_eq!(serving.key().generation.number(), generation(&second));
    // The first import's files are unlinked meanwhile.
    while store.inventory().len() > 3 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(site.files().len(), 3);
}

#[test]
fn beside_a_daemon_an_import_is_left_for_the_daemon_to_adopt() {
    let site = Site::new();
    let store = site.store();
    assert_eq!(site.import()["is_adopted"], false);
    assert!(store.inventory().is_empty());
    assert_eq!(site.json(&["verify", &site.volume()])["not_adopted"], 3);
    store.start_reconciling();
    while store.volumes()[0].reconciled.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(store.inventory().len(), 3);
}

#[test]
fn a_daemon_that_is_named_and_does_not_answer_is_said() {
    let site = Site::new();
    let _store = site.store();
    let (title, volume) = (site.title(), site.volume());
    let socket = site.path().join("no.sock");
    let output = site.run(&[
        "import",
        title.to_str().unwrap(),
        "--as",
        "/a",
        "--volume",
        &volume,
        "--socket",
        socket.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_daemon_refuses_keeps_no_other_bundle_from_being_adopted() {
    let site = Site::new();
    let _store = site.store();
    let (title, volume, socket) = (site.title(), site.volume(), site.path().join("daemon.sock"));
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = std::thread::spawn(move || {
        let adopted = r#"{"version":1,"bundle":{"path":"/a","generation":1},"objects":1,"bytes":4096}"#;
        let refused = r#"{"error":"refused","detail":"its footer is damaged"}"#;
        for (status, body) in [("200 OK", adopted), ("409 Conflict", refused), ("200 OK", adopted)] {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let output = site.run(&[
        "import",
        title.to_str().unwrap(),
        "--as",
        "/a",
        "--volume",
        &volume,
        "--socket",
        socket.to_str().unwrap(),
        "--json",
    ]);
    daemon.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not adopted: /a/1080p") && said.contains("its footer is damaged"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["published"].as_array().unwrap().len(), 3);
    assert_eq!(report["refused"].as_array().unwrap().len(), 1);
    assert_eq!(report["is_adopted"], false);
}

#[test]
fn an_import_that_could_not_adopt_says_why() {
    let site = Site::new();
    let in_use = {
        let _store = site.store();
        site.import()
    };
    assert!(in_use["not_adopted"].as_str().unwrap().contains("another process uses the volume"), "{in_use}");
    fs::write(site.path().join("volume/inventory/journal"), b"no journal").unwrap();
    fs::remove_dir_all(site.path().join("title")).unwrap();
    let damaged = site.import();
    assert!(damaged["not_adopted"].as_str().unwrap().contains("journal is damaged"), "{damaged}");
    let lock = site.path().join("volume/lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    fs::remove_dir_all(site.path().join("title")).unwrap();
    let no_lock = site.import();
    assert!(no_lock["not_adopted"].as_str().unwrap().contains("the volume cannot be locked"), "{no_lock}");
    assert_eq!(no_lock["published"].as_array().unwrap().len(), 3);
}

#[test]
fn daemon_and_agent_can_each_go_on_with_what_the_other_or_root_has_made() {
    let directory = tempfile::tempdir().unwrap();
    let above = directory.path().join("oca");
    fs::create_dir(&above).unwrap();
    let group = match rustix::process::geteuid().is_root() {
        true => 64_001,
        false => rustix::process::getegid().as_raw(),
    };
    chown(&above, None, Some(group)).unwrap();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o2770)).unwrap();
    let volume = above.join("volume");
    let run = |user: Option<u32>, umask: &str, arguments: &str| {
        let program = env!("CARGO_BIN_EXE_oca-store");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask} && exec {program} {arguments}")]);
        if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
            command.uid(user).gid(group);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // The program and the test's directories are entered by strangers, too.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let source = directory.path().join("title");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("1.m4s"), b"bytes").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(source.join("1.m4s"), fs::Permissions::from_mode(0o644)).unwrap();
    let import = format!("import {} --as /a --volume {}", source.display(), volume.display());
    let (root, daemon, agent) = (None, Some(64_002), Some(64_003));
    run(root, "077", &format!("init {}", volume.display()));
    for (user, umask) in [(root, "077"), (daemon, "027"), (agent, "077"), (root, "022"), (daemon, "077")] {
        run(user, umask, &import);
        run(daemon, "027", &format!("verify {}", volume.display()));
    }
    for (name, mode) in [("", 0o2770), ("bundles", 0o2770), ("bundles/00", 0o2770), ("incoming", 0o2770)] {
        let found = fs::metadata(volume.join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.gid()), (mode, group), "{name}");
    }
    for name in ["lock", "inventory/journal"] {
        let found = fs::metadata(volume.join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.gid()), (0o660, group), "{name}");
    }
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_volume() {
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let owner = match is_root {
        true => (64_002, 64_001),
        false => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    chown(&volume, Some(owner.0), Some(owner.1)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_oca-store")).arg("init").arg(&volume).output().unwrap();
    assert!(output.status.success());
    for name in ["", "bundles/ff", "quarantine", "oca-volume.json", "inventory/journal"] {
        let found = fs::metadata(volume.join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), owner, "{name}");
    }
}

#[test]
fn an_object_larger_than_any_bundle_is_refused_before_anything_is_made() {
    let site = Site::new();
    for sparse in [&[][..], &["--sparse"]] {
        let volume = site.volume();
        let arguments =
            [&["generate", &volume, "--bundles", "1", "--object-bytes", "16000000 TiB"], sparse].concat();
        let output = site.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is in no bundle"), "{said}");
    }
}

#[test]
fn a_volume_that_is_right_verifies_and_says_how_much_was_read() {
    let site = Site::new();
    site.import();
    let report = site.json(&["verify", &site.volume()]);
    assert_eq!((&report["bundles"], &report["objects"]), (&3.into(), &6.into()));
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    assert!(site.succeed(&["verify", &site.volume()]).contains("all right"));
}

#[test]
fn a_flipped_bit_anywhere_in_a_bundle_is_found_and_named() {
    let site = Site::new();
    site.import();
    for file in site.files() {
        let length = fs::metadata(&file).unwrap().len();
        for at in [0, 70_000, length - 8192, length - 4096, length - 100, length - 1] {
            if at >= length {
                continue;
            }
            let open = fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
            let mut byte = [0];
            open.read_exact_at(&mut byte, at).unwrap();
            open.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            open.sync_all().unwrap();
            let output = site.run(&["verify", &site.volume(), "--json"]);
            open.write_all_at(&byte, at).unwrap();
            open.sync_all().unwrap();
            assert_eq!(output.status.code(), Some(1), "byte {at} of {length}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let named = report["problems"][0]["file"].as_str().unwrap();
            assert!(file.ends_with(named), "{named}");
        }
    }
    assert!(site.succeed(&["verify", &site.volume()]).contains("all right"));
}

#[test]
fn a_bundle_that_was_begun_and_not_published_is_listed_and_is_no_problem() {
    let site = Site::new();
    site.import();
    assert!(!site.succeed(&["verify", &site.volume()]).contains("begun"));
    let volume = Arc::new(Volume::open(site.volume().as_ref(), false).unwrap());
    let key = BundleKey { path: BundlePath::parse("/half").unwrap(), generation: Generation::new(3) };
    let object = PlannedObject {
        name: ObjectName::parse("1.m4s").unwrap(),
        length: 3 << 20,
        media_type: "video/mp4".into(),
        last_modified: 0,
        sha256: None,
    };
    let layout = Layout::new(key, Sha256::new([0xab; 32]), vec![object]).unwrap();
    let file_bytes = layout.file_bytes();
    let (_incoming, _) = IncomingBundle::open(&volume, layout).unwrap();
    let id = BundleId::new(&BundlePath::parse("/half").unwrap(), Generation::new(3));
    let file = format!("incoming/{id}-abababababababab.partial");
    for command in ["verify", "inspect"] {
        let text = site.succeed(&[command, &site.volume()]);
        assert!(text.contains(&format!("{file}: begun, and not published; 3.0 MiB are reserved")), "{text}");
        let partial = &site.json(&[command, &site.volume()])["partial"];
        assert_eq!(partial.as_array().unwrap().len(), 1);
        assert_eq!((&partial[0]["file"], &partial[0]["generation"]), (&file.as_str().into(), &3.into()));
        assert_eq!(partial[0]["file_bytes"], file_bytes);
        assert!(partial[0]["modified"].as_u64().unwrap() > 1_700_000_000);
    }
}

#[test]
fn missing_and_truncated_files_and_a_damaged_journal_are_found() {
    let site = Site::new();
    site.import();
    let files = site.files();
    fs::remove_file(&files[0]).unwrap();
    fs::OpenOptions::new().write(true).open(&files[1]).unwrap().set_len(4096).unwrap();
    let text = String::from_utf8(site.run(&["verify", &site.volume()]).stdout).unwrap();
    assert!(text.contains("missing: the inventory has it") && text.contains("truncated: shorter"), "{text}");
    let journal = site.path().join("volume/inventory/journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[50] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let text = String::from_utf8(site.run(&["verify", &site.volume()]).stdout).unwrap();
    assert!(text.contains("inventory/journal: damaged at byte 32"), "{text}");
}

#[test]
fn a_synthetic_store_is_as_large_as_asked_for_and_reads_back_right() {
    let site = Site::new();
    for (first, sparse) in [("0", None), ("20", Some("--sparse"))] {
        let volume = site.volume();
        let mut arguments = vec![
            "generate",
            &volume,
            "--bundles",
            "20",
            "--objects",
            "7",
            "--object-bytes",
            "48 KiB",
            "--first-bundle",
            first,
        ];
        arguments.extend(sparse);
        let report = site.json(&arguments);
        assert_eq!((&report["bundles"], &report["objects"]), (&20.into(), &140.into()));
    }
    let report = site.json(&["verify", &site.volume()]);
    assert_eq!((&report["bundles"], &report["objects"]), (&40.into(), &280.into()));
    let store = site.store();
    assert_eq!(store.inventory().len(), 40);
    assert_eq!(store.counters().opens, 0);
    assert!(store.lookup("/synthetic/000039").is_some());
}

#[test]
fn one_seed_makes_the_same_bytes_twice_and_another_makes_others() {
    let digests = |seed: &str| {
        let site = Site::new();
        site.succeed(&[
            "generate",
            &site.volume(),
            "--bundles",
            "1",
            "--objects",
            "2",
            "--object-bytes",
            "16 KiB",
            "--seed",
            seed,
        ]);
        let bundle = site.json(&["inspect", &site.volume(), "/synthetic/000000"]);
        let objects = bundle["objects"].as_array().unwrap();
        objects.iter().map(|object| object["sha256"].to_string()).collect::<Vec<_>>()
    };
    let first = digests("1");
    assert_eq!(first, digests("1"));
    assert_ne!(first, digests("2"));
    assert_ne!(first[0], first[1]);
}

#[test]
fn mistakes_in_usage_and_failures_have_exit_codes_of_their_own() {
    let site = Site::new();
    let code = |arguments: &[&str]| site.run(arguments).status.code();
    assert_eq!(code(&["polish"]), Some(64));
    assert_eq!(code(&["import", "x", "--as", "no-slash", "--volume", &site.volume()]), Some(64));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["init", &site.volume()]), Some(1));
    assert_eq!(code(&["verify", site.path().to_str().unwrap()]), Some(1));
    assert_eq!(code(&["inspect", "/dev/null"]), Some(1));
    assert_eq!(code(&["inspect", &site.volume(), "/nothing"]), Some(1));
    assert_eq!(code(&["import", "/nonexistent", "--as", "/a", "--volume", &site.volume()]), Some(1));
    let elsewhere = site.path().join("elsewhere");
    assert_eq!(code(&["init", elsewhere.to_str().unwrap(), "--mount-required"]), Some(1));
    assert!(!elsewhere.join("oca-volume.json").exists());
}

#[test]
fn the_inventory_of_a_volume_can_be_shown_without_a_daemon() {
    let site = Site::new();
    site.import();
    let document = site.json(&["inspect", &site.volume()]);
    assert_eq!(document["bundles"].as_array().unwrap().len(), 3);
    assert_eq!(document["journal_cut"], Value::Null);
    assert!(site.succeed(&["inspect", &site.volume()]).contains("/titles/abc/audio"));
    let readmitted = site.succeed(&["init", &site.volume(), "--readmit"]);
    assert!(readmitted.contains("was not isolated"));
}
