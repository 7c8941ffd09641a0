//! Histories as text: a line is a step.

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use super::device::Setup;
use super::history::{Fate, History, Step, Touch};

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.map(|field| field.to_string());
        let field = field.as_deref().unwrap_or("delete");
        let force = if self.force { "force" } else { "-" };
        write!(f, "{} {field} {force} {}", self.entity, self.ago_ms)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(fate, _)| fate == self);
        f.write_str(name.expect("all fates are listed").1)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(setup) => write!(
                f,
                "device {} {} {} {} {}",
                setup.clock_ms,
                setup.tells_time,
                setup.include_own,
                setup.batch_items,
                setup.page_size,
            ),
            Self::Edit(device, touch) => write!(f, "edit {device} {touch}"),
            Self::Group(device, touches) => {
                write!(f, "group {device}")?;
                touches.iter().try_for_each(|touch| write!(f, " {touch}"))
            }
            Self::Push {
                device,
                fate,
                person,
            } => write!(f, "push {device} {fate} {person}"),
            Self::Pull { device, fate } => write!(f, "pull {device} {fate}"),
            Self::Sync { device, person } => write!(f, "sync {device} {person}"),
            Self::Inbox {
                device,
                fate,
                person,
            } => write!(f, "inbox {device} {fate} {person}"),
            Self::Arrive(which) => write!(f, "arrive {which}"),
            Self::Clock(device, clock_ms) => write!(f, "clock {device} {clock_ms}"),
            Self::Backup(device) => write!(f, "backup {device}"),
            Self::Restore(device) => write!(f, "restore {device}"),
            Self::Clone { from, to } => write!(f, "clone {from} {to}"),
            Self::Wipe(device) => write!(f, "wipe {device}"),
            Self::ServerBackup => f.write_str("server-backup"),
            Self::ServerRestore => f.write_str("server-restore"),
            Self::Wait(ms) => write!(f, "wait {ms}"),
        }
    }
}

impl FromStr for History {
    type Err = String;

    /// Reads steps, one per line; empty lines and those that begin with `#` are passed over.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| read(line).ok_or_else(|| format!("no step: {line}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn read(line: &str) -> Option<Step> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let step = match name {
        "device" => Step::Device(Setup {
            clock_ms: word(&mut words)?,
            tells_time: word(&mut words)?,
            include_own: word(&mut words)?,
            batch_items: word(&mut words)?,
            page_size: word(&mut words)?,
            plant: None,
        }),
        "edit" => Step::Edit(word(&mut words)?, touch(&mut words)?),
        "group" => {
            let device = word(&mut words)?;
            let mut touches = Vec::new();
            while words.clone().next().is_some() {
                touches.push(touch(&mut words)?);
            }
            Step::Group(device, touches)
        }
        "push" => Step::Push {
            device: word(&mut words)?,
            fate: fate(&mut words)?,
            person: word(&mut words)?,
        },
        "pull" => Step::Pull {
            device: word(&mut words)?,
            fate: fate(&mut words)?,
        },
        "sync" => Step::Sync {
            device: word(&mut words)?,
            person: word(&mut words)?,
        },
        "inbox" => Step::Inbox {
            device: word(&mut words)?,
            fate: fate(&mut words)?,
            person: word(&mut words)?,
        },
        "arrive" => Step::Arrive(word(&mut words)?),
        "clock" => Step::Clock(word(&mut words)?, word(&mut words)?),
        "backup" => Step::Backup(word(&mut words)?),
        "restore" => Step::Restore(word(&mut words)?),
        "clone" => Step::Clone {
            from: word(&mut words)?,
            to: word(&mut words)?,
        },
        "wipe" => Step::Wipe(word(&mut words)?),
        "server-backup" => Step::ServerBackup,
        "server-restore" => Step::ServerRestore,
        "wait" => Step::Wait(word(&mut words)?),
        _ => return None,
    };
    words.next().is_none().then_some(step)
}

type Words<'a> = SplitWhitespace<'a>;

fn word<T: FromStr>(words: &mut Words<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn fate(words: &mut Words<'_>) -> Option<Fate> {
    let name = words.next()?;
    let found = Fate::ALL.iter().find(|(_, known)| *known == name);
    found.map(|(fate, _)| *fate)
}

fn touch(words: &mut Words<'_>) -> Option<Touch> {
    Some(Touch {
        entity: word(words)?,
        field: match words.next()? {
            "delete" => None,
            number => Some(number.parse().ok()?),
        },
        force: words.next()? == "force",
        ago_ms: word(words)?,
    })
}
