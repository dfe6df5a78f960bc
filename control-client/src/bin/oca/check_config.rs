//! `oca check-config`: the file by itself, then what it names on this machine.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use control_client::config::{self, Config, ConfigError, Problem};
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
    ]));
    for warning in warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
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
    let directory = config.log.access.as_deref().and_then(Path::parent);
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        warnings.push(format!("{} does not exist; create it for the access log", directory.display()));
    }
    warnings
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
