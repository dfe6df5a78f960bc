use serde::{Deserialize, Serialize};

use crate::config::problem::Problems;
use crate::limits;

/// What happens to the paths below a prefix, where no bundle has what they name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRule {
    /// What the path starts with, byte by byte, its escapes undone; `/` is every path. A path that an origin could read as one of another
    /// rule is refused.
    pub prefix: String,
    /// What happens.
    pub on_miss: OnMiss,
    /// For [`OnMiss::Redirect`]: the base URL to which path and query are appended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub redirect_to: String,
}

/// What happens to a request for what no bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMiss {
    /// It is answered from what was pulled before, or pulled from upstream.
    Pull,
    /// 307, with the place to go to.
    Redirect,
    /// 404.
    Reject,
}

pub(super) fn check_all(rules: &[PullRule], problems: &mut Problems) {
    problems.check_count("pull.rules", rules.len(), 0..=limits::PULL_RULES_MAX);
    for (index, rule) in rules.iter().enumerate() {
        rule.check(index, problems);
        if rules[..index].iter().any(|earlier| earlier.prefix == rule.prefix) {
            problems.add(
                &format!("pull.rules[{index}].prefix"),
                format!("{:?} is the prefix of two rules", rule.prefix),
                "keep one of them",
            );
        }
    }
}

impl PullRule {
    /// A rule.
    pub fn new(prefix: impl Into<String>, on_miss: OnMiss, redirect_to: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), on_miss, redirect_to: redirect_to.into() }
    }

    fn check(&self, index: usize, problems: &mut Problems) {
        let is_path = self.prefix.starts_with('/')
            && self.prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\"<>\\`{}".contains(&byte));
        if !is_path || self.prefix.len() > limits::URL_BYTES_MAX {
            problems.add(
                &format!("pull.rules[{index}].prefix"),
                format!("{:?} is not what a path starts with", self.prefix),
                "start it with '/', and write no query, fragment or escape",
            );
        }
        let key = format!("pull.rules[{index}].redirect_to");
        match (self.on_miss, self.redirect_to.as_str()) {
            (OnMiss::Redirect, "") => problems.add(
                &key,
                "the rule redirects, and does not say where to".to_owned(),
                "name the base URL to which the path is appended, such as \"https://cdn.example.net\"",
            ),
            (OnMiss::Redirect, url) => problems.check_url(&key, url),
            (_, "") => {}
            _ => problems.add(
                &key,
                "the rule does not redirect".to_owned(),
                "leave it out, or write on_miss = \"redirect\"",
            ),
        }
    }
}
