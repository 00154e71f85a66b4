//! Row 21: how much dearer requests become when the service knows more VMs.

use std::time::Instant;

use minions_core::api::v1;
use minions_core::env::Env;
use minions_core::http::client::HttpControlPlane;
use minions_core::service::{ControlPlane, VmRef};
use rusqlite::{Connection, OpenFlags};

use crate::Result;
use crate::create_rate::new_vm;
use crate::host::{Kind, Service, anyone, client, parts, quiet};
use crate::measure::{median, micros, percentile, slope};
use crate::report::{Figure, Goal, short};
use crate::seed;
use crate::suite::Run;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// A quick run leaves the last out, which takes minutes to be made.
const QUICK: usize = 2;

/// A service that knows so many VMs, and its client.
struct World {
    known: usize,
    plane: HttpControlPlane,
    _service: Service,
    folder: tempfile::TempDir,
    cursors: Vec<String>,
    asked: usize,
    get: Vec<f64>,
    list: Vec<f64>,
    create: Vec<f64>,
    floor: Vec<f64>,
}

impl World {
    async fn start(run: &Run, known: usize) -> Result<Self> {
        let folder = run.copy_of_seeded(known).await?;
        let env = Env::system();
        let parts = parts(Kind::Memory, folder.path(), &env).await?;
        seed::volumes(folder.path(), &parts.storage).await?;
        let service = Service::start(Kind::Memory, folder.path(), parts, &env).await?;
        service.node.engine().idle().await;
        let plane = client(folder.path());
        quiet(&plane).await?;
        // Cursors from all over the list.
        let mut cursors = Vec::new();
        let mut query = v1::ListVms { limit: Some(200), ..v1::ListVms::default() };
        while cursors.len() < 50 {
            let page = plane.vms(&anyone(), &query).await?;
            let Some(next) = page.next else { break };
            cursors.push(next.clone());
            query.cursor = Some(next);
        }
        let (get, list, create, floor) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { known, plane, _service: service, folder, cursors, asked: 0, get, list, create, floor })
    }

    async fn sample(&mut self, count: usize) -> Result<()> {
        let store = Connection::open_with_flags(self.folder.path().join("fleet.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        for number in 0..count {
            self.asked += 1;
            let name = format!("known-{}", self.asked.wrapping_mul(7919) % self.known);
            let reference: VmRef = name.parse()?;
            let begin = Instant::now();
            self.plane.vm(&anyone(), &reference).await?;
            self.get.push(micros(begin));
            self.floor.push(floor(&store, &name)?);
            if number % 4 == 0 {
                let cursor = self.cursors.get(self.asked % self.cursors.len().max(1)).cloned();
                let query = v1::ListVms { limit: Some(100), cursor, deleted: None };
                let begin = Instant::now();
                self.plane.vms(&anyone(), &query).await?;
                self.list.push(micros(begin));
            }
            if number % 8 == 0 {
                let request = new_vm(&format!("new-{}", self.asked), None)?;
                let begin = Instant::now();
                let operation = self.plane.create(&anyone(), &request, None).await?;
                self.create.push(micros(begin));
                self.plane.operation(&anyone(), operation.id, std::time::Duration::from_secs(30)).await?;
            }
        }
        Ok(())
    }
}

/// The same question, asked of SQLite itself.
fn floor(store: &Connection, name: &str) -> Result<f64> {
    let begin = Instant::now();
    let mut statement = store.prepare_cached("SELECT * FROM vm WHERE name = ?1 AND deleted IS NULL")?;
    statement.query_row([name], |row| row.get::<_, Vec<u8>>(0))?;
    Ok(micros(begin))
}

fn figures(what: &str, worlds: &mut [World], goal: Goal, samples: impl Fn(&mut World) -> &mut Vec<f64>) -> Vec<Figure> {
    let mut points = Vec::new();
    let mut seen = Vec::new();
    for world in worlds {
        let known = world.known;
        let times = samples(world);
        let (middle, late) = (median(times), percentile(times, 0.99));
        points.push((known as f64, middle));
        seen.push(format!("{known}: {} (p99 {})", short(middle), short(late)));
    }
    let (first, last) = (points.first().map_or(1.0, |point| point.1), points.last().map_or(1.0, |point| point.1));
    let most = points.last().map_or(0.0, |point| point.0);
    vec![Figure::new("21", format!("{what} at {most} VMs against 1000, p50"), last / first, "x", goal).note(format!(
        "µs p50: {}; log-log slope {}",
        seen.join(", "),
        short(slope(&points))
    ))]
}

pub async fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut worlds = Vec::new();
    for known in SIZES.into_iter().take(run.pick(QUICK, SIZES.len())) {
        worlds.push(World::start(run, known).await?);
    }
    for _ in 0..run.pick(10, 30) {
        for world in &mut worlds {
            world.sample(80).await?;
        }
    }
    let flat = Goal::AtMost(1.1);
    let mut all = figures("get over HTTP", &mut worlds, flat, |world| &mut world.get);
    all.extend(figures("page of 100 over HTTP", &mut worlds, flat, |world| &mut world.list));
    all.extend(figures("create over HTTP, until it is durable", &mut worlds, flat, |world| &mut world.create));
    all.extend(figures("floor: the row by its name from SQLite", &mut worlds, Goal::None, |world| &mut world.floor));
    Ok(all)
}
