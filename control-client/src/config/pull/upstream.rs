use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::problem::Problems;
use crate::limits;

/// A place to pull from: a server of HTTP, or a bucket of S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its name in metrics and logs.
    pub name: String,
    /// For HTTP: the base URL to which path and query are appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// For HTTP: what `Host` says instead of the URL's own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
}

/// A bucket that speaks the protocol of S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Its region; `us-east-1` suits servers that know none.
    #[serde(default = "region_default")]
    pub region: String,
    /// The server's URL, where it is not Amazon's. Buckets are named in the path then, not in the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What comes before the request's path in the names of objects, as `films/`; empty where the path is the name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_prefix: String,
    /// The file with `aws_access_key_id = …` and `aws_secret_access_key = …`, each on a line of its own; requests are not signed
    /// without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
}

fn region_default() -> String {
    "us-east-1".to_owned()
}

pub(super) fn check_all(upstreams: &[UpstreamConfig], problems: &mut Problems) {
    problems.check_count("pull.upstreams", upstreams.len(), 0..=limits::UPSTREAMS_MAX);
    for (index, upstream) in upstreams.iter().enumerate() {
        upstream.check(index, problems);
        if upstreams[..index].iter().any(|earlier| earlier.name == upstream.name) {
            problems.add(
                &format!("pull.upstreams[{index}].name"),
                format!("{:?} is the name of two upstreams", upstream.name),
                "give each a name of its own: metrics tell them apart by it",
            );
        }
    }
}

impl UpstreamConfig {
    fn check(&self, index: usize, problems: &mut Problems) {
        let key = |name: &str| format!("pull.upstreams[{index}].{name}");
        problems.check_name(&key("name"), &self.name, limits::SOURCE_NAME_BYTES_MAX);
        match (&self.url, &self.s3) {
            (Some(url), None) => problems.check_url(&key("url"), url),
            (None, Some(s3)) => s3.check(&key("s3"), problems),
            (Some(_), Some(_)) => problems.add(
                &key("url"),
                "there is an s3 beside it".to_owned(),
                "name one of the two: they are two upstreams",
            ),
            (None, None) => problems.add(
                &key("url"),
                "it is missing, and there is no s3 either".to_owned(),
                "write url = \"https://HOST\", or s3 = { bucket = \"NAME\" }",
            ),
        }
        if let Some(host) = &self.host
            && (self.s3.is_some() || !is_authority(host))
        {
            problems.add(
                &key("host"),
                format!("{host:?} is not what Host can say of a server of HTTP"),
                "write HOST or HOST:PORT, or leave it out",
            );
        }
    }
}

impl S3Config {
    fn check(&self, key: &str, problems: &mut Problems) {
        for (name, value) in [("bucket", &self.bucket), ("region", &self.region)] {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if value.is_empty() || value.len() > limits::SOURCE_NAME_BYTES_MAX || !value.bytes().all(is_word)
            {
                problems.add(
                    &format!("{key}.{name}"),
                    format!("{value:?} is not a name"),
                    "write letters, digits, '-', '.' and '_'",
                );
            }
        }
        if let Some(endpoint) = &self.endpoint {
            problems.check_url(&format!("{key}.endpoint"), endpoint);
        }
        let prefix = self.key_prefix.as_str();
        if prefix.starts_with('/') || prefix.contains("//") || prefix.len() > limits::URL_BYTES_MAX {
            problems.add(
                &format!("{key}.key_prefix"),
                format!("{prefix:?} is not what the name of an object starts with"),
                "write it with neither a '/' before it nor two in a row, such as \"films/\"",
            );
        }
        if let Some(credentials) = &self.credentials {
            problems.check_path(&format!("{key}.credentials"), credentials);
        }
    }
}

/// Whether it can be said in `Host`: what a URL can say between `//` and `/`.
fn is_authority(host: &str) -> bool {
    !host.contains('/') && crate::web_url::check(&format!("http://{host}")).is_ok()
}
