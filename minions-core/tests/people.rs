//! Who has an account, what lets them in, and what they may do then: in process and over the API.
#![cfg(all(feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;

use std::sync::Arc;
use std::time::Duration;

use edge::{Edge, new_vm};
use minions_core::ErrorKind;
use minions_core::api::guest::GuestCall;
use minions_core::api::v1;
use minions_core::http::client::HttpControlPlane;
use minions_core::http::token::Token;
use minions_core::service::{Accounts, Caller, ControlPlane, Directory, VmAction, VmRef};
use minions_core::types::{ByteSize, EventSeq, PublicKey, Quota, Role, TokenScope, UserName};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ada@home";

type Face = Arc<dyn Directory>;

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn ops() -> Caller {
    Caller::admin("ops")
}

/// The directory in process, and over TCP as an admin.
fn ways(edge: &Edge) -> [Face; 2] {
    [edge.accounts.clone(), Arc::new(edge.over_tcp(&edge.admin))]
}

async fn add(face: &Face, user: &str) -> UserName {
    let request = v1::AddUser { name: name(user), admin: false };
    assert_eq!(face.add_user(&ops(), &request).await.unwrap().name, user);
    name(user)
}

async fn token(face: &Face, user: &UserName, request: &v1::AddToken) -> Token {
    let made = face.add_token(&ops(), user, request).await.unwrap();
    assert!(!format!("{made:?}").contains(&made.token), "a token is not printed by chance");
    made.token.parse().unwrap()
}

fn scoped(scope: TokenScope) -> v1::AddToken {
    v1::AddToken { scope, ..v1::AddToken::default() }
}

async fn done(plane: &HttpControlPlane, operation: v1::Operation) {
    let ended = plane.operation(&ops(), operation.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(ended.outcome, v1::OperationOutcome::Succeeded);
}

#[tokio::test]
async fn a_user_lives_and_dies_with_keys_and_tokens() {
    for way in 0..2 {
        let edge = Edge::start().await;
        let face = &ways(&edge)[way];
        let zoe = add(face, "zoe").await;
        let key = face.add_key(&ops(), &zoe, &v1::AddKey { key: KEY.to_owned(), label: None }).await.unwrap();
        let print = KEY.parse::<PublicKey>().unwrap().print();
        assert_eq!((key.fingerprint.as_str(), key.label.as_str()), (print.to_string().as_str(), "ada@home"));
        assert_eq!(face.keys(&ops(), &zoe).await.unwrap().keys, [key]);
        assert_eq!(edge.accounts.by_key(&print).await.unwrap(), Some(Caller::tenant("zoe")));
        let token = token(face, &zoe, &scoped(TokenScope::Enter)).await;
        let mut enter = Caller::tenant("zoe");
        enter.scope = TokenScope::Enter;
        assert_eq!(edge.accounts.by_token(&token.hash()).await.unwrap(), Some(enter));
        let listed = face.tokens(&ops(), &zoe).await.unwrap().tokens;
        assert_eq!(listed.iter().map(|token| token.scope).collect::<Vec<_>>(), [TokenScope::Enter]);

        let off = v1::UpdateUser { disabled: Some(true), ..v1::UpdateUser::default() };
        assert!(face.update_user(&ops(), &zoe, &off).await.unwrap().disabled);
        assert_eq!(edge.accounts.by_key(&print).await.unwrap(), None);
        assert_eq!(edge.accounts.by_token(&token.hash()).await.unwrap(), None);
        let on = v1::UpdateUser { disabled: Some(false), admin: Some(true), ..v1::UpdateUser::default() };
        assert_eq!(face.update_user(&ops(), &zoe, &on).await.unwrap().role, Role::Admin);
        assert_eq!(edge.accounts.by_key(&print).await.unwrap(), Some(Caller::admin("zoe")));

        face.delete_key(&ops(), &zoe, &print).await.unwrap();
        assert_eq!(edge.accounts.by_key(&print).await.unwrap(), None);
        face.delete_token(&ops(), &zoe, listed[0].id).await.unwrap();
        assert_eq!(edge.accounts.by_token(&token.hash()).await.unwrap(), None);
        let again = face.delete_token(&ops(), &zoe, listed[0].id).await.unwrap_err();
        assert_eq!((again.kind(), again.reason()), (ErrorKind::NotFound, Some("token_unknown")));
        face.delete_user(&ops(), &zoe).await.unwrap();
        assert_eq!(face.user(&ops(), &zoe).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(face.users(&ops(), &v1::ListUsers::default()).await.unwrap().users, []);
        let taken = face.add_user(&ops(), &v1::AddUser { name: zoe, admin: false }).await.unwrap_err();
        assert_eq!((taken.kind(), taken.reason()), (ErrorKind::AlreadyExists, Some("user_taken")));
    }
}

#[tokio::test]
async fn users_are_paged_in_the_order_of_their_names() {
    let edge = Edge::start().await;
    for face in ways(&edge) {
        for user in ["c", "a", "b"] {
            let _ = face.add_user(&ops(), &v1::AddUser { name: name(user), admin: false }).await;
        }
        let first = face.users(&ops(), &v1::ListUsers { limit: Some(2), cursor: None }).await.unwrap();
        assert_eq!(first.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let rest = face.users(&ops(), &v1::ListUsers { limit: Some(2), cursor: first.next }).await.unwrap();
        assert_eq!((rest.users.len(), rest.next), (1, None));
    }
}

#[tokio::test]
async fn a_tenant_manages_their_own_keys_and_tokens_and_nobody_elses() {
    let edge = Edge::start().await;
    let face = &ways(&edge)[0];
    let (zoe, yan) = (add(face, "zoe").await, add(face, "yan").await);
    let plane = edge.over_tcp(&token(face, &zoe, &scoped(TokenScope::Full)).await);
    let me = Caller::tenant("zoe");
    let who = plane.whoami().await.unwrap();
    assert_eq!((who.name.as_str(), who.role, who.scope), ("zoe", Role::Tenant, TokenScope::Full));
    plane.add_key(&me, &zoe, &v1::AddKey { key: KEY.to_owned(), label: None }).await.unwrap();
    assert_eq!(plane.keys(&me, &zoe).await.unwrap().keys.len(), 1);
    assert_eq!(plane.user(&me, &zoe).await.unwrap().name, "zoe");
    let absent = plane.user(&me, &name("nobody")).await.unwrap_err().to_string();
    let print = KEY.parse::<PublicKey>().unwrap().print();
    let key = v1::AddKey { key: KEY.to_owned(), label: None };
    let id = face.add_token(&ops(), &yan, &v1::AddToken::default()).await.unwrap().info.id;
    for error in [
        plane.user(&me, &yan).await.unwrap_err(),
        plane.keys(&me, &yan).await.unwrap_err(),
        plane.tokens(&me, &yan).await.unwrap_err(),
        plane.add_key(&me, &yan, &key).await.unwrap_err(),
        plane.delete_key(&me, &yan, &print).await.unwrap_err(),
        plane.add_token(&me, &yan, &v1::AddToken::default()).await.unwrap_err(),
        plane.delete_token(&me, &yan, id).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotFound, absent.clone()));
    }
    for error in [
        plane.add_user(&me, &v1::AddUser { name: name("eve"), admin: true }).await.unwrap_err(),
        plane.users(&me, &v1::ListUsers::default()).await.unwrap_err(),
        plane.update_user(&me, &zoe, &v1::UpdateUser { admin: Some(true), ..Default::default() }).await.unwrap_err(),
        plane.delete_user(&me, &zoe).await.unwrap_err(),
        plane.audit(&me, 0, 10).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("forbidden")));
    }
}

#[tokio::test]
async fn a_token_goes_as_far_as_its_scope() {
    let edge = Edge::start().await;
    let face = &ways(&edge)[0];
    let zoe = add(face, "zoe").await;
    let [read, enter, full] = [TokenScope::Read, TokenScope::Enter, TokenScope::Full].map(scoped);
    let full = edge.over_tcp(&token(face, &zoe, &full).await);
    let enter = edge.over_tcp(&token(face, &zoe, &enter).await);
    let read = edge.over_tcp(&token(face, &zoe, &read).await);
    let me = Caller::tenant("zoe");
    let vm: VmRef = "web".parse().unwrap();
    done(&full, full.create(&me, &new_vm("web"), None).await.unwrap()).await;
    for plane in [&read, &enter, &full] {
        assert_eq!(plane.vm(&me, &vm).await.unwrap().name.as_str(), "web");
    }
    let stop = VmAction::Stop(v1::StopVm::default());
    let short =
        |error: minions_core::Error| assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("scope")));
    for plane in [&read, &enter] {
        short(plane.create(&me, &new_vm("two"), None).await.unwrap_err());
        short(plane.act(&me, &vm, &stop, None).await.unwrap_err());
        short(plane.add_token(&me, &zoe, &v1::AddToken::default()).await.unwrap_err());
        short(plane.add_key(&me, &zoe, &v1::AddKey { key: KEY.to_owned(), label: None }).await.unwrap_err());
    }
    short(read.open(&me, &vm, &GuestCall::Health).await.err().unwrap());
    short(read.console_log(&me, &vm, 1).await.unwrap_err());
    assert!(enter.open(&me, &vm, &GuestCall::Health).await.is_ok());
    done(&full, full.act(&me, &vm, &stop, None).await.unwrap()).await;
}

#[tokio::test]
async fn ctl_6_4_what_a_token_has_under_way_ends_when_it_is_taken_back() {
    let edge = Edge::start().await;
    let face = &ways(&edge)[0];
    let zoe = add(face, "zoe").await;
    for way in ["token", "user"] {
        let made = face.add_token(&ops(), &zoe, &v1::AddToken::default()).await.unwrap();
        let plane = edge.over_tcp(&made.token.parse().unwrap());
        let after = plane.last_event(&Caller::tenant("zoe")).await.unwrap();
        let waiting = plane.clone();
        let wait = Duration::from_secs(30);
        let waits = tokio::spawn(async move { waiting.events(&Caller::tenant("zoe"), after, 10, wait).await });
        tokio::task::yield_now().await;
        assert_eq!(after, plane.last_event(&Caller::tenant("zoe")).await.unwrap(), "{way}");
        match way {
            "token" => face.delete_token(&ops(), &zoe, made.info.id).await.unwrap(),
            _ => {
                let off = v1::UpdateUser { disabled: Some(true), ..Default::default() };
                face.update_user(&ops(), &zoe, &off).await.map(drop).unwrap();
            }
        }
        let ended = tokio::time::timeout(Duration::from_secs(1), waits).await.expect("within a second").unwrap();
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unauthenticated, "{way}");
        let later = plane.events(&Caller::tenant("zoe"), EventSeq(0), 1, Duration::ZERO).await.unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Unauthenticated, "{way}");
    }
}

#[tokio::test]
async fn ctl_6_5_a_users_own_quota_counts_for_that_user() {
    let edge = Edge::start().await;
    let face = &ways(&edge)[1];
    let (zoe, _) = (add(face, "zoe").await, add(face, "yan").await);
    let quota = Quota { vms: 1, disk: ByteSize::gib(1 << 20), memory: ByteSize::gib(1 << 20) };
    let request = v1::UpdateUser { quota: Some(quota), ..Default::default() };
    assert_eq!(face.update_user(&ops(), &zoe, &request).await.unwrap().quota, Some(quota));
    let create = |user: &str, vm: &str| v1::CreateVm { owner: Some(user.to_owned()), ..new_vm(vm) };
    edge.plane.create(&ops(), &create("zoe", "one"), None).await.unwrap();
    let more = edge.plane.create(&ops(), &create("zoe", "two"), None).await.unwrap_err();
    assert_eq!((more.kind(), more.reason()), (ErrorKind::Exhausted, Some("quota")));
    edge.plane.create(&ops(), &create("yan", "two"), None).await.unwrap();
    edge.plane.create(&ops(), &create("yan", "three"), None).await.unwrap();
}

#[tokio::test]
async fn ctl_6_6_the_log_tells_who_did_what_and_who_was_refused() {
    let edge = Edge::start().await;
    let face = &ways(&edge)[1];
    let zoe = add(face, "zoe").await;
    let vm = edge.vm("web").await;
    let stop = VmAction::Stop(v1::StopVm::default());
    edge.plane.act(&Caller::tenant("zoe"), &VmRef::Id(vm.id), &stop, None).await.unwrap_err();
    edge.plane.act(&edge::owner(), &VmRef::Id(vm.id), &stop, None).await.unwrap();
    face.delete_user(&ops(), &zoe).await.unwrap();
    let page = face.audit(&ops(), 0, 100).await.unwrap();
    let told: Vec<_> =
        page.entries.iter().map(|entry| (entry.who.as_str(), entry.action.as_str(), entry.outcome.as_str())).collect();
    let owner = edge::owner().owner.0;
    assert_eq!(
        told,
        [
            ("ops", "add_user", "ok"),
            (owner.as_str(), "create", "ok"),
            ("zoe", "stop", "not_found"),
            (owner.as_str(), "stop", "ok"),
            ("ops", "delete_user", "ok"),
        ]
    );
    assert!(page.entries.iter().all(|entry| entry.hash.len() == 64));
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(face.audit(&ops(), page.next, 100).await.unwrap().entries, []);
}

#[tokio::test]
async fn bad_5_a_key_that_is_none_is_refused_before_anything_is_written() {
    let edge = Edge::start().await;
    for face in ways(&edge) {
        let zoe = name("zoe");
        let _ = face.add_user(&ops(), &v1::AddUser { name: zoe.clone(), admin: false }).await;
        for key in ["", "-----BEGIN OPENSSH PRIVATE KEY-----", "command=\"x\" ssh-ed25519 AAAA", "ssh-dss AAAA"] {
            let request = v1::AddKey { key: key.to_owned(), label: None };
            let error = face.add_key(&ops(), &zoe, &request).await.unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("key")), "{key}");
        }
        let label = v1::AddKey { key: KEY.to_owned(), label: Some("a\u{1b}[2J".to_owned()) };
        assert_eq!(face.add_key(&ops(), &zoe, &label).await.unwrap_err().field(), Some("label"));
        assert_eq!(face.keys(&ops(), &zoe).await.unwrap().keys, []);
    }
}
