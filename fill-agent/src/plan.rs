//! What a run fetches, where it puts it, and what has to go. Pure: the same input gives the same plan.
//!
//! The plan makes the most of two things that are scarce, room on the volumes and the night's bytes:
//!
//! 1. Pinned bundles come first, pre-warmed ones next, then the ranked ones. One of a higher class is never left
//!    out for one of a lower class. Within a class the best value per byte that is to be fetched comes first, so
//!    that a run that is cut short has done the best part.
//! 2. A bundle is worth what it serves to clients within `churn_days`, or until its licence expires where that is
//!    sooner. One that is held is worth besides what it would cost to fetch again: so within a class it gives way
//!    only to what serves so much more that it pays for the bytes. One that is not in the manifest serves nothing,
//!    but costs as much to fetch again, and stays until room is needed.
//! 3. What goes, goes when the fetch that needs its room begins, and only for a fetch that the night's bytes allow.
//! 4. Where bundles stand in the place of pulled content, those that are worth least go for that, at once; pinned ones never.
//!
//! The modules, in the order of the work: `survey` sorts the input; `selection` chooses greedily; `improvement`
//! searches exactly over the bundles at the margin; `schedule` puts the steps in order. The cost is O(n log n) for
//! n bundles, and a look at each volume for each bundle that finds no free room.

use control_client::content::BundleKey;
use control_client::fill_manifest::FillEntry;

mod improvement;
mod schedule;
mod selection;
mod survey;
mod worth;

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The manifest's.
    pub entries: &'a [FillEntry],
    /// What the daemon serves.
    pub held: &'a [Held],
    /// What was begun.
    pub partial: &'a [Partial],
    /// Where bundles can be put.
    pub volumes: &'a [VolumeRoom],
    /// Bytes that stay free on each volume.
    pub keep_free_bytes: u64,
    /// What may be received in one night.
    pub night_bytes: u64,
    /// What of it is left.
    pub night_bytes_left: u64,
    /// The days within which a bundle has to serve so much more than what it replaces that it pays for the bytes; 0 counts as 1.
    pub churn_days: u32,
    /// Seconds since 1970.
    pub now: u64,
    /// Nothing expires by a clock that is not.
    pub clock_is_synchronised: bool,
}

/// A bundle that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub key: BundleKey,
    /// The volume that it is on, by its place in `store.volumes`.
    pub volume: u8,
    /// The length of its file.
    pub file_bytes: u64,
    /// When its licence expires, in seconds since 1970, as far as an earlier manifest said; the one in force
    /// overrides it.
    pub expires_at: Option<u64>,
}

/// A bundle that was begun: its file has all of its space already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Which. One that was begun for another descriptor than the manifest's is to be removed, and not told here.
    pub key: BundleKey,
    /// The volume that it is on.
    pub volume: u8,
    /// The length of its file.
    pub file_bytes: u64,
    /// Bytes of its objects that are there.
    pub done_bytes: u64,
}

/// A volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeRoom {
    /// Its place in `store.volumes`.
    pub index: u8,
    /// Bytes that are free in its file system, without those that pulled content has yet to take.
    pub free_bytes: u64,
    /// Bytes that bundles have to let go of for pulled content, whether others come or not.
    pub owed_bytes: u64,
    /// Whether it serves: what is on one that does not counts as lost, and nothing is done to it.
    pub is_serving: bool,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To retire at once.
    pub retires: Vec<PlannedRetire>,
    /// Partial files to remove at once: they belong to nothing that is wanted. Others stay, for a later night.
    pub discards: Vec<PlannedDiscard>,
    /// To fetch, in this order. Several can be under way at once, as long as each begins after the ones before it.
    pub fetches: Vec<PlannedFetch>,
    /// Entries of the manifest that are held and stay.
    pub held: u64,
    /// Entries of the manifest that are left out, in its order, by their place in it.
    pub skipped: Vec<(usize, Skipped)>,
}

/// A bundle to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFetch {
    /// Its place in the manifest.
    pub entry: usize,
    /// Which.
    pub key: BundleKey,
    /// Where to.
    pub volume: u8,
    /// The length of its file, or a little more: it is not known before the descriptor is.
    pub file_bytes: u64,
    /// Bytes of its objects that are to be fetched.
    pub missing_bytes: u64,
    /// To retire before its file is made, and best not before a source has answered.
    pub retire_first: Vec<PlannedRetire>,
    /// Partial files to remove before its file is made.
    pub discard_first: Vec<PlannedDiscard>,
    /// The earlier generation, to be retired when this one is published.
    pub supersedes: Option<PlannedRetire>,
}

/// A bundle to retire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRetire {
    /// Which.
    pub key: BundleKey,
    /// Where it is.
    pub volume: u8,
    /// What returns.
    pub file_bytes: u64,
    /// Why.
    pub why: RetireReason,
}

/// A partial file to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDiscard {
    /// Of which bundle.
    pub key: BundleKey,
    /// Where it is.
    pub volume: u8,
    /// What returns.
    pub file_bytes: u64,
}

/// Why a bundle goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetireReason {
    /// Its licence has expired.
    Expired,
    /// There is a newer generation.
    Superseded,
    /// Another needs its room.
    Displaced,
    /// Pulled content is to have its room.
    GaveWay,
}

/// Why an entry of the manifest is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skipped {
    /// Its licence has expired.
    Expired,
    /// Its licence expires within a day, before it serves what it costs to fetch.
    ExpiresSoon,
    /// There is no room for it but that of better ones.
    NoRoom,
    /// It serves more than what would have to go for it, but not so much more that it pays for the bytes.
    Churn,
    /// The night's bytes are spent on better ones.
    Budget,
    /// It is larger than a whole night's bytes.
    LargerThanNight,
    /// A newer generation is held.
    NewerHeld,
    /// An earlier entry has the same path.
    Repeated,
}

impl Skipped {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "its licence has expired",
            Self::ExpiresSoon => "its licence expires before it serves what it costs to fetch",
            Self::NoRoom => "no room beside what is worth more",
            Self::Churn => {
                "within fill.churn_days it would not serve so much more than what it replaces that it pays"
            }
            Self::Budget => "the night's bytes go to better ones",
            Self::LargerThanNight => "larger than fill.night_bytes; raise it, or this is never fetched",
            Self::NewerHeld => "a newer generation is held",
            Self::Repeated => "the manifest has its path twice",
        }
    }
}

impl RetireReason {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "its licence has expired",
            Self::Superseded => "a newer generation takes its place",
            Self::Displaced => "its room is needed",
            Self::GaveWay => "pulled content has not got its share yet",
        }
    }
}

impl PlannedRetire {
    fn new(bundle: &Held, why: RetireReason) -> Self {
        Self { key: bundle.key.clone(), volume: bundle.volume, file_bytes: bundle.file_bytes, why }
    }
}

impl PlannedDiscard {
    fn new(file: &Partial) -> Self {
        Self { key: file.key.clone(), volume: file.volume, file_bytes: file.file_bytes }
    }
}

impl Plan {
    /// All that is to be retired, whenever.
    pub fn all_retires(&self) -> impl Iterator<Item = &PlannedRetire> {
        let with_fetches =
            self.fetches.iter().flat_map(|fetch| fetch.retire_first.iter().chain(&fetch.supersedes));
        self.retires.iter().chain(with_fetches)
    }
}

/// Makes the plan.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let survey = survey::survey(input);
    let mut selection = selection::Selection::new(&survey, input.night_bytes_left, input.night_bytes);
    selection.select();
    improvement::improve(&mut selection);
    // Room or bytes that the improvement has left over.
    selection.select();
    selection.keep_what_need_not_go();
    selection.give_way();
    schedule::schedule(&survey, &selection)
}

#[cfg(test)]
mod tests;
