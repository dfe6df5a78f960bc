//! Cases of a test that are tried beside each other, because most of their time goes into waiting.

use std::sync::Mutex;

/// Tries every case; no more than `testers` are under way at once.
pub(crate) fn try_each<T>(
    cases: impl IntoIterator<Item = T, IntoIter: Send>,
    testers: usize,
    try_it: impl Fn(T) + Sync,
) {
    let waiting = Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..testers {
            scope.spawn(|| {
                while let Some(case) = { waiting.lock().unwrap().next() } {
                    try_it(case);
                }
            });
        }
    });
}
