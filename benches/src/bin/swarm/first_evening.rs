//! The first evening, at appliances that hold nothing: every request of its viewers is made, and refused, and nobody waits between two. What
//! it leaves behind is the demand that the appliances report, from which the night's lists are made. Its requests say nothing of a player.

use std::time::Instant;

use demo::failure::{Failure, Step};
use tokio::task::JoinSet;

use super::catalogue::Catalogue;
use super::connection::{Connection, Fault};
use super::link::Link;
use super::past::{evening_seed, share};
use super::rehearsal::requests;
use super::site::{Site, SiteOptions};

/// Connections to each appliance.
const CONNECTIONS: usize = 4;

/// Has it watched; how many requests there were. On a local task set.
pub(crate) async fn watch(
    site: &Site,
    catalogue: &Catalogue,
    options: &SiteOptions,
) -> Result<usize, Failure> {
    let asked = requests(catalogue, evening_seed(options.seed, 0), options.sessions);
    let mut tasks: JoinSet<Result<(), Fault>> = JoinSet::new();
    for (place, member) in site.members.iter().enumerate() {
        let address = member.http();
        let of_member = share(&asked, place, site.members.len());
        for part in of_member.chunks(of_member.len().div_ceil(CONNECTIONS).max(1)) {
            let targets: Vec<String> =
                part.iter().map(|(bundle, segment)| catalogue.target(*bundle, *segment)).collect();
            tasks.spawn_local(async move {
                let mut connection = Connection::open(address).await?;
                for target in targets {
                    if !connection.is_reusable {
                        connection = Connection::open(address).await?;
                    }
                    match connection.get(&target, "", &mut Link::unlimited(), Instant::now(), None).await {
                        Ok(_) | Err(Fault::Refused(_)) => {}
                        Err(fault) => return Err(fault),
                    }
                }
                Ok(())
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.step("the first evening")?.step("the first evening")?;
    }
    Ok(asked.len())
}
