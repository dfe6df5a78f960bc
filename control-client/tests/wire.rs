//! The wire documents, held against golden files: what is written today must be readable by yesterday's programs.

use control_client::admin::{Adopt, Adopted, Failure, Purge, Purged, ReadinessChanged, Retire, Retired};
use control_client::demand::Demand;
use control_client::descriptor::Descriptor;
use control_client::fill::{FillHistory, FillPlanReport, FillProgress, FillState, FillStep, RunOutcome};
use control_client::fill_manifest::{FillClass, FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::health::{HealthReport, Readiness, Verdict, VolumeState};
use control_client::inventory::{BundleState, Inventory};
use control_client::limits::CHANGE_BYTES_MAX;
use control_client::load::Load;
use control_client::report::{Enrolment, InventoryReport, Order, Report, ReportAnswer};
use control_client::signature::SigningKey;
use control_client::sources::{SourcesAnswer, SourcesRequest};
use control_client::status::{ListenerRole, StatusReport};
use control_client::steering::SteeringAnswer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The golden file reads, and writes itself again to the byte; a field from the future changes nothing;
/// another version is refused.
fn assert_golden<T: Serialize + DeserializeOwned>(golden: &str) -> T {
    let document: T = serde_json::from_str(golden).expect("the golden file must be readable");
    let written = serde_json::to_string_pretty(&document).expect("writable") + "\n";
    assert_eq!(written, golden);

    let mut later: Value = serde_json::from_str(golden).expect("JSON");
    add_unknown_fields(&mut later);
    let tolerated: T = serde_json::from_value(later.clone()).expect("unknown fields must be tolerated");
    assert_eq!(serde_json::to_string_pretty(&tolerated).expect("writable") + "\n", golden);

    if let Some(version) = later.get_mut("version") {
        *version = 2.into();
        let refusal =
            serde_json::from_value::<T>(later).err().expect("another version must be refused").to_string();
        assert!(refusal.contains("the document has version 2, this program knows version 1"), "{refusal}");
    }
    document
}

/// In every object but `configuration`, where any key is a fact.
fn add_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if name != "configuration" {
                    add_unknown_fields(value);
                }
            }
            fields.insert("from_the_future".to_owned(), Value::from(vec![1, 2]));
        }
        Value::Array(values) => values.iter_mut().for_each(add_unknown_fields),
        _ => {}
    }
}

#[test]
fn the_health_report_keeps_its_form() {
    let report: HealthReport = assert_golden(include_str!("golden/health.json"));
    assert_eq!((report.readiness, report.verdict), (Readiness::Serving, Verdict::Unhealthy));
    assert_eq!(report.volumes[1].state, VolumeState::Isolated);
}

#[test]
fn the_inventory_keeps_its_form() {
    let inventory: Inventory = assert_golden(include_str!("golden/inventory.json"));
    let states: Vec<BundleState> = inventory.bundles.iter().map(|bundle| bundle.state).collect();
    assert_eq!(states, [BundleState::Published, BundleState::Retiring, BundleState::Quarantined]);
}

#[test]
fn the_status_report_keeps_its_form_and_tells_the_bound_addresses() {
    let report: StatusReport = assert_golden(include_str!("golden/status.json"));
    let http: Vec<u16> = report.addresses(ListenerRole::Http).map(|address| address.port()).collect();
    assert_eq!(http, [80, 80]);
    assert_eq!(report.addresses(ListenerRole::Https).next().map(|address| address.port()), Some(443));
    assert_eq!(report.addresses(ListenerRole::AdminSocket).count(), 0);
}

#[test]
fn the_change_documents_keep_their_form() {
    assert_golden::<Adopt>(include_str!("golden/adopt.json"));
    assert_golden::<Adopted>(include_str!("golden/adopted.json"));
    assert_golden::<Retire>(include_str!("golden/retire.json"));
    assert_golden::<Retired>(include_str!("golden/retired.json"));
    assert_golden::<Purge>(include_str!("golden/purge.json"));
    assert_golden::<Purged>(include_str!("golden/purged.json"));
    assert_golden::<ReadinessChanged>(include_str!("golden/readiness_changed.json"));
    assert_golden::<Failure>(include_str!("golden/failure.json"));
}

#[test]
fn the_documents_that_say_what_to_fill_keep_their_form() {
    let descriptor: Descriptor = assert_golden(include_str!("golden/descriptor.json"));
    assert_eq!((descriptor.check(), descriptor.bytes()), (Ok(()), 2_097_964));
    let manifest: FillManifest = assert_golden(include_str!("golden/fill_manifest.json"));
    assert_eq!(manifest.check(), Ok(()));
    let classes: Vec<FillClass> = manifest.entries.iter().map(|entry| entry.class).collect();
    assert_eq!(classes, [FillClass::Pinned, FillClass::Prewarm, FillClass::Ranked]);
    let request: SourcesRequest = assert_golden(include_str!("golden/sources_request.json"));
    let answer: SourcesAnswer = assert_golden(include_str!("golden/sources_answer.json"));
    assert_eq!(answer.check(&request), Ok(()));
}

/// Ed25519 signs alike everywhere and always (RFC 8032, section 5.1.6), so this golden file holds the signature, too.
#[test]
fn a_signed_manifest_keeps_its_form_and_its_signature() {
    let signed: SignedManifest = assert_golden(include_str!("golden/signed_manifest.json"));
    let manifest: FillManifest =
        serde_json::from_str(include_str!("golden/fill_manifest.json")).expect("readable");
    let key = SigningKey::from_seed(&[7; 32]);
    assert_eq!(SignedManifest::sign(&manifest, "2026a", &key), signed);
    let audience = ApplianceName::parse("oca-1").expect("a name");
    assert_eq!(signed.open(&[key.trusted_key("2026a")], &audience, 812), Ok(manifest));
}

#[test]
fn the_documents_of_the_agent_keep_their_form() {
    let progress: FillProgress = assert_golden(include_str!("golden/fill_progress.json"));
    assert_eq!((progress.state, progress.active[1].step), (FillState::Filling, FillStep::Verifying));
    let history: FillHistory = assert_golden(include_str!("golden/fill_history.json"));
    assert_eq!(history.runs[0].outcome, RunOutcome::Incomplete);
    let plan: FillPlanReport = assert_golden(include_str!("golden/fill_plan.json"));
    assert_eq!((plan.fetches[0].volume, plan.skipped[0].volume), (Some(0), None));
}

#[test]
fn the_documents_of_reporting_keep_their_form() {
    assert_golden::<Load>(include_str!("golden/load.json"));
    assert_golden::<Demand>(include_str!("golden/demand.json"));
    assert_golden::<Enrolment>(include_str!("golden/enrolment.json"));
    let report: Report = assert_golden(include_str!("golden/report.json"));
    assert!(matches!(report.inventory, Some(InventoryReport::Delta { from: 88, revision: 90, .. })));
    assert_eq!(report.dropped.requests, 37);
    let report: Report = assert_golden(include_str!("golden/report_full_inventory.json"));
    assert!(matches!(report.inventory, Some(InventoryReport::Full { revision: 88, .. })));
    assert!(report.dropped.is_empty());
    let answer: ReportAnswer = assert_golden(include_str!("golden/report_answer.json"));
    let orders: Vec<&Order> = answer.directives.iter().map(|directive| &directive.order).collect();
    assert!(matches!(
        orders[..],
        [Order::Drain, Order::Undrain, Order::Purge { prefix: true, .. }, Order::FillNow]
    ));
}

#[test]
fn the_steering_answer_keeps_its_form() {
    let answer: SteeringAnswer = assert_golden(include_str!("golden/steering_answer.json"));
    let tiers: Vec<u8> = answer.candidates.iter().map(|candidate| candidate.tier).collect();
    assert_eq!(tiers, [0, 1, 2]);
    assert_eq!(answer.candidates[2].appliance, None);
}

#[test]
fn the_next_report_comes_neither_at_once_nor_never_whatever_the_control_plane_says() {
    let mut answer: ReportAnswer =
        serde_json::from_str(include_str!("golden/report_answer.json")).expect("readable");
    for (asked, seconds) in [(0, 1), (1, 1), (60, 60), (3600, 3600), (u32::MAX, 3600)] {
        answer.next_report_seconds = asked;
        assert_eq!(answer.next_report().as_secs(), seconds);
    }
}

#[test]
fn a_change_written_by_hand_may_leave_out_what_has_a_default() {
    let retire: Retire = serde_json::from_str(r#"{"path": "/a"}"#).expect("readable");
    assert_eq!(retire.generation, None);
    let purge: Purge = serde_json::from_str(r#"{"path": "/a"}"#).expect("readable");
    assert!(!purge.prefix);
    let adopt: Adopt = serde_json::from_str(r#"{"volume": "/srv/a", "file": "a.bundle"}"#).expect("readable");
    assert_eq!(adopt.file, "a.bundle");
}

#[test]
fn a_change_cannot_name_what_is_no_path() {
    for path in ["", "a", "/a/../b", "/a/", "/a\\u0000"] {
        let text = format!("{{\"path\": \"{path}\"}}");
        assert!(serde_json::from_str::<Retire>(&text).is_err(), "{text}");
        assert!(serde_json::from_str::<Purge>(&text).is_err(), "{text}");
    }
}

#[test]
fn the_longest_change_keeps_its_limit() {
    let path = "/".to_owned() + &"\u{85}".repeat(511);
    let retire: Retire =
        serde_json::from_value(serde_json::json!({ "path": path, "generation": u64::MAX })).expect("a path");
    let bytes = serde_json::to_vec(&retire).expect("writable").len() as u64;
    assert!(bytes * 4 < CHANGE_BYTES_MAX, "{bytes}");
}
