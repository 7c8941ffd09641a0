//! Histories: what happens to a few devices and their server, as text. A line is a step; everything that
//! chance decides stands in it, so a history with steps taken out is a history too.

use fastrand::Rng;

use super::catalog::{ENTITIES, WORKOUTS};
use super::device::Setup;

/// Devices of a history at most.
const DEVICES_MAX: usize = 4;

/// Steps of a history.
const STEPS: std::ops::Range<usize> = 20..80;

/// What becomes of a call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and so does the answer.
    Fine,
    /// It never arrives.
    RequestLost,
    /// It arrives, the answer does not.
    ReplyLost,
    /// It arrives twice, the device hears the second answer.
    Twice,
    /// It arrives twice, the device hears the first answer.
    Echoed,
    /// It is under way for long: the device hears nothing, and it arrives with a later step, or in the end.
    Held,
}

impl Fate {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Fine, "fine"),
        (Self::RequestLost, "request-lost"),
        (Self::ReplyLost, "reply-lost"),
        (Self::Twice, "twice"),
        (Self::Echoed, "echoed"),
        (Self::Held, "held"),
    ];
}

/// What a person does to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Which entity.
    pub entity: usize,
    /// Which of its fields; `None` deletes it.
    pub field: Option<u32>,
    /// They insist (`force`).
    pub force: bool,
    /// How long ago by the device's clock.
    pub ago_ms: i64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A device of the history, and how its app is set up. Comes before all others.
    Device(Setup),
    /// A person edits an entity.
    Edit(usize, Touch),
    /// They edit several, all or none.
    Group(usize, Vec<Touch>),
    /// A device pushes what waits. `person`: what they choose if they are asked.
    Push {
        device: usize,
        fate: Fate,
        person: u32,
    },
    /// A device reads a page.
    Pull { device: usize, fate: Fate },
    /// A device pushes and pulls until there is nothing more to do.
    Sync { device: usize, person: u32 },
    /// A person opens their inbox, and settles a conflict.
    Inbox {
        device: usize,
        fate: Fate,
        person: u32,
    },
    /// A call that was held arrives: 0 is the one held last.
    Arrive(usize),
    /// A device's clock is set to be so far off.
    Clock(usize, i64),
    /// A device's data is saved.
    Backup(usize),
    /// It goes back to what was saved.
    Restore(usize),
    /// A device's data is put on another phone.
    Clone { from: usize, to: usize },
    /// The app is deleted and installed again.
    Wipe(usize),
    /// The server's database is saved.
    ServerBackup,
    /// It goes back to what was saved.
    ServerRestore,
    /// Time passes.
    Wait(i64),
}

impl Step {
    /// Whose step it is; `None`: nobody's.
    pub fn place(&self) -> Option<usize> {
        match self {
            Self::Edit(device, _)
            | Self::Group(device, _)
            | Self::Push { device, .. }
            | Self::Pull { device, .. }
            | Self::Sync { device, .. }
            | Self::Inbox { device, .. }
            | Self::Clock(device, _)
            | Self::Backup(device)
            | Self::Restore(device)
            | Self::Clone { from: device, .. }
            | Self::Wipe(device) => Some(*device),
            Self::Device(_)
            | Self::Arrive(_)
            | Self::ServerBackup
            | Self::ServerRestore
            | Self::Wait(_) => None,
        }
    }
}

/// Steps, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History(pub Vec<Step>);

impl History {
    /// The history of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let devices = rng.usize(2..=DEVICES_MAX);
        let mut steps: Vec<Step> = (0..devices).map(|_| any_device(&mut rng)).collect();
        // Few entities, so that devices meet; now and then those that may be one thing recorded twice.
        let focus: Vec<usize> = match rng.u8(..6) {
            0 => WORKOUTS.to_vec(),
            _ => (0..rng.usize(1..4))
                .map(|_| rng.usize(..ENTITIES.len()))
                .collect(),
        };
        let rough = rng.u32(0..60);
        let mut any = Any {
            rng,
            devices,
            focus,
            rough,
        };
        let count = any.rng.usize(STEPS);
        for _ in 0..count {
            let step = any.step();
            let more = any.what_follows(&step);
            steps.push(step);
            steps.extend(more);
        }
        if any.rng.u8(..4) == 0 {
            let device = any.rng.usize(..devices);
            steps.extend(any.overtaken(device));
        }
        Self(steps)
    }
}

fn any_clock(rng: &mut Rng) -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    match rng.u8(..6) {
        0 => HOUR_MS,
        1 => -HOUR_MS,
        2 => rng.i64(-5_000..5_000),
        3 => 365 * 24 * HOUR_MS,
        _ => 0,
    }
}

fn any_device(rng: &mut Rng) -> Step {
    Step::Device(Setup {
        clock_ms: any_clock(rng),
        tells_time: rng.u8(..4) > 0,
        include_own: rng.bool(),
        batch_items: rng.usize(1..6),
        page_size: rng.i32(1..5),
        plant: None,
    })
}

struct Any {
    rng: Rng,
    devices: usize,
    focus: Vec<usize>,
    /// How many calls in a hundred go wrong.
    rough: u32,
}

impl Any {
    fn step(&mut self) -> Step {
        let device = self.rng.usize(..self.devices);
        let person = self.rng.u32(..60);
        match self.rng.u32(..100) {
            0..27 => Step::Edit(device, self.touch()),
            27..31 => {
                let count = self.rng.usize(2..4);
                Step::Group(device, (0..count).map(|_| self.touch()).collect())
            }
            31..51 => Step::Push {
                device,
                fate: self.fate(),
                person,
            },
            51..66 => Step::Pull {
                device,
                fate: self.fate(),
            },
            66..70 => Step::Sync { device, person },
            70..75 => Step::Inbox {
                device,
                fate: self.fate(),
                person,
            },
            75..79 => Step::Arrive(self.rng.usize(..8)),
            79..81 => Step::Clock(device, any_clock(&mut self.rng)),
            81..84 => Step::Backup(device),
            84..87 => Step::Restore(device),
            87..90 => Step::Clone {
                from: device,
                to: self.rng.usize(..self.devices),
            },
            90..91 => Step::Wipe(device),
            91..94 => Step::ServerBackup,
            94..96 => Step::ServerRestore,
            _ => Step::Wait(self.rng.i64(1..10_000)),
        }
    }

    /// What chance alone would seldom bring about.
    fn what_follows(&mut self, step: &Step) -> Vec<Step> {
        let fate = Fate::Fine;
        match step {
            _ if self.rng.bool() => Vec::new(),
            // An app looks for news as soon as it is opened.
            Step::Restore(device) => vec![
                Step::Pull {
                    device: *device,
                    fate,
                };
                2
            ],
            // The person decides something that a copy of the device does not know of.
            Step::Backup(device) | Step::Clone { from: device, .. } => vec![Step::Inbox {
                device: *device,
                fate,
                person: self.rng.u32(..60),
            }],
            // Somebody else is faster than the retry.
            Step::Push {
                device,
                fate: Fate::ReplyLost,
                ..
            } => {
                let other = self.rng.usize(..self.devices);
                let device = *device;
                vec![
                    Step::Sync {
                        device: other,
                        person: 0,
                    },
                    Step::Edit(other, self.touch()),
                    Step::Sync {
                        device: other,
                        person: 0,
                    },
                    Step::Pull { device, fate },
                    Step::Pull { device, fate },
                ]
            }
            Step::Push {
                device,
                fate: Fate::Held,
                ..
            } => self.overtaken(*device),
            _ => Vec::new(),
        }
    }

    /// A retry is faster than what is under way for long, and so is somebody else.
    fn overtaken(&mut self, device: usize) -> Vec<Step> {
        let other = self.rng.usize(..self.devices);
        let touch = self.touch();
        let sync = |device| Step::Sync { device, person: 0 };
        let push = |fate| Step::Push {
            device,
            fate,
            person: 0,
        };
        let long_ago = Touch {
            ago_ms: 20_000,
            ..touch
        };
        vec![
            sync(device),
            sync(other),
            Step::Edit(device, touch),
            Step::Edit(other, touch),
            sync(other),
            push(Fate::Held),
            push(Fate::Fine),
            Step::Edit(other, long_ago),
            sync(other),
            Step::Arrive(0),
        ]
    }

    fn touch(&mut self) -> Touch {
        Touch {
            entity: *self.rng.choice(&self.focus).expect("some entity"),
            field: (self.rng.u8(..4) > 0).then(|| self.rng.u32(..4)),
            force: self.rng.u8(..16) == 0,
            ago_ms: match self.rng.u8(..3) {
                0 => self.rng.i64(0..5_000),
                _ => 0,
            },
        }
    }

    fn fate(&mut self) -> Fate {
        if self.rng.u32(..100) >= self.rough {
            return Fate::Fine;
        }
        let (fate, _) = self.rng.choice(Fate::ALL).expect("some fate");
        fate
    }
}
