//! Changes: what the Unix socket takes beside reads.
//!
//! The store's calls can block on a disk, and a retire on a reader; so each runs on a thread for what can
//! block, and the number of those is bounded by kind: retires that wait for slow viewers never take the place
//! of an adopt. A retire answers when the space has returned. Where that takes longer than the caller waits
//! (`?wait_seconds=`), it answers 504: the bundle is out of the inventory all the same, and asking again
//! waits again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use cache_store::{AdoptionOutcome, ChangeError, Store};
use control_client::admin::{Adopt, Adopted, Purge, Purged, ReadinessChanged, Retire, Retired};
use control_client::health::Readiness;
use control_client::process::Peer;
use control_client::wire::DocumentVersion;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::answers::{self, Body};
use super::connection::Desk;
use super::limits;
use crate::appliance::{Appliance, StepRefused};
use crate::pull::PurgeSelector;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Adopt,
    Retire { wait: Duration },
    Purge,
    Drain,
    Undrain,
}

/// Makes `change` for `peer`, with what its request contains.
pub(super) async fn make(desk: &Desk, change: Change, peer: Peer, content: Incoming) -> Response<Body> {
    let content = match read(content).await {
        Ok(content) => content,
        Err(response) => return response,
    };
    let response = match change {
        Change::Adopt => with_document(&content, async |adopt| adopt_bundle(desk, adopt).await).await,
        Change::Retire { wait } => {
            with_document(&content, async |retire| retire_bundle(desk, retire, wait).await).await
        }
        Change::Purge => with_document(&content, async |purge| purge_bundles(desk, purge).await).await,
        Change::Drain => drain(&desk.appliance).await,
        Change::Undrain => undrain(&desk.appliance).await,
    };
    tracing::info!(
        ?change,
        status = response.status().as_u16(),
        peer.user,
        peer.process,
        content = %String::from_utf8_lossy(&content[..content.len().min(1024)]).escape_debug(),
        "a change was asked for"
    );
    response
}

async fn read(content: Incoming) -> Result<Bytes, Response<Body>> {
    let content = Limited::new(content, limits::CONTENT_BYTES_MAX).collect();
    match tokio::time::timeout(limits::CONTENT_TIMEOUT, content).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(answers::failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            "content_too_large",
            "a change has a few names; send less",
        )),
        Ok(Err(error)) => {
            Err(answers::failure(StatusCode::BAD_REQUEST, "broken_content", &error.to_string()))
        }
        Err(_) => Err(answers::failure(
            StatusCode::REQUEST_TIMEOUT,
            "content_timeout",
            "the content of the request did not arrive in time",
        )),
    }
}

async fn with_document<D: DeserializeOwned>(
    content: &[u8],
    make: impl AsyncFnOnce(D) -> Response<Body>,
) -> Response<Body> {
    match serde_json::from_slice(content) {
        Ok(document) => make(document).await,
        Err(error) => answers::failure(StatusCode::BAD_REQUEST, "malformed_document", &error.to_string()),
    }
}

async fn adopt_bundle(desk: &Desk, adopt: Adopt) -> Response<Body> {
    blocking(desk, &desk.changes, move |store| {
        let adoption = store.adopt(&adopt.volume, &adopt.file)?;
        if adoption.outcome == AdoptionOutcome::Outdated {
            return Ok(answers::failure(
                StatusCode::CONFLICT,
                "outdated",
                "the same or a higher generation of its path serves; the file was removed",
            ));
        }
        let adopted = Adopted {
            version: DocumentVersion,
            objects: adoption.record.object_count.into(),
            bytes: adoption.record.file_bytes,
            replaced: adoption.replaced,
            bundle: adoption.record.key,
        };
        Ok(answers::document(StatusCode::OK, &adopted))
    })
    .await
}

async fn retire_bundle(desk: &Desk, retire: Retire, wait: Duration) -> Response<Body> {
    let appliance = Arc::clone(&desk.appliance);
    blocking(desk, &desk.retires, move |store| {
        appliance.admin.waiting_retires.fetch_add(1, Relaxed);
        let retired = store.retire_within(&retire.path, retire.generation, wait);
        appliance.admin.waiting_retires.fetch_sub(1, Relaxed);
        let retired = retired?;
        if !retired.has_returned {
            let detail = format!(
                "{} is out of the inventory, and readers still hold its {} bytes; ask again to wait again",
                retired.key, retired.file_bytes
            );
            return Ok(answers::failure(StatusCode::GATEWAY_TIMEOUT, "retire_pending", &detail));
        }
        let answer =
            Retired { version: DocumentVersion, bundles: vec![retired.key], freed_bytes: retired.file_bytes };
        Ok(answers::document(StatusCode::OK, &answer))
    })
    .await
}

async fn purge_bundles(desk: &Desk, purge: Purge) -> Response<Body> {
    let pulled = purge_pulled(&desk.appliance, &purge).await;
    blocking(desk, &desk.changes, move |store| {
        let purged = store.purge(&purge.path, purge.prefix)?;
        let pulled_objects = match pulled {
            Ok(objects) => objects,
            Err(error) => {
                let detail = format!(
                    "{} bundles are served no longer, and of what was pulled some may be: {error}; ask again",
                    purged.keys.len()
                );
                return Ok(answers::failure(StatusCode::INTERNAL_SERVER_ERROR, "pulled_not_purged", &detail));
            }
        };
        let not_reached = purged.not_reached.iter().map(|path| path.display().to_string()).collect();
        let answer = Purged { version: DocumentVersion, bundles: purged.keys, pulled_objects, not_reached };
        Ok(answers::document(StatusCode::OK, &answer))
    })
    .await
}

/// Drops what was pulled, and says how many objects that were. It is sure then, a restart included, also where nothing is pulled any
/// more, or not now.
async fn purge_pulled(appliance: &Arc<Appliance>, purge: &Purge) -> io::Result<u64> {
    let selectors = PurgeSelector::of(&purge.path, purge.prefix);
    if let Some(pulling) = appliance.pulling() {
        return Ok(pulling.handle.purge(selectors).await?.objects);
    }
    let appliance = Arc::clone(appliance);
    let noted = tokio::task::spawn_blocking(move || appliance.dormant_purges.note(&selectors)).await;
    noted.map_err(io::Error::other)?.map(|()| 0)
}

/// Runs `change` on a thread for what can block, if there is a place among `places`.
async fn blocking(
    desk: &Desk,
    places: &Arc<Semaphore>,
    change: impl FnOnce(&Store) -> Result<Response<Body>, ChangeError> + Send + 'static,
) -> Response<Body> {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        return answers::failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many changes of this kind are waiting; ask again when some have ended",
        );
    };
    let store = Arc::clone(&desk.appliance.store);
    let made = tokio::task::spawn_blocking(move || {
        let _place = place;
        change(&store).unwrap_or_else(|error| refused(&error))
    });
    made.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a change ended in a panic; please report it with the log");
        answers::failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "please report this with the daemon's log",
        )
    })
}

fn refused(error: &ChangeError) -> Response<Body> {
    let status = match error {
        ChangeError::NoSuchVolume | ChangeError::NoSuchBundle | ChangeError::NoSuchFile(_) => {
            StatusCode::NOT_FOUND
        }
        ChangeError::Leaving => StatusCode::CONFLICT,
        ChangeError::NotAFileName => StatusCode::BAD_REQUEST,
        ChangeError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ChangeError::VolumeFailed(_) | ChangeError::Closing => StatusCode::SERVICE_UNAVAILABLE,
        ChangeError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ChangeError::Journal(_) | ChangeError::Io(_) | ChangeError::NotRemoved(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    answers::failure(status, error.code(), &error.to_string())
}

/// To ask for what is so already is no error: a script may be run twice.
async fn drain(appliance: &Appliance) -> Response<Body> {
    match appliance.readiness() {
        Readiness::Draining | Readiness::Drained => step_taken(appliance, Ok(())).await,
        _ => step_taken(appliance, appliance.begin_draining()).await,
    }
}

async fn undrain(appliance: &Appliance) -> Response<Body> {
    match appliance.readiness() {
        Readiness::Serving if !appliance.is_stopping() => step_taken(appliance, Ok(())).await,
        Readiness::Draining | Readiness::Drained => step_taken(appliance, appliance.begin_serving()).await,
        // Recovering becomes Serving by itself, when the workers accept.
        _ => answers::failure(
            StatusCode::CONFLICT,
            "not_draining",
            "there is nothing to undo: the appliance is not draining; see `oca health`",
        ),
    }
}

/// Whoever was told of a step finds it in `/health`: the answer waits, a moment, until the verdict follows it.
async fn step_taken(appliance: &Appliance, step: Result<(), StepRefused>) -> Response<Body> {
    match step {
        Ok(()) => {
            let follows =
                || appliance.judged().is_some_and(|it| it.report.readiness == appliance.readiness());
            let judged = async {
                while !follows() {
                    tokio::time::sleep(limits::JUDGED_INTERVAL).await;
                }
            };
            let _ = tokio::time::timeout(limits::JUDGED_TIMEOUT, judged).await;
            let changed = ReadinessChanged { version: DocumentVersion, readiness: appliance.readiness() };
            answers::document(StatusCode::OK, &changed)
        }
        Err(refused) => answers::failure(StatusCode::CONFLICT, "illegal_step", &refused.to_string()),
    }
}
