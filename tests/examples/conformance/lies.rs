//! The ways in which a server can break the contract, and the lines that find it out.

mod pushing;
mod reading;
mod telling;

use super::liar::Ways;

/// A way to break the contract.
pub struct Lie {
    /// In words; also in docs/testing.md.
    pub name: &'static str,
    /// Lines that fail, or a part that only they hold.
    pub breaks: &'static [&'static str],
    pub ways: Ways,
}

/// No lie at all.
pub const HONEST: Ways = Ways {
    user: |_| None,
    push: |_| (),
    pushed: |_, _| (),
    pull: |_| (),
    pulled: |_, _| (),
    watch: |_| (),
    watched: |event| vec![event],
    got_conflict: |_| (),
    listed_conflicts: |_| (),
    listed_versions: |_| (),
    told_status: |_| (),
    told_info: |_| (),
    exported: Some,
    refused: |status| status,
    blind: false,
};

/// All of them.
pub fn lies() -> impl Iterator<Item = &'static Lie> {
    let all = [pushing::LIES, reading::LIES, telling::LIES];
    all.into_iter().flatten()
}
