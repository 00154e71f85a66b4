//! The suite of [`Storage`](crate::storage::Storage).

mod images;
mod scene;
mod volumes;

pub use images::*;
pub use scene::{FileProbe, HoldingProbe, Probe, StorageScene};
pub use volumes::*;

/// Checks a [`Storage`](crate::storage::Storage): `storage_suite!(name, async |folder| StorageScene { … })`.
///
/// Each case makes a fresh [`StorageScene`](crate::testkit::storage::StorageScene): a storage without volumes, the files
/// of an image that it has not taken in, and a way to look at a volume's bytes. `folder` is a
/// [`PathBuf`](std::path::PathBuf) of its own for each of them.
#[macro_export]
macro_rules! storage_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            storage,
            $make,
            [
                capabilities_do_not_change,
                an_image_taken_in_twice_is_there_once,
                an_image_that_does_not_match_its_id_is_refused,
                an_image_in_use_stays,
                an_image_that_nobody_needs_goes_and_can_come_again,
                nothing_is_known_of_a_volume_that_never_was,
                a_volume_that_was_asked_for_is_listed_and_whole,
                asking_again_leaves_the_bytes_alone,
                growing_keeps_the_bytes,
                shrinking_is_refused_and_changes_nothing,
                a_volume_without_its_image_is_not_found,
                a_new_volume_sees_nothing_of_an_old_one_of_its_name,
                volumes_of_one_image_share_no_writes,
                a_dropped_call_is_finished_by_its_repeat_or_cleared,
                the_same_call_at_once_makes_one_volume,
                a_quarantined_volume_is_kept_and_no_longer_listed,
                a_volume_in_use_stays,
                absence_twice_is_absence_once,
            ]
        );
    };
}
