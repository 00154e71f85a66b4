//! Whoever keeps the fleet keeps its people too: cases of [`People`].

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::rows::Scene;
use crate::error::{ErrorKind, Result};
use crate::store::people::{AuditRow, KeyRow, MAX_OF_USER, NewAudit, People, PeopleWrite, TokenRow, UserRow};
use crate::store::{FleetChange, FleetStore, Owner, VmRow, Write};
use crate::testkit::cx;
use crate::types::{Goal, KeyPrint, Quota, Role, TokenHash, TokenScope, UnixMillis};

fn owner(name: &str) -> Owner {
    Owner(name.to_owned())
}

fn user(name: &str) -> UserRow {
    let created = UnixMillis(1_000);
    UserRow { name: owner(name), role: Role::Tenant, quota: None, disabled: false, created, deleted: None }
}

fn key(of: &str, number: u8) -> KeyRow {
    KeyRow {
        print: KeyPrint::from_bytes([number; 32]),
        user: owner(of),
        line: format!("ssh-ed25519 {number}"),
        label: "home".to_owned(),
        created: UnixMillis(u64::from(number)),
    }
}

impl<S: FleetStore + People + ?Sized> Scene<S> {
    async fn people(&self, people: Vec<PeopleWrite>) -> Result<()> {
        self.commit(FleetChange { people, ..FleetChange::default() }).await.map(drop)
    }

    fn token(&self, of: &str, number: u8) -> TokenRow {
        TokenRow {
            id: self.env.token_id(),
            hash: TokenHash::from_bytes([number; 32]),
            user: owner(of),
            label: "ci".to_owned(),
            scope: TokenScope::Enter,
            created: UnixMillis(u64::from(number)),
            expires: Some(UnixMillis(9_000)),
        }
    }
}

fn refused(result: Result<()>) -> (ErrorKind, Option<String>) {
    let error = result.expect_err("it must be refused");
    (error.kind(), error.reason().map(ToOwned::to_owned))
}

fn because(kind: ErrorKind, reason: &str) -> (ErrorKind, Option<String>) {
    (kind, Some(reason.to_owned()))
}

/// Users, keys and tokens read back as they were written, one by one and in lists.
pub async fn people_read_back_whole<S: FleetStore + People + ?Sized>(
    make: impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(&make, folder).await;
    let quota = Some(Quota { vms: 3, ..Quota::default() });
    let ada = UserRow { role: Role::Admin, quota, ..user("ada") };
    let (one, two) = (key("ada", 2), key("ada", 1));
    let token = scene.token("ada", 7);
    let writes = vec![
        PeopleWrite::AddUser(ada.clone()),
        PeopleWrite::AddUser(user("bob")),
        PeopleWrite::AddKey(one.clone()),
        PeopleWrite::AddKey(two.clone()),
        PeopleWrite::AddToken(token.clone()),
    ];
    scene.people(writes).await.unwrap();
    let store = &scene.store;
    assert_eq!(store.user(&cx(), &ada.name).await.unwrap(), Some(ada.clone()));
    assert_eq!(store.user(&cx(), &owner("eve")).await.unwrap(), None);
    assert_eq!(store.users(&cx(), None, 10).await.unwrap(), [ada.clone(), user("bob")]);
    assert_eq!(store.users(&cx(), None, 1).await.unwrap(), std::slice::from_ref(&ada));
    assert_eq!(store.users(&cx(), Some(&ada.name), 10).await.unwrap(), [user("bob")]);
    assert_eq!(store.key(&cx(), &one.print).await.unwrap(), Some((one.clone(), ada.clone())));
    assert_eq!(store.key(&cx(), &KeyPrint::from_bytes([9; 32])).await.unwrap(), None);
    assert_eq!(store.keys(&cx(), &ada.name).await.unwrap(), [two, one]);
    assert_eq!(store.keys(&cx(), &owner("bob")).await.unwrap(), []);
    assert_eq!(store.token(&cx(), &token.hash).await.unwrap(), Some((token.clone(), ada.clone())));
    assert_eq!(store.tokens(&cx(), &ada.name).await.unwrap(), [token]);
    let off = UserRow { disabled: true, role: Role::Tenant, quota: None, ..ada };
    scene.people(vec![PeopleWrite::UpdateUser(off.clone())]).await.unwrap();
    assert_eq!(store.user(&cx(), &off.name).await.unwrap(), Some(off));
}

/// What is somebody's already is nobody else's, and what is not there is not written to.
pub async fn what_people_have_is_theirs_alone<S: FleetStore + People + ?Sized>(
    make: impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(&make, folder).await;
    let token = scene.token("ada", 7);
    let made = [user("ada"), user("bob")].map(PeopleWrite::AddUser);
    let had = [PeopleWrite::AddKey(key("ada", 1)), PeopleWrite::AddToken(token.clone())];
    scene.people(made.into_iter().chain(had).collect()).await.unwrap();
    let taken = |reason| because(ErrorKind::AlreadyExists, reason);
    let unknown = |reason| because(ErrorKind::NotFound, reason);
    let print = key("ada", 1).print;
    for (write, why) in [
        (PeopleWrite::AddUser(user("ada")), taken("user_taken")),
        (PeopleWrite::UpdateUser(user("eve")), unknown("user_unknown")),
        (PeopleWrite::DeleteUser { user: owner("eve"), at: UnixMillis(5) }, unknown("user_unknown")),
        (PeopleWrite::AddKey(key("eve", 3)), unknown("user_unknown")),
        (PeopleWrite::AddKey(key("bob", 1)), taken("key_taken")),
        (PeopleWrite::AddKey(key("ada", 1)), taken("key_taken")),
        (PeopleWrite::DeleteKey { user: owner("bob"), print }, unknown("key_unknown")),
        (PeopleWrite::AddToken(scene.token("eve", 8)), unknown("user_unknown")),
        (PeopleWrite::AddToken(TokenRow { id: scene.env.token_id(), ..token.clone() }), taken("token_taken")),
        (PeopleWrite::AddToken(TokenRow { id: token.id, ..scene.token("bob", 8) }), taken("token_taken")),
        (PeopleWrite::DeleteToken { user: owner("bob"), id: token.id }, unknown("token_unknown")),
    ] {
        // What comes before it in the same change goes with it.
        let both = vec![PeopleWrite::AddUser(user("zoe")), write.clone()];
        assert_eq!(refused(scene.people(both).await), why, "{write:?}");
        assert_eq!(scene.store.user(&cx(), &owner("zoe")).await.unwrap(), None, "{write:?}");
    }
    for number in 10..9 + MAX_OF_USER {
        scene.people(vec![PeopleWrite::AddKey(key("ada", u8::try_from(number).unwrap()))]).await.unwrap();
    }
    let more = scene.people(vec![PeopleWrite::AddKey(key("ada", 200))]).await;
    assert_eq!(refused(more), because(ErrorKind::Exhausted, "quota"));
    scene.people(vec![PeopleWrite::DeleteKey { user: owner("ada"), print }]).await.unwrap();
    assert_eq!(scene.store.key(&cx(), &print).await.unwrap(), None);
    scene.people(vec![PeopleWrite::AddKey(key("bob", 1))]).await.unwrap();
    scene.people(vec![PeopleWrite::DeleteToken { user: owner("ada"), id: token.id }]).await.unwrap();
    assert_eq!(scene.store.token(&cx(), &token.hash).await.unwrap(), None);
}

/// A user goes with every key and token, never while something is theirs, and never comes back as somebody else.
pub async fn a_user_who_goes_leaves_nothing_but_a_name<S: FleetStore + People + ?Sized>(
    make: impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(&make, folder).await;
    let token = scene.token("ada", 7);
    let writes = vec![
        PeopleWrite::AddUser(user("ada")),
        PeopleWrite::AddKey(key("ada", 1)),
        PeopleWrite::AddToken(token.clone()),
    ];
    scene.people(writes).await.unwrap();
    let vm = scene.insert("ada", "web").await;
    let go = || vec![PeopleWrite::DeleteUser { user: owner("ada"), at: UnixMillis(5_000) }];
    assert_eq!(refused(scene.people(go()).await), because(ErrorKind::Conflict, "user_has_vms"));
    let kept = VmRow {
        goal: Goal::Absent { keep_data: true },
        deleted: Some(UnixMillis(10)),
        kept: true,
        spec: crate::types::VmSpec { data: Some(crate::types::ByteSize::gib(1)), ..vm.spec.clone() },
        ..vm
    };
    scene.write(vec![Write::UpdateVm(kept.clone())]).await.unwrap();
    assert_eq!(refused(scene.people(go()).await), because(ErrorKind::Conflict, "user_has_vms"));
    scene.write(vec![Write::UpdateVm(VmRow { kept: false, ..kept })]).await.unwrap();
    scene.people(go()).await.unwrap();
    let store = &scene.store;
    let gone = UserRow { deleted: Some(UnixMillis(5_000)), ..user("ada") };
    assert_eq!(store.user(&cx(), &owner("ada")).await.unwrap(), Some(gone));
    assert_eq!(store.key(&cx(), &key("ada", 1).print).await.unwrap(), None);
    assert_eq!(store.token(&cx(), &token.hash).await.unwrap(), None);
    for (write, kind, reason) in [
        (PeopleWrite::AddUser(user("ada")), ErrorKind::AlreadyExists, "user_taken"),
        (PeopleWrite::UpdateUser(user("ada")), ErrorKind::NotFound, "user_unknown"),
        (PeopleWrite::AddKey(key("ada", 1)), ErrorKind::NotFound, "user_unknown"),
    ] {
        assert_eq!(refused(scene.people(vec![write]).await), because(kind, reason));
    }
}

/// Each entry is chained to the one before, and what was refused left none.
pub async fn ctl_6_6_the_audit_log_is_a_chain_without_a_gap<S: FleetStore + People + ?Sized>(
    make: impl AsyncFn(PathBuf) -> Arc<S>,
    folder: &Path,
) {
    let scene = Scene::new(&make, folder).await;
    let entry = |number: u64| NewAudit {
        at: UnixMillis(number),
        who: owner("ada"),
        action: "create".to_owned(),
        target: format!("vm-{number}"),
        outcome: "ok".to_owned(),
    };
    let tell = |audit: Vec<NewAudit>, people| scene.commit(FleetChange { audit, people, ..FleetChange::default() });
    tell(vec![entry(1), entry(2)], Vec::new()).await.unwrap();
    tell(vec![entry(9)], vec![PeopleWrite::UpdateUser(user("eve"))]).await.unwrap_err();
    tell(vec![entry(3)], vec![PeopleWrite::AddUser(user("ada"))]).await.unwrap();
    let log = scene.store.audit(&cx(), 0, 100).await.unwrap();
    let mut before = [0; 32];
    for (seq, row) in (1..).zip(&log) {
        assert_eq!(*row, AuditRow::chained(&before, seq, entry(seq)).unwrap());
        before = row.hash;
    }
    assert_eq!(log.len(), 3);
    assert_eq!(scene.store.audit(&cx(), 1, 1).await.unwrap(), log[1..2]);
    assert_eq!(scene.store.audit(&cx(), 3, 100).await.unwrap(), []);
    assert_eq!(scene.store.audit(&cx(), u64::MAX, 100).await.unwrap(), []);
}
