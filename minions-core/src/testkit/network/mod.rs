//! The suite of [`Network`](crate::network::Network).

mod ports;

pub use ports::*;

/// Checks a [`Network`](crate::network::Network): `network_suite!(name, async |folder| Arc::new(network))`.
///
/// Each case makes a fresh one without ports. `folder` is a [`PathBuf`](std::path::PathBuf) of its own for each of them.
#[macro_export]
macro_rules! network_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            network,
            $make,
            [
                the_pool_is_a_range_and_does_not_change,
                nothing_is_known_of_a_port_that_never_was,
                a_port_asked_for_twice_is_there_once,
                what_the_guest_is_told_is_what_was_asked_for,
                a_port_with_other_addresses_is_refused_and_kept,
                ports_of_several_vms_do_not_touch_each_other,
                a_dropped_port_is_finished_by_its_repeat_or_cleared,
                the_same_port_at_once_is_one_port,
            ]
        );
    };
}
