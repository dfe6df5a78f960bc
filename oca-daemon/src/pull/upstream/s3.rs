//! An upstream that is a bucket of S3: `object_store` signs, and what is signed is asked for as from any server of HTTP, so that
//! ranges, conditions and what the bucket says of an object are HTTP's own.
//!
//! A bucket is asked for objects and for nothing else: what could be another operation, such as a list of all there are, is never
//! signed. The query of a request is not passed on for that reason.

use std::path::Path as FilePath;
use std::pin::Pin;

use control_client::config::{PullConfig, S3Config};
use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, USER_AGENT,
};
use http::{HeaderMap, Method};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService,
};
use object_store::path::Path;
use object_store::signer::Signer;

use super::Ask;
use super::http_upstream::{Answer, HttpUpstream, NoAnswer};
use crate::limits::{S3_CREDENTIALS_BYTES, S3_SIGNATURE_LIFETIME};
use crate::pull::failure::PullFailure;

/// A bucket.
pub(super) struct S3Upstream {
    http: HttpUpstream,
    /// `None`: requests are not signed.
    signer: Option<AmazonS3>,
    key_prefix: String,
}

impl S3Upstream {
    pub(super) fn new(s3: &S3Config, config: &PullConfig) -> Result<Self, String> {
        let (bucket, region) = (&s3.bucket, &s3.region);
        let base = match &s3.endpoint {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        };
        let http = HttpUpstream::new(&base, None, config)?;
        let signer = s3.credentials.as_deref().map(|file| signer(s3, file)).transpose()?;
        Ok(Self { http, signer, key_prefix: s3.key_prefix.clone() })
    }

    /// The object that is asked for.
    ///
    /// # Errors
    /// Why there can be none.
    pub(super) fn object(&self, ask: &Ask) -> Result<Path, String> {
        if ![Method::GET, Method::HEAD].contains(&ask.method) {
            return Err(format!("{} is for no client to have signed", ask.method));
        }
        object_of(&self.key_prefix, path_of(ask))
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, NoAnswer> {
        let object = self.object(ask).map_err(|why| (PullFailure::NoObject, why))?;
        let fields = asked_of_a_bucket(&ask.fields);
        let mut answer = match &self.signer {
            Some(signer) => {
                let url = signer.signed_url(ask.method.clone(), &object, S3_SIGNATURE_LIFETIME).await;
                let unsigned = |error| (PullFailure::Invalid, format!("it cannot be signed: {error}"));
                self.http.ask_at(url.map_err(unsigned)?.as_str(), ask, fields).await?
            }
            None => {
                let target = format!("/{}{}", self.key_prefix, path_of(ask).trim_start_matches('/'));
                self.http.ask(&Ask { target, fields, ..ask.clone() }).await?
            }
        };
        remove_bucket_fields(&mut answer.fields);
        Ok(answer)
    }
}

fn path_of(ask: &Ask) -> &str {
    ask.target.split('?').next().unwrap_or_default()
}

/// The object that a path names. One has one path: an escaped slash, of which RFC 3986 §2.2 says that it is not a slash, would be
/// another, and so would a slash that `object_store` passes over.
fn object_of(prefix: &str, path: &str) -> Result<Path, String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    if name.split('/').any(str::is_empty) {
        return Err("a component of its name is empty".to_owned());
    }
    if name.contains("%2F") || name.contains("%2f") {
        return Err("there is an escaped slash in its name".to_owned());
    }
    let name = percent_decoded(name).ok_or("its name is not UTF-8")?;
    Path::parse(format!("{prefix}{name}")).map_err(|error| error.to_string())
}

fn signer(s3: &S3Config, credentials: &FilePath) -> Result<AmazonS3, String> {
    let (id, secret) = read_credentials(credentials)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .with_virtual_hosted_style_request(s3.endpoint.is_none())
        .with_allow_http(true)
        .with_http_connector(Unconnected);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    builder.build().map_err(|error| error.to_string())
}

/// The identifier and the secret of a file whose lines are `aws_access_key_id = …` and `aws_secret_access_key = …`.
fn read_credentials(file: &FilePath) -> Result<(String, String), String> {
    let unreadable = |what: &dyn std::fmt::Display| format!("s3.credentials {}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    if text.len() > S3_CREDENTIALS_BYTES {
        return Err(unreadable(&"too long for two lines"));
    }
    let find = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let value = lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned());
        value.filter(|value| !value.is_empty()).ok_or_else(|| unreadable(&format_args!("{key} is missing")))
    };
    Ok((find("aws_access_key_id")?, find("aws_secret_access_key")?))
}

/// Conditions and range; what clients say of themselves is not for a bucket, and would clash with the signature.
fn asked_of_a_bucket(fields: &HeaderMap) -> HeaderMap {
    let names =
        [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, USER_AGENT];
    let known = names.into_iter().filter_map(|name| fields.get(&name).map(|value| (name, value.clone())));
    known.collect()
}

/// What a bucket says of itself and of the request is not for clients.
fn remove_bucket_fields(fields: &mut HeaderMap) {
    let own: Vec<_> = fields.keys().filter(|name| name.as_str().starts_with("x-amz")).cloned().collect();
    for name in own {
        fields.remove(name);
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// `object_store` signs here, and never connects.
#[derive(Debug)]
struct Unconnected;

impl HttpConnector for Unconnected {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(NoService))
    }
}

#[derive(Debug)]
struct NoService;

impl HttpService for NoService {
    fn call<'a, 'b>(
        &'a self,
        _: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let error = std::io::Error::other("signatures need no connection");
        Box::pin(std::future::ready(Err(HttpError::new(HttpErrorKind::Connect, error))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_what_paths_say_with_escapes_undone() {
        for (path, name) in
            [("films/a%20b.mp4", Some("films/a b.mp4")), ("a", Some("a")), ("%ff", None), ("%4", None)]
        {
            assert_eq!(percent_decoded(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn a_path_names_one_object_or_none() {
        for (path, object) in [
            ("/a", Some("films/a")),
            ("/b/a%20b.mp4", Some("films/b/a b.mp4")),
            ("/a%252Fb", Some("films/a%2Fb")),
            ("/a%3Fb%23", Some("films/a?b#")),
            ("/%C3%A9", Some("films/é")),
            ("", None),
            ("/", None),
            ("//", None),
            ("//a", None),
            ("/a/", None),
            ("/a//b", None),
            ("/a%2Fb", None),
            ("/a%2fb", None),
            ("/%2E%2E/a", None),
            ("/a/%2e", None),
            ("/..", None),
            ("/%FF", None),
            ("/a%01", None),
        ] {
            assert_eq!(object_of("films/", path).ok().as_ref().map(Path::as_ref), object, "{path}");
        }
        assert_eq!(object_of("", "/a").unwrap().as_ref(), "a");
        assert!(object_of("", "/").is_err() && object_of("", "//a").is_err());
    }

    #[test]
    fn a_bucket_is_asked_for_a_range_and_not_told_who_asks() {
        let mut fields = HeaderMap::new();
        for name in ["range", "if-none-match", "authorization", "cookie", "accept"] {
            fields.insert(name, "x".parse().unwrap());
        }
        let mut names: Vec<_> = asked_of_a_bucket(&fields).keys().map(|name| name.to_string()).collect();
        names.sort();
        assert_eq!(names, ["if-none-match", "range"]);
    }

    #[test]
    fn credentials_are_two_lines_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s3");
        std::fs::write(&file, "[default]\naws_access_key_id = id\naws_secret_access_key=a=b\n").unwrap();
        assert_eq!(read_credentials(&file).unwrap(), ("id".to_owned(), "a=b".to_owned()));
        std::fs::write(&file, "aws_access_key_id = id\n").unwrap();
        assert!(read_credentials(&file).unwrap_err().contains("aws_secret_access_key is missing"));
    }
}
