//! A stand-in for the daemon's admin socket: it adopts what is on the volume, after reading it back as the real one's readers
//! would, and keeps an inventory in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cache_store::{Volume, VolumeId, verify};
use control_client::admin::{Adopt, Adopted, Failure, Purge, Purged, ReadinessChanged, Retire, Retired};
use control_client::content::BundleKey;
use control_client::demand::{Demand, PathDemand};
use control_client::health::{Headroom, HealthReport, Readiness, Verdict, VolumeHealth, VolumeState};
use control_client::inventory::{BundleState, Inventory, InventoryEntry};
use control_client::load::Load;
use control_client::wire::DocumentVersion;
use serde::Serialize;

/// The stand-in. Its threads end with the process.
pub struct ScriptedDaemon {
    pub shared: Arc<Shared>,
}

#[derive(Default)]
pub struct Shared {
    volume: PathBuf,
    held: Mutex<BTreeMap<BundleKey, InventoryEntry>>,
    pub asked: Mutex<Vec<String>>,
    pub refuse_adoptions: Mutex<bool>,
    /// Adoptions are not answered.
    pub hold_adoptions: Mutex<bool>,
    /// Out of service, and their files kept.
    leaving: Mutex<Vec<BundleKey>>,
    pub demand: Mutex<Vec<PathDemand>>,
    pub read_latency_micros: Mutex<u64>,
    /// Whether it still looks for what its volume holds.
    pub is_recovering: Mutex<bool>,
    /// Whether a second volume is away.
    pub lacks_a_volume: Mutex<bool>,
    /// Bundles that readers hold for ever.
    pub readers: Mutex<BTreeSet<BundleKey>>,
    /// What the volume holds that was taken out; another, which is empty, has its place.
    taken_out: Mutex<Option<BTreeMap<BundleKey, InventoryEntry>>>,
}

impl ScriptedDaemon {
    pub fn start(socket: &Path, volume: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::new(Shared { volume: volume.to_owned(), ..Shared::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { shared }
    }

    /// What it serves.
    pub fn held(&self) -> Vec<BundleKey> {
        self.shared.held.lock().unwrap().keys().cloned().collect()
    }

    /// As if it had served this from before: on the volume there is a file of zeroes in its place.
    pub fn hold(&self, key: &BundleKey, bytes: u64) {
        let file = self.shared.file(key);
        fs::write(&file, vec![0; bytes as usize]).unwrap();
        let entry = InventoryEntry {
            path: key.path.clone(),
            generation: key.generation,
            volume: 0,
            objects: 1,
            bytes,
            state: BundleState::Published,
        };
        self.shared.held.lock().unwrap().insert(key.clone(), entry);
    }

    /// As if the disk had not given this back: it serves no longer, and its file is kept.
    pub fn quarantine_in_place(&self, key: &BundleKey) {
        self.shared.held.lock().unwrap().remove(key).unwrap();
        self.shared.leaving.lock().unwrap().push(key.clone());
    }

    /// The volume is not in the configuration any more, and what it holds not in service.
    pub fn take_volume_out(&self) {
        let held = std::mem::take(&mut *self.shared.held.lock().unwrap());
        *self.shared.taken_out.lock().unwrap() = Some(held);
    }

    /// It is there again, with what it holds.
    pub fn put_volume_back(&self) {
        *self.shared.held.lock().unwrap() = self.shared.taken_out.lock().unwrap().take().unwrap();
    }

    /// On the volume there is a file in that bundle's place that is none.
    pub fn litter(&self, key: &BundleKey, bytes: u64) {
        fs::write(self.shared.file(key), vec![0; bytes as usize]).unwrap();
    }

    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Shared {
    fn file(&self, key: &BundleKey) -> PathBuf {
        self.volume.join(cache_store::BundleId::of(key).file_path())
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut content = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut content).unwrap();
        let line = head.lines().next().unwrap().to_owned();
        let request = line.rsplit_once(' ').unwrap().0.to_owned();
        self.asked.lock().unwrap().push(request.clone());
        let (status, answer) = self.answer(&request, &content);
        let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n\r\n", answer.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes()));
    }

    fn answer(&self, request: &str, content: &[u8]) -> (u16, String) {
        let path = request.split('?').next().unwrap();
        match path {
            "get /inventory" => {
                let bundles = self.held.lock().unwrap().values().cloned().collect();
                document(&Inventory { version: DocumentVersion, bundles })
            }
            "get /health" => document(&self.health()),
            "get /load" => document(&Load {
                version: DocumentVersion,
                interval_millis: 5000,
                egress_bits_per_second: 0,
                requests_per_second: 0,
                connections: 0,
                reads_per_second: 100,
                read_latency_p50_micros: 100,
                read_latency_p99_micros: *self.read_latency_micros.lock().unwrap(),
            }),
            "get /demand" => document(&Demand {
                version: DocumentVersion,
                instance: "scripted".to_owned(),
                paths: self.demand.lock().unwrap().clone(),
                other_absent_requests: 0,
            }),
            "post /adopt" => self.adopt(&serde_json::from_slice(content).unwrap()),
            "post /retire" => {
                let seconds =
                    request.split_once("wait_seconds=").map_or(60, |(_, text)| text.parse().unwrap());
                self.retire(&serde_json::from_slice(content).unwrap(), Duration::from_secs(seconds))
            }
            "post /purge" => {
                let purge: Purge = serde_json::from_slice(content).unwrap();
                let mut held = self.held.lock().unwrap();
                let bundles: Vec<BundleKey> =
                    held.keys().filter(|key| key.path == purge.path).cloned().collect();
                held.retain(|key, _| key.path != purge.path);
                document(&Purged {
                    version: DocumentVersion,
                    bundles,
                    pulled_objects: 0,
                    not_reached: Vec::new(),
                })
            }
            "post /drain" => {
                document(&ReadinessChanged { version: DocumentVersion, readiness: Readiness::Draining })
            }
            "post /undrain" => {
                document(&ReadinessChanged { version: DocumentVersion, readiness: Readiness::Serving })
            }
            _ => failure(404, "unknown_path"),
        }
    }

    /// Reads the bundle back, every byte of it, before it is taken.
    fn adopt(&self, adopt: &Adopt) -> (u16, String) {
        if *self.refuse_adoptions.lock().unwrap() {
            return failure(422, "scripted");
        }
        while *self.hold_adoptions.lock().unwrap() {
            thread::sleep(Duration::from_millis(5));
        }
        let volume = Volume::open(&self.volume, false).unwrap();
        assert_eq!(adopt.volume, volume.id().to_string());
        let mut found = None;
        let wanted = cache_store::BundleId::parse_file_name(&adopt.file).unwrap();
        if self.leaving.lock().unwrap().iter().any(|key| cache_store::BundleId::of(key) == wanted) {
            return failure(409, "leaving");
        }
        let path = self.volume.join(wanted.file_path());
        if path.exists() && cache_store::read_footer_of(&path).is_err() {
            return failure(422, "refused");
        }
        verify::verify(&volume, |id, problems| {
            if id == wanted {
                found = Some(problems.to_vec());
            }
        })
        .unwrap();
        match found {
            None => return failure(404, "no_such_file"),
            Some(problems) => assert_eq!(problems, [], "what was published is whole"),
        }
        let bytes = fs::metadata(&path).unwrap().len();
        let footer = cache_store::read_footer_of(&path).unwrap();
        let key = BundleKey {
            path: control_client::content::BundlePath::parse(footer.path()).unwrap(),
            generation: wanted.generation,
        };
        let objects = u64::from(footer.object_count());
        let entry = InventoryEntry {
            path: key.path.clone(),
            generation: key.generation,
            volume: 0,
            objects,
            bytes,
            state: BundleState::Published,
        };
        let mut held = self.held.lock().unwrap();
        let older: Vec<BundleKey> = held
            .keys()
            .filter(|held| held.path == key.path && held.generation < key.generation)
            .cloned()
            .collect();
        for older in &older {
            held.remove(older);
            let _ = fs::remove_file(self.file(older));
        }
        held.insert(key.clone(), entry);
        let replaced = older.last().map(|older| older.generation);
        document(&Adopted { version: DocumentVersion, bundle: key, objects, bytes, replaced })
    }

    fn retire(&self, retire: &Retire, wait: Duration) -> (u16, String) {
        let key = BundleKey { path: retire.path.clone(), generation: retire.generation.unwrap() };
        if let Some(kept) = self.leaving.lock().unwrap().extract_if(.., |kept| *kept == key).next() {
            fs::remove_file(self.file(&kept)).unwrap();
            return document(&Retired { version: DocumentVersion, bundles: vec![kept], freed_bytes: 0 });
        }
        let removed = self.held.lock().unwrap().remove(&key);
        if self.readers.lock().unwrap().contains(&key) {
            thread::sleep(wait);
            return failure(504, "retire_pending");
        }
        match removed {
            Some(entry) => {
                fs::remove_file(self.file(&key)).unwrap();
                document(&Retired { version: DocumentVersion, bundles: vec![key], freed_bytes: entry.bytes })
            }
            None => failure(404, "no_such_bundle"),
        }
    }

    fn health(&self) -> HealthReport {
        let is_taken_out = self.taken_out.lock().unwrap().is_some();
        let id = match Volume::open(&self.volume, false) {
            Ok(volume) if !is_taken_out => volume.id(),
            _ => VolumeId::new([0xff; 16]),
        };
        let volume = |index, state| VolumeHealth {
            index,
            path: String::new(),
            id: id.to_string(),
            state,
            reason: None,
            errors: 0,
            bundles: 0,
            free_bytes: 0,
        };
        let mut volumes = vec![volume(0, VolumeState::Serving)];
        if *self.lacks_a_volume.lock().unwrap() {
            volumes.push(volume(1, VolumeState::Failed));
        }
        let is_recovering = *self.is_recovering.lock().unwrap();
        HealthReport {
            version: DocumentVersion,
            appliance: None,
            readiness: if is_recovering { Readiness::Recovering } else { Readiness::Serving },
            verdict: Verdict::Healthy,
            reasons: Vec::new(),
            headroom: Headroom::default(),
            volumes,
            uptime_seconds: 0,
        }
    }
}

fn document(document: &impl Serialize) -> (u16, String) {
    (200, serde_json::to_string(document).unwrap())
}

fn failure(status: u16, error: &str) -> (u16, String) {
    (
        status,
        serde_json::to_string(&Failure { error: error.to_owned(), detail: "scripted".to_owned() }).unwrap(),
    )
}
