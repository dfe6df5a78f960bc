use control_client::signature::SigningKey;
use control_client::wire::DocumentVersion;

use super::*;

struct Plane {
    key: SigningKey,
}

impl Plane {
    fn signed(&self, audience: &str, sequence: u64, issued_at: u64) -> SignedManifest {
        let manifest = FillManifest {
            version: DocumentVersion,
            audience: ApplianceName::parse(audience).unwrap(),
            sequence,
            issued_at,
            entries: Vec::new(),
        };
        SignedManifest::sign(&manifest, "k", &self.key)
    }

    fn load<'a>(&self, state: &'a StateFolder) -> Loaded<'a> {
        let name = ApplianceName::parse("oca-1").unwrap();
        let manifests = Manifests::load(state, Some(name), &[self.key.trusted_key("k")]);
        Loaded { manifests: Mutex::new(manifests), state }
    }
}

struct Loaded<'a> {
    manifests: Mutex<Manifests>,
    state: &'a StateFolder,
}

impl Loaded<'_> {
    fn take(&self, signed: SignedManifest) -> Result<bool, NoManifest> {
        take(&self.manifests, signed, self.state)
    }

    fn sequence(&self) -> u64 {
        locked(&self.manifests).sequence()
    }

    fn refused(&self) -> Option<String> {
        locked(&self.manifests).refused().map(str::to_owned)
    }
}

fn plane() -> (Plane, tempfile::TempDir, StateFolder) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path()).unwrap();
    (Plane { key: SigningKey::from_seed(&[7; 32]) }, folder, state)
}

#[test]
fn the_last_good_manifest_and_its_sequence_outlive_the_process() {
    let (plane, _folder, state) = plane();
    let manifests = plane.load(&state);
    assert_eq!((manifests.sequence(), manifests.refused()), (0, None));
    assert!(manifests.take(plane.signed("oca-1", 5, 1)).unwrap());
    assert!(!manifests.take(plane.signed("oca-1", 5, 1)).unwrap(), "the same again");
    let again = plane.load(&state);
    assert_eq!((again.sequence(), again.refused()), (5, None));
}

#[test]
fn what_is_not_obeyed_leaves_the_last_good_one_in_force_and_its_reason_stays_until_a_good_one_comes() {
    let (plane, _folder, state) = plane();
    let manifests = plane.load(&state);
    manifests.take(plane.signed("oca-1", 5, 1)).unwrap();
    let mut forged = plane.signed("oca-1", 9, 1);
    forged.manifest = forged.manifest.replace("\"issued_at\":1", "\"issued_at\":2");
    for (signed, word) in [
        (plane.signed("oca-1", 4, 1), "sequence 4"),
        (plane.signed("oca-2", 6, 1), "for the appliance oca-2"),
        (forged, "not signed by the key"),
        (plane.signed("oca-1", 5, 2), "lists something else"),
    ] {
        let error = manifests.take(signed).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(manifests.refused().unwrap().contains(word));
        assert_eq!(manifests.sequence(), 5);
    }
    manifests.take(plane.signed("oca-1", 6, 1)).unwrap();
    assert_eq!((manifests.sequence(), manifests.refused()), (6, None));
}

#[test]
fn no_older_manifest_is_taken_even_where_the_newest_was_lost() {
    let (plane, _folder, state) = plane();
    plane.load(&state).take(plane.signed("oca-1", 5, 1)).unwrap();
    state.remove(MANIFEST).unwrap();
    let manifests = plane.load(&state);
    assert_eq!(manifests.sequence(), 0);
    assert!(manifests.take(plane.signed("oca-1", 4, 1)).is_err());
    assert!(manifests.take(plane.signed("oca-1", 5, 1)).unwrap());
}

#[test]
fn a_key_that_is_trusted_no_longer_takes_its_manifests_with_it() {
    let (plane, _folder, state) = plane();
    plane.load(&state).take(plane.signed("oca-1", 5, 1)).unwrap();
    let other = SigningKey::from_seed(&[8; 32]).trusted_key("other");
    let name = ApplianceName::parse("oca-1").unwrap();
    let manifests = Manifests::load(&state, Some(name), &[other]);
    assert!(manifests.in_force().is_none());
    assert!(manifests.refused().unwrap().contains("not in control.trusted_keys"));
}

#[test]
fn an_appliance_without_a_name_obeys_no_manifest() {
    let (plane, _folder, state) = plane();
    let manifests = Mutex::new(Manifests::load(&state, None, &[plane.key.trusted_key("k")]));
    let error = take(&manifests, plane.signed("oca-1", 5, 1), &state).unwrap_err();
    assert!(error.to_string().contains("control.appliance"), "{error}");
}

#[test]
fn an_agent_that_dies_while_it_takes_a_manifest_has_one_in_force_afterwards_and_takes_no_older_one() {
    let (plane, folder, state) = plane();
    plane.load(&state).take(plane.signed("oca-1", 5, 1)).unwrap();
    // Between the two files.
    state.write(MANIFEST, &plane.signed("oca-1", 6, 1)).unwrap();
    let manifests = plane.load(&state);
    assert_eq!((manifests.sequence(), manifests.refused()), (6, None));
    state.remove(MANIFEST).unwrap();
    assert!(plane.load(&state).take(plane.signed("oca-1", 5, 1)).is_err(), "6 is remembered");
    // Before the first: it cannot be written.
    state.write(MANIFEST, &plane.signed("oca-1", 6, 1)).unwrap();
    std::fs::create_dir(folder.path().join("manifest.new")).unwrap();
    let error = plane.load(&state).take(plane.signed("oca-1", 7, 1)).unwrap_err();
    assert!(matches!(error, NoManifest::NotKept(_)), "{error}");
    assert_eq!(plane.load(&state).sequence(), 6);
}

#[test]
fn a_damaged_manifest_is_put_aside_and_the_operator_is_told() {
    let (plane, folder, state) = plane();
    plane.load(&state).take(plane.signed("oca-1", 5, 1)).unwrap();
    state.write_bytes(MANIFEST, b"{\"manifest\":\"torn").unwrap();
    let manifests = plane.load(&state);
    assert_eq!(manifests.sequence(), 0);
    assert!(manifests.refused().unwrap().contains("damaged"));
    assert!(folder.path().join("manifest.damaged").exists());
    manifests.take(plane.signed("oca-1", 5, 1)).unwrap();
    assert_eq!((manifests.sequence(), manifests.refused()), (5, None));
}
