//! Viewers: each asks the control plane where to go, and fetches from there, the next in the list where the first will not do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_client::steering::{Candidate, SteeringAnswer};
use reqwest::{Client, StatusCode};

use crate::catalogue::{Title, TitleBundle};
use crate::failure::{Failure, Step};
use crate::popularity::Popularity;
use crate::random::Random;

/// How long a viewer waits for a whole object.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Viewers that watch at the same time.
const AT_ONCE: usize = 6;

/// Objects in a row that somebody watches who chose a title.
const SITTING: usize = 4;

/// Somebody who watches, from one address.
#[derive(Clone)]
pub struct Viewer {
    client: Client,
    control_plane: String,
    operator: String,
    /// Where the viewer is, as the control plane is told.
    address: IpAddr,
}

/// What a viewer got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Objects that came, whole and right.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Objects by who sent them.
    pub senders: BTreeMap<String, u64>,
    /// Times that a place in the list would not do, and the next one was asked.
    pub fallbacks: u64,
    /// What did not come, or was wrong.
    pub problems: Vec<String>,
}

impl Played {
    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.fallbacks += other.fallbacks;
        self.problems.extend(other.problems);
        for (sender, objects) in other.senders {
            *self.senders.entry(sender).or_default() += objects;
        }
    }

    /// The objects by sender, `oca-1 40, origin 2`.
    pub fn senders_text(&self) -> String {
        let parts: Vec<String> =
            self.senders.iter().map(|(sender, objects)| format!("{sender} {objects}")).collect();
        parts.join(", ")
    }
}

/// What a candidate is called in reports.
pub fn name_of(candidate: &Candidate) -> String {
    candidate.appliance.as_ref().map_or_else(|| "origin".to_owned(), ToString::to_string)
}

impl Viewer {
    /// A viewer who asks the control plane at that base URL. Explanations are for its operator: with his token this is his eye.
    pub fn new(control_plane: &str, operator: String, address: IpAddr) -> Result<Self, Failure> {
        let client =
            Client::builder().http1_only().no_proxy().timeout(TIMEOUT).build().step("making a viewer")?;
        Ok(Self { client, control_plane: control_plane.to_owned(), operator, address })
    }

    /// Asks where to go for a directory.
    pub async fn steer(&self, path: &str, explain: bool) -> Result<SteeringAnswer, Failure> {
        let url = format!("{}/v1/steer?client={}&path={path}", self.control_plane, self.address);
        let request = if explain {
            self.client.get(format!("{url}&explain=true")).bearer_auth(&self.operator)
        } else {
            self.client.get(url)
        };
        let response = request.send().await.step("asking where to go")?;
        let status = response.status();
        let text = response.text().await.step("asking where to go")?;
        if status != StatusCode::OK {
            return Err(Failure::new(format!("asking where to go for {path}: {status}: {text}")));
        }
        serde_json::from_str(&text).step("asking where to go")
    }

    /// Watches so many objects of a bundle from `first` on, and compares each with the origin's tree.
    pub async fn watch(
        &self,
        bundle: &TitleBundle,
        first: usize,
        count: usize,
        tree: &Path,
    ) -> Result<Played, Failure> {
        let answer = self.steer(&bundle.path, false).await?;
        self.watch_by(&answer.candidates, bundle, first, count, tree).await
    }

    /// The same by a list that the viewer has already.
    pub async fn watch_by(
        &self,
        candidates: &[Candidate],
        bundle: &TitleBundle,
        first: usize,
        count: usize,
        tree: &Path,
    ) -> Result<Played, Failure> {
        let mut played = Played::default();
        for (object, _) in bundle.objects.iter().skip(first).take(count) {
            let request_path = bundle.request_path(object);
            let expected = std::fs::read(tree.join(&request_path[1..])).step(&request_path)?;
            self.fetch(candidates, &request_path, &expected, &mut played).await;
        }
        Ok(played)
    }

    async fn fetch(&self, candidates: &[Candidate], path: &str, expected: &[u8], played: &mut Played) {
        let mut refusals = Vec::new();
        for candidate in candidates {
            let Some(url) = candidate.urls.first() else { continue };
            match self.get(&format!("{url}{path}")).await {
                Ok(body) if body == expected => {
                    played.objects += 1;
                    played.bytes += body.len() as u64;
                    *played.senders.entry(name_of(candidate)).or_default() += 1;
                    return;
                }
                Ok(_) => {
                    played.problems.push(format!("{path}: wrong bytes from {}", name_of(candidate)));
                    return;
                }
                Err(why) => {
                    played.fallbacks += 1;
                    refusals.push(format!("{}: {why}", name_of(candidate)));
                }
            }
        }
        played.problems.push(format!("{path}: from nowhere: {}", refusals.join("; ")));
    }

    /// One object.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let response = self.client.get(url).send().await.step(url)?;
        match response.status() {
            StatusCode::OK => Ok(response.bytes().await.step(url)?.to_vec()),
            status => Err(Failure::new(status.to_string())),
        }
    }

    /// Asks an appliance for one object without having been steered there, as a player does that knows only its provider's
    /// address: so that an appliance learns what it lacks.
    async fn knock(&self, appliance: &str, request_path: &str) {
        let _ = self.get(&format!("{appliance}{request_path}")).await;
    }
}

/// An evening: so many sittings, each a few objects of a title that is drawn by its popularity.
pub struct Evening {
    /// Who is watched how much.
    pub popularity: Popularity,
    /// Sittings.
    pub sittings: usize,
    /// What they follow from.
    pub seed: u64,
    /// Base URLs of appliances that are asked for what the viewer was steered past them for.
    pub known_appliances: Vec<String>,
}

impl Evening {
    /// Has it watched. `titles` are those that the popularity is about.
    pub async fn run(
        &self,
        viewer: &Viewer,
        titles: &Arc<Vec<Title>>,
        tree: &Path,
    ) -> Result<Played, Failure> {
        let mut sittings: Vec<(usize, usize, usize)> = Vec::new();
        let mut random = Random::of(self.seed, "evening");
        for _ in 0..self.sittings {
            let title = self.popularity.draw(&mut random);
            let bundle = random.below(titles[title].bundles.len());
            let objects = titles[title].bundles[bundle].objects.len();
            sittings.push((title, bundle, random.below(objects.saturating_sub(SITTING).max(1))));
        }
        let mut played = Played::default();
        for part in sittings
            .chunks(sittings.len().div_ceil(AT_ONCE).max(1))
            .map(<[_]>::to_vec)
            .fold(tokio::task::JoinSet::new(), |mut tasks, part| {
                let (viewer, titles, tree) = (viewer.clone(), titles.clone(), tree.to_owned());
                let known = self.known_appliances.clone();
                tasks.spawn(async move { sit(&viewer, &titles, &tree, &part, &known).await });
                tasks
            })
            .join_all()
            .await
        {
            played.add(part?);
        }
        Ok(played)
    }
}

async fn sit(
    viewer: &Viewer,
    titles: &[Title],
    tree: &Path,
    sittings: &[(usize, usize, usize)],
    known_appliances: &[String],
) -> Result<Played, Failure> {
    let mut played = Played::default();
    for (turn, (title, bundle, first)) in sittings.iter().enumerate() {
        let bundle = &titles[*title].bundles[*bundle];
        let watched = viewer.watch(bundle, *first, SITTING, tree).await?;
        if watched.senders.contains_key("origin")
            && let Some(appliance) = known_appliances.get(turn % known_appliances.len().max(1))
        {
            viewer.knock(appliance, &bundle.request_path(&bundle.objects[*first].0)).await;
        }
        played.add(watched);
    }
    Ok(played)
}
