//! Answers to conflicts, and the room there is for what they carry; room for new entities.

use super::Draft;
use crate::domain::answer::{Answer, Conflicting, ServerCopy, Verdict, bytes};
use crate::domain::conflict::ConflictId;
use crate::domain::entity::{Content, EntityKey};
use crate::domain::item::{Change, Item, Rejection, RejectionCode, Submission};
use crate::domain::settle::{later, propose};

impl<'a> Draft<'a> {
    /// Makes the answer to a conflict if the server copy fits into the answers to the batch. What does
    /// not fit is put off before anything of it is kept.
    pub(super) fn with_room(
        &mut self,
        item: &'a Item,
        make: impl FnOnce(&mut Self) -> Answer,
    ) -> Answer {
        if self.copy_fits(item) {
            make(self)
        } else {
            self.put_off()
        }
    }

    pub(super) fn copy_fits(&self, item: &Item) -> bool {
        let copy = self.stored(&item.key).map(ServerCopy::of);
        copy.is_some_and(|copy| self.fits(copy.bytes()))
    }

    /// Whether so many bytes more fit into the answers. One copy always does.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.copy_bytes == 0 || self.copy_bytes + bytes <= self.context.copy_bytes_max
    }

    pub(super) fn put_off(&self) -> Answer {
        Answer::Rejected(Rejection::new(
            RejectionCode::RetryLater,
            format!(
                "items: expected conflicts whose server copies fit into {} bytes together, \
                 send this item again in a smaller batch",
                self.context.copy_bytes_max
            ),
        ))
    }

    /// Whether this entity exists, or may come to.
    pub(super) fn has_room_for(&self, key: &EntityKey) -> bool {
        let room = self.snapshot.room;
        self.stored(key).is_some() || room.is_none_or(|room| self.created < room)
    }

    pub(super) fn no_room(&self) -> Answer {
        Answer::Rejected(Rejection::new(
            RejectionCode::QuotaExceeded,
            "entity_id: expected an entity the account holds, it has no room for another; \
             what it holds can be changed and deleted",
        ))
    }

    /// The answer to a conflict.
    pub(super) fn conflict(
        &self,
        item: &Item,
        verdict: Verdict,
        conflict: Option<ConflictId>,
    ) -> Answer {
        let Some(stored) = self.stored(&item.key) else {
            return self.put_off();
        };
        Answer::Conflict(Box::new(Conflicting {
            conflict,
            ..Conflicting::plain(verdict, ServerCopy::of(stored))
        }))
    }

    /// Adds a proposed merge and the base to what a person is asked, as far as there is room for them:
    /// only once all server copies have found theirs.
    pub(super) fn add_proposals(&self, batch: &[Submission], answers: &mut [Answer]) {
        let mut room = self.context.copy_bytes_max.saturating_sub(self.copy_bytes);
        let mut take = |bytes: usize| {
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        };
        for (submission, answer) in batch.iter().zip(answers) {
            let (Ok(item), Answer::Conflict(conflicting)) = (&submission.item, answer) else {
                continue;
            };
            let (Verdict::NeedsUser, Change::Put(sent), Some(copy)) = (
                conflicting.verdict,
                &item.change,
                &conflicting.copy.document,
            ) else {
                continue;
            };
            let base = self.base(item);
            let later = later(item.edit_time, conflicting.copy.edit_time);
            if let Some(proposal) = propose(base, sent, &Content::Live(copy.clone()), later)
                && take(bytes(Some(&proposal.document)))
            {
                conflicting.proposed = Some(proposal.document);
                if take(proposal.overlaps.iter().map(String::len).sum()) {
                    conflicting.overlaps = proposal.overlaps;
                }
            }
            if let Some(Content::Live(base)) = base
                && take(bytes(Some(base)))
            {
                conflicting.base = Some(base.clone());
            }
        }
    }
}
