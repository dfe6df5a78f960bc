//! `oca check-config`: the file by itself, then what it names on this machine.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use control_client::config::{self, Config, ConfigError, ControlConfig, FillConfig, Problem, PullConfig};
use control_client::fleet::ApplianceName;
use control_client::token::{Token, TokenError};
use control_client::wire::DocumentVersion;

use crate::arguments::CheckArguments;
use crate::failure::{CONFIGURATION, Failure};
use crate::output;
use crate::table::facts;

pub(crate) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    match Config::load(file) {
        Ok(config) => {
            let warnings = warnings(file, &config);
            let text = if arguments.json {
                json_report(file, &warnings, &[]).to_string()
            } else {
                show(file, &config, &warnings)
            };
            output::print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if arguments.json => {
            output::print(&json_report(file, &[], &problems(&error)).to_string())?;
            Ok(CONFIGURATION.into())
        }
        Err(error) => Err(Failure::Config(error)),
    }
}

fn show(file: &Path, config: &Config, warnings: &[String]) -> String {
    let mut text = format!("{}: ok\n", file.display());
    let listening = |addresses: &[std::net::SocketAddr]| match addresses {
        [] => "-".to_owned(),
        addresses => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let volumes: Vec<String> =
        config.store.volumes.iter().map(|volume| volume.path.display().to_string()).collect();
    text.push_str(&facts([
        ("  http", listening(&config.serve.listen)),
        ("  https", listening(&config.serve.listen_tls)),
        ("  admin", listening(&config.admin.listen)),
        ("  socket", config.admin.socket.display().to_string()),
        ("  workers", config.serve.workers.to_string()),
        ("  connections", config.serve.connections.to_string()),
        ("  volumes", volumes.join(" ")),
        (
            "  access log",
            config.log.access.as_ref().map_or("-".to_owned(), |path| path.display().to_string()),
        ),
        ("  pull", pulling(&config.pull)),
        ("  control plane", config.control.url.clone().unwrap_or_else(|| "-".to_owned())),
        ("  appliance", config.control.appliance.as_ref().map_or("-".to_owned(), ApplianceName::to_string)),
        (
            "  fill",
            format!(
                "{} ({}), at most {} and {} a night",
                config.fill.window, config.fill.time_zone, config.fill.rate, config.fill.night_bytes
            ),
        ),
    ]));
    for warning in warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

/// Where what no bundle holds comes from.
fn pulling(pull: &PullConfig) -> String {
    if !pull.is_on() {
        return "-".to_owned();
    }
    let names: Vec<&str> = pull.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    format!("from {}; {} % of each volume", names.join(", "), pull.volume_percent)
}

/// What is no fault of the file, but will be in the daemon's way if this is its machine.
fn warnings(file: &Path, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config::is_world_writable(file).unwrap_or(false) {
        warnings.push(format!("anybody may change {0}; run chmod o-w {0}", file.display()));
    }
    for volume in &config.store.volumes {
        if volume.path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            let path = volume.path.display();
            warnings
                .push(format!("the volume {path} does not exist; mount its disk, then run oca init {path}"));
        }
    }
    let certificates = &config.tls.certificates;
    for path in certificates.iter().flat_map(|certificate| [&certificate.chain, &certificate.key]) {
        if path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            warnings.push(format!("{} does not exist; put the certificate or its key there", path.display()));
        }
    }
    for path in config.pull.upstreams.iter().filter_map(|upstream| upstream.s3.as_ref()?.credentials.as_ref())
    {
        if path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            warnings.push(format!("{} does not exist; put the bucket's key there", path.display()));
        }
    }
    warnings.extend(fill_warnings(config));
    let directory = config.log.access.as_deref().and_then(Path::parent);
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        warnings.push(format!("{} does not exist; create it for the access log", directory.display()));
    }
    warnings
}

/// What will be in the agent's way; nothing where there is no control plane to fill by.
fn fill_warnings(config: &Config) -> Vec<String> {
    let ControlConfig { url: Some(url), token_file, trusted_keys, .. } = &config.control else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if url.starts_with("http://") && !is_loopback(url) {
        warnings.push(format!(
            "the token travels to {url} unencrypted; use https, except within a protected network"
        ));
    }
    if let Err(error) = Token::load(token_file) {
        // Who may not read the token is not the agent.
        if !matches!(&error, TokenError::File { error, .. } if error.kind() == ErrorKind::PermissionDenied) {
            warnings.push(error.to_string());
        }
    }
    if trusted_keys.is_empty() {
        warnings.push(
            "control.trusted_keys is empty, so no fill manifest is obeyed; add the control plane's key"
                .to_owned(),
        );
    }
    let FillConfig { time_zone, state, .. } = &config.fill;
    let zones = Path::new("/usr/share/zoneinfo");
    if time_zone != FillConfig::SYSTEM_TIME_ZONE && zones.is_dir() && !zones.join(time_zone).is_file() {
        warnings.push(format!(
            "this machine knows no time zone {time_zone}; timedatectl list-timezones lists them"
        ));
    }
    if !state.is_dir() {
        let state = state.display();
        warnings.push(format!(
            "{state} does not exist; create it for the fill agent, and give it to the agent's user"
        ));
    }
    warnings
}

fn is_loopback(url: &str) -> bool {
    ["http://127.", "http://localhost", "http://[::1]"].iter().any(|start| url.starts_with(start))
}

fn json_report(file: &Path, warnings: &[String], problems: &[Value]) -> Value {
    json!({
        "version": DocumentVersion,
        "file": file.display().to_string(),
        "ok": problems.is_empty(),
        "problems": problems,
        "warnings": warnings,
    })
}

fn problems(error: &ConfigError) -> Vec<Value> {
    match error {
        ConfigError::Problems { problems, .. } => problems
            .iter()
            .map(|Problem { key, line, what, advice }| {
                json!({ "key": key, "line": line, "what": what, "advice": advice })
            })
            .collect(),
        ConfigError::Refused { complaint, .. } => vec![json!({
            "line": complaint.line, "column": complaint.column, "what": complaint.what, "advice": complaint.advice,
        })],
        ConfigError::Unreadable { .. } | ConfigError::TooLarge { .. } => vec![json!({ "what": error.to_string() })],
    }
}
