use std::path::Path;

use cache_store::{PublishedBundle, Volume};
use control_client::admin::Adopt;
use control_client::admin_client::{AdminAddress, AdminClient};

use crate::Failure;

/// What became of bundles that a daemon was told of.
#[derive(Default)]
pub(crate) struct Told {
    /// How many it adopted.
    pub(crate) adopted: usize,
    /// What it said of the others.
    pub(crate) refusals: Vec<String>,
    /// How it is that it did not answer; it was not asked again.
    pub(crate) unreachable: Option<String>,
}

/// Tells a running daemon to adopt what was published, one bundle after another, whatever it says of those
/// before.
pub(crate) fn tell_daemon(
    socket: &Path,
    volume: &Volume,
    published: &[PublishedBundle],
) -> Result<Told, Failure> {
    let client = AdminClient::new(AdminAddress::Socket(socket.to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut told = Told::default();
    for bundle in published {
        let adopt = Adopt {
            version: Default::default(),
            volume: volume.id().to_string(),
            file: bundle.id.file_name(),
        };
        match runtime.block_on(client.adopt(adopt)) {
            Ok(_) => told.adopted += 1,
            Err(error) if error.is_unreachable() => {
                told.unreachable = Some(error.to_string());
                break;
            }
            Err(error) => told.refusals.push(format!("{}: {error}", bundle.record.key)),
        }
    }
    Ok(told)
}
