//! The real service as the devices of a history meet it.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use ironflow_sync::domain::entity::Content;
use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::domain::version::Revision;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{ConflictState, ListConflictsRequest};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::chaos::{Blow, Tally};
use super::rig::{PATIENCE, Rig, connect};
use super::road::{self, Road};
use super::tables;
use super::watcher::{Held, Watcher};
use crate::sim::call::{Answered, Call, Failure, Reply};
use crate::sim::history::Fate;
use crate::sim::memory::Memory;
use crate::sim::oracle::Oracle;
use crate::sim::world::Peer;
use crate::support::Device;
use crate::support::service::token;

/// Of so many calls one meets a blow.
const CALLS_PER_BLOW: u32 = 12;

/// How long after a call is sent a blow falls at most, in microseconds: a push takes a few thousand.
const BLOW_AFTER_US: u64 = 8_000;

/// How long a device waits for an answer that never comes.
const DEADLINE: Duration = Duration::from_millis(400);

/// One user's way to the service.
pub struct Real<'a> {
    runtime: Handle,
    rig: &'a mut Rig,
    tally: &'a mut Tally,
    rng: Rng,
    user: String,
    watcher: Watcher,
    /// What each edit that was sent is based on.
    bases: HashMap<Uuid, i32>,
    /// Cursors that were heard since the last look into the tables.
    cursors: Vec<String>,
    /// How far cursors had led when that look began.
    reached: Revision,
    /// Nothing goes wrong any more.
    calm: bool,
    /// Something has been hit.
    hit: bool,
}

impl<'a> Real<'a> {
    pub fn new(runtime: Handle, rig: &'a mut Rig, tally: &'a mut Tally, seed: u64) -> Self {
        let user = format!("run-{}", Uuid::new_v4());
        let _inside = runtime.enter();
        Self {
            watcher: Watcher::start(&user, rig.addresses()),
            runtime: runtime.clone(),
            rig,
            tally,
            rng: Rng::with_seed(seed),
            user,
            bases: HashMap::new(),
            cursors: Vec::new(),
            reached: Revision::default(),
            calm: false,
            hit: false,
        }
    }

    fn scope(&self) -> Scope {
        Scope::of(&UserId::new(&self.user).expect("a user id"))
    }

    fn road(&mut self, fate: Fate) -> Road {
        match fate {
            Fate::RequestLost | Fate::Held => Road::Truncated(self.rng.usize(..900)),
            Fate::ReplyLost if self.rng.bool() => Road::HalfOpen,
            Fate::ReplyLost => Road::AnswerCut,
            Fate::Twice | Fate::Echoed => Road::Doubled,
            Fate::Fine if !self.calm && self.rng.u32(..16) == 0 => Road::Slow,
            Fate::Fine => Road::Plain,
        }
    }

    /// Sometimes, and at least once in a history.
    fn blow(&mut self, call: &Call) -> Option<Blow> {
        let writes = matches!(call, Call::Sync(_) | Call::Resolve(_));
        let due = self.rng.u32(..CALLS_PER_BLOW) == 0 || (writes && !self.hit);
        (due && !self.calm).then(|| Blow::of(&mut self.rng))
    }

    async fn make(&mut self, call: &Call, road: Road, blow: Option<Blow>) -> Answered {
        let address = self.rig.address(&mut self.rng);
        let aimed = match blow {
            Some(blow) => Some(self.rig.aim(blow, &mut self.rng).await),
            None => None,
        };
        let after = Duration::from_micros(self.rng.u64(..BLOW_AFTER_US));
        let falling = aimed.map(|aimed| {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                aimed.fall().await;
            })
        });
        let answered = travel(call, road, address, &self.user).await;
        if let Some(falling) = falling {
            falling.await.expect("no panic");
            if blow == Some(Blow::RollingRestart) {
                self.rig.roll().await;
            }
            self.rig.mend().await;
        }
        answered
    }
}

impl Peer for Real<'_> {
    type Backup = String;

    const TELLS_ALL: bool = false;

    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.expect("after 1970").as_millis() as i64
    }

    /// Here time passes by itself.
    fn pass(&mut self, _: i64) {}

    fn deliver(&mut self, call: &Call, fate: Fate) -> Vec<Answered> {
        self.tally.calls += 1;
        if let Call::Sync(request) = call {
            for item in &request.items {
                let mutation = Uuid::parse_str(&item.mutation_id).expect("an id");
                self.bases.insert(mutation, item.version);
            }
        }
        if fate == Fate::Held {
            return Vec::new();
        }
        let road = self.road(fate);
        let blow = self.blow(call);
        if let Some(blow) = blow {
            self.hit = true;
            self.tally.blow(blow);
        }
        let runtime = self.runtime.clone();
        let answered = runtime.block_on(self.make(call, road, blow));
        if let Ok(Reply::Page(page)) = &answered {
            self.cursors.push(page.cursor.clone());
        }
        vec![answered]
    }

    fn backup(&mut self) -> String {
        self.runtime.clone().block_on(self.rig.backup())
    }

    fn restore(&mut self, backup: &String) {
        self.runtime.clone().block_on(self.rig.restore(backup));
        self.reached = Revision::default();
    }

    fn memory(&mut self) -> Memory {
        self.runtime.clone().block_on(async {
            let sql = self.rig.sql().await;
            tables::read(&sql, &self.scope(), &self.bases).await
        })
    }

    /// What is new since the last look lies behind all cursors from before that look. (An edit whose answer was
    /// lost may have come since, and a cursor have led past it since.)
    fn show(&mut self, oracle: &mut Oracle) {
        let mut cursors = mem::take(&mut self.cursors);
        cursors.push(self.watcher.cursor());
        cursors.retain(|cursor| !cursor.is_empty());
        let (reached, memory) = self.runtime.clone().block_on(async {
            let (sql, scope) = (self.rig.sql().await, self.scope());
            let reached = tables::reached(&sql, &scope, &cursors).await;
            (reached, tables::read(&sql, &scope, &self.bases).await)
        });
        oracle.holds(&memory, self.reached);
        self.reached = self.reached.max(reached);
    }

    fn heal(&mut self) {
        self.calm = true;
        self.runtime.clone().block_on(self.rig.mend());
    }

    fn watchers_are_current(&mut self, memory: &Memory) -> Result<(), String> {
        let begun = Instant::now();
        let wanted = live(memory);
        let versions = |held: &Held| -> BTreeMap<(String, String), i32> {
            let versions = held
                .iter()
                .map(|(key, (version, _))| (key.clone(), *version));
            versions.collect()
        };
        let mut held = self.watcher.held.clone();
        let current = held.wait_for(|held| versions(held) == wanted);
        let waited = self
            .runtime
            .block_on(async { timeout(PATIENCE, current).await.map(drop) });
        self.tally.watch_waited(begun.elapsed());
        waited.map_err(|_| {
            let held = versions(&self.watcher.held.borrow());
            format!("a watch is stuck: it has {held:?}, and there is {wanted:?}")
        })
    }
}

/// What is there, and in which version.
fn live(memory: &Memory) -> BTreeMap<(String, String), i32> {
    let keys = memory.versions.keys().chain(memory.library.keys());
    keys.filter_map(|key| {
        let stored = memory.current(key)?;
        let name = key.entity_type.as_str().to_owned();
        let live = matches!(stored.content, Content::Live(_));
        live.then(|| ((name, key.entity_id.to_string()), stored.version.number()))
    })
    .collect()
}

/// A call there and back.
async fn travel(call: &Call, road: Road, address: SocketAddr, user: &str) -> Answered {
    let (from, carried) = road::open(road, address).await;
    let deadline = match road {
        Road::HalfOpen => DEADLINE,
        Road::Plain | Road::Slow | Road::Truncated(_) | Road::AnswerCut | Road::Doubled => PATIENCE,
    };
    let asked = async {
        let channel = connect(from).await.map_err(|_| Failure::Unreachable)?;
        let device = Device::new(SyncServiceClient::new(channel), token(user), "");
        ask(device, call).await.map_err(|status| failure(&status))
    };
    let answered = timeout(deadline, asked).await;
    carried.abort();
    answered.unwrap_or(Err(Failure::Unreachable))
}

async fn ask(mut device: Device, call: &Call) -> Result<Reply, Status> {
    match call {
        Call::Sync(request) => device.send(request.clone()).await.map(Reply::Synced),
        Call::Pull(request) => device.pull(request.clone()).await.map(Reply::Page),
        Call::Resolve(request) => {
            let resolved = device.resolve(request.clone()).await?;
            Ok(Reply::Resolved(Box::new(resolved)))
        }
        Call::List => {
            let open = ListConflictsRequest {
                state: ConflictState::Open.into(),
                ..ListConflictsRequest::default()
            };
            device.conflict_page(open).await.map(Reply::Listed)
        }
        Call::Look(request) => {
            let looked = device.conflict(&request.conflict_id).await?;
            Ok(Reply::Looked(Box::new(looked)))
        }
    }
}

/// What an app makes of it.
fn failure(status: &Status) -> Failure {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match (status.code(), reason.as_deref()) {
        (_, Some("CURSOR_RESET")) => Failure::CursorReset,
        (_, Some("DEVICE_ID_REUSED")) => Failure::DeviceIdReused,
        (Code::Unavailable | Code::DeadlineExceeded, _) => Failure::Unreachable,
        // What a torn connection looks like, and not an answer of the service.
        (_, None) => Failure::Unreachable,
        (_, Some(_)) => Failure::Invalid(format!("{status:?}")),
    }
}
