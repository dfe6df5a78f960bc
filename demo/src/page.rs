//! The page: plays a title with hls.js, dash.js or the browser itself from what the control plane gives players, shows what the appliances say of the
//! session, and has one killed, drained or started. `demo/page` holds its files; the players' libraries are in
//! `demo/players/node_modules` once `npm ci` was run there.

mod service;

use std::net::SocketAddr;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::failure::{Failure, Step};
use crate::system::{FAR_VIEWER, System, VIEWER};

/// Acts that wait to be done: one for each button that a person can press meanwhile.
const WAITING_MAX: usize = 8;

/// What can be done to an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Its daemon is ended at once.
    Kill,
    /// Its daemon is started again.
    Start,
    /// It takes leave of its viewers.
    Drain,
    /// It serves again after that.
    Serve,
}

/// What somebody asked for on the page.
pub struct Wish {
    /// Of which appliance.
    pub appliance: String,
    /// What.
    pub act: Act,
    done: oneshot::Sender<Result<(), String>>,
}

impl Wish {
    /// Says how it ended.
    pub fn answer(self, outcome: Result<(), Failure>) {
        // Who asked may have gone.
        let _ = self.done.send(outcome.map_err(|failure| failure.to_string()));
    }
}

/// What the page is told of the system.
#[derive(Clone, Debug, Serialize)]
struct Facts {
    control_plane: String,
    titles: Vec<String>,
    /// Addresses of viewers, as the control plane is told: near, and far.
    viewers: [String; 2],
    appliances: Vec<ApplianceFacts>,
}

#[derive(Clone, Debug, Serialize)]
struct ApplianceFacts {
    name: String,
    http: String,
    https: String,
    admin: String,
}

/// The page, served until this is dropped.
pub struct Page {
    address: SocketAddr,
    wishes: mpsc::Receiver<Wish>,
    server: tokio::task::JoinHandle<()>,
}

impl Page {
    /// Opens it, on a port of this machine that the kernel chooses.
    pub async fn open(system: &System) -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.step("the page's address")?;
        let address = listener.local_addr().step("the page's address")?;
        let (sender, wishes) = mpsc::channel(WAITING_MAX);
        let server = tokio::spawn(service::serve(listener, facts(system), sender));
        Ok(Self { address, wishes, server })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has done what is asked for on the page, until something else happens to the system.
    pub async fn attend(&mut self, system: &mut System) -> Result<(), Failure> {
        loop {
            tokio::select! {
                death = system.wait_for_a_death() => return Err(Failure::new(death?)),
                wish = self.wishes.recv() => match wish {
                    Some(wish) => {
                        let outcome = system.obey(&wish.appliance, wish.act).await;
                        wish.answer(outcome);
                    }
                    None => return Err(Failure::new("the page's server ended")),
                },
            }
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn facts(system: &System) -> Facts {
    let titles = std::iter::once(&system.sample).chain(system.added());
    Facts {
        control_plane: system.control_plane.url(),
        titles: titles.map(|title| title.path.clone()).collect(),
        viewers: [VIEWER.to_string(), FAR_VIEWER.to_string()],
        appliances: system
            .members
            .iter()
            .map(|member| ApplianceFacts {
                name: member.name().to_owned(),
                http: format!("http://{}", member.http()),
                https: format!("https://{}", member.https()),
                admin: format!("http://{}", member.admin()),
            })
            .collect(),
    }
}
