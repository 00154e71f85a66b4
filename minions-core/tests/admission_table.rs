//! The whole admission table against its golden file, which is the documentation's table too.

use minions_core::service::admit::{Denied, Intent, Record, admit};
use minions_core::types::OperationVerb;

const VERBS: [OperationVerb; 11] = [
    OperationVerb::Create,
    OperationVerb::Start,
    OperationVerb::Stop,
    OperationVerb::Restart,
    OperationVerb::Destroy,
    OperationVerb::Rename,
    OperationVerb::Resize,
    OperationVerb::Rebase,
    OperationVerb::DeleteDisk,
    OperationVerb::Expose,
    OperationVerb::Share,
];

fn cell(verb: OperationVerb, record: Record) -> &'static str {
    match admit(verb, record) {
        Ok(Intent::Join) => "joins",
        Ok(Intent::Goal) => "new goal",
        Ok(Intent::Record) => "new record",
        Err(Denied::Deleting) => "denied: wrong_state",
        Err(Denied::Gone) => "not found",
        Err(Denied::NotRunning) => "denied: not_running",
        Err(Denied::NoDisk) => "no disk",
        Err(Denied::Lost) => "denied: host_lost",
    }
}

fn table() -> String {
    let mut text = String::from("| asked | ");
    text += &Record::ALL.map(|record| format!("{record:?}").to_lowercase()).join(" | ");
    text += " |\n|---|";
    text += &"---|".repeat(Record::ALL.len());
    for verb in VERBS {
        text += &format!("\n| {} | {} |", verb.as_str(), Record::ALL.map(|record| cell(verb, record)).join(" | "));
    }
    text + "\n"
}

#[test]
fn the_whole_table_is_what_the_golden_file_says() {
    assert_eq!(
        table(),
        include_str!("golden/admission.md"),
        "if this is meant, put this into golden/admission.md:\n{}",
        table()
    );
}

#[test]
fn destroy_is_admitted_from_every_state_that_is_not_gone() {
    for record in Record::ALL.into_iter().filter(|record| !matches!(record, Record::Gone | Record::Kept)) {
        assert!(admit(OperationVerb::Destroy, record).is_ok(), "{record:?}");
    }
}

#[test]
fn nothing_but_destroy_is_admitted_for_what_is_being_destroyed() {
    for verb in VERBS.into_iter().filter(|verb| *verb != OperationVerb::Destroy) {
        assert!(admit(verb, Record::Deleting).is_err(), "{verb:?}");
    }
}
