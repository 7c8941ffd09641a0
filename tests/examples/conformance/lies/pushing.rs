//! Lies about what is pushed.

use std::sync::atomic::{AtomicU64, Ordering};

use ironflow_sync::grpc::proto::{Resolution, SyncResult, SyncStatus};
use uuid::Uuid;

use super::{HONEST, Lie};
use crate::examples::conformance::liar::Ways;

/// Counts batches, so that each comes from another device; an account has room for 100.
static BATCHES: AtomicU64 = AtomicU64::new(0);

/// Answers SUCCESS instead of whatever it was.
fn succeed(answer: &mut SyncResult) {
    answer.set_status(SyncStatus::Success);
    answer.set_resolution(Resolution::Applied);
    answer.server_version += 1;
    answer.server_data.clear();
    answer.conflict = None;
}

pub const LIES: &[Lie] = &[
    Lie {
        name: "answers in the wrong order",
        breaks: &[
            "a bad item spares its neighbours",
            "a later item sees what an earlier one",
            "a batch sent again",
        ],
        ways: Ways {
            pushed: |_, answer| answer.results.reverse(),
            ..HONEST
        },
    },
    Lie {
        name: "an answer is left out",
        breaks: &["a conflict spares its neighbours"],
        ways: Ways {
            pushed: |_, answer| drop(answer.results.pop()),
            ..HONEST
        },
    },
    Lie {
        name: "SUCCESS instead of a conflict",
        breaks: &[
            "put where another device has written",
            "put where another device has created",
            "ask: NEEDS_USER",
            "a true conflict stays one",
            "put earlier than the deletion",
            "delete earlier than the edit",
            "last_write_wins, an earlier edit",
        ],
        ways: Ways {
            pushed: |_, answer| {
                let conflicts = answer.results.iter_mut();
                conflicts
                    .filter(|answer| answer.status() == SyncStatus::Conflict)
                    .for_each(succeed);
            },
            ..HONEST
        },
    },
    Lie {
        name: "a conflict without the server copy",
        breaks: &["CONFLICT brings the server copy"],
        ways: Ways {
            pushed: |_, answer| {
                for answer in &mut answer.results {
                    answer.server_data.clear();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "no version check: the later always writes",
        breaks: &[
            "put where another device has written",
            "merge_fields: MERGED",
            "merge_max: MERGED",
            "latest_per_key: MERGED",
            "queue on one base is applied in the order sent, in many",
        ],
        ways: Ways {
            push: |batch| batch.items.iter_mut().for_each(|item| item.force = true),
            ..HONEST
        },
    },
    Lie {
        name: "replays are decided anew",
        breaks: &[
            "put: its first answer",
            "delete: its first answer",
            "a batch sent again",
            "first answer also after another device's write",
            "sent at once over many connections",
            "a merged edit gets the same server copy",
            "a group that was applied is answered so for ever",
            "the same conflict again, kept once",
        ],
        ways: Ways {
            push: |batch| {
                for item in &mut batch.items {
                    item.mutation_id = Uuid::new_v4().to_string();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "edits without a mutation id are not recognised",
        breaks: &["recognised by its content"],
        ways: Ways {
            push: |batch| {
                let bare = batch.items.iter_mut();
                for item in bare.filter(|item| item.mutation_id.is_empty()) {
                    item.mutation_id = Uuid::new_v4().to_string();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "a device conflicts with itself",
        breaks: &[
            "put behind one's own edits",
            "put behind one's own delete",
            "delete behind one's own edits",
            "applied in the order sent, in many batches",
            "a queue whose first edit won",
        ],
        ways: Ways {
            push: |batch| {
                let count = BATCHES.fetch_add(1, Ordering::Relaxed);
                batch.device_id = format!("{}-{}", batch.device_id, count % 50);
            },
            ..HONEST
        },
    },
    Lie {
        name: "force is ignored",
        breaks: &[
            "put with force: CLIENT_WON",
            "delete with force",
            "on a tombstone: CLIENT_WON",
        ],
        ways: Ways {
            push: |batch| batch.items.iter_mut().for_each(|item| item.force = false),
            ..HONEST
        },
    },
    Lie {
        name: "groups are ignored",
        breaks: &[
            "a group with a bad item",
            "a group with a conflict",
            "a group with an item that loses",
            "as if a failed group was not there",
            "too long a group_id",
        ],
        ways: Ways {
            push: |batch| {
                batch
                    .items
                    .iter_mut()
                    .for_each(|item| item.group_id.clear())
            },
            ..HONEST
        },
    },
    Lie {
        name: "one bad item fails its batch",
        breaks: &["a bad item spares its neighbours"],
        ways: Ways {
            push: |batch| {
                for item in &mut batch.items {
                    item.group_id = "all".to_owned();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "validate_only writes",
        breaks: &["validate_only answers as the real thing"],
        ways: Ways {
            push: |batch| batch.validate_only = false,
            ..HONEST
        },
    },
    Lie {
        name: "client_time is ignored",
        breaks: &["sends client_time is corrected"],
        ways: Ways {
            push: |batch| batch.client_time = 0,
            ..HONEST
        },
    },
    Lie {
        name: "the edit time is the time of arrival",
        breaks: &[
            "when the edit was made, and when it was written",
            "last_write_wins, an earlier edit",
            "put earlier than the deletion",
        ],
        ways: Ways {
            push: |batch| batch.items.iter_mut().for_each(|item| item.timestamp = 0),
            ..HONEST
        },
    },
    Lie {
        name: "batch numbers are ignored",
        breaks: &[
            "with other edits is DEVICE_ID_REUSED",
            "a smaller number is DEVICE_ID_REUSED",
        ],
        ways: Ways {
            push: |batch| batch.batch_number = 0,
            pull: |page| page.batch_number = 0,
            ..HONEST
        },
    },
    Lie {
        name: "versions skip one",
        breaks: &[
            "put on the current version: APPLIED",
            "versions rise by one",
            "put of something new",
        ],
        ways: Ways {
            pushed: |_, answer| {
                for answer in &mut answer.results {
                    answer.server_version *= 2;
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "answers do not repeat what was sent",
        breaks: &["answers repeat type and id as sent"],
        ways: Ways {
            pushed: |_, answer| {
                for answer in &mut answer.results {
                    answer.entity_id.make_ascii_lowercase();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "errors do not say what is wrong",
        breaks: &["a bad entity_id", "a bad operation", "a bad version"],
        ways: Ways {
            pushed: |_, answer| {
                for answer in &mut answer.results {
                    answer.error_message = "bad request".to_owned();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "errors do not say where the data is wrong",
        breaks: &[
            "no JSON is INVALID_DATA",
            "schema does not allow",
            "data too deep",
        ],
        ways: Ways {
            pushed: |_, answer| {
                for answer in &mut answer.results {
                    answer.violations.clear();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "a possible duplicate is not noted",
        breaks: &["two sessions at the same time are noted, KEEP_SERVER"],
        ways: Ways {
            pushed: |_, answer| {
                for answer in &mut answer.results {
                    answer.possible_duplicate_of.clear();
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "an edit whose clock was never set is taken for a conflict",
        breaks: &["an edit on the current version is no conflict"],
        ways: Ways {
            push: |batch| {
                let unset = batch.items.iter_mut();
                for item in unset.filter(|item| item.timestamp < 0) {
                    item.version = 0;
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "an edit without a time is taken for an old one",
        breaks: &["no clock wins by being in the future"],
        ways: Ways {
            push: |batch| {
                let untimed = batch.items.iter_mut();
                for item in untimed.filter(|item| item.timestamp == 0) {
                    item.timestamp = 1;
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "the server's time is not told",
        breaks: &["a batch without items is fine"],
        ways: Ways {
            pushed: |_, answer| answer.server_time = 0,
            ..HONEST
        },
    },
];
