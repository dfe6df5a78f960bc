#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! A control plane of the test's own: it says exactly what the test wants said, late, wrongly or not at all, and keeps what it
//! was told. What it signs is really signed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use control_client::content::{BundleKey, Sha256};
use control_client::fill_manifest::{FillManifest, SignedManifest};
use control_client::report::{Directive, Enrolment, Report, ReportAnswer};
use control_client::signature::SigningKey;
use control_client::sources::{BundleSources, FillSource, SourcesAnswer, SourcesRequest};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// The name of the key that it signs with.
pub const KEY_ID: &str = "test";

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Proper,
    /// Nobody listens.
    Gone,
    /// Each answer is so late, or comes when it behaves otherwise.
    Slow(Duration),
    /// Each answer is 200 with something that is no document.
    Nonsense,
    /// Each answer is this status.
    Refuses(u16),
}

/// What it knows.
pub struct Knowledge {
    /// What it signs with.
    pub key: SigningKey,
    /// What it hands out, whoever asks.
    pub manifest: Option<SignedManifest>,
    /// By bundle.
    pub sources: HashMap<BundleKey, Vec<FillSource>>,
    /// By digest.
    pub descriptors: HashMap<Sha256, Vec<u8>>,
    /// What it has appliances do.
    pub directives: Vec<Directive>,
    /// Reports that it took, each number once, the last version of each.
    pub reports: Vec<Report>,
    /// Enrolments that it took.
    pub enrolments: Vec<Enrolment>,
    /// Every request, as `METHOD path`.
    pub requests: Vec<String>,
}

type Watcher = Box<dyn FnMut(&str) + Send>;

struct Shared {
    knowledge: Mutex<Knowledge>,
    /// Called with `METHOD path` when a request has arrived, before it is answered.
    watcher: Mutex<Option<Watcher>>,
    behaviour: watch::Sender<Behaviour>,
}

/// A running control plane. Ends when dropped.
pub struct ScriptedPlane {
    address: SocketAddr,
    /// Never listens: it keeps the port while nobody does.
    _port: TcpSocket,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedPlane {
    /// Starts it; it knows nothing yet.
    pub fn start() -> Self {
        let port = TcpSocket::new_v4().expect("a socket");
        port.set_reuseport(true).expect("an option");
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = port.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            knowledge: Mutex::new(Knowledge {
                key: SigningKey::from_seed(&[7; 32]),
                manifest: None,
                sources: HashMap::new(),
                descriptors: HashMap::new(),
                directives: Vec::new(),
                reports: Vec::new(),
                enrolments: Vec::new(),
                requests: Vec::new(),
            }),
            watcher: Mutex::new(None),
            behaviour: watch::Sender::new(Behaviour::Proper),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (listens, listening) = mpsc::channel();
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(address, listens, serving) => {}
                }
            });
        });
        listening.recv().expect("it listens");
        Self { address, _port: port, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The public half of its key, as a line of configuration.
    pub fn trusted_keys(&self) -> String {
        let key = self.knowledge().key.trusted_key(KEY_ID);
        let hexadecimal: String = key.public_key.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("trusted_keys = [{{ id = \"{KEY_ID}\", public_key = \"{hexadecimal}\" }}]")
    }

    /// From now on it behaves so.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    /// What it knows.
    pub fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        lock(&self.shared.knowledge)
    }

    /// Signs a manifest, and hands it out from now on.
    pub fn publish(&self, manifest: &FillManifest) {
        let mut knowledge = self.knowledge();
        knowledge.manifest = Some(SignedManifest::sign(manifest, KEY_ID, &knowledge.key));
    }

    /// From now on `watcher` sees each request when it has arrived.
    pub fn watch(&self, watcher: impl FnMut(&str) + Send + 'static) {
        *lock(&self.shared.watcher) = Some(Box::new(watcher));
    }

    /// Nobody watches any more.
    pub fn unwatch(&self) {
        *lock(&self.shared.watcher) = None;
    }
}

impl Drop for ScriptedPlane {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Listens on a port that another socket keeps, which has the option, too.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Says once that it listens.
async fn serve(address: SocketAddr, listens: mpsc::Sender<()>, shared: Arc<Shared>) {
    let mut behaviour = shared.behaviour.subscribe();
    let mut listener = listen(address).expect("a listener");
    listens.send(()).expect("somebody waits for it");
    loop {
        if *behaviour.borrow_and_update() == Behaviour::Gone {
            drop(listener);
            behaviour.wait_for(|behaviour| *behaviour != Behaviour::Gone).await.expect("the sender lives");
            listener = listen(address).expect("the port was kept");
        }
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(converse(stream, shared.clone()));
                }
            }
            changed = behaviour.changed() => changed.expect("the sender lives"),
        }
    }
}

/// One connection; it ends when nobody is to be there.
async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut behaviour = shared.behaviour.subscribe();
    let answers = hyper::service::service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answers);
    tokio::select! {
        _ = connection => {}
        _ = behaviour.wait_for(|behaviour| *behaviour == Behaviour::Gone) => {}
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let what = format!("{} {}", request.method(), request.uri().path());
    if let Some(watcher) = &mut *lock(&shared.watcher) {
        watcher(&what);
    }
    lock(&shared.knowledge).requests.push(what);
    // All of it comes first: only then is it noticed when whoever asked gives up, and has to be answered no more.
    let (head, content) = request.into_parts();
    let Ok(content) = content.collect().await else { return body(StatusCode::BAD_REQUEST, Vec::new()) };
    let content = content.to_bytes();
    let behaviour = *shared.behaviour.borrow();
    match behaviour {
        Behaviour::Proper | Behaviour::Gone => {}
        Behaviour::Slow(late) => {
            // Who waits when it gets better is answered then.
            let mut changes = shared.behaviour.subscribe();
            let _ = tokio::time::timeout(late, changes.wait_for(|now| *now != behaviour)).await;
        }
        Behaviour::Nonsense => return body(StatusCode::OK, b"<html>It works!</html>".to_vec()),
        Behaviour::Refuses(status) => {
            return body(StatusCode::from_u16(status).expect("a status"), b"{}".to_vec());
        }
    }
    let known = head.headers.get("if-none-match").and_then(|value| value.to_str().ok());
    properly(&head.method, head.uri.path(), known, &content, &mut lock(&shared.knowledge))
}

/// What a control plane answers.
fn properly(
    method: &Method,
    path: &str,
    known: Option<&str>,
    content: &[u8],
    knowledge: &mut Knowledge,
) -> Response<Full<Bytes>> {
    if let Some(digest) = path.strip_prefix("/v1/descriptors/") {
        let found = knowledge.descriptors.iter().find(|(other, _)| other.to_string() == digest);
        return found.map_or_else(
            || body(StatusCode::NOT_FOUND, Vec::new()),
            |(_, bytes)| body(StatusCode::OK, bytes.clone()),
        );
    }
    let what =
        path.strip_prefix("/v1/appliances/").and_then(|rest| rest.split_once('/')).map(|(_, what)| what);
    match (method, what) {
        (&Method::PUT, None) => match serde_json::from_slice(content) {
            Ok(enrolment) => {
                knowledge.enrolments.push(enrolment);
                body(StatusCode::NO_CONTENT, Vec::new())
            }
            Err(error) => body(StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
        },
        (&Method::POST, Some("reports")) => match serde_json::from_slice(content) {
            Ok(report) => json(&take(report, knowledge)),
            Err(error) => body(StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
        },
        (&Method::GET, Some("manifest")) => hand_out(knowledge, known),
        (&Method::POST, Some("sources")) => match serde_json::from_slice::<SourcesRequest>(content) {
            Ok(request) => json(&SourcesAnswer {
                version: Default::default(),
                bundles: request
                    .bundles
                    .into_iter()
                    .filter_map(|bundle| {
                        let sources = knowledge.sources.get(&bundle)?.clone();
                        Some(BundleSources { bundle, sources })
                    })
                    .collect(),
            }),
            Err(error) => body(StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
        },
        _ => body(StatusCode::NOT_FOUND, Vec::new()),
    }
}

fn take(report: Report, knowledge: &mut Knowledge) -> ReportAnswer {
    let done: Vec<u64> = report.directives.iter().map(|result| result.id).collect();
    knowledge.directives.retain(|directive| !done.contains(&directive.id));
    let answer = ReportAnswer {
        version: Default::default(),
        sequence: report.sequence,
        inventory_revision: None,
        manifest_sequence: knowledge.manifest.as_ref().map_or(0, sequence),
        directives: knowledge.directives.clone(),
        next_report_seconds: 1,
    };
    match knowledge
        .reports
        .iter_mut()
        .find(|other| other.sequence == report.sequence && other.instance == report.instance)
    {
        Some(other) => *other = report,
        None => knowledge.reports.push(report),
    }
    answer
}

fn hand_out(knowledge: &Knowledge, known: Option<&str>) -> Response<Full<Bytes>> {
    let Some(manifest) = &knowledge.manifest else { return body(StatusCode::NOT_FOUND, Vec::new()) };
    let tag = format!("\"{}\"", sequence(manifest));
    if known == Some(tag.as_str()) {
        return body(StatusCode::NOT_MODIFIED, Vec::new());
    }
    let mut response = json(manifest);
    response.headers_mut().insert("etag", tag.parse().expect("a tag"));
    response
}

/// The sequence of a manifest; 0 where it is none.
fn sequence(manifest: &SignedManifest) -> u64 {
    serde_json::from_str::<FillManifest>(&manifest.manifest).map_or(0, |manifest| manifest.sequence)
}

fn json(document: &impl serde::Serialize) -> Response<Full<Bytes>> {
    body(StatusCode::OK, serde_json::to_vec(document).expect("a document"))
}

fn body(status: StatusCode, bytes: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".parse().expect("a media type"));
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
