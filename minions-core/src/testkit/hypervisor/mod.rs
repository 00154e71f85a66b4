//! The suite of [`Hypervisor`](crate::hypervisor::Hypervisor).

mod console;
mod ends;
mod scene;
mod starts;

pub use console::*;
pub use ends::*;
pub use scene::{HypervisorScene, Prepare};
pub use starts::*;

/// Checks a [`Hypervisor`](crate::hypervisor::Hypervisor): `hypervisor_suite!(name, async |folder| HypervisorScene { … })`.
///
/// Each case makes a fresh [`HypervisorScene`](crate::testkit::hypervisor::HypervisorScene): a hypervisor without
/// monitors, and what prepares the disks and network ports that it boots from. `folder` is a
/// [`PathBuf`](std::path::PathBuf) of its own for each of them.
#[macro_export]
macro_rules! hypervisor_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            hypervisor,
            $make,
            [
                nothing_is_known_of_a_monitor_that_never_was,
                a_process_comes_before_the_guest_where_it_can,
                a_start_asked_for_twice_is_one_start,
                a_missing_disk_is_not_found_and_boots_nothing,
                a_missing_port_is_not_found_and_boots_nothing,
                another_epoch_is_a_conflict_and_touches_nothing,
                the_same_start_at_once_is_one_monitor,
                the_least_memory_that_it_tells_of_is_enough_and_less_is_refused,
                a_dropped_start_leaves_nothing_that_the_list_hides,
                nothing_is_left_after_absence,
                the_end_of_a_monitor_wakes_whoever_waits_for_it,
                a_wait_ends_with_its_deadline,
                a_dead_monitor_is_told_and_cleared_by_the_next_start,
                monitors_do_not_touch_each_other,
                the_console_of_a_monitor_that_is_not_there_is_not_found,
                what_is_typed_reaches_the_guest_and_what_it_prints_everybody_and_the_log,
                the_end_of_a_monitor_is_the_end_of_its_consoles,
                a_dropped_attach_leaves_a_console_that_works,
            ]
        );
    };
}
