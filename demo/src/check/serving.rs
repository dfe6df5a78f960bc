//! What one appliance serves, as today's players ask for it: HTTP and HTTPS, whole and by ranges, revalidation, health, metrics,
//! drain, and a line in the log for each request.

use std::time::Duration;

use control_client::health::{Readiness, Verdict};
use reqwest::{Certificate, Client, StatusCode};

use super::compared::Compared;
use crate::certificate::CertificateFiles;
use crate::failure::{Failure, Step};
use crate::member::Member;
use crate::title::{TitleFile, sha256_hex};

/// Has everything of one appliance compared that a client sees.
pub(super) async fn check(
    member: &Member,
    certificate: &CertificateFiles,
    files: &[TitleFile],
) -> Result<Vec<Compared>, Failure> {
    let client = client(certificate)?;
    let bases = [
        ("HTTP", format!("http://{}", member.http())),
        ("HTTPS", format!("https://localhost:{}", member.https().port())),
    ];
    let before = counted_requests(member, &client).await?;
    let mut compared = Vec::new();
    for (name, base) in &bases {
        compared.push(whole(name, base, files, &client).await?);
        compared.push(ranges(name, base, files, &client).await?);
        compared.push(revalidation(name, base, files, &client).await?);
    }
    let requests: usize = compared.iter().map(|part| part.requests).sum();
    compared.push(health(member, &client).await?);
    compared.push(metrics(member, before, requests, &client).await?);
    compared.push(drain(member, &files[0], &client).await?);
    Ok(compared)
}

fn client(certificate: &CertificateFiles) -> Result<Client, Failure> {
    let certificate = Certificate::from_pem(certificate.pem.as_bytes()).step("reading the certificate")?;
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

async fn health(member: &Member, client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new("health: 200 and healthy");
    let response = client.get(format!("http://{}/health", member.admin())).send().await.step("health")?;
    compared.requests = 1;
    compared.expect(response.status() == StatusCode::OK, || response.status().to_string());
    let text = response.text().await.step("health")?;
    compared.bytes = text.len() as u64;
    compared.expect(text.contains("\"healthy\""), || text.clone());
    Ok(compared)
}

/// The metrics must account for every request that was made.
async fn metrics(
    member: &Member,
    before: u64,
    requests: usize,
    client: &Client,
) -> Result<Compared, Failure> {
    let mut compared = Compared::new("metrics: every request has its outcome");
    let counted = last_count(member, client).await? - before;
    compared.requests = 1;
    compared.expect(counted == requests as u64, || format!("{counted} requests counted, {requests} made"));
    Ok(compared)
}

/// The requests that ended, when all have: one is counted when its answer is with the kernel, a moment after the client may have it.
async fn last_count(member: &Member, client: &Client) -> Result<u64, Failure> {
    let mut counted = counted_requests(member, client).await?;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let again = counted_requests(member, client).await?;
        if again == counted {
            return Ok(counted);
        }
        counted = again;
    }
    Err(Failure::new("somebody asks the appliance all the time"))
}

/// The requests that ended, whatever their outcome.
async fn counted_requests(member: &Member, client: &Client) -> Result<u64, Failure> {
    let text = client.get(format!("http://{}/metrics", member.admin())).send().await.step("metrics")?;
    let text = text.text().await.step("metrics")?;
    let counts = text
        .lines()
        .filter(|line| line.starts_with("oca_requests_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum::<f64>() as u64)
}

/// While draining the verdict is 503, and whoever comes is still served; afterwards all is as before.
async fn drain(member: &Member, file: &TitleFile, client: &Client) -> Result<Compared, Failure> {
    let mut compared = Compared::new("drain: 503 for steering, clients still served, undrain");
    let socket = member.premises().admin();
    let drained = socket.drain().await.step("drain")?;
    compared.expect(drained.readiness == Readiness::Draining, || format!("{:?}", drained.readiness));
    let verdict = |at: &'static str| async move {
        let response = client.get(format!("http://{}/health", member.admin())).send().await.step(at)?;
        Ok::<_, Failure>(response.status())
    };
    let draining = verdict("health while draining").await?;
    compared
        .expect(draining == StatusCode::SERVICE_UNAVAILABLE, || format!("health while draining: {draining}"));
    let served = client
        .get(format!("http://{}{}", member.http(), file.request_path()))
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

/// The appliance stops when told to, with exit code 0, and its access log has a line for each request.
pub(super) async fn stop(member: &mut Member) -> Result<Compared, Failure> {
    let mut compared =
        Compared::new(format!("{}: stops with exit code 0, a line logged for each request", member.name()));
    let client = Client::builder().no_proxy().build().step("making a client")?;
    let counted = last_count(member, &client).await?;
    compared.expect(member.stop().await?, || "daemon or agent ended with another code".to_owned());
    let log = std::fs::read_to_string(member.premises().access_log()).step("reading the access log")?;
    let lines = log.lines().count() as u64;
    compared.requests = 1;
    compared.bytes = log.len() as u64;
    compared.expect(lines == counted, || format!("{lines} lines logged, {counted} requests counted"));
    Ok(compared)
}

fn field(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
