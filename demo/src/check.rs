//! The unattended check: every object back over HTTP and HTTPS, whole and by ranges, health, metrics, drain and stop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use control_client::health::{Readiness, Verdict};
use reqwest::{Certificate, Client, StatusCode};

use crate::failure::{Failure, Step};
use crate::table;
use crate::title::{self, TitleFile, sha256_hex};
use crate::tour::Exhibit;

/// What one part of the check compared.
struct Compared {
    what: String,
    requests: usize,
    bytes: u64,
    problems: Vec<String>,
}

impl Compared {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), requests: 0, bytes: 0, problems: Vec::new() }
    }

    fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }
}

/// Checks everything, prints what was compared, and says whether all of it was right.
pub async fn run() -> Result<bool, Failure> {
    let began = Instant::now();
    let files = title::read()?;
    let exhibit = Exhibit::open().await?;
    let client = client(&exhibit)?;
    let bases = [
        ("HTTP over IPv4", format!("http://{}", exhibit.http)),
        ("HTTPS", format!("https://localhost:{}", exhibit.https.port())),
    ];
    let mut compared = Vec::new();
    for (name, base) in &bases {
        compared.push(whole(name, base, &files, &client).await?);
        compared.push(ranges(name, base, &files, &client).await?);
        compared.push(revalidation(name, base, &files, &client).await?);
    }
    let requests: usize = compared.iter().map(|part| part.requests).sum();
    compared.push(health(exhibit.admin, &client).await?);
    compared.push(metrics(exhibit.admin, requests, &client).await?);
    compared.push(drain(&exhibit, &files[0], &client).await?);
    drop(client);
    compared.push(stop(exhibit, requests).await?);

    print(&compared);
    let is_right = compared.iter().all(|part| part.problems.is_empty());
    println!(
        "{} in {:.1} s",
        if is_right { "all right" } else { "NOT right" },
        began.elapsed().as_secs_f64()
    );
    Ok(is_right)
}

fn client(exhibit: &Exhibit) -> Result<Client, Failure> {
    let certificate =
        Certificate::from_pem(exhibit.certificate.as_bytes()).step("reading the certificate")?;
    Client::builder()
        .tls_certs_only([certificate])
        .http1_only()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .step("making a client")
}

async fn whole(name: &str, base: &str, files: &[TitleFile], client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new(format!("{name}: whole objects, SHA-256"));
    for file in files {
        let response = client.get(format!("{base}{}", file.request_path())).send().await.step(&file.name)?;
        let status = response.status();
        let media_type = field(&response, "content-type");
        let body = response.bytes().await.step(&file.name)?;
        compared.requests += 1;
        compared.bytes += body.len() as u64;
        compared.expect(status == StatusCode::OK, || format!("{}: {status}", file.name));
        compared
            .expect(sha256_hex(&body) == sha256_hex(&file.bytes), || format!("{}: wrong bytes", file.name));
        compared.expect(media_type == media_type_of(&file.name), || format!("{}: {media_type}", file.name));
    }
    Ok(compared)
}

fn media_type_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("m4s") => "video/iso.segment",
        Some("mp4") => "video/mp4",
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("mpd") => "application/dash+xml",
        Some("vtt") => "text/vtt",
        Some("jpg") => "image/jpeg",
        Some("html") => "text/html",
        _ => "application/octet-stream",
    }
}

async fn ranges(name: &str, base: &str, files: &[TitleFile], client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new(format!("{name}: ranges, first, middle, last, suffix, beyond"));
    for file in files {
        let length = file.bytes.len();
        let middle = length / 3..(2 * length / 3).max(length / 3 + 1);
        for (range, expected) in [
            ("0-0".to_owned(), 0..1),
            (format!("{}-{}", middle.start, middle.end - 1), middle.clone()),
            (format!("{}-", length - 1), length - 1..length),
            ("-100".to_owned(), length.saturating_sub(100)..length),
        ] {
            let request = client
                .get(format!("{base}{}", file.request_path()))
                .header("range", format!("bytes={range}"));
            let response = request.send().await.step(&file.name)?;
            let (status, content_range) = (response.status(), field(&response, "content-range"));
            let body = response.bytes().await.step(&file.name)?;
            compared.requests += 1;
            compared.bytes += body.len() as u64;
            let stated = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
            compared
                .expect(status == StatusCode::PARTIAL_CONTENT, || format!("{} {range}: {status}", file.name));
            compared.expect(content_range == stated, || format!("{} {range}: {content_range}", file.name));
            compared.expect(body == file.bytes[expected], || format!("{} {range}: wrong bytes", file.name));
        }
        let request =
            client.get(format!("{base}{}", file.request_path())).header("range", format!("bytes={length}-"));
        let response = request.send().await.step(&file.name)?;
        compared.requests += 1;
        compared.expect(response.status() == StatusCode::RANGE_NOT_SATISFIABLE, || {
            format!("{}: beyond its end: {}", file.name, response.status())
        });
    }
    Ok(compared)
}

async fn revalidation(
    name: &str,
    base: &str,
    files: &[TitleFile],
    client: &Client,
) -> Result<Compared, Failure> {
    let mut compared = Compared::new(format!("{name}: revalidation by ETag"));
    for file in files {
        let url = format!("{base}{}", file.request_path());
        let head = client.head(&url).send().await.step(&file.name)?;
        let etag = field(&head, "etag");
        let stated: Option<usize> = field(&head, "content-length").parse().ok();
        compared
            .expect(stated == Some(file.bytes.len()), || format!("{}: HEAD states {stated:?}", file.name));
        let again = client.get(&url).header("if-none-match", etag).send().await.step(&file.name)?;
        compared.expect(again.status() == StatusCode::NOT_MODIFIED, || {
            format!("{}: {}", file.name, again.status())
        });
        compared.requests += 2;
    }
    Ok(compared)
}

async fn health(admin: SocketAddr, client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new("health: 200 and healthy");
    let response = client.get(format!("http://{admin}/health")).send().await.step("health")?;
    compared.requests = 1;
    compared.expect(response.status() == StatusCode::OK, || response.status().to_string());
    let text = response.text().await.step("health")?;
    compared.bytes = text.len() as u64;
    compared.expect(text.contains("\"healthy\""), || text.clone());
    Ok(compared)
}

/// The metrics must account for every request that was made.
async fn metrics(admin: SocketAddr, requests: usize, client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new("metrics: every request has its outcome");
    let text = client.get(format!("http://{admin}/metrics")).send().await.step("metrics")?;
    let text = text.text().await.step("metrics")?;
    compared.requests = 1;
    compared.bytes = text.len() as u64;
    let counted: f64 = text
        .lines()
        .filter(|line| line.starts_with("oca_requests_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    compared.expect(counted == requests as f64, || format!("{counted} requests counted, {requests} made"));
    Ok(compared)
}

/// While draining the verdict is 503, and whoever comes is still served; afterwards all is as before.
async fn drain(exhibit: &Exhibit, file: &TitleFile, client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new("drain: 503 for steering, clients still served, undrain");
    let socket = exhibit.premises.admin();
    let drained = socket.drain().await.step("drain")?;
    compared.expect(drained.readiness == Readiness::Draining, || format!("{:?}", drained.readiness));
    let verdict = |at: &'static str| async move {
        let response = client.get(format!("http://{}/health", exhibit.admin)).send().await.step(at)?;
        Ok::<_, Failure>(response.status())
    };
    let draining = verdict("health while draining").await?;
    compared
        .expect(draining == StatusCode::SERVICE_UNAVAILABLE, || format!("health while draining: {draining}"));
    let served = client
        .get(format!("http://{}{}", exhibit.http, file.request_path()))
        .send()
        .await
        .step("draining")?;
    compared.expect(served.status() == StatusCode::OK, || format!("while draining: {}", served.status()));
    compared.bytes = served.bytes().await.step("draining")?.len() as u64;
    let undrained = socket.undrain().await.step("undrain")?;
    compared.expect(undrained.readiness == Readiness::Serving, || format!("{:?}", undrained.readiness));
    let health = socket.health().await.step("health")?;
    compared.expect(health.verdict == Verdict::Healthy, || format!("after undrain: {:?}", health.reasons));
    compared.requests = 5;
    Ok(compared)
}

/// The daemon stops when told to, with exit code 0, and its access log has a line for each request.
async fn stop(exhibit: Exhibit, requests: usize) -> Result<Compared, Failure> {
    let mut compared = Compared::new("stop: exit code 0, a line logged for each request");
    let status = exhibit.daemon.stop().await?;
    compared.expect(status.success(), || status.to_string());
    let log = std::fs::read_to_string(exhibit.premises.access_log()).step("reading the access log")?;
    // One more was made while draining.
    let (lines, made) = (log.lines().count(), requests + 1);
    compared.bytes = log.len() as u64;
    compared.expect(lines == made, || format!("{lines} lines logged, {made} requests made"));
    Ok(compared)
}

fn field(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn print(compared: &[Compared]) {
    let mut rows = vec![["compared", "requests", "bytes", "result"].map(str::to_owned).to_vec()];
    for part in compared {
        let result = match part.problems.len() {
            0 => "ok".to_owned(),
            count => format!("{count} wrong"),
        };
        rows.push(vec![part.what.clone(), part.requests.to_string(), part.bytes.to_string(), result]);
    }
    println!("\n{}", table::render(&rows));
    for part in compared {
        for problem in part.problems.iter().take(20) {
            println!("{}: {problem}", part.what);
        }
    }
}
