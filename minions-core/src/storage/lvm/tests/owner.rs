//! Whose a pool is.

use super::*;
use crate::error::Error;

const TAKE: &str = "lvchange --yes --config backup/archive=0 --addtag minions.host=";

async fn open_for(dir: &Path, fake: &Arc<FakeLvm>, host: Option<u128>) -> Result<LvmStorage> {
    let host = host.map(HostId::from_bits);
    let config = LvmConfig { vg: "vg".to_owned(), host, ..LvmConfig::new(dir) };
    LvmStorage::open_with(config, fake.clone(), &fake.devices(), Env::system()).await
}

fn ran(fake: &FakeLvm) -> Vec<String> {
    fake.take_log().into_iter().map(|call| format!("{} {}", call.program, call.words.join(" "))).collect()
}

/// The error, and the calls that were made before it.
async fn refused(dir: &Path, fake: &Arc<FakeLvm>, host: Option<u128>) -> (Error, Vec<String>) {
    fake.take_log();
    let error = open_for(dir, fake, host).await.expect_err("the pool is another service's");
    let told = (error.kind(), error.reason(), error.effect());
    assert_eq!(told, (ErrorKind::Denied, Some("other_host"), Effect::None), "{}", error.chain());
    (error, ran(fake))
}

#[tokio::test]
async fn bad_24_a_pool_is_the_first_services_and_another_ones_volumes_in_it_are_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(FakeLvm::new(&dir.path().join("lvm")));
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let mine = HostId::from_bits(1);
    let storage = open_for(&one, &fake, Some(1)).await.unwrap();
    let took = ran(&fake);
    assert_eq!((took.len(), took[1].as_str()), (3, format!("{TAKE}{mine} -- vg/pool").as_str()), "{took:?}");
    let cx = CallCx::new("test", Duration::from_secs(60));
    storage.ensure_volume(&cx, &empty(VolumeId::data(vm(1)), ByteSize::mib(4))).await.unwrap();
    // What the first one is just filling looks to another one like what a crash left; what sleeps, like what a boot left.
    let making = ImageId::from_digest([1; 32]).to_string();
    fake.add(&making, "thin", EXTENT, &["minions", "minions.making"]);
    fake.world().lvs.get_mut(&names::volume(VolumeId::data(vm(1)))).unwrap().active = false;
    let before = format!("{:?}", fake.world().lvs);
    for host in [Some(2), None] {
        let (error, calls) = refused(&other, &fake, host).await;
        let line = format!("lvchange --deltag minions.host={mine} vg/pool");
        assert!(error.message().ends_with(&line) && error.message().contains("storage.pool"), "{error}");
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(format!("{:?}", fake.world().lvs), before);
    }
    // Its own service comes again and does not ask twice; the tag is taken off as the message says.
    open_for(&one, &fake, Some(1)).await.unwrap();
    assert!(ran(&fake).iter().all(|call| !call.contains("tag minions.host")));
    fake.world().lvs.get_mut("pool").unwrap().tags.clear();
    open_for(&other, &fake, Some(2)).await.unwrap();
    refused(&one, &fake, Some(1)).await;
}

#[tokio::test]
async fn a_pool_of_a_service_that_did_not_tag_it_yet_is_taken_with_its_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(FakeLvm::new(&dir.path().join("lvm")));
    let cx = CallCx::new("test", Duration::from_secs(60));
    let storage = open_for(dir.path(), &fake, None).await.unwrap();
    storage.ensure_volume(&cx, &empty(VolumeId::data(vm(1)), ByteSize::mib(4))).await.unwrap();
    let storage = open_for(dir.path(), &fake, Some(1)).await.unwrap();
    assert_eq!(storage.volumes(&cx).await.unwrap(), [VolumeId::data(vm(1))]);
    assert_eq!(fake.world().lvs["pool"].tags, [format!("minions.host={}", HostId::from_bits(1))]);
}

#[tokio::test]
async fn of_two_services_that_take_a_pool_at_the_same_time_neither_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(FakeLvm::new(&dir.path().join("lvm")));
    fake.world().between = Some("minions.host=host_other");
    let (error, calls) = refused(dir.path(), &fake, Some(1)).await;
    assert!(error.message().contains("host_other"), "{error}");
    assert_eq!(calls.len(), 3, "{calls:?}");
}
