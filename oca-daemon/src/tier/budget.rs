//! How much may be locked in memory: what the operator asks for, cut to what the host allows. Pure; `host` reads the facts.

use std::fmt;

use control_client::config::{Prefetch, RamTier};
use control_client::units::ByteCount;

use super::block::BLOCK_BYTES;

/// What the host allows, as found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Memory that the process may still take; `None`: the host does not tell.
    pub available_bytes: Option<u64>,
    /// What of it the daemon needs for everything else.
    pub needed_bytes: u64,
    /// `RLIMIT_MEMLOCK`; `None`: no limit.
    pub memlock_bytes: Option<u64>,
    /// `vm.max_map_count`.
    pub map_count_max: u64,
    /// Descriptors that bundles with blocks in memory may take.
    pub files_max: u64,
}

/// What the tier may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes in memory.
    pub bytes: u64,
    /// Blocks, each a mapping.
    pub blocks_max: u64,
    /// Files, each a descriptor.
    pub files_max: u64,
    /// Whether blocks come into memory that players have only named.
    pub prefetches: bool,
    /// What was wanted, and why it is less.
    pub cut: Option<Cut>,
}

/// Why the tier is smaller than it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// So many bytes were wanted.
    pub wanted_bytes: u64,
    /// What stands in the way.
    pub by: CutBy,
}

/// What stands in the way of a larger tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutBy {
    /// Memory that is there.
    Memory,
    /// Nobody knows how much memory is there.
    MemoryUnread,
    /// `RLIMIT_MEMLOCK`.
    Memlock,
    /// `vm.max_map_count`.
    MapCount,
    /// `RLIMIT_NOFILE`.
    Files,
}

/// The part of the tier that the policy leaves: nobody misses it.
const RESERVE_PART: u64 = 64;

/// Blocks that are on their way out at once, at most: each for the length of a send.
const LEAVING_BLOCKS_MAX: u64 = 64;

/// Mappings that everything but the tier may take: libraries, stacks, arenas of the allocator, rings.
const MAPS_OF_OUR_OWN: u64 = 4096;

impl Budget {
    /// The budget of a host. Off, or where not a single block fits, all of it is zero.
    pub fn new(wanted: RamTier, prefetch: Prefetch, limits: &HostLimits) -> Self {
        // Locked pages are never given back unasked: of a memory that nobody knows none are taken.
        let (available_bytes, by_memory) =
            limits.available_bytes.map_or((0, CutBy::MemoryUnread), |bytes| (bytes, CutBy::Memory));
        let spare = available_bytes.saturating_sub(limits.needed_bytes);
        let (wanted_bytes, fits) = match wanted {
            RamTier::Off => return Self::none(None),
            // Half stays for what nobody has thought of: the other half can never be taken back by the kernel.
            RamTier::Auto => (spare / 2, spare / 2),
            RamTier::Size(size) => (size.bytes(), spare),
        };
        let maps = limits.map_count_max.saturating_sub(MAPS_OF_OUR_OWN);
        let bounds = [
            (fits, by_memory),
            (limits.memlock_bytes.unwrap_or(u64::MAX), CutBy::Memlock),
            (maps.saturating_mul(BLOCK_BYTES), CutBy::MapCount),
            (if limits.files_max == 0 { 0 } else { u64::MAX }, CutBy::Files),
        ];
        let (bound, by) = bounds.into_iter().min_by_key(|(bound, _)| *bound).expect("there are four");
        let bytes = wanted_bytes.min(bound) / BLOCK_BYTES * BLOCK_BYTES;
        // A tier was wanted: that there is none is not to be found out from a figure of zero.
        let is_cut = bound < wanted_bytes || bytes == 0;
        let cut =
            is_cut.then_some(Cut { wanted_bytes: wanted_bytes.max(1).next_multiple_of(BLOCK_BYTES), by });
        if bytes == 0 {
            return Self::none(cut);
        }
        let prefetches = prefetch == Prefetch::Ram;
        Self { bytes, blocks_max: maps, files_max: limits.files_max, prefetches, cut }
    }

    fn none(cut: Option<Cut>) -> Self {
        Self { bytes: 0, blocks_max: 0, files_max: 0, prefetches: false, cut }
    }

    /// What the policy fills.
    pub(super) fn policy_bytes(&self) -> u64 {
        self.bytes - self.reserve_bytes()
    }

    /// The rest: for blocks that have left the table while a worker is still sending from them, and, as far as those leave room, for
    /// blocks that players say they will ask for next.
    pub(super) fn reserve_bytes(&self) -> u64 {
        if self.bytes / BLOCK_BYTES < 2 {
            return 0;
        }
        let blocks_max = if self.prefetches { u64::MAX / BLOCK_BYTES } else { LEAVING_BLOCKS_MAX };
        (self.bytes / RESERVE_PART).clamp(BLOCK_BYTES, blocks_max * BLOCK_BYTES)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = ByteCount::new(self.wanted_bytes);
        match self.by {
            CutBy::Memory => write!(
                formatter,
                "{wanted} were asked for, and there is less memory than that beside what the daemon needs; lower \
                 serve.ram_tier, or serve.read_buffers and store.footer_cache"
            ),
            CutBy::MemoryUnread => formatter.write_str(
                "MemAvailable cannot be read from /proc/meminfo, and memory of which nobody knows how much is left is not locked; \
                 give the daemon a /proc that shows it, or set serve.ram_tier = \"off\"",
            ),
            CutBy::Memlock => write!(
                formatter,
                "{wanted} were wanted, and RLIMIT_MEMLOCK allows less; write LimitMEMLOCK=infinity into the unit, or run \
                 `ulimit -l unlimited` first"
            ),
            CutBy::MapCount => write!(
                formatter,
                "{wanted} were wanted, and vm.max_map_count allows fewer mappings; run `sysctl -w vm.max_map_count={}`",
                (self.wanted_bytes.div_ceil(BLOCK_BYTES) + MAPS_OF_OUR_OWN).next_power_of_two()
            ),
            CutBy::Files => write!(
                formatter,
                "{wanted} were wanted, and RLIMIT_NOFILE leaves no descriptor for files in memory; raise LimitNOFILE of the \
                 unit, or lower store.open_bundles"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn host() -> HostLimits {
        HostLimits {
            available_bytes: Some(33 * GIB),
            needed_bytes: GIB,
            memlock_bytes: None,
            map_count_max: 65_530,
            files_max: 1024,
        }
    }

    #[test]
    fn by_default_half_of_what_is_to_spare_is_taken() {
        let budget = Budget::new(RamTier::Auto, Prefetch::Ram, &host());
        assert_eq!((budget.bytes, budget.files_max, budget.cut), (16 * GIB, 1024, None));
        assert!(budget.policy_bytes() < budget.bytes);
    }

    #[test]
    fn a_part_is_left_for_what_players_name_and_where_nothing_is_brought_ahead_no_more_than_leaves_at_once() {
        let limits = HostLimits { available_bytes: Some(257 * GIB), map_count_max: 1 << 20, ..host() };
        let reserve = |prefetch| Budget::new(RamTier::Auto, prefetch, &limits).reserve_bytes();
        assert_eq!((reserve(Prefetch::Ram), reserve(Prefetch::Off)), (2 * GIB, 64 * BLOCK_BYTES));
    }

    #[test]
    fn a_size_is_cut_to_the_tightest_limit_and_the_text_says_how_to_raise_it() {
        let size = RamTier::Size(ByteCount::new(200 * GIB));
        let cut = |limits: HostLimits| {
            let budget = Budget::new(size, Prefetch::Ram, &limits);
            (budget.bytes, budget.cut.map(|cut| cut.to_string()).unwrap_or_default())
        };
        let (bytes, text) = cut(host());
        assert!(bytes == 32 * GIB && text.contains("200 GiB") && text.contains("serve.ram_tier"), "{text}");
        let (bytes, text) = cut(HostLimits { memlock_bytes: Some(8 << 20), ..host() });
        assert!(bytes == 8 << 20 && text.contains("LimitMEMLOCK=infinity"), "{text}");
        let (bytes, text) = cut(HostLimits { available_bytes: Some(300 * GIB), ..host() });
        assert!(bytes == 61_434 * BLOCK_BYTES && text.contains("vm.max_map_count=131072"), "{text}");
        assert_eq!(
            cut(HostLimits { available_bytes: Some(300 * GIB), map_count_max: 200_000, ..host() }).0,
            200 * GIB
        );
    }

    #[test]
    fn where_nothing_fits_there_is_no_tier() {
        assert_eq!(Budget::new(RamTier::Off, Prefetch::Ram, &host()).bytes, 0);
        for limits in [
            HostLimits { memlock_bytes: Some(BLOCK_BYTES - 1), ..host() },
            HostLimits { available_bytes: Some(0), ..host() },
            HostLimits { available_bytes: None, ..host() },
            HostLimits { files_max: 0, ..host() },
            HostLimits { map_count_max: 0, ..host() },
        ] {
            let budget = Budget::new(RamTier::Auto, Prefetch::Ram, &limits);
            assert_eq!(budget.bytes, 0, "{limits:?}");
            assert!(budget.cut.is_some(), "nobody is told why there is none: {limits:?}");
        }
        let text = |limits| Budget::new(RamTier::Auto, Prefetch::Ram, &limits).cut.map(|cut| cut.to_string());
        assert!(text(HostLimits { files_max: 0, ..host() }).unwrap().contains("LimitNOFILE"));
        let small = HostLimits { available_bytes: Some(GIB + BLOCK_BYTES), ..host() };
        assert!(text(small).unwrap().contains("serve.ram_tier"), "half of one block is none");
    }

    #[test]
    fn of_a_memory_that_nobody_knows_nothing_is_taken_and_the_text_says_what_cannot_be_read() {
        let limits = HostLimits { available_bytes: None, needed_bytes: 0, ..host() };
        for wanted in [RamTier::Auto, RamTier::Size(ByteCount::new(GIB))] {
            let budget = Budget::new(wanted, Prefetch::Ram, &limits);
            assert_eq!((budget.bytes, budget.cut.map(|cut| cut.by)), (0, Some(CutBy::MemoryUnread)));
            assert!(budget.cut.unwrap().to_string().contains("/proc/meminfo"));
        }
    }
}
