use std::io;
use std::os::fd::BorrowedFd;

use control_client::content::Sha256;

use crate::disk::{self, FileFacts};
use crate::identity::BundleId;
use crate::layout::Layout;

pub(super) const SUFFIX: &str = ".partial";

/// What a partial file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartialName {
    pub(crate) id: BundleId,
    /// The first 8 bytes of the SHA-256 of its descriptor.
    pub(crate) descriptor: [u8; 8],
}

impl PartialName {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self { id: BundleId::of(layout.key()), descriptor: descriptor_prefix(&layout.descriptor_digest()) }
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}-{:016x}{SUFFIX}", self.id, u64::from_be_bytes(self.descriptor))
    }

    fn parse(name: &str) -> Option<Self> {
        let (id, descriptor) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
        let partial = Self {
            id: BundleId::parse(id)?,
            descriptor: u64::from_str_radix(descriptor, 16).ok()?.to_be_bytes(),
        };
        // Only as it is written: with all digits, in lower case.
        (partial.file_name() == name).then_some(partial)
    }
}

pub(crate) fn descriptor_prefix(digest: &Sha256) -> [u8; 8] {
    *digest.bytes().first_chunk().expect("a SHA-256 has 32 bytes")
}

/// The partial files in `incoming/`, and what is known of them without opening them.
pub(crate) fn partial_files(incoming: BorrowedFd<'_>) -> io::Result<Vec<(PartialName, FileFacts)>> {
    let mut partial = Vec::new();
    for name in disk::list(incoming)?.iter().filter_map(|name| PartialName::parse(name)) {
        if let Some(facts) = disk::named_facts(incoming, &name.file_name())? {
            partial.push((name, facts));
        }
    }
    Ok(partial)
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};

    use super::*;

    fn name() -> PartialName {
        let id = BundleId::new(&BundlePath::parse("/titles/a").unwrap(), Generation::new(0xab));
        PartialName { id, descriptor: [0, 1, 2, 3, 4, 5, 6, 0xef] }
    }

    #[test]
    fn a_partial_files_name_reads_back_and_nothing_like_it_does() {
        let text = name().file_name();
        assert_eq!(text, format!("{}-00010203040506ef.partial", name().id));
        assert_eq!(PartialName::parse(&text), Some(name()));
        for wrong in [
            text.to_uppercase(),
            text.replace("ef.", "EF."),
            text.replace("-0001", "-001"),
            text.replace("-0001", "-+001"),
            text.replace(".partial", ".incoming"),
            format!("x{text}"),
            format!("{}.partial", name().id),
            ".partial".to_owned(),
            String::new(),
        ] {
            assert_eq!(PartialName::parse(&wrong), None, "{wrong}");
        }
    }
}
