//! What clumsy and hostile people ask of the service: refused before anything happens, with a kind, a reason and a field.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::path::PathBuf;
use std::time::Duration;

use edge::{Edge, new_vm, owner};
use minions_core::ErrorKind;
use minions_core::api::guest::GuestCall;
use minions_core::api::v1;
use minions_core::service::{Caller, ControlPlane, VmRef};
use minions_core::types::{BootFiles, ImageBundle, ImageDefaults, ImageId};
use serde_json::json;

/// The VMs and events that there are: what a refused request may not change.
async fn world(edge: &Edge) -> (Vec<v1::Vm>, u64) {
    let all = Caller::admin("ops");
    let vms = edge.plane.vms(&all, &v1::ListVms { deleted: Some(true), ..v1::ListVms::default() }).await.unwrap().vms;
    (vms, edge.plane.last_event(&all).await.unwrap().0)
}

/// Asks as the owner; the request must be refused like this, and change nothing.
async fn refused(edge: &Edge, method: &str, path: &str, body: &str, status: u16, reason: Option<&str>, field: &str) {
    let before = world(edge).await;
    let reply = edge.ask(Some(&edge.owner), method, path, Some(body)).await;
    let what = format!("{path} {}: {reply:?}", &body[..body.len().min(100)]);
    assert_eq!(reply.status, status, "{what}");
    let problem = reply.problem();
    assert_eq!(
        (problem.reason.as_deref(), problem.field.as_deref()),
        (reason, Some(field).filter(|f| !f.is_empty())),
        "{what}"
    );
    assert!(problem.message.len() < 500 && !problem.message.contains(['\n', '\u{1b}', '/']), "{what}");
    assert_eq!(world(edge).await, before, "{what}");
}

#[tokio::test]
async fn bad_1_names_that_are_none_are_refused_everywhere_and_change_nothing() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    let long = "a".repeat(41);
    for name in [
        "",
        &long,
        "Web",
        "-web",
        "web-",
        "we--b",
        "we_b",
        "we.b",
        ".",
        "..",
        "a/b",
        "a\0b",
        "a\nb",
        "🙂",
        "wеb",
        "xn--bcher-kva",
        "-rf",
        "www",
        "api",
        "admin",
        "ssh",
        "mail",
        "ns1",
        "_acme-challenge",
        "localhost",
        "minions",
        "root",
        "\u{1b}[2J",
    ] {
        let body = json!({ "name": name }).to_string();
        for path in ["/v1/vms", "/v1/vms/web/rename"] {
            refused(&edge, "POST", path, &body, 400, Some("name_invalid"), "name").await;
        }
    }
    for body in [r#"{"name":7}"#, r#"{"name":null}"#, r#"{"name":["web"]}"#] {
        refused(&edge, "POST", "/v1/vms", body, 400, None, "name").await;
    }
}

#[tokio::test]
async fn bad_1_a_name_that_is_taken_says_the_same_whoever_has_it_or_had_it() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    let theirs = Caller::tenant("bob");
    for name in ["theirs", "gone"] {
        let operation = edge.plane.create(&theirs, &new_vm(name), None).await.unwrap();
        edge.plane.operation(&theirs, operation.id, Duration::from_secs(20)).await.unwrap();
    }
    let destroy = minions_core::service::VmAction::Destroy(v1::DestroyVm::default());
    let operation = edge.plane.act(&theirs, &"gone".parse().unwrap(), &destroy, None).await.unwrap();
    edge.plane.operation(&theirs, operation.id, Duration::from_secs(20)).await.unwrap();
    let mut answers = Vec::new();
    for name in ["web", "theirs", "gone"] {
        for path in ["/v1/vms", "/v1/vms/web/rename"] {
            // A VM may be given the name that it has.
            if (name, path) != ("web", "/v1/vms/web/rename") {
                let body = json!({ "name": name }).to_string();
                let reply = edge.ask(Some(&edge.owner), "POST", path, Some(&body)).await;
                assert_eq!(
                    (reply.status, reply.problem().reason.as_deref()),
                    (409, Some("name_taken")),
                    "{name} {path}"
                );
                answers.push(reply.body);
            }
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "an answer tells whose the name is");
}

#[tokio::test]
async fn bad_3_amounts_that_cannot_be_are_refused_with_their_field() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    const MAX: u64 = u64::MAX;
    let cases = [
        ("cpus", json!(0), 400, None),
        ("cpus", json!(-1), 400, None),
        ("cpus", json!(1u64 << 32), 400, None),
        ("cpus", json!("2"), 400, None),
        ("cpus", json!(1e3), 400, None),
        ("cpus", json!(1.5), 400, None),
        ("cpus", json!(true), 400, None),
        ("cpus", json!(u32::MAX), 409, Some("no_capacity")),
        ("memory", json!(0), 400, None),
        ("memory", json!(-1), 400, None),
        ("memory", json!("1GiB"), 400, None),
        ("memory", json!(1 << 20), 400, None),
        ("memory", json!((1u64 << 30) + 1), 400, None),
        ("memory", json!((1u64 << 30) + 512), 400, None),
        ("memory", json!(MAX), 409, Some("no_capacity")),
        ("memory", json!(i64::MAX), 409, Some("no_capacity")),
        ("disk", json!(0), 400, None),
        ("disk", json!(1), 400, None),
        ("disk", json!(MAX), 409, Some("no_capacity")),
        ("disk", json!(MAX - 511), 409, Some("no_capacity")),
        ("data_disk", json!(1), 400, None),
        ("data_disk", json!(-5), 400, None),
        ("data_disk", json!(MAX), 409, Some("no_capacity")),
    ];
    for (field, value, status, reason) in cases {
        let create = json!({ "name": "other", field: value }).to_string();
        refused(&edge, "POST", "/v1/vms", &create, status, reason, field).await;
        if ["cpus", "memory"].contains(&field) {
            let resize = json!({ field: value }).to_string();
            refused(&edge, "POST", "/v1/vms/web/resize", &resize, status, reason, field).await;
        }
    }
    // What JSON cannot say is no JSON.
    for value in ["NaN", "Infinity", "1e999", "0x10", "01", "+1"] {
        refused(&edge, "POST", "/v1/vms", &format!(r#"{{"name":"other","cpus":{value}}}"#), 400, None, "body").await;
    }
    // A disk's size is no part of a resize: it never shrinks, and nobody is told that it did.
    for (field, value, status, reason) in
        [("disk", 1, 400, None), ("disk", MAX - 511, 409, Some("no_capacity")), ("data_disk", 1, 400, None)]
    {
        let body = format!("{{\"{field}\":{value}}}");
        refused(&edge, "POST", "/v1/vms/web/resize", &body, status, reason, field).await;
    }
    for grace in [json!(-1), json!(MAX), json!(3_600_001), json!("5s")] {
        refused(&edge, "POST", "/v1/vms/web/stop", &json!({ "grace_ms": grace }).to_string(), 400, None, "grace_ms")
            .await;
    }
}

#[tokio::test]
async fn bad_4_ports_that_are_none_are_refused_before_the_guest_is_asked() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    for port in [0] {
        let call = GuestCall::Forward { port };
        let error = edge.plane.open(&owner(), &"web".parse().unwrap(), &call).await.err().expect("refused");
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("port")), "{}", error.chain());
        let plane = edge.over_tcp(&edge.owner);
        let error = plane.open(&owner(), &"web".parse().unwrap(), &call).await.err().expect("refused");
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("port")), "{}", error.chain());
    }
    for port in ["65536", "-1", "\"80\"", "80.5"] {
        let text = format!(r#"{{"call":"forward","port":{port}}}"#);
        assert!(serde_json::from_str::<GuestCall>(&text).is_err(), "{port}");
    }
}

#[tokio::test]
async fn bad_4_calls_into_a_guest_that_no_guest_could_do_are_refused() {
    let edge = Edge::start().await;
    edge.vm("web").await;
    for (call, field) in [
        (json!({ "call": "exec", "argv": [] }), "argv"),
        (json!({ "call": "exec", "argv": [""] }), "argv"),
        (json!({ "call": "exec", "argv": ["a\0b"] }), "argv"),
        (json!({ "call": "exec", "argv": ["a"], "env": { "": "x" } }), "env"),
        (json!({ "call": "exec", "argv": ["a"], "env": { "A=B": "x" } }), "env"),
        (json!({ "call": "exec", "argv": ["a"], "cwd": "" }), "cwd"),
        (json!({ "call": "stat", "path": "relative" }), "path"),
        (json!({ "call": "stat", "path": "" }), "path"),
        (json!({ "call": "stat", "path": "/a\0b" }), "path"),
        (json!({ "call": "tar_in", "dest": "../up" }), "path"),
    ] {
        let call: GuestCall = serde_json::from_value(call.clone()).unwrap();
        let error = edge.plane.open(&owner(), &"web".parse().unwrap(), &call).await.err().expect("refused");
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::InvalidArgument, Some(field)),
            "{call:?}: {}",
            error.chain()
        );
    }
    // What is the host's alone is nobody else's, not even an admin's.
    for call in [json!({ "call": "shutdown", "how": "now" }), json!({ "call": "grow_filesystem", "target": "root" })] {
        let call: GuestCall = serde_json::from_value(call).unwrap();
        let error =
            edge.plane.open(&Caller::admin("ops"), &"web".parse().unwrap(), &call).await.err().expect("refused");
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("forbidden")));
    }
}

#[tokio::test]
async fn bad_22_an_image_with_a_name_that_is_none_is_refused_before_a_file_is_read() {
    let edge = Edge::start().await;
    let admin = Caller::admin("ops");
    let before = edge.plane.images(&admin).await.unwrap();
    let long = "a".repeat(65);
    for name in ["", "..", "../x", "/etc", "a b", "-rf", "a\nb", "\u{1b}[2J", &long] {
        let bundle = ImageBundle {
            id: ImageId::from_digest([1; 32]),
            name: name.to_owned(),
            root: PathBuf::from("/nonexistent"),
            boot: BootFiles { kernel: PathBuf::from("/nonexistent"), initrd: PathBuf::from("/nonexistent") },
            defaults: ImageDefaults::default(),
        };
        let error = edge.plane.import_image(&admin, &bundle).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.field()),
            (Some("name_invalid"), Some("name")),
            "{name:?}: {}",
            error.chain()
        );
    }
    assert_eq!(edge.plane.images(&admin).await.unwrap(), before);
}

#[tokio::test]
async fn bad_1_a_vm_with_a_name_that_became_reserved_is_still_its_owners() {
    let edge = Edge::start().await;
    let vm = edge.vm("web").await;
    edge.rename_stored(&vm, "www").await;
    let www: VmRef = "www".parse().unwrap();
    assert_eq!(edge.plane.vm(&owner(), &www).await.unwrap().id, vm.id);
    let list = edge.over_tcp(&edge.owner).vms(&owner(), &v1::ListVms::default()).await.unwrap();
    assert_eq!(list.vms[0].name.as_str(), "www");
    let stop = minions_core::service::VmAction::Stop(v1::StopVm::default());
    let operation = edge.over_tcp(&edge.owner).act(&owner(), &www, &stop, None).await.unwrap();
    let ended = edge.plane.operation(&owner(), operation.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
    refused(&edge, "POST", "/v1/vms", r#"{"name":"www"}"#, 400, Some("name_invalid"), "name").await;
}
