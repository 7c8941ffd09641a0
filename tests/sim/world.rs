//! Runs a history: devices, their people, the network and the server; then heals everything, has everybody
//! sync twice, and once more to see that there is nothing left to say.

use super::call::{Answered, Call, Failure, Reply};
use super::device::{Around, Device, Names, Setup};
use super::history::{Fate, History, Step};
use super::oracle::{Notes, Oracle};
use super::plants::Plant;
use super::server::{Backup, Server};
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

/// Runs a history.
pub fn run(history: &History, plant: Option<Plant>, trace: Trace) -> Outcome {
    let mut world = World {
        server: Server::new(plant),
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
        world.server.now.0 += STEP_MS;
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

pub struct World {
    pub server: Server,
    server_backup: Option<(Backup, Notes)>,
    pub places: Vec<Place>,
    /// Calls that are under way for long.
    held: Vec<Call>,
    pub names: Names,
    pub oracle: Oracle,
    trace: Trace,
    plant: Option<Plant>,
}

impl World {
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
            Step::Wait(ms) => self.server.now.0 += ms,
            Step::ServerBackup => {
                self.server_backup = Some((self.server.backup(), self.oracle.notes()));
            }
            Step::ServerRestore => {
                if let Some((backup, notes)) = self.server_backup.clone() {
                    self.oracle.restoring(&self.server.memory, notes);
                    self.server.restore(&backup);
                    let devices = self.places.iter().map(|place| &place.device);
                    self.oracle.restored(&self.server.memory, devices);
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
        let now = self.server.now.0;
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
        let answered = match fate {
            Fate::Fine => self.serve(call),
            Fate::RequestLost => Err(Failure::Unreachable),
            Fate::ReplyLost => {
                let _ = self.serve(call);
                Err(Failure::Unreachable)
            }
            Fate::Twice => {
                let _ = self.serve(call);
                self.serve(call)
            }
            Fate::Echoed => {
                let first = self.serve(call);
                let _ = self.serve(call);
                first
            }
            Fate::Held => {
                self.held.push(call.clone());
                Err(Failure::Unreachable)
            }
        };
        self.hear(place, answered, person);
    }

    pub fn serve(&mut self, call: &Call) -> Answered {
        let answered = self.server.call(call);
        self.trace.exchange(call, &answered);
        self.oracle.answered(call, &answered);
        self.oracle.holds(&self.server.memory, self.server.served);
        answered
    }

    fn hear(&mut self, place: usize, answered: Answered, person: u32) {
        self.oracle.heard(place, &answered);
        let now = self.server.now.0;
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
        self.oracle.finish(&devices, &self.server.memory);
    }

    /// Another sync of everybody: there is nothing to send and nothing to hear.
    fn is_silent(&mut self) {
        let before = self.server.memory.revision;
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
        if self.server.memory.revision != before {
            let loud = "the last sync is not silent".to_owned();
            self.oracle.violations.push(loud);
        }
    }
}
