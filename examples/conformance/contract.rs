//! The table: what the contract says, and which function finds out. Left of the arrow is what is printed, below
//! the number that `docs/protocol.md` has for it.

use crate::check::Check;
use crate::{
    answers, bad_calls, bad_items, chains, clocks, copies, cursors, duplicates, groups, history,
    inbox, isolation, pages, policies, promises, replays, rules, status, watches,
};

macro_rules! contract {
    ($($about:literal: { $($says:literal => $find_out:path,)* })*) => {
        /// Everything that is checked, in the order it is printed.
        pub const CONTRACT: &[Check] = &[$($(Check {
            about: $about,
            says: $says,
            find_out: |subject| Box::pin($find_out(subject)),
        },)*)*];
    };
}

contract! {
    "promise 1": {
        "a superseded version can be read back and restored" => promises::superseded_versions_come_back,
        "what lost by a policy can be read back and restored" => promises::losers_of_a_policy_come_back,
        "what the person is asked about can be read back and restored" => promises::sides_the_person_is_asked_about_come_back,
        "the device's side of a merge can be read back and restored" => promises::merged_sides_come_back,
        "an edit that lost against a deletion can be read back and restored" => promises::edits_that_met_a_deletion_come_back,
    }
    "promise 2": {
        "after SUCCESS the server holds every digit and letter that was sent" => promises::success_holds_what_was_sent,
        "CLIENT_WON and RESURRECTED hold what was sent, as server_version" => promises::every_success_is_exact,
        "CONFLICT brings the server copy to base the next edit on" => promises::conflict_brings_the_server_copy,
        "ERROR changes nothing" => promises::error_changes_nothing,
    }
    "promise 3": {
        "a bad item spares its neighbours, answers come in the order sent" => promises::bad_items_spare_their_neighbours,
        "a conflict spares its neighbours" => promises::conflicts_spare_their_neighbours,
        "a group is applied as a whole" => groups::all_of_a_group,
        "a group with a bad item is not applied at all" => groups::none_of_a_group_with_a_bad_item,
        "a group with a conflict is not applied at all, and nobody is asked" => groups::none_of_a_group_with_a_conflict,
        "a group with an item that loses is not applied at all" => groups::none_of_a_group_with_a_loss,
        "the rest of a batch is decided as if a failed group was not there" => groups::the_rest_as_if_the_group_was_not_there,
        "a group that was applied is answered so for ever" => groups::a_group_again,
    }
    "promise 4": {
        "a batch sent again gets the same answers and writes nothing" => replays::batch_again,
        "an edit gets its first answer also after another device's write" => replays::after_another_devices_write,
        "a merged edit gets the same server copy again" => replays::merged_again,
        "an edit sent at once over many connections is applied once" => replays::at_once_over_many_connections,
        "an edit without a mutation id is recognised by its content" => answers::derived_mutation_ids,
        "an edit that wrote nothing is decided afresh" => replays::what_wrote_nothing_is_decided_afresh,
        "an edit the person is asked about is the same conflict again, kept once" => replays::conflict_again,
        "other data under the same mutation id is kept as well" => replays::other_data_under_the_same_id,
    }
    "promise 5": {
        "a queue on one base is applied in the order sent, in one batch" => chains::queue_in_one_batch,
        "a queue on one base is applied in the order sent, in many batches" => chains::queue_in_many_batches,
        "a queue of something new is applied in the order sent" => chains::queue_of_something_new,
        "a queue whose first edit won is applied to its end" => chains::queue_behind_a_win,
        "a queue whose first edit was merged is merged to its end" => chains::queue_behind_a_merge,
        "a queue whose first edit lost goes on" => chains::queue_behind_a_loss,
    }
    "promise 6": {
        "versions rise by one, through deletions and conflicts" => promises::versions_rise_by_one,
        "no version is used twice when many devices write at once" => promises::versions_of_a_race_are_used_once,
        "no version passes the largest int32" => answers::largest_version,
    }
    "promise 7": {
        "no change is missed by pages that are read while others write" => cursors::nothing_is_missed_while_others_write,
        "no change is missed or doubled between catch-up and live" => watches::nothing_is_missed_or_doubled,
    }
    "promise 8": {
        "an old cursor leads to a deletion and everything since" => cursors::old_cursors_lead_to_a_deletion,
    }
    "promise 9": {
        "an edit on the current version is no conflict, whatever its clock says" => clocks::no_conflict_by_clock,
        "a true conflict stays one, whatever the clocks say" => clocks::no_clock_settles_a_conflict_unasked,
        "no edit time is later than its arrival" => clocks::no_edit_time_in_the_future,
        "no clock wins by being in the future" => clocks::no_clock_wins_by_being_in_the_future,
        "the clock of a device that sends client_time is corrected" => clocks::clocks_are_corrected,
        "a page tells when the edit was made, and when it was written" => clocks::edit_time_is_the_edits,
    }
    "promise 10": {
        "the same ids under two users are two entities" => isolation::same_ids_are_two_entities,
        "no page shows another user's data" => isolation::pages_show_nothing_of_others,
        "no watch shows another user's data" => isolation::watches_show_nothing_of_others,
        "another user's cursor is refused" => isolation::cursors_are_the_users_own,
        "another user's history cannot be read or restored" => isolation::histories_are_the_users_own,
        "another user's conflict cannot be read or resolved" => isolation::conflicts_are_the_users_own,
        "another user's device cannot be seen or revoked" => isolation::devices_are_the_users_own,
        "the user is the token's, another user_id is PERMISSION_DENIED" => isolation::the_user_is_the_tokens,
    }
    "rule 1": {
        "put: its first answer" => rules::replay_of_a_put,
        "delete: its first answer" => rules::replay_of_a_delete,
    }
    "rule 2": {
        "put of something new: APPLIED, version 1" => rules::put_of_something_new,
        "put of something unknown based on b: RESURRECTED, version b + 1" => rules::put_of_something_unknown_with_a_base,
        "delete of something unknown: UNCHANGED, version b" => rules::delete_of_something_unknown,
    }
    "rule 3": {
        "put on the current version: APPLIED" => rules::put_on_the_current_version,
        "put on the current tombstone: RESURRECTED" => rules::put_on_a_tombstone,
        "delete of the current version: APPLIED" => rules::delete_of_the_current_version,
        "delete of the current tombstone: UNCHANGED" => rules::delete_of_a_tombstone,
    }
    "rule 4": {
        "put of what is stored, however it is written: UNCHANGED" => rules::put_of_equal_content,
        "put of what only looks like it: a true conflict" => rules::content_that_differs_is_not_equal,
        "delete of what is deleted: UNCHANGED" => rules::delete_of_what_is_deleted,
    }
    "rule 5": {
        "put behind one's own edits: APPLIED" => rules::put_behind_own_edits,
        "put behind one's own delete: RESURRECTED" => rules::put_behind_an_own_delete,
        "delete behind one's own edits: APPLIED" => rules::delete_behind_own_edits,
    }
    "rule 6": {
        "put with force: CLIENT_WON" => rules::forced_put,
        "put with force on a tombstone: CLIENT_WON" => rules::forced_put_on_a_tombstone,
        "delete with force: CLIENT_WON" => rules::forced_delete,
    }
    "rule 7": {
        "put later than the deletion: RESURRECTED" => rules::edit_later_than_a_deletion,
        "put earlier than the deletion, or at once: SERVER_WON" => rules::edit_earlier_than_a_deletion,
    }
    "rule 8": {
        "delete later than the edit: CLIENT_WON, the edit stays readable" => rules::deletion_later_than_an_edit,
        "delete earlier than the edit, or at once: SERVER_WON" => rules::deletion_earlier_than_an_edit,
    }
    "rule 9": {
        "put where another device has written: the policy decides" => rules::true_conflict,
        "put where another device has created: the policy decides" => rules::both_created,
        "based on a version that the server has lost: max(b, v) + 1 if it is written" => rules::base_ahead_of_the_server,
        "ask: NEEDS_USER with both sides, the base and a proposed merge" => policies::ask,
        "last_write_wins, the later edit: CLIENT_WON" => policies::last_write_wins_later,
        "last_write_wins, an earlier edit or one at once: SERVER_WON" => policies::last_write_wins_earlier,
        "merge_fields: MERGED, each field from the side that changed it" => policies::merge_fields,
        "merge_fields, lists of objects with ids: element by element, in order" => policies::merge_fields_lists_by_id,
        "merge_fields, on_overlap latest: the later edit's" => policies::merge_fields_overlap_latest,
        "merge_fields, on_overlap ask: NEEDS_USER with the overlapping paths" => policies::merge_fields_overlap_ask,
        "a merge equal to the item: CLIENT_WON" => policies::merge_equal_to_the_item,
        "a merge equal to what is stored: MERGED, nothing written" => policies::merge_equal_to_the_stored,
        "merge_max: MERGED, all keys and the larger numbers" => policies::merge_max,
        "latest_per_key: MERGED, each entry from where it was edited later" => policies::latest_per_key,
        "server_authoritative: SERVER_WON with the library's copy" => policies::library_keeps_its_copy,
        "server_authoritative, unknown there: ERROR READ_ONLY" => policies::library_is_read_only,
    }
    "section 3": {
        "a later item sees what an earlier one of its batch did" => answers::items_in_the_order_sent,
        "answers repeat type and id as sent, letter case and a delete's data do not matter" => answers::answers_repeat_what_was_sent,
        "validate_only answers as the real thing and leaves nothing behind" => groups::validate_only,
    }
    "section 5": {
        "an open conflict is listed, with what and whom it is about" => inbox::open_conflicts_are_listed,
        "open conflicts are counted on pages and in GetStatus" => inbox::open_conflicts_are_counted,
        "GetConflict has both sides, the base, a proposed merge and the overlap" => inbox::both_sides_can_be_read,
        "KEEP_SERVER settles from any device" => inbox::keep_server,
        "KEEP_CLIENT settles from any device" => inbox::keep_client,
        "USE_DATA settles from any device" => inbox::use_data,
        "KEEP_CLIENT brings back what was deleted since" => inbox::keep_client_of_a_deletion,
        "a decision on a copy that has moved on is MOVED and changes nothing" => inbox::moved,
        "the same decision again is RESOLVED again, another one SETTLED_BEFORE and kept" => inbox::decided_twice,
        "a device that pushes its choice on the current version settles" => inbox::pushing_a_choice_settles,
        "a settled conflict is never opened again by its item" => inbox::settled_conflicts_stay_settled,
        "a newer edit replaces the side, the older stays readable" => inbox::newer_edits_replace_the_side,
        "each device has a conflict of its own" => inbox::each_device_has_its_own,
        "an unknown conflict, or no choice, is INVALID_ARGUMENT" => inbox::unknown_conflicts,
        "ListVersions tells who, when, how and why, the newest first" => history::versions_with_who_and_when,
        "a losing side stands behind the version it met" => history::losing_sides_stand_behind_what_they_met,
        "ListVersions goes page by page" => history::versions_page_by_page,
        "RestoreVersion writes an old version as a new one" => history::restore_writes_a_new_version,
        "RestoreVersion overwrites nothing that was not seen" => history::restore_overwrites_nothing_unseen,
        "RestoreVersion asked again is restored, and writes nothing" => history::restore_again,
        "RestoreVersion of a deletion deletes again" => history::restore_of_a_deletion,
        "ListDeleted has what was deleted, and how to bring it back" => history::recycle_bin,
        "what never was has no history and cannot be restored" => history::what_never_was,
    }
    "section 6": {
        "a page is in the order of changes, each entity once, at its newest version" => pages::order_of_changes,
        "a page has at most page_size entities, remaining is 0 on the last" => pages::page_sizes,
        "page_size 0 and one beyond the maximum are fine, a negative one is not" => pages::odd_page_sizes,
        "a page ends at about 1 MiB" => pages::large_entities,
        "from the beginning: what is there, whoever wrote it, without tombstones" => pages::from_the_beginning,
        "after a cursor: tombstones too" => pages::tombstones_after_a_cursor,
        "after a cursor: not one's own edits, unless include_own" => pages::own_edits_are_left_out,
        "a cursor can be used again, and shows the same" => cursors::cursors_can_be_used_again,
        "only the types that are asked for" => pages::only_types_that_are_asked_for,
        "a cursor is bound to the types it was given for" => cursors::cursors_are_bound_to_the_types,
        "a cursor that is none, or was changed, is INVALID_ARGUMENT" => cursors::bad_cursors,
        "on-demand types come only when they are named" => pages::on_demand_types_by_name_only,
        "an export has all types and one's own, its cursors go on with an export only" => pages::exports_have_everything,
        "a watch sends what was there, says CaughtUp, and follows" => watches::catches_up_and_follows,
        "a watch says CaughtUp once" => watches::caught_up_comes_once,
        "a watch sends tombstones" => watches::deletions_come,
        "a watch leaves out one's own edits, unless include_own" => watches::own_edits_are_left_out,
        "a cursor of a watch goes on in a pull, and the other way round" => watches::cursors_go_on_in_pulls_and_back,
        "a watch tells of conflicts that open and close" => watches::conflicts_are_told,
        "a watch with a bad request is INVALID_ARGUMENT" => watches::bad_watches,
    }
    "section 7": {
        "a call without a token is UNAUTHENTICATED" => bad_calls::without_a_token,
        "a call with a token that is none is UNAUTHENTICATED" => bad_calls::with_a_token_that_is_none,
        "a call with a token that was changed or not signed is UNAUTHENTICATED" => bad_calls::with_a_changed_token,
        "a call with two tokens is UNAUTHENTICATED" => bad_calls::with_two_tokens,
        "a call without a device, or with too long an id, is INVALID_ARGUMENT" => bad_calls::without_a_device,
        "a label, platform or app version that is too long is INVALID_ARGUMENT" => bad_calls::labels,
        "all bad fields of a request are named" => bad_calls::all_bad_fields_are_named,
        "a bad request about history or the inbox is INVALID_ARGUMENT" => bad_calls::bad_history_calls,
        "too many items are RESOURCE_EXHAUSTED, and nothing is written" => bad_calls::too_many_items,
        "too large a message is RESOURCE_EXHAUSTED" => bad_calls::too_many_bytes,
    }
    "section 8": {
        "the limits are told, and make sense" => status::limits_are_told,
        "the entity types are told, with policy and tier" => status::types_are_told,
        "data just within item_bytes_max is fine, a byte more is TOO_LARGE" => bad_items::too_large,
        "data too deep, numbers too long or too large are INVALID_DATA" => bad_items::beyond_the_limits_of_json,
        "duplicate keys, \\u0000 and lone surrogates are INVALID_DATA" => bad_items::doubtful_json,
    }
    "section 9": {
        "a bad entity_id is INVALID_ITEM" => bad_items::entity_id,
        "a bad operation is INVALID_ITEM" => bad_items::operation,
        "a bad version is INVALID_ITEM" => bad_items::version,
        "a malformed entity_type is INVALID_ITEM" => bad_items::entity_type,
        "an unknown entity_type is UNKNOWN_ENTITY_TYPE" => bad_items::unknown_type,
        "a bad mutation_id is INVALID_ITEM" => bad_items::mutation_id,
        "too long a group_id is INVALID_ITEM" => bad_items::group_id,
        "data that is no object is INVALID_DATA" => bad_items::no_object,
        "data that is no JSON is INVALID_DATA, and says where" => bad_items::no_json,
        "data that its type's schema does not allow is INVALID_DATA, and says where" => bad_items::schema,
        "a batch without items is fine and tells the server's time" => bad_calls::empty_batches,
        "two sessions at the same time are noted, KEEP_BOTH keeps both" => duplicates::keep_both,
        "two sessions at the same time are noted, KEEP_SERVER and KEEP_CLIENT keep one" => duplicates::keep_one_of_two,
        "a counted batch sent again is answered again, the next one is taken" => copies::same_batch_again,
        "the number of a batch with other edits is DEVICE_ID_REUSED" => copies::same_number_with_other_edits,
        "a smaller number is DEVICE_ID_REUSED, for pulls and watches too" => copies::smaller_number,
        "a device that does not count is never refused" => copies::devices_that_do_not_count,
        "a revoked device is DEVICE_REVOKED and writes nothing" => copies::revoked_devices,
        "revoking a device that the user does not have is INVALID_ARGUMENT" => copies::revoking_an_unknown_device,
        "GetStatus lists the devices, with what they say of themselves" => status::devices_are_listed,
        "GetStatus counts the changes that wait for a device" => status::waiting_changes_are_counted,
        "ExportAccount has everything, and ends with the counts" => status::exports_are_complete,
    }
}
