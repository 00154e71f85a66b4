//! The words of each call, and how many there are.

use super::*;

#[tokio::test]
async fn these_are_the_words_of_every_command() {
    let lab = Lab::new().await;
    let bundle = bundle(lab.dir.path());
    let image = bundle.id.to_string();
    lab.storage.ensure_image(&lab.cx, &bundle).await.unwrap();
    let one = vm(1);
    lab.storage.ensure_volume(&lab.cx, &lab.root(one, &bundle)).await.unwrap();
    let data = empty(VolumeId::data(one), ByteSize::gib(10));
    lab.storage.ensure_volume(&lab.cx, &data).await.unwrap();
    lab.storage.quarantine(&lab.cx, data.id).await.unwrap();
    lab.storage.ensure_volume_absent(&lab.cx, VolumeId::root(one)).await.unwrap();
    lab.fake.reboot();
    lab.fake.world().lvs.get_mut("pool").unwrap().active = true;
    lab.storage.ensure_volume(&lab.cx, &empty(VolumeId::data(vm(3)), ByteSize::mib(1))).await.unwrap();
    lab.fake.reboot();
    lab.again().await;
    let lines = lab.lines().join("\n").replace(&image, "IMG").replace(&one.to_string(), "VM1");
    let lines = lines.replace(&vm(3).to_string(), "VM3");
    let report = "lvs --reportformat json --units b --nosuffix --binary --options lv_name,lv_size,lv_tags,pool_lv,segtype,\
        lv_active_locally,lv_device_open,lv_permissions,lv_health_status,lv_check_needed,data_percent,metadata_percent,\
        lv_metadata_size,zero,lv_when_full,discards,seg_monitor,vg_extent_size,vg_free -- vg";
    let create = "--setactivationskip y --activate y --ignoreactivationskip";
    let want = format!(
        "{report}
lvcreate A --type thin --thinpool pool --virtualsize 4259840b --wipesignatures n --name IMG --addtag minions --addtag minions.making {create} -- vg
lvchange A --activate n -- vg/IMG
lvchange A --permission r --setactivationskip y --deltag minions.making -- vg/IMG
{report}
lvcreate A --snapshot --name VM1.root --addtag minions --addtag minions.id=VM1.root --addtag minions.image=IMG {create} -- vg/IMG
lvextend A --size 67108864b -- vg/VM1.root
lvcreate A --type thin --thinpool pool --virtualsize 10737418240b --wipesignatures n --name VM1.data --addtag minions --addtag minions.id=VM1.data {create} -- vg
{report}
lvchange A --activate n -- vg/VM1.data
lvchange A --addtag minions.quarantined -- vg/VM1.data
lvrename A -- vg VM1.data VM1.data+0
{report}
lvremove A -- vg/VM1.root
lvcreate A --type thin --thinpool pool --virtualsize 1048576b --wipesignatures n --name VM3.data --addtag minions --addtag minions.id=VM3.data {create} -- vg
{report}
lvchange A --activate y --ignoreactivationskip -- vg/pool
lvchange A --activate y --ignoreactivationskip -- vg/VM3.data"
    )
    .replace(" A ", " --yes --config backup/archive=0 ");
    for (number, (line, want)) in lines.lines().zip(want.lines()).enumerate() {
        assert_eq!(line, want, "line {number}");
    }
    assert_eq!(lines.lines().count(), want.lines().count(), "{lines}");
}

#[tokio::test]
async fn a_create_costs_three_changing_commands_and_one_report_for_each_look() {
    let lab = Lab::new().await;
    let image = lab.image().await;
    assert_eq!(lab.storage.volumes_of(&lab.cx, vm(1)).await.unwrap(), []);
    let (root, data) = (lab.root(vm(1), &image), empty(VolumeId::data(vm(1)), ByteSize::mib(64)));
    let make = async |config| lab.storage.ensure_volume(&lab.cx, config).await;
    let (one, other) = tokio::join!(make(&root), make(&data));
    one.and(other).unwrap();
    assert_eq!(lab.storage.volumes_of(&lab.cx, vm(1)).await.unwrap().len(), 2);
    let mut ran = lab.ran();
    ran[1..4].sort_unstable();
    assert_eq!(ran, ["lvs", "lvcreate", "lvcreate", "lvextend", "lvs"]);
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_while_a_report_runs_share_the_next_one() {
    let lab = Lab::slow(Duration::from_millis(100)).await;
    let ask = |number| {
        let (storage, cx) = (lab.storage.clone(), CallCx::new("test", Duration::from_secs(600)));
        tokio::spawn(async move {
            match number % 3 {
                0 => storage.volumes(&cx).await.map(drop),
                1 => storage.volumes_of(&cx, vm(number)).await.map(drop),
                _ => storage.images(&cx).await.map(drop),
            }
        })
    };
    let first = ask(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let rest: Vec<_> = (1..200).map(ask).collect();
    for asked in std::iter::once(first).chain(rest) {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(lab.ran(), ["lvs", "lvs"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_of_after_the_question() {
    let lab = Lab::slow(Duration::from_millis(100)).await;
    let storage = lab.storage.clone();
    let early = tokio::spawn(async move { storage.volumes(&CallCx::new("t", Duration::from_secs(60))).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    lab.fake.add(&names::volume(VolumeId::data(vm(5))), "thin", EXTENT, &["minions"]);
    assert_eq!(lab.storage.volumes(&lab.cx).await.unwrap(), [VolumeId::data(vm(5))]);
    early.await.unwrap().unwrap();
    assert_eq!(lab.ran().len(), 2);
}
