//! What an operator should know that is not against health: everything is served as before, and may not be for long.

use cache_store::VolumeState;
use control_client::health::{Headroom, Reason};

use super::{
    CERTIFICATE_LEFT_MIN, MEMORY_AVAILABLE_LOW_BYTES, MEMORY_AVAILABLE_MIN_BYTES, Observed,
    ObservedCertificate, ObservedVolume, READ_TIMEOUT_REMEMBERED, VOLUME_BUSY_MAX, is_serving, reason,
};

/// Everything of that kind.
pub(super) fn all(observed: &Observed) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = observed.volumes.iter().flat_map(note_volume).collect();
    reasons.extend(note_quarantine(observed.quarantined));
    reasons.extend(note_rebuilt(observed.inventories_rebuilt));
    reasons.extend(observed.certificates.iter().filter_map(note_certificate));
    reasons.extend(note_headroom(&observed.headroom));
    reasons
}

fn note_volume(volume: &ObservedVolume) -> Vec<Reason> {
    let ObservedVolume { status, read_timeout_age } = volume;
    let name = format!("volume {} ({})", status.index.0, status.path.display());
    let mut reasons = Vec::new();
    match &status.state {
        VolumeState::Serving => {}
        VolumeState::Opening => reasons.push(reason(
            "volume_opening",
            format!(
                "{name} is being opened, and its disk has not answered yet; it serves when it does; \
                look at the kernel log"
            ),
        )),
        VolumeState::Recovering { reason: why } => reasons.push(reason(
            "volume_recovering",
            format!(
                "{name} is read bundle by bundle, and serves what was found: {why}; wait, and look at \
                the disk with smartctl"
            ),
        )),
        VolumeState::Failed { reason: why } => reasons.push(reason(
            "volume_failed",
            format!("{name} serves nothing: {why}; when that is mended, restart the daemon"),
        )),
    }
    if is_serving(&status.state) && status.read_errors > 0 {
        let errors = status.read_errors;
        reasons.push(reason(
            "volume_errors",
            format!(
                "{name} gave {errors} read errors since the start; look at the kernel log and at smartctl"
            ),
        ));
    }
    let is_slow = read_timeout_age.is_some_and(|age| age <= READ_TIMEOUT_REMEMBERED);
    if is_slow || status.busy > VOLUME_BUSY_MAX {
        reasons.push(reason(
            "volume_slow",
            format!(
                "{name} does not answer in time, now or within the last minute; look at its latency \
                (`iostat -x`) and at the kernel log"
            ),
        ));
    }
    reasons
}

fn note_quarantine(quarantined: u64) -> Option<Reason> {
    (quarantined > 0).then(|| {
        reason(
            "bundles_quarantined",
            format!(
                "{quarantined} bundles were put aside since the start, because they were not what they \
                should be; \
                 see quarantine/ on the volumes and the daemon's log; several on one volume mean a failing disk"
            ),
        )
    })
}

fn note_rebuilt(inventories: u64) -> Option<Reason> {
    (inventories > 0).then(|| {
        reason(
            "inventory_rebuilt",
            format!(
                "{inventories} inventories were made anew from the bundles since the start, because the disk did \
                not give back what was written to it; look at it with smartctl, and at the daemon's log"
            ),
        )
    })
}

/// Not against health: over HTTP everything is served as before, and whether clients accept it is theirs to say.
fn note_certificate(certificate: &ObservedCertificate) -> Option<Reason> {
    let ObservedCertificate { chain, left } = certificate;
    let chain = chain.display();
    let renewal = "renew it, and `systemctl reload oca-daemon`";
    if left.is_zero() {
        let text = format!("{chain} has expired: clients refuse it; {renewal}");
        return Some(reason("certificate_expired", text));
    }
    (*left < CERTIFICATE_LEFT_MIN).then(|| {
        let days = left.as_secs() / 86_400;
        reason("certificate_expires", format!("{chain} is valid for {days} more days; {renewal}"))
    })
}

fn note_headroom(headroom: &Headroom) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if headroom.connections_free == 0 {
        reasons.push(reason(
            "connections_full",
            "serve.connections is reached; raise it if memory and descriptors allow, or add an appliance"
                .into(),
        ));
    }
    let memory_bytes = headroom.memory_available_bytes;
    if (MEMORY_AVAILABLE_MIN_BYTES..MEMORY_AVAILABLE_LOW_BYTES).contains(&memory_bytes) {
        reasons.push(reason(
            "memory_low",
            format!(
                "{} MiB of memory are available; below {} the verdict turns; \
                 lower serve.read_buffers or store.footer_cache, or see what else runs here",
                memory_bytes >> 20,
                MEMORY_AVAILABLE_MIN_BYTES >> 20
            ),
        ));
    }
    reasons
}
