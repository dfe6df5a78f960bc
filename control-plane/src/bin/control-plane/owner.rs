//! Whose files the control plane's are: what another user makes among them, the service cannot read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use control_client::config::ControlPlaneConfig;

use crate::failure::Failure;

/// Refuses to work as root on what belongs to somebody else.
pub(crate) fn check(config: &ControlPlaneConfig) -> Result<(), Failure> {
    // Where nobody can say who runs this, or a file is not there yet, there is nothing to hold against it.
    let Some(user) = owner(Path::new("/proc/self")) else { return Ok(()) };
    for path in [Some(config.state.clone()), database_file(&config.database)].into_iter().flatten() {
        if let Some(other) = owner(&path).filter(|&owner| is_wrong(user, owner)) {
            return Err(Failure::new(format!(
                "{} belongs to user {other}, and what root makes there the service cannot read: run this as that user, as a rule \
                 with \"runuser -u oca-control-plane -- control-plane …\"",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Whether that user makes files there that their owner cannot read. Others than root are refused by the system.
const fn is_wrong(user: u32, owner: u32) -> bool {
    user == 0 && owner != 0
}

fn owner(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.uid())
}

fn database_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    Some(PathBuf::from(path.split('?').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_leaves_the_files_of_others_alone() {
        assert!(is_wrong(0, 994));
        assert!(!is_wrong(0, 0));
        assert!(!is_wrong(994, 994));
        assert!(!is_wrong(1000, 994), "the system says so itself");
    }

    #[test]
    fn the_file_of_a_database_is_in_its_url() {
        let path = |url| database_file(url).map(|path| path.display().to_string());
        assert_eq!(path("sqlite:///var/lib/state.db?mode=rwc").as_deref(), Some("/var/lib/state.db"));
        assert_eq!(path("sqlite:state.db").as_deref(), Some("state.db"));
        assert_eq!(path("postgres://user@host/name"), None);
    }
}
