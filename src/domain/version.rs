//! Versions and revisions: the two counters everything else stands on.

/// The lock counter of one entity. The first version is 1 and every change adds exactly one
/// (promise 6). As a base version, 0 means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(i32);

impl Version {
    /// No version: the base of an edit that knew of none.
    pub const NONE: Self = Self(0);

    /// A version from a number; `None` if it is negative.
    pub fn new(number: i32) -> Option<Self> {
        (number >= 0).then_some(Self(number))
    }

    /// The number, 0 or more.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The next version; `None` behind the largest int32.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// A place in the order of changes of one scope. The first change has revision 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(i64);

impl Revision {
    /// A revision as the store keeps it.
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number, 0 before the first change.
    pub fn number(self) -> i64 {
        self.0
    }

    /// The revision `count` changes later.
    pub fn after(self, count: usize) -> Self {
        Self(self.0 + count as i64)
    }
}
