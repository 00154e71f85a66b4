//! Values for property tests.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::types::{ByteSize, Goal, ImageId, StopHow, Vcpus, VmId, VmName, VmSpec};

/// Names that are allowed, long and short ones.
pub fn name() -> impl Strategy<Value = VmName> {
    "[a-z](-?[a-z0-9]){0,19}".prop_filter_map("a reserved name", |text| text.parse().ok())
}

/// A few names, so that they collide.
pub fn colliding_name() -> impl Strategy<Value = VmName> {
    prop::sample::select(vec!["a", "b", "web", "web-2"]).prop_filter_map("a name", |text| text.parse().ok())
}

/// Texts that are near to names: most are none.
pub fn almost_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9._/@-]{0,45}",
        vec(any::<char>(), 0..45).prop_map(|letters| letters.into_iter().collect()),
        name().prop_map(|name| name.to_string()),
    ]
}

/// Ids that differ anywhere, at their ends too.
pub fn vm_id() -> impl Strategy<Value = VmId> {
    any::<u128>().prop_map(VmId::from_bits)
}

/// Specs that a host could run.
pub fn spec(image: ImageId) -> impl Strategy<Value = VmSpec> {
    let data = prop::option::of((1u64..64).prop_map(ByteSize::mib));
    (1u32..8, 64u64..4096, 64u64..512, data).prop_map(move |(vcpus, memory, root, data)| VmSpec {
        image,
        vcpus: Vcpus(vcpus),
        memory: ByteSize::mib(memory),
        root: ByteSize::mib(root),
        data,
        ..VmSpec::of(image)
    })
}

/// How a guest is ended.
pub fn stop_how() -> impl Strategy<Value = StopHow> {
    prop_oneof![Just(StopHow::Force), (0u64..60_000).prop_map(|grace_ms| StopHow::Graceful { grace_ms })]
}

/// Goals.
pub fn goal() -> impl Strategy<Value = Goal> {
    prop_oneof![
        3 => (1u64..100).prop_map(|epoch| Goal::Running { epoch }),
        2 => stop_how().prop_map(|how| Goal::Stopped { how }),
        1 => Just(Goal::ABSENT),
    ]
}
