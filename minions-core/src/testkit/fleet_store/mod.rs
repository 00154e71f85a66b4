//! The suite of [`FleetStore`](crate::store::FleetStore).

mod changes;
mod events;
mod names;
mod people;
mod prunes;
mod quotas;
mod reads;
mod rows;

pub use changes::*;
pub use events::*;
pub use names::*;
pub use people::*;
pub use prunes::*;
pub use quotas::*;
pub use reads::*;

/// Checks a store that is both a [`FleetStore`](crate::store::FleetStore) and the [`People`](crate::store::People) who are
/// written with it: `people_suite!(name, async |folder| Arc::new(store))`, as with `fleet_store_suite!`.
#[macro_export]
macro_rules! people_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            fleet_store,
            $make,
            [
                people_read_back_whole,
                what_people_have_is_theirs_alone,
                a_user_who_goes_leaves_nothing_but_a_name,
                ctl_6_6_the_audit_log_is_a_chain_without_a_gap,
            ]
        );
    };
}

/// Checks a [`FleetStore`](crate::store::FleetStore): `fleet_store_suite!(name, async |folder| Arc::new(store))`.
///
/// Each case makes a fresh, empty store. `folder` is a [`PathBuf`](std::path::PathBuf) of its own for each of them.
#[macro_export]
macro_rules! fleet_store_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            fleet_store,
            $make,
            [
                what_was_committed_reads_back_whole,
                a_change_that_is_refused_leaves_nothing,
                a_writer_that_read_an_older_row_is_refused,
                what_is_not_there_cannot_be_updated,
                an_id_is_used_once,
                a_tombstone_stays_one,
                an_idempotency_key_is_unique_per_owner,
                a_call_that_is_dropped_is_all_or_nothing,
                events_have_consecutive_places_over_commits,
                concurrent_commits_share_no_place,
                events_are_paged_without_gaps,
                an_owners_events_are_paged_without_anybody_elses,
                a_live_name_is_taken_once,
                a_rename_to_a_taken_name_is_refused,
                a_tombstone_frees_its_name,
                a_name_rests_for_others_than_its_last_owner,
                ctl_6_5_a_hundred_creates_at_a_quota_of_five_make_five,
                quotas_count_what_is_stopped_and_forget_tombstones,
                quotas_are_checked_after_the_writes,
                a_disk_that_was_kept_counts_until_it_goes,
                vms_are_paged_in_the_order_of_their_ids,
                vms_are_filtered_by_owner_work_and_tombstones,
                a_name_finds_only_what_lives,
                pending_operations_come_oldest_first,
                a_key_finds_its_operation_for_its_owner_only,
                reads_see_every_commit_that_returned,
                old_events_go_oldest_first_and_the_newest_stays,
                an_event_that_stays_keeps_all_behind_it,
                a_reader_after_a_forgotten_place_is_told_so,
                an_owner_after_a_forgotten_place_is_told_so,
                a_key_is_forgotten_before_its_operation,
                operations_that_ended_go_and_all_else_stays,
            ]
        );
    };
}
