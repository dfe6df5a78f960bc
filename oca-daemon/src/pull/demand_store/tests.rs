//! The demand content of two volumes, of which one does not do what it should.

mod missing;
mod opening;
mod site;
mod stalling;

use control_client::content::BundlePath;

use crate::pull::PurgeSelector;
use site::Site;

#[tokio::test]
async fn what_is_purged_by_its_name_is_gone_however_clients_escape_it() {
    let site = Site::new();
    let running = site.start().settled().await;
    let purged = ["/films/a!b", "/films/a%21b?x=1", "/films/a%21b/1.m4s", "/films//a!b"];
    let kept = ["/films/a%2521b", "/films/a", "/films/a!bc"];
    for key in purged.iter().chain(&kept) {
        running.keep(key).await.unwrap();
    }
    let name = BundlePath::parse("/films/a!b").unwrap();
    assert_eq!(running.demand.purge(PurgeSelector::of(&name, false)).await.unwrap(), purged.len() as u64);
    for key in purged {
        assert!(running.demand.entries(key).await.is_empty(), "{key}");
    }
    for key in kept {
        assert_eq!(running.demand.entries(key).await.len(), 1, "{key}");
    }
    running.stop();
}
