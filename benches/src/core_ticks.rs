//! What cores did, by the kernel's ticks: were busy or idle, or were taken away by the host of a virtual machine.

use std::fs;

/// Ticks since the machine's start, of one core or of all. The kernel's counts of what is nobody's, and of what was taken, may go back a little.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoreTicks {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl CoreTicks {
    /// Those of one core until now; `None` where it is not told of.
    pub fn of_core(core: usize) -> Option<Self> {
        Self::in_stat(&fs::read_to_string("/proc/stat").ok()?, &format!("cpu{core}"))
    }

    /// Those of all cores until now.
    pub fn of_all() -> Option<Self> {
        Self::in_stat(&fs::read_to_string("/proc/stat").ok()?, "cpu")
    }

    /// The part of the time since then that somebody had the core.
    pub fn busy_part_until(self, later: Self) -> f64 {
        part(later.busy.saturating_sub(self.busy), later.all.saturating_sub(self.all))
    }

    /// The part of the time since then that the host had taken the core away while it was wanted.
    pub fn stolen_part_until(self, later: Self) -> f64 {
        part(later.stolen.saturating_sub(self.stolen), later.all.saturating_sub(self.all))
    }

    /// The first eight fields of a line (`proc_stat(5)`): the fourth and the fifth, `idle` and `iowait`, are nobody's, the eighth is `steal`.
    fn in_stat(stat: &str, name: &str) -> Option<Self> {
        let line = stat.lines().find(|line| line.split_whitespace().next() == Some(name))?;
        let fields = line.split_whitespace().skip(1).take(8).map(|field| field.parse().ok());
        let fields: Vec<u64> = fields.collect::<Option<_>>()?;
        let all = fields.iter().sum();
        Some(Self { busy: all - fields.get(3)? - fields.get(4)?, stolen: *fields.get(7)?, all })
    }
}

fn part(of: u64, all: u64) -> f64 {
    of as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3 4 5 6 7 8 9 9\ncpu10 1 1 1 100 1 1 1 1 0 0\nintr 5 1\n";

    #[test]
    fn idle_and_waiting_are_nobodys() {
        assert_eq!(CoreTicks::in_stat(STAT, "cpu0"), Some(CoreTicks { busy: 27, stolen: 8, all: 36 }));
        assert_eq!(CoreTicks::in_stat(STAT, "cpu10"), Some(CoreTicks { busy: 6, stolen: 1, all: 107 }));
        assert_eq!(CoreTicks::in_stat(STAT, "cpu"), Some(CoreTicks { busy: 270, stolen: 80, all: 360 }));
        assert_eq!(CoreTicks::in_stat(STAT, "cpu1"), None);
        assert_eq!(CoreTicks::in_stat("cpu0 1 2 x\n", "cpu0"), None);
        assert_eq!(
            CoreTicks::in_stat("cpu0 1 2 3 4 5 6 7\n", "cpu0"),
            None,
            "a kernel that tells of no steal"
        );
    }

    #[test]
    fn parts_are_of_the_time_between() {
        let (before, later) =
            (CoreTicks { busy: 5, stolen: 2, all: 10 }, CoreTicks { busy: 6, stolen: 4, all: 14 });
        assert_eq!((before.busy_part_until(later), before.stolen_part_until(later)), (0.25, 0.5));
        assert_eq!(before.busy_part_until(before), 0.0);
        assert_eq!(later.stolen_part_until(before), 0.0, "a count that has gone back");
    }
}
