//! Bodies of requests: what is understood means the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minions_core::api::v1::{
    CreateVm, DestroyVm, Event, ImportImage, ListVms, Operation, Problem, RenameVm, ResizeVm, RestartVm, StartVm,
    StopVm, Vm,
};
use minions_core::types::{ByteSize, ImageId, MacAddr, OperationId, VmId, VmName};

fuzz_target!(|bytes: &[u8]| {
    twice::<CreateVm>(bytes);
    twice::<StartVm>(bytes);
    twice::<StopVm>(bytes);
    twice::<RestartVm>(bytes);
    twice::<DestroyVm>(bytes);
    twice::<RenameVm>(bytes);
    twice::<ResizeVm>(bytes);
    twice::<ListVms>(bytes);
    twice::<ImportImage>(bytes);
    twice::<Vm>(bytes);
    twice::<Event>(bytes);
    twice::<Operation>(bytes);
    twice::<Problem>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        text_twice::<VmName>(text);
        text_twice::<VmId>(text);
        text_twice::<OperationId>(text);
        text_twice::<ImageId>(text);
        text_twice::<MacAddr>(text);
        let _ = text.parse::<ByteSize>();
    }
});

fn twice<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return };
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("what was written can be read"), value);
}

fn text_twice<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value));
}
