use std::path::Path;

use cache_store::{PublishedBundle, Volume};
use control_client::admin::Adopt;
use control_client::admin_client::{AdminAddress, AdminClient};

use crate::Failure;

/// Tells a running daemon to adopt what was published, one bundle after another.
pub(crate) fn tell_daemon(
    socket: &Path,
    volume: &Volume,
    published: &[PublishedBundle],
) -> Result<(), Failure> {
    let client = AdminClient::new(AdminAddress::Socket(socket.to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for bundle in published {
        let adopt = Adopt {
            version: Default::default(),
            volume: volume.id().to_string(),
            file: bundle.id.file_name(),
        };
        runtime.block_on(client.adopt(adopt)).map_err(|error| match error.is_unreachable() {
            true => Failure::Unreachable(error.to_string()),
            false => Failure::Failed(format!("{}: {error}", bundle.record.key)),
        })?;
    }
    Ok(())
}
