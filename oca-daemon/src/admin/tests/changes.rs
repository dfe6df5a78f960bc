//! What is adopted, retired and purged over the Unix socket.

use super::*;

#[test]
fn a_bundle_is_adopted_listed_and_retired_and_its_space_returns() {
    let running = Running::serving();
    let adopted = running.adopt("/titles/a/1080p", 1);
    assert_eq!((adopted.objects, adopted.bundle.generation.number()), (1, 1));

    let inventory: Inventory = running.tcp("GET", "/inventory").document();
    assert_eq!(inventory.bundles.len(), 1);
    assert_eq!(inventory.bundles[0].bytes, adopted.bytes);
    assert_eq!(inventory.bundles[0].state, BundleState::Published);

    let retire = Retire { version: DocumentVersion, path: adopted.bundle.path.clone(), generation: None };
    let retired: Retired = running.change("/retire", &retire).document();
    assert_eq!((retired.bundles, retired.freed_bytes), (vec![adopted.bundle], adopted.bytes));
    let inventory: Inventory = running.tcp("GET", "/inventory").document();
    assert!(inventory.bundles.is_empty());
    running.change("/retire", &retire).refused_as(404, "no_such_bundle");
    running.stop();
}

#[test]
fn a_higher_generation_replaces_a_lower_one_and_a_lower_one_is_refused() {
    let running = Running::serving();
    let (first, second, third) =
        (running.publish("/titles/a", 1), running.publish("/titles/a", 2), running.publish("/titles/a", 3));
    assert_eq!(running.change("/adopt", &second).document::<Adopted>().replaced, None);
    assert_eq!(running.change("/adopt", &third).document::<Adopted>().replaced, Some(Generation::new(2)));
    running.change("/adopt", &first).refused_as(409, "outdated");
    let again: Adopted = running.change("/adopt", &third).document();
    assert_eq!(again.bundle.generation.number(), 3, "to adopt twice is no error");
    running.stop();
}

#[test]
fn a_retire_waits_for_the_last_reader_and_says_so_when_that_takes_too_long() {
    let running = Running::serving();
    let adopted = running.adopt("/titles/a/1080p", 1);
    let reader = running.open("/titles/a/1080p");
    let retire = Retire { version: DocumentVersion, path: adopted.bundle.path.clone(), generation: None };
    running.change("/retire?wait_seconds=0", &retire).refused_as(504, "retire_pending");
    assert!(
        running.appliance.store.lookup("/titles/a/1080p").is_none(),
        "it is out of the inventory all the same"
    );

    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(reader);
    });
    let retired: Retired = running.change("/retire?wait_seconds=20", &retire).document();
    assert_eq!(retired.freed_bytes, adopted.bytes);
    release.join().unwrap();
    assert_eq!(running.appliance.admin.waiting_retires(), 0);
    running.stop();
}

#[test]
fn retires_that_wait_take_no_place_from_other_changes_and_are_bounded() {
    let running = Running::serving();
    let adopted = running.adopt("/titles/held", 1);
    let reader = running.open("/titles/held");
    let retire = Retire { version: DocumentVersion, path: adopted.bundle.path, generation: None };
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..limits::RETIRES_MAX)
            .map(|_| scope.spawn(|| running.change("/retire?wait_seconds=60", &retire).status))
            .collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        while running.appliance.admin.waiting_retires() < limits::RETIRES_MAX as u64 {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        running.change("/retire", &retire).refused_as(503, "busy");
        assert_eq!(running.adopt("/titles/other", 1).objects, 1);
        drop(reader);
        assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap() == 200));
    });
    running.stop();
}

#[test]
fn a_purge_takes_out_everything_below_a_path_and_nothing_beside_it() {
    let running = Running::serving();
    for path in ["/titles/a/1080p", "/titles/a/720p", "/titles/ab"] {
        running.adopt(path, 1);
    }
    let purge =
        Purge { version: DocumentVersion, path: BundlePath::parse("/titles/a").unwrap(), prefix: true };
    let purged: Purged = running.change("/purge", &purge).document();
    assert_eq!(purged.bundles.len(), 2);
    let inventory: Inventory = running.tcp("GET", "/inventory").document();
    let paths: Vec<_> = inventory.bundles.iter().map(|bundle| bundle.path.as_str()).collect();
    assert_eq!(paths, ["/titles/ab"]);
    running.stop();
}

#[test]
fn a_purge_removes_what_was_published_and_never_adopted_too() {
    let running = Running::serving();
    running.adopt("/titles/a/1080p", 1);
    let (below, beside) = (running.publish("/titles/a/720p", 1), running.publish("/titles/ab", 1));
    let purge =
        Purge { version: DocumentVersion, path: BundlePath::parse("/titles/a").unwrap(), prefix: true };
    let purged: Purged = running.change("/purge", &purge).document();
    assert_eq!((purged.bundles.len(), purged.not_reached.len()), (2, 0), "{purged:?}");
    running.change("/adopt", &below).refused_as(404, "no_such_file");
    assert_eq!(running.change("/adopt", &beside).document::<Adopted>().bundle.path.as_str(), "/titles/ab");
    running.stop();
}

#[test]
fn what_is_no_document_is_refused_with_the_place_of_the_fault() {
    let running = Running::serving();
    for content in ["", "{", "[]", "{\"path\":\"relative\"}", "{\"version\":2,\"path\":\"/a\"}"] {
        running.unix("POST", "/retire", content.as_bytes()).refused_as(400, "malformed_document");
    }
    running
        .unix("POST", "/retire", &vec![b' '; limits::CONTENT_BYTES_MAX + 1])
        .refused_as(413, "content_too_large");
    let nowhere = Adopt { version: DocumentVersion, volume: "/nowhere".into(), file: "x".into() };
    assert_eq!(running.change("/adopt", &nowhere).status, 400);
    running.stop();
}
