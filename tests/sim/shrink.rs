//! A failing history, made as short as it gets: parts of it are taken out for as long as it fails.

use super::history::{History, Step};

/// The shortest history that still fails, as far as taking steps out leads there.
pub fn shrink(history: &History, fails: impl Fn(&History) -> bool) -> History {
    let mut steps = history.0.clone();
    let mut size = steps.len().div_ceil(2);
    loop {
        let before = steps.len();
        let mut at = 0;
        while at < steps.len() {
            let until = (at + size).min(steps.len());
            let shorter: Vec<Step> = [&steps[..at], &steps[until..]].concat();
            let shorter = History(shorter);
            if fails(&shorter) {
                steps = shorter.0;
            } else {
                at = until;
            }
        }
        if size == 1 && steps.len() == before {
            return History(steps);
        }
        size = size.div_ceil(2);
    }
}
