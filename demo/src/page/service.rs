use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::{Act, Facts, Wish};

/// The page's files, and of what type each is. The libraries lie where npm puts them.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "page/index.html", "text/html; charset=utf-8"),
    ("/page.js", "page/page.js", "text/javascript"),
    ("/session.js", "page/session.js", "text/javascript"),
    ("/players.js", "page/players.js", "text/javascript"),
    ("/lib/hls.js", "players/node_modules/hls.js/dist/hls.min.js", "text/javascript"),
    (
        "/lib/dash.js",
        "players/node_modules/dashjs/dist/modern/umd/dash.mediaplayer.min.js",
        "text/javascript",
    ),
];

/// Without it nothing is done to an appliance: a page of another origin cannot send it unasked.
const MEANT: &str = "x-demo";

/// How long an appliance may take to say how it is.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a browser may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

struct Service {
    facts: Facts,
    hosts: [String; 2],
    wishes: mpsc::Sender<Wish>,
    client: Client,
}

pub(super) async fn serve(listener: TcpListener, facts: Facts, wishes: mpsc::Sender<Wish>) {
    let Ok(port) = listener.local_addr().map(|address| address.port()) else { return };
    let Ok(client) = Client::builder().no_proxy().timeout(TIMEOUT).build() else { return };
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let service = Arc::new(Service { facts, hosts, wishes, client });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, service.clone()))),
            // Out of descriptors: those who are connected go first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: TcpStream, service: Arc<Service>) {
    let answer = hyper::service::service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    // A browser that goes away is no concern of ours.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // By no other name: a name that somebody else gives this address would make his page this one's origin.
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            return text(StatusCode::FORBIDDEN, "not by this name");
        }
        let path = request.uri().path();
        match (request.method(), path.split('/').collect::<Vec<_>>().as_slice()) {
            (&Method::GET, ["", "system.json"]) => match serde_json::to_vec(&self.facts) {
                Ok(facts) => response(StatusCode::OK, "application/json", facts),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
            (&Method::GET, ["", "appliances", name, what @ ("health" | "metrics")]) => {
                self.ask(name, what).await
            }
            (&Method::POST, ["", "appliances", name, act]) if request.headers().contains_key(MEANT) => {
                self.wish(name, act).await
            }
            (&Method::GET, _) => file(path),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "not with this method"),
        }
    }

    /// What an appliance says of itself, which it says to no page of another origin.
    async fn ask(&self, name: &str, what: &str) -> Response<Full<Bytes>> {
        let Some(appliance) = self.facts.appliances.iter().find(|one| one.name == name) else {
            return text(StatusCode::NOT_FOUND, "there is no such appliance");
        };
        let asked = async {
            let answer = self.client.get(format!("{}/{what}", appliance.admin)).send().await?;
            let status = answer.status();
            answer.bytes().await.map(|content| (status, content))
        };
        match asked.await {
            Ok((status, content)) => {
                let kind = if what == "health" { "application/json" } else { "text/plain; charset=utf-8" };
                response(status, kind, content)
            }
            Err(error) => text(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }

    async fn wish(&self, name: &str, act: &str) -> Response<Full<Bytes>> {
        let act = match act {
            "kill" => Act::Kill,
            "start" => Act::Start,
            "drain" => Act::Drain,
            "serve" => Act::Serve,
            _ => return text(StatusCode::NOT_FOUND, "kill, start, drain or serve"),
        };
        let (done, outcome) = oneshot::channel();
        let wish = Wish { appliance: name.to_owned(), act, done };
        if self.wishes.try_send(wish).is_err() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too much is waiting to be done");
        }
        match outcome.await {
            Ok(Ok(())) => response(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", Bytes::new()),
            Ok(Err(why)) => text(StatusCode::CONFLICT, &why),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the demo ends"),
        }
    }
}

fn file(path: &str) -> Response<Full<Bytes>> {
    let Some((_, name, kind)) = FILES.iter().find(|(known, ..)| *known == path) else {
        return text(StatusCode::NOT_FOUND, "there is nothing here");
    };
    match std::fs::read(directory().join(name)) {
        Ok(content) => response(StatusCode::OK, kind, content),
        Err(_) if path.starts_with("/lib/") => {
            text(StatusCode::NOT_FOUND, "not installed: run \"npm ci\" in demo/players")
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{name}: {error}")),
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn response(status: StatusCode, kind: &'static str, content: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ApplianceFacts;

    /// The page's address, and where wishes come. The appliance's admin API is not there.
    async fn page() -> (String, mpsc::Receiver<Wish>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let appliance = ApplianceFacts {
            name: "oca-1".to_owned(),
            http: "http://127.0.0.1:8080".to_owned(),
            https: "https://127.0.0.1:8443".to_owned(),
            admin: "http://127.0.0.1:1".to_owned(),
        };
        let facts = Facts {
            control_plane: "http://127.0.0.1:1".to_owned(),
            titles: vec!["/titles/sample".to_owned()],
            viewers: ["127.0.0.1".to_owned(), "198.51.100.7".to_owned()],
            appliances: vec![appliance],
        };
        let (sender, wishes) = mpsc::channel(1);
        tokio::spawn(serve(listener, facts, sender));
        (format!("http://{address}"), wishes)
    }

    async fn status(request: reqwest::RequestBuilder) -> u16 {
        request.send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn every_file_of_the_page_is_there_and_nothing_else() {
        let (page, _wishes) = page().await;
        let client = Client::new();
        for (path, _, kind) in FILES.iter().filter(|(path, ..)| !path.starts_with("/lib/")) {
            let answer = client.get(format!("{page}{path}")).send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["content-type"]),
                (200, &kind.parse().unwrap()),
                "{path}"
            );
        }
        assert_eq!(status(client.get(format!("{page}/system.json"))).await, 200);
        for absent in
            ["/Cargo.toml", "/page/page.js", "/appliances/oca-2/health", "/appliances/oca-1/inventory"]
        {
            assert_eq!(status(client.get(format!("{page}{absent}"))).await, 404, "{absent}");
        }
        assert_eq!(status(client.get(format!("{page}/appliances/oca-1/health"))).await, 502, "it is away");
    }

    #[tokio::test]
    async fn only_the_page_itself_has_something_done_to_an_appliance() {
        let (page, mut wishes) = page().await;
        let client = Client::new();
        let kill = format!("{page}/appliances/oca-1/kill");
        assert_eq!(status(client.post(&kill)).await, 405, "a page of another origin can send that much");
        let elsewhere = client.post(&kill).header(MEANT, "meant").header(HOST, "elsewhere.example");
        assert_eq!(status(elsewhere).await, 403);
        assert_eq!(
            status(client.post(format!("{page}/appliances/oca-1/explode")).header(MEANT, "meant")).await,
            404
        );
        assert!(wishes.try_recv().is_err(), "nothing of that was a wish");
        let obeyed = tokio::spawn(async move {
            let wish = wishes.recv().await.unwrap();
            let wished = (wish.appliance.clone(), wish.act);
            wish.answer(Ok(()));
            wished
        });
        assert_eq!(status(client.post(&kill).header(MEANT, "meant")).await, 204);
        assert_eq!(obeyed.await.unwrap(), ("oca-1".to_owned(), Act::Kill));
    }
}
