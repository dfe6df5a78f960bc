//! Whether the appliance is well, what it serves, and to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use control_client::health::Verdict;

use super::{Kind, Metric};
use crate::outcome::Outcome;
use crate::readiness;
use crate::stats::{AcceptPause, CloseCause, RecordLayer, TlsVersion, Transport, monotonic_millis};

pub(super) const ROWS: &[Metric] = &[
    // ---- is it well ----
    Metric {
        name: "oca_healthy",
        kind: Kind::Gauge,
        labels: &[],
        help: "1 while clients should be steered here, as GET /health says; else 0.",
        action: "Alert on 0 for 1 min unless draining; oca_health_reason and `oca health` say why.",
        read: |scrape, samples| {
            let is_healthy = |verdict| u64::from(verdict == Verdict::Healthy);
            samples.one(scrape.judged.as_ref().map_or(0, |judged| is_healthy(judged.report.verdict)));
        },
    },
    Metric {
        name: "oca_health_reason",
        kind: Kind::Gauge,
        labels: &["code"],
        help: "How many reasons of this code health gives now; absent where it gives none.",
        action: "Read the reason's text with `oca health`: it says what to do.",
        read: |scrape, samples| {
            let mut counts = BTreeMap::<&str, u64>::new();
            for reason in scrape.judged.iter().flat_map(|judged| &judged.report.reasons) {
                *counts.entry(&reason.code).or_default() += 1;
            }
            for (code, count) in counts {
                samples.put(&[code], count);
            }
        },
    },
    Metric {
        name: "oca_readiness",
        kind: Kind::Gauge,
        labels: &["state"],
        help: "1 for the step of its life that the daemon is at, 0 for the others.",
        action: "A state other than serving that nobody asked for: read the daemon's log.",
        read: |scrape, samples| {
            let current = scrape.appliance.readiness();
            for state in readiness::STATES {
                samples.put(&[state.as_str()], u64::from(state == current));
            }
        },
    },
    Metric {
        name: "oca_worker_heartbeat_age_seconds",
        kind: Kind::Gauge,
        labels: &["worker"],
        help: "Since each worker last turned its loop; 1 s at most while all is well.",
        action: "Above 5 s health turns, and systemd restarts the daemon: keep the log, and report it.",
        read: |scrape, samples| {
            let now_millis = monotonic_millis();
            for (number, worker) in scrape.appliance.workers.iter().enumerate() {
                let age_millis = now_millis.saturating_sub(worker.last_heartbeat_millis());
                let age = Duration::from_millis(age_millis);
                samples.put_float(&[&number.to_string()], age.as_secs_f64());
            }
        },
    },
    // ---- what it serves ----
    Metric {
        name: "oca_requests_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "Requests that ended, by how; each has exactly one outcome.",
        action: "Watch the shares: refused_* and aborted_* other than aborted_client_gone should be near \
            none.",
        read: |scrape, samples| samples.put_each(Outcome::words(), &scrape.totals.outcomes),
    },
    Metric {
        name: "oca_requests_in_flight",
        kind: Kind::Gauge,
        labels: &[],
        help: "Requests that began and have not ended.",
        action: "Before unplugging a drained appliance, it should be 0.",
        read: |scrape, samples| samples.one(scrape.totals.requests_in_flight),
    },
    Metric {
        name: "oca_body_bytes_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "Bytes of response bodies that the kernel took, by the outcome of their requests.",
        action: "The byte hit ratio is hit_* over all.",
        read: |scrape, samples| samples.put_each(Outcome::words(), &scrape.totals.body_bytes),
    },
    Metric {
        name: "oca_demand_directories",
        kind: Kind::Gauge,
        labels: &["kind"],
        help: "Directories that /demand names since its totals began: held (with a bundle) and absent \
            (without one).",
        action: "absent at 4096: somebody asks for names at random; see the access log, and what steering \
            sends here.",
        read: |scrape, samples| {
            let demand = scrape.appliance.demand.figures();
            samples.put_each(["held", "absent"].into_iter(), &[demand.held_paths, demand.absent_paths]);
        },
    },
    Metric {
        name: "oca_demand_uncounted_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Requests that /demand does not count, because nobody asked for it while more bundles than fit \
            came and went.",
        action: "Any: the fill agent does not run or does not report; see `oca status`.",
        read: |scrape, samples| samples.one(scrape.totals.demand_uncounted),
    },
    Metric {
        name: "oca_demand_late_answers_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Times that a worker did not tell its demand within a second; it is counted with the next \
            answer.",
        action: "Any: see oca_worker_heartbeat_age_seconds.",
        read: |scrape, samples| samples.one(scrape.appliance.demand.figures().late_answers),
    },
    Metric {
        name: "oca_egress_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes that the kernel took for clients: heads, bodies, and with TLS the records.",
        action: "Its rate times 8 is the egress in bit/s; compare it with the uplink of the appliance.",
        read: |scrape, samples| samples.one(scrape.totals.egress_bytes),
    },
    Metric {
        name: "oca_first_byte_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "From the first byte of a request until the first byte of its response was sent.",
        action: "A rising tail with oca_volume_read_duration_seconds is the disks; without it, the \
            processor.",
        read: |scrape, samples| samples.histogram(&[], &scrape.totals.first_byte),
    },
    Metric {
        name: "oca_request_duration_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "From the first byte of a request until its end; the client's network is part of it.",
        action: "For the long run; nothing to alert on.",
        read: |scrape, samples| samples.histogram(&[], &scrape.totals.duration),
    },
    // ---- who is connected ----
    Metric {
        name: "oca_connections_open",
        kind: Kind::Gauge,
        labels: &["transport"],
        help: "Connections that are open.",
        action: "Near oca_connections_limit: raise serve.connections, or add an appliance.",
        read: |scrape, samples| samples.put_each(Transport::words(), &scrape.totals.open),
    },
    Metric {
        name: "oca_connections_limit",
        kind: Kind::Gauge,
        labels: &[],
        help: "serve.connections.",
        action: "The measure for oca_connections_open.",
        read: |scrape, samples| samples.one(scrape.appliance.config.serve.connections.into()),
    },
    Metric {
        name: "oca_connections_accepted_total",
        kind: Kind::Counter,
        labels: &["transport"],
        help: "Connections that were accepted.",
        action: "A rate far above that of requests: clients do not keep connections, or scan.",
        read: |scrape, samples| samples.put_each(Transport::words(), &scrape.totals.accepted),
    },
    Metric {
        name: "oca_connections_closed_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Connections that ended, by why.",
        action: "See the meaning of each cause below; system_error and content_failed should be none.",
        read: |scrape, samples| samples.put_each(CloseCause::words(), &scrape.totals.closed),
    },
    Metric {
        name: "oca_accept_pauses_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Times that a worker stopped accepting for a while, by why.",
        action: "descriptors: raise LimitNOFILE; system_descriptors: raise fs.file-max; memory: see what \
            else runs here.",
        read: |scrape, samples| samples.put_each(AcceptPause::words(), &scrape.totals.accept_pauses),
    },
    Metric {
        name: "oca_tls_handshakes_total",
        kind: Kind::Counter,
        labels: &["version"],
        help: "TLS handshakes that were completed.",
        action: "Failures are oca_connections_closed_total with cause handshake_failed.",
        read: |scrape, samples| samples.put_each(TlsVersion::words(), &scrape.totals.handshakes),
    },
    Metric {
        name: "oca_tls_resumptions_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Those of them that resumed a session.",
        action: "A falling share costs processor time: see whether the log warns of tls.ticket_keys.",
        read: |scrape, samples| samples.one(scrape.totals.handshakes_resumed),
    },
    Metric {
        name: "oca_tls_connections_total",
        kind: Kind::Counter,
        labels: &["record_layer"],
        help: "TLS connections with a request, by who seals what is sent: kernel, user (the daemon), or refused (the \
            daemon, because the kernel would not).",
        action: "user, where tls.kernel is \"auto\" and the module tls was to be loaded: `modprobe tls`, and restart \
            the daemon. refused rises: see whether the kernel is short of memory.",
        read: |scrape, samples| samples.put_each(RecordLayer::words(), &scrape.totals.record_layers),
    },
    Metric {
        name: "oca_tls_sent_bytes_total",
        kind: Kind::Counter,
        labels: &["record_layer"],
        help: "Bytes of responses over TLS that the kernel took, by who seals: as records from the daemon, as they \
            are where the kernel makes records of them.",
        action: "Its rate is what each of them carries.",
        read: |scrape, samples| samples.put_each(RecordLayer::words(), &scrape.totals.record_layer_bytes),
    },
    Metric {
        name: "oca_certificate_expiry_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["certificate"],
        help: "When the first certificate of each chain expires, since 1970; counted from 0, as in \
            tls.certificates.",
        action: "Less than 14 days from now: renew it, and `systemctl reload oca-daemon`; see what should \
            have done so.",
        read: |scrape, samples| {
            for (number, certificate) in scrape.appliance.certificate_expiries().iter().enumerate() {
                if let Some(expires) = certificate.expires {
                    samples.put(&[&number.to_string()], expires);
                }
            }
        },
    },
];
