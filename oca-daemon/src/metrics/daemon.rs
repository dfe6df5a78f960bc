//! What the daemon is made of: buffers, log, admin API, process.

use super::{Kind, Metric};
use crate::admin::{AnswerClass, build};
use crate::health::process;

pub(super) const ROWS: &[Metric] = &[
    Metric {
        name: "oca_read_buffer_bytes",
        kind: Kind::Gauge,
        labels: &["state"],
        help: "The workers' buffers for reads from disk: in_use and free.",
        action: "free near none with a rising oca_read_buffer_waits_total: raise serve.read_buffers.",
        read: |scrape, samples| {
            let in_use = scrape.totals.buffers_in_use_bytes;
            samples.put(&["in_use"], in_use);
            samples.put(&["free"], scrape.totals.buffers_total_bytes.saturating_sub(in_use));
        },
    },
    Metric {
        name: "oca_read_buffer_waits_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Times that a response had to wait for a read buffer.",
        action: "A steady rate: raise serve.read_buffers, unless one volume hangs.",
        read: |scrape, samples| samples.one(scrape.totals.buffer_waits),
    },
    Metric {
        name: "oca_tls_sealed_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory for TLS records that are sealed and wait for room in their sockets.",
        action: "Above 64 MiB for each worker less is sealed at a time: very many clients stop reading, or the kernel is short \
            of memory for sockets (net.ipv4.tcp_mem).",
        read: |scrape, samples| samples.one(scrape.totals.sealed_bytes),
    },
    Metric {
        name: "oca_access_log_lines_total",
        kind: Kind::Counter,
        labels: &["fate"],
        help: "Lines of the access log: written, dropped (the writer was too slow), lost (the file system \
            did not take them).",
        action: "dropped: the log's disk or the processor is overloaded. lost: make room, see the daemon's \
            log.",
        read: |scrape, samples| {
            samples.put(&["written"], scrape.log.written);
            samples.put(&["dropped"], scrape.log.dropped);
            samples.put(&["lost"], scrape.log.lost);
        },
    },
    Metric {
        name: "oca_access_log_errors_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Writes and openings of the access log that failed.",
        action: "Any: the daemon's log has the error.",
        read: |scrape, samples| samples.one(scrape.log.errors),
    },
    Metric {
        name: "oca_admin_requests_total",
        kind: Kind::Counter,
        labels: &["answer"],
        help: "Requests to the admin API; a /health that is 503 counts as server_error.",
        action: "client_error from an unknown source: see who can reach admin.listen.",
        read: |scrape, samples| {
            for class in AnswerClass::ALL {
                samples.put(&[class.as_str()], scrape.appliance.admin.answered(class));
            }
        },
    },
    Metric {
        name: "oca_admin_refused_peers_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Peers of the admin socket that were turned away, because of who they are.",
        action: "Any: the daemon's log has their user and process.",
        read: |scrape, samples| samples.one(scrape.appliance.admin.refused_peers()),
    },
    Metric {
        name: "oca_admin_connections_open",
        kind: Kind::Gauge,
        labels: &[],
        help: "Connections to the admin API that are open.",
        action: "Steadily at 64: somebody holds them; see `ss -tnp`.",
        read: |scrape, samples| samples.one(scrape.appliance.admin.open_connections()),
    },
    Metric {
        name: "oca_admin_waiting_retires",
        kind: Kind::Gauge,
        labels: &[],
        help: "Retires that wait for the last readers of their bundles.",
        action: "Steadily at 16: further ones are refused; viewers hold what the fill wants to replace.",
        read: |scrape, samples| samples.one(scrape.appliance.admin.waiting_retires()),
    },
    Metric {
        name: "oca_process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Processor time of the daemon, all threads, user and system.",
        action: "Its rate over the number of workers is how busy they are; at 0.8 there is little room left.",
        read: |_, samples| samples.put_float(&[], process::cpu_time().as_secs_f64()),
    },
    Metric {
        name: "oca_process_resident_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory of the daemon that is resident.",
        action: "Grows without end: report it.",
        read: |_, samples| samples.one(process::resident_bytes().unwrap_or(0)),
    },
    Metric {
        name: "oca_memory_available_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory that the daemon may still take, by the kernel's account or its control group's, as of \
            the last verdict.",
        action: "Below 256 MiB health warns, below 64 MiB it turns.",
        read: |scrape, samples| {
            let Some(judged) = &scrape.judged else { return };
            samples.one(judged.report.headroom.memory_available_bytes);
        },
    },
    Metric {
        name: "oca_process_open_descriptors",
        kind: Kind::Gauge,
        labels: &[],
        help: "File descriptors that are open.",
        action: "Near the limit: raise LimitNOFILE of the unit.",
        read: |_, samples| samples.one(process::Descriptors::now().open),
    },
    Metric {
        name: "oca_process_descriptors_limit",
        kind: Kind::Gauge,
        labels: &[],
        help: "How many may be open.",
        action: "The measure for oca_process_open_descriptors.",
        read: |_, samples| samples.one(process::Descriptors::now().limit),
    },
    Metric {
        name: "oca_process_uptime_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Since the daemon started.",
        action: "Small again and again: it restarts; `journalctl -u oca-daemon` says why.",
        read: |scrape, samples| samples.put_float(&[], scrape.appliance.started.elapsed().as_secs_f64()),
    },
    Metric {
        name: "oca_build_info",
        kind: Kind::Gauge,
        labels: &["release", "commit", "profile"],
        help: "Always 1; the labels say what runs.",
        action: "profile debug on an appliance: install a release build.",
        read: |_, samples| {
            let build = build();
            samples.put(&[&build.release, build.commit.as_deref().unwrap_or(""), &build.profile], 1);
        },
    },
];
