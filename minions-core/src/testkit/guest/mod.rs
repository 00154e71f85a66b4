//! The suite of [`GuestChannel`](crate::guest::GuestChannel).

mod doors;
mod guests;
mod scene;

pub use doors::*;
pub use guests::*;
pub use scene::{Boot, GuestScene};

/// Checks a [`GuestChannel`](crate::guest::GuestChannel): `guest_suite!(name, async |folder| GuestScene { … })`.
///
/// Each case makes a fresh [`GuestScene`](crate::testkit::guest::GuestScene): a channel without doors, and what boots a
/// guest with our agent behind one. `folder` is a [`PathBuf`](std::path::PathBuf) of its own for each of them.
#[macro_export]
macro_rules! guest_suite {
    ($name:ident, $make:expr) => {
        $crate::__conformance_tests!(
            $name,
            guest,
            $make,
            [
                nothing_is_known_of_a_door_that_never_was,
                a_door_opened_twice_is_open_once,
                an_accept_ends_with_its_deadline,
                a_guest_that_says_ready_is_heard_through_its_door,
                a_connection_carries_a_call_and_its_answer,
                nobody_answers_on_a_port_that_nobody_listens_on,
                a_guest_is_told_apart_by_its_door_and_its_secret,
                a_closed_door_ends_its_connections,
            ]
        );
    };
}
