//! The commands that change something. They need the Unix socket.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use control_client::admin::{Adopt, Adopted, Purge, Purged, ReadinessChanged, Retire, Retired};
use control_client::admin_client::{Answer, Call};
use control_client::content::BundleKey;
use control_client::health::{HealthReport, Readiness};
use control_client::limits::CHANGE_TIMEOUT;
use control_client::units::{ByteCount, display_duration};
use control_client::wire::DocumentVersion;

use crate::arguments::{AdoptArguments, Asking, DrainArguments, PurgeArguments, RetireArguments};
use crate::failure::Failure;
use crate::output;
use crate::target::{ask, client, runtime};

/// `oca adopt`.
pub(crate) fn adopt(arguments: AdoptArguments) -> Result<ExitCode, Failure> {
    let AdoptArguments { volume, file, asking } = arguments;
    let answer = ask(&asking, &Call::Adopt(Adopt { version: DocumentVersion, volume, file }))?;
    let adopted: Adopted = answer.document()?;
    let Adopted { bundle, objects, bytes, replaced, .. } = &adopted;
    let size = ByteCount::new(*bytes).rounded();
    let mut text = format!("adopted {bundle}: {objects} objects, {size}");
    if let Some(replaced) = replaced {
        text.push_str(&format!("; generation {replaced} is being retired"));
    }
    report(&asking, &answer, &text)
}

/// `oca retire`.
pub(crate) fn retire(arguments: RetireArguments) -> Result<ExitCode, Failure> {
    let RetireArguments { path, generation, asking } = arguments;
    let answer = ask(&asking, &Call::Retire(Retire { version: DocumentVersion, path, generation }))?;
    let retired: Retired = answer.document()?;
    let freed = ByteCount::new(retired.freed_bytes).rounded();
    report(&asking, &answer, &format!("{}{freed} have returned", listed("retired", &retired.bundles)))
}

/// `oca purge`.
pub(crate) fn purge(arguments: PurgeArguments) -> Result<ExitCode, Failure> {
    let PurgeArguments { path, prefix, asking } = arguments;
    let answer = ask(&asking, &Call::Purge(Purge { version: DocumentVersion, path, prefix }))?;
    let purged: Purged = answer.document()?;
    let count = purged.bundles.len();
    let mut text = format!("{}{count} bundles are served no longer", listed("purged", &purged.bundles));
    if purged.pulled_objects > 0 {
        text.push_str(&format!(
            "\n{} pulled objects are pulled anew when they are asked for",
            purged.pulled_objects
        ));
    }
    for volume in &purged.not_reached {
        text.push_str(&format!(
            "\n{volume} was not reached, or not all of it: see `oca health` and the daemon's log, then purge again"
        ));
    }
    report(&asking, &answer, &text)
}

/// `oca drain`.
pub(crate) fn drain(arguments: &DrainArguments) -> Result<ExitCode, Failure> {
    let asking = &arguments.asking;
    let answer = ask(asking, &Call::Drain)?;
    let changed: ReadinessChanged = answer.document()?;
    if !arguments.wait || changed.readiness == Readiness::Drained {
        return report(asking, &answer, &readiness_sentence(changed.readiness));
    }
    let (answer, readiness) = wait_until_drained(asking)?;
    report(asking, &answer, &readiness_sentence(readiness))
}

/// `oca undrain`.
pub(crate) fn undrain(asking: &Asking) -> Result<ExitCode, Failure> {
    let answer = ask(asking, &Call::Undrain)?;
    let changed: ReadinessChanged = answer.document()?;
    report(asking, &answer, &readiness_sentence(changed.readiness))
}

/// Between two looks at the health while draining: a person waits for it.
const DRAIN_POLL: Duration = Duration::from_millis(500);

/// Asks for the health until it says `drained`, for as long as a connection may live, or as the command line says.
fn wait_until_drained(asking: &Asking) -> Result<(Answer, Readiness), Failure> {
    let client = client(asking)?;
    let timeout = asking.timeout.unwrap_or(CHANGE_TIMEOUT);
    let started = Instant::now();
    runtime()?.block_on(async {
        loop {
            let answer = client.send(&Call::Health).await?;
            let HealthReport { readiness, .. } = answer.health()?;
            match readiness {
                Readiness::Drained => return Ok((answer, readiness)),
                Readiness::Draining if started.elapsed() < timeout => tokio::time::sleep(DRAIN_POLL).await,
                Readiness::Draining => {
                    let after = display_duration(timeout);
                    return Err(Failure::Other(format!(
                        "still draining after {after}: something is in flight; wait on, or look at oca metrics"
                    )));
                }
                other => {
                    return Err(Failure::Other(format!("the appliance is {other}: somebody else has changed it")));
                }
            }
        }
    })
}

fn readiness_sentence(readiness: Readiness) -> String {
    match readiness {
        Readiness::Draining => {
            "draining: not to be steered to; wait for drained before you unplug it".to_owned()
        }
        Readiness::Drained => "drained: safe to unplug".to_owned(),
        other => other.to_string(),
    }
}

fn listed(what: &str, bundles: &[BundleKey]) -> String {
    bundles.iter().map(|bundle| format!("{what} {bundle}\n")).collect()
}

fn report(asking: &Asking, answer: &Answer, text: &str) -> Result<ExitCode, Failure> {
    if asking.json {
        output::print_bytes(&answer.content)?;
    } else {
        output::print(text)?;
    }
    Ok(ExitCode::SUCCESS)
}
