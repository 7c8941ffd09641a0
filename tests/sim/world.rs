//! Runs a history: devices, their people, the network and the server; then heals everything, has everybody
//! sync twice, and once more to see that there is nothing left to say.

use super::call::{Answered, Call, Failure, Reply};
use super::device::{Around, Device, Names, Setup};
use super::history::{Fate, History, Step};
use super::memory::Memory;
use super::oracle::{Notes, Oracle};
use super::plants::Plant;
use super::server::Server;
use super::trace::Trace;

/// Calls of one sync: beyond that a device is stuck.
pub const CALLS_MAX: usize = 400;

/// Time that passes with each step.
const STEP_MS: i64 = 500;

/// What came of a history.
#[derive(Debug)]
pub struct Outcome {
    pub oracle: Oracle,
    /// Everything that happened, as text.
    pub trace: String,
}

/// What the devices of a history talk to, and what lies between.
pub trait Peer {
    /// What a backup of the server holds.
    type Backup: Clone;

    /// Whether every answer is known, also those that are lost on the way.
    const TELLS_ALL: bool;

    /// The server's clock.
    fn now_ms(&self) -> i64;
    /// Time passes.
    fn pass(&mut self, ms: i64);
    /// A call meets its fate; the answers that are known to have been given, in order.
    fn deliver(&mut self, call: &Call, fate: Fate) -> Vec<Answered>;
    /// Saves the server's data.
    fn backup(&mut self) -> Self::Backup;
    /// Goes back to what was saved.
    fn restore(&mut self, backup: &Self::Backup);
    /// What the server holds.
    fn memory(&mut self) -> Memory;
    /// Shows what it holds after a call, and how far a cursor had led before what is new came.
    fn show(&mut self, oracle: &mut Oracle);
    /// From now on nothing goes wrong any more.
    fn heal(&mut self);
    /// Waits until everybody who watches has it all; what is wrong, if they never have.
    fn watchers_are_current(&mut self, memory: &Memory) -> Result<(), String>;
}

/// Runs a history over the core.
pub fn run(history: &History, plant: Option<Plant>, trace: Trace) -> Outcome {
    play(history, Server::new(plant), plant, trace)
}

/// Plays a history with a server.
pub fn play<P: Peer>(history: &History, peer: P, plant: Option<Plant>, trace: Trace) -> Outcome {
    let mut world = World {
        peer,
        server_backup: None,
        places: Vec::new(),
        held: Vec::new(),
        names: Names::default(),
        oracle: Oracle::default(),
        trace,
        plant,
    };
    for step in &history.0 {
        world.trace.line(|| step.to_string());
        world.peer.pass(STEP_MS);
        world.step(step);
    }
    world.heal();
    Outcome {
        oracle: world.oracle,
        trace: world.trace.text(),
    }
}

/// A phone: what it is set up to do, the app's data, and what was saved of it.
pub struct Place {
    pub setup: Setup,
    pub device: Device,
    backup: Option<Device>,
}

pub struct World<P: Peer> {
    pub peer: P,
    server_backup: Option<(P::Backup, Notes)>,
    pub places: Vec<Place>,
    /// Calls that are under way for long.
    held: Vec<Call>,
    pub names: Names,
    pub oracle: Oracle,
    trace: Trace,
    plant: Option<Plant>,
}

impl<P: Peer> World<P> {
    fn step(&mut self, step: &Step) {
        match step.place() {
            Some(place) if place < self.places.len() => self.on_device(step, place),
            // A device that was taken out of the history.
            Some(_) => (),
            None => self.beside_devices(step),
        }
    }

    fn beside_devices(&mut self, step: &Step) {
        match step {
            Step::Device(setup) => {
                let device = self.new_device();
                self.places.push(Place {
                    setup: Setup {
                        plant: self.plant,
                        ..*setup
                    },
                    device,
                    backup: None,
                });
            }
            Step::Wait(ms) => self.peer.pass(*ms),
            Step::ServerBackup => {
                self.server_backup = Some((self.peer.backup(), self.oracle.notes()));
            }
            Step::ServerRestore => {
                if let Some((backup, notes)) = self.server_backup.clone() {
                    self.oracle.restoring(&self.peer.memory(), notes);
                    self.peer.restore(&backup);
                    let devices = self.places.iter().map(|place| &place.device);
                    self.oracle.restored(&self.peer.memory(), devices);
                }
            }
            Step::Arrive(which) if !self.held.is_empty() => {
                let newest = self.held.len() - 1;
                let call = self.held.remove(newest - which % self.held.len());
                let _ = self.serve(&call);
            }
            Step::Arrive(_)
            | Step::Edit(..)
            | Step::Group(..)
            | Step::Push { .. }
            | Step::Pull { .. }
            | Step::Sync { .. }
            | Step::Inbox { .. }
            | Step::Clock(..)
            | Step::Backup(_)
            | Step::Restore(_)
            | Step::Clone { .. }
            | Step::Wipe(_) => (),
        }
    }

    fn on_device(&mut self, step: &Step, place: usize) {
        match step {
            Step::Edit(_, touch) => self.edit(place, *touch, String::new()),
            Step::Group(_, touches) => {
                let group = format!("group-{}", self.names.next());
                for touch in touches {
                    self.edit(place, *touch, group.clone());
                }
            }
            Step::Push { fate, person, .. } => {
                if let Some(call) = self.next_push(place) {
                    self.exchange(place, &call, *fate, *person);
                }
            }
            Step::Pull { fate, .. } => {
                let Place { device, setup, .. } = &mut self.places[place];
                if let Some(call) = device.pull(*setup) {
                    self.exchange(place, &call, *fate, 0);
                }
            }
            Step::Sync { person, .. } => self.sync(place, *person),
            Step::Inbox { fate, person, .. } => {
                self.open_inbox(place, *person);
                if let Some(call) = self.places[place].device.decide() {
                    self.exchange(place, &call, *fate, 0);
                }
            }
            Step::Clock(_, clock_ms) => self.places[place].setup.clock_ms = *clock_ms,
            Step::Backup(_) => {
                self.places[place].backup = Some(self.places[place].device.clone());
            }
            Step::Restore(_) => {
                if let Some(backup) = self.places[place].backup.clone() {
                    self.replace(place, backup);
                }
            }
            Step::Clone { from, to } => {
                if to != from && *to < self.places.len() {
                    let copy = self.places[*from].device.clone();
                    self.replace(*to, copy);
                }
            }
            Step::Wipe(_) => {
                let new = self.new_device();
                self.replace(place, new);
            }
            Step::Device(_)
            | Step::Arrive(_)
            | Step::ServerBackup
            | Step::ServerRestore
            | Step::Wait(_) => (),
        }
    }

    fn new_device(&mut self) -> Device {
        Device::new(format!("device-{}", self.names.next()))
    }

    /// A phone gets other data.
    fn replace(&mut self, place: usize, device: Device) {
        self.oracle.replaced(place, &device);
        self.places[place].device = device;
    }

    /// What a device sends next.
    fn next_push(&mut self, place: usize) -> Option<Call> {
        let now = self.peer.now_ms();
        let Place { device, setup, .. } = &mut self.places[place];
        let mut around = Around {
            names: &mut self.names,
            person: 0,
            clock_ms: now + setup.clock_ms,
            setup: *setup,
        };
        device.decide().or_else(|| device.push(&mut around))
    }

    /// A call, the way there and the way back.
    fn exchange(&mut self, place: usize, call: &Call, fate: Fate, person: u32) {
        self.oracle.sent(place, call);
        let mut answers = self.deliver(call, fate).into_iter();
        let heard = match fate {
            Fate::Fine | Fate::Twice => answers.next_back(),
            Fate::Echoed => answers.next(),
            Fate::RequestLost | Fate::ReplyLost => None,
            Fate::Held => {
                self.held.push(call.clone());
                None
            }
        };
        self.hear(place, heard.unwrap_or(Err(Failure::Unreachable)), person);
    }

    pub fn serve(&mut self, call: &Call) -> Answered {
        let answers = self.deliver(call, Fate::Fine);
        answers
            .into_iter()
            .next()
            .unwrap_or(Err(Failure::Unreachable))
    }

    fn deliver(&mut self, call: &Call, fate: Fate) -> Vec<Answered> {
        let answers = self.peer.deliver(call, fate);
        // It may have been answered before, and only that answer is not known.
        let is_known = fate == Fate::Fine && answers.iter().any(Result::is_ok);
        if !is_known && !P::TELLS_ALL {
            self.oracle.unknown(call);
        }
        for answered in &answers {
            self.trace.exchange(call, answered);
            self.oracle.answered(call, answered);
        }
        self.peer.show(&mut self.oracle);
        answers
    }

    fn hear(&mut self, place: usize, answered: Answered, person: u32) {
        self.oracle.heard(place, &answered);
        let now = self.peer.now_ms();
        let Place { device, setup, .. } = &mut self.places[place];
        if let Err(Failure::CursorReset | Failure::DeviceIdReused) = &answered {
            // A deletion of what a restored server has never heard of leaves nothing behind (rule 2).
            let held = device.store.values().filter(|copy| copy.data.is_some());
            let own = held.filter_map(|copy| copy.own.clone());
            self.oracle.began_again(place, own.collect());
        }
        let mut around = Around {
            names: &mut self.names,
            person,
            clock_ms: now + setup.clock_ms,
            setup: *setup,
        };
        device.take(answered, &mut around);
    }

    /// Pushes and pulls until there is nothing more to do.
    pub fn sync(&mut self, place: usize, person: u32) {
        let mut person = person;
        for _ in 0..CALLS_MAX {
            person = person.wrapping_add(1);
            if let Some(call) = self.next_push(place) {
                self.exchange(place, &call, Fate::Fine, person);
                continue;
            }
            let Place { device, setup, .. } = &mut self.places[place];
            let Some(call) = device.pull(*setup) else {
                continue;
            };
            let answered = self.serve(&call);
            let more = match &answered {
                Ok(Reply::Page(page)) => page.has_more,
                Ok(_) | Err(_) => true,
            };
            self.hear(place, answered, person);
            if !more {
                return;
            }
        }
        let id = &self.places[place].device.id;
        self.oracle.violations.push(format!("{id} syncs for ever"));
    }

    fn heal(&mut self) {
        self.peer.heal();
        while !self.held.is_empty() {
            let call = self.held.remove(0);
            let _ = self.serve(&call);
        }
        // Of copies that share an id one is told when another has written: what that changes takes a round more.
        let rounds = match self.oracle.is_confused() {
            true => 3,
            false => 2,
        };
        for round in 0..rounds {
            for place in 0..self.places.len() {
                self.trace.line(|| format!("round {round}: {place}"));
                self.sync(place, place as u32);
                self.empty_inbox(place);
            }
        }
        self.is_silent();
        let devices = self.places.iter().map(|place| place.device.clone());
        let devices: Vec<Device> = devices.collect();
        let memory = self.peer.memory();
        self.oracle.finish(&devices, &memory);
        let current = self.peer.watchers_are_current(&memory);
        self.oracle.violations.extend(current.err());
    }

    /// Another sync of everybody: there is nothing to send and nothing to hear.
    fn is_silent(&mut self) {
        let before = self.peer.memory().revision;
        for place in 0..self.places.len() {
            if let Some(call) = self.next_push(place) {
                let loud = format!("{place} has something to push in the end: {call:?}");
                self.oracle.violations.push(loud);
            }
            let Place { device, setup, .. } = &mut self.places[place];
            let page = device.pull(*setup).map(|call| self.serve(&call));
            match page {
                Some(Ok(Reply::Page(page))) if page.entities.is_empty() && !page.has_more => (),
                other => {
                    let loud = format!("{place} hears something in the end: {other:?}");
                    self.oracle.violations.push(loud);
                }
            }
        }
        if self.peer.memory().revision != before {
            let loud = "the last sync is not silent".to_owned();
            self.oracle.violations.push(loud);
        }
    }
}
