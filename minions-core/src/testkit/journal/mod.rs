//! The suite of [`Journal`](crate::store::Journal).

mod goals;
mod kept;
mod leases;
mod rows;
mod tombstones;

pub use goals::*;
pub use kept::*;
pub use leases::*;
pub use tombstones::*;

/// Checks a [`Journal`](crate::store::Journal): `journal_suite!(name, async |folder, pool| Arc::new(journal))`.
///
/// Each case makes a fresh, empty journal that lends from `pool`, a [`LeasePool`](crate::store::LeasePool). `folder` is a
/// [`PathBuf`](std::path::PathBuf) of its own for each of them.
#[macro_export]
macro_rules! journal_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            journal,
            $make,
            [
                an_accepted_entry_reads_back_with_its_lease,
                the_same_generation_changes_nothing,
                a_lower_generation_is_refused,
                a_higher_generation_keeps_the_lease_and_forgets_the_outcome,
                an_outcome_belongs_to_its_generation,
                made_disks_stay_made,
                rows_are_paged_in_the_order_of_their_ids,
                no_two_rows_share_a_lease,
                concurrent_entries_share_no_lease,
                concurrent_entries_of_one_vm_make_one_row,
                a_used_up_pool_refuses_and_leaves_nothing,
                a_freed_lease_is_given_out_last,
                the_smallest_range_bounds_the_pool,
                what_is_freed_rests_before_it_is_given_out_again,
                ranges_are_used_up_in_order_and_given_out_again_as_one,
                absence_of_what_never_was_leaves_a_tombstone_and_nothing_else,
                absence_of_what_is_named_like_another_does_not_touch_the_other,
                a_burial_needs_the_goal_of_absence_at_its_generation,
                an_id_with_a_tombstone_never_gets_a_row_again,
                names_of_things_are_unique_over_rows_and_tombstones,
                a_data_disk_that_was_kept_is_one_rows_at_a_time,
                a_kept_data_disk_goes_by_a_goal_of_absence_at_a_higher_generation,
            ]
        );
    };
}
