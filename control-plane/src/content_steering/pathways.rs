use control_client::steering::{Candidate, SteeringAnswer};

use super::ORIGIN_PATHWAY;
use crate::limits::{CANDIDATES_MAX, PATHWAY_BYTES_MAX, TOLD_PATHWAYS_BYTES_MAX};

/// The pathways that a media manifest has itself, and what its URLs are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathways<'a> {
    own: Vec<&'a str>,
    base: Option<&'a str>,
    origin: &'a str,
    scheme: Option<&'a str>,
}

impl<'a> Pathways<'a> {
    /// Those of a manifest with one pathway, which is the origin's, and the scheme of its URLs where it is known: `http` or `https`. `None` where the
    /// identifier cannot be one (8216bis, section 4.4.6.2: letters, digits, `.`, `-`, `_`), or the scheme is
    /// another.
    pub fn one(id: &'a str, scheme: Option<&'a str>) -> Option<Self> {
        (is_pathway(id) && is_scheme(scheme)).then(|| Self {
            own: vec![id],
            base: Some(id),
            origin: id,
            scheme,
        })
    }

    /// Those of a manifest that was made here, separated by commas: `oca-1,oca-2,origin`.
    pub fn listed(list: &'a str, scheme: Option<&'a str>) -> Option<Self> {
        let mut own = Vec::new();
        for id in list.split(',') {
            if !is_pathway(id) || own.contains(&id) || own.len() > CANDIDATES_MAX {
                return None;
            }
            own.push(id);
        }
        let base = own.iter().copied().find(|&id| id != ORIGIN_PATHWAY);
        is_scheme(scheme).then_some(Self { own, base, origin: ORIGIN_PATHWAY, scheme })
    }

    /// All of them; at least one, none twice.
    pub fn own(&self) -> &[&'a str] {
        &self.own
    }

    /// The one that others are clones of. Of a manifest that was made here it is an appliance: the origin's URLs may have a scheme of
    /// their own, and a path before that of the bundle, which a clone would keep.
    pub const fn base(&self) -> Option<&'a str> {
        self.base
    }

    /// The one whose URLs are the origin's; it need not be among [`Self::own`].
    pub const fn origin(&self) -> &'a str {
        self.origin
    }

    /// The scheme that appliances must have a URL with.
    pub const fn scheme(&self) -> Option<&'a str> {
        self.scheme
    }
}

/// A pathway of a media manifest: an appliance, or the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathway {
    /// What it is called.
    pub id: String,
    /// Where it is, without a slash at its end.
    pub base_url: String,
}

/// The pathways of a steering decision, the best first: exactly its candidates that can be told apart and have a URL with the scheme.
/// Where none is asked for, appliances have [`appliances_scheme`], and the origin its own.
pub fn pathways(answer: &SteeringAnswer, scheme: Option<&str>) -> Vec<Pathway> {
    let appliances = scheme.or_else(|| appliances_scheme(answer));
    let mut pathways = Vec::with_capacity(answer.candidates.len());
    for candidate in &answer.candidates {
        let id = match &candidate.appliance {
            Some(appliance) if appliance.as_str() == ORIGIN_PATHWAY => continue,
            Some(appliance) => appliance.as_str(),
            None => ORIGIN_PATHWAY,
        };
        let scheme = if candidate.appliance.is_some() { appliances } else { scheme };
        if let Some((url, _)) = usable(candidate, scheme) {
            pathways.push(Pathway { id: id.to_owned(), base_url: url.trim_end_matches('/').to_owned() });
        }
    }
    pathways
}

/// The scheme of the first URL of the best appliance. All of a manifest have the same, so that any of them can be cloned.
pub fn appliances_scheme(answer: &SteeringAnswer) -> Option<&'static str> {
    let mut appliances = answer.candidates.iter().filter(|candidate| {
        candidate.appliance.as_ref().is_some_and(|appliance| appliance.as_str() != ORIGIN_PATHWAY)
    });
    let (url, _) = appliances.find_map(|candidate| usable(candidate, None))?;
    let (found, _) = url.split_once("://")?;
    ["http", "https"].into_iter().find(|scheme| found.eq_ignore_ascii_case(scheme))
}

/// Where a player says that it is: the last of the pathways that it names. Players say what they like; what is no pathway, or too long to
/// be a few of them, is passed over.
pub fn last_pathway(told: &str) -> Option<&str> {
    if told.len() > TOLD_PATHWAYS_BYTES_MAX {
        return None;
    }
    told.trim_matches('"').rsplit(',').next().filter(|id| is_pathway(id))
}

/// The host and port of the first of the candidate's URLs that has the scheme, or of the first where no
/// scheme is asked for.
pub(super) fn host<'a>(candidate: &'a Candidate, scheme: Option<&str>) -> Option<&'a str> {
    usable(candidate, scheme).map(|(_, host)| host)
}

/// The first of the candidate's URLs that can be written in a manifest and has the scheme, where one is asked for; and its host.
fn usable<'a>(candidate: &'a Candidate, scheme: Option<&str>) -> Option<(&'a str, &'a str)> {
    candidate.urls.iter().find_map(|url| {
        let (found, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?;
        let suits = scheme.is_none_or(|scheme| found.eq_ignore_ascii_case(scheme));
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>&\\?#@".contains(&byte));
        (suits && is_plain && !host.is_empty()).then_some((url.as_str(), host))
    })
}

fn is_pathway(id: &str) -> bool {
    (1..=PATHWAY_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_scheme(scheme: Option<&str>) -> bool {
    matches!(scheme, None | Some("http" | "https"))
}
