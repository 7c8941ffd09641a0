//! How true conflicts are settled (rule 9): each entity type has a policy.

/// What settles a true conflict of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// The person decides: both sides are kept in the conflict inbox.
    Ask,
    /// The later edit wins, the stored one if both are equally late. The loser is kept.
    LastWriteWins,
    /// Three-way merge against the base version.
    MergeFields {
        /// Who decides about a place that both sides changed.
        on_overlap: OnOverlap,
    },
    /// Objects: all keys of both; numbers: the larger; everything else: the later edit's.
    MergeMax,
    /// The object under `key` is merged entry by entry, each from where it was edited later; the rest is
    /// the later edit's.
    LatestPerKey {
        /// The key of the object.
        key: String,
    },
    /// The server's copy stays.
    ServerAuthoritative,
}

/// Who decides about a place that both sides of a merge changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOverlap {
    /// The later edit.
    Latest,
    /// The person.
    Ask,
}

impl Policy {
    /// Its name in the catalog, in answers and in the tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::LastWriteWins => "last_write_wins",
            Self::MergeFields { .. } => "merge_fields",
            Self::MergeMax => "merge_max",
            Self::LatestPerKey { .. } => "latest_per_key",
            Self::ServerAuthoritative => "server_authoritative",
        }
    }
}
