//! Lies about who may call, the inbox, histories, the server itself.

use ironflow_sync::grpc::proto::export_account_response::Record;
use tonic::{Code, Status};

use super::{HONEST, Lie};
use crate::examples::conformance::liar::Ways;

/// A status without its details.
fn bare(status: Status) -> Status {
    Status::new(status.code(), status.message())
}

pub const LIES: &[Lie] = &[
    Lie {
        name: "refusals have no details",
        breaks: &[
            "all bad fields of a request",
            "is DEVICE_ID_REUSED",
            "without a token",
        ],
        ways: Ways {
            refused: bare,
            ..HONEST
        },
    },
    Lie {
        name: "a refusal has another code",
        breaks: &[
            "too many items are RESOURCE_EXHAUSTED",
            "with a bad request is INVALID_ARGUMENT",
        ],
        ways: Ways {
            refused: |status| match status.code() {
                Code::ResourceExhausted | Code::InvalidArgument => Status::internal("oops"),
                _ => status,
            },
            ..HONEST
        },
    },
    Lie {
        name: "who has no token is let in",
        breaks: &[
            "a call without a token",
            "a token that is none",
            "changed or not signed",
        ],
        ways: Ways {
            user: |call| Some(call.victim),
            // Everybody would be the same user, which is told before anything is checked.
            exported: |_| None,
            ..HONEST
        },
    },
    Lie {
        name: "the user is taken from the message",
        breaks: &["the user is the token's"],
        ways: Ways {
            user: |call| (!call.named.is_empty()).then_some(call.named),
            ..HONEST
        },
    },
    Lie {
        name: "a wrong user_id is ignored",
        breaks: &["the user is the token's"],
        ways: Ways {
            push: |batch| batch.user_id.clear(),
            ..HONEST
        },
    },
    Lie {
        name: "everybody reads the same user's data",
        breaks: &[
            "no page shows another user's data",
            "no watch shows another user's data",
            "another user's cursor is refused",
            "another user's history",
        ],
        ways: Ways {
            user: |call| {
                let reads = ["pull", "watch", "list_versions", "restore_version"];
                reads.contains(&call.method).then_some(call.victim)
            },
            ..HONEST
        },
    },
    Lie {
        name: "losing sides are forgotten",
        breaks: &[
            "what lost by a policy",
            "the device's side of a merge",
            "a losing side stands behind",
        ],
        ways: Ways {
            listed_versions: |page| page.entries.retain(|entry| !entry.losing_side),
            ..HONEST
        },
    },
    Lie {
        name: "superseded versions are forgotten",
        breaks: &[
            "a superseded version can be read back",
            "the edit stays readable",
            "ListVersions tells who",
        ],
        ways: Ways {
            listed_versions: |page| page.entries.retain(|entry| entry.current),
            ..HONEST
        },
    },
    Lie {
        name: "decisions and restores are taken unseen",
        breaks: &[
            "a copy that has moved on is MOVED",
            "overwrites nothing that was not seen",
        ],
        ways: Ways {
            blind: true,
            ..HONEST
        },
    },
    Lie {
        name: "the inbox is empty",
        breaks: &[
            "an open conflict is listed",
            "two sessions at the same time are noted, KEEP_BOTH",
        ],
        ways: Ways {
            listed_conflicts: |page| page.conflicts.clear(),
            ..HONEST
        },
    },
    Lie {
        name: "a conflict is shown without its base",
        breaks: &["GetConflict has both sides"],
        ways: Ways {
            got_conflict: |found| found.base_data.clear(),
            ..HONEST
        },
    },
    Lie {
        name: "an export is cut short",
        breaks: &["ExportAccount has everything"],
        ways: Ways {
            exported: |record| match record.record {
                Some(Record::LosingSide(_)) => None,
                _ => Some(record),
            },
            ..HONEST
        },
    },
    Lie {
        name: "devices are not listed",
        breaks: &["GetStatus lists the devices"],
        ways: Ways {
            told_status: |status| status.devices.clear(),
            ..HONEST
        },
    },
    Lie {
        name: "the limits are not told",
        breaks: &["the limits are told"],
        ways: Ways {
            told_info: |info| info.limits = None,
            ..HONEST
        },
    },
    Lie {
        name: "the entity types are not told",
        breaks: &["the entity types are told"],
        ways: Ways {
            told_info: |info| info.entity_types.clear(),
            ..HONEST
        },
    },
];
