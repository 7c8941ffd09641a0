//! The lifter's history: a real training log, as the Strong app exports it, one set a line.

use serde_json::{Number, Value, json};
use uuid::Uuid;

/// Where it is from and under which licence: `examples/data/README.md`.
const EXPORT: &str = include_str!("../../../examples/data/strong-export.csv");

/// Namespace of the ids (UUID v5): every demo has the same.
const LIFTER: Uuid = Uuid::from_u128(0x51c5_9d0e_27f4_4b8e_8a55_6f0d_3b1e_c7a2);

/// A workout as the devices hold it.
pub(super) struct Workout {
    pub(super) id: Uuid,
    pub(super) data: Value,
}

impl Workout {
    /// One that is planned: no exercises yet.
    pub(super) fn planned(title: &str, date: &str) -> Self {
        Self {
            id: Uuid::new_v5(&LIFTER, format!("{date} {title}").as_bytes()),
            data: json!({ "title": title, "date": date, "exercises": [] }),
        }
    }
}

/// The workouts of the log, the oldest first, and how many sets they have together. `None`: a line is
/// not one of an export.
pub(super) fn read() -> Option<(Vec<Workout>, usize)> {
    let mut workouts: Vec<Workout> = Vec::new();
    let mut sets = 0;
    for line in EXPORT.lines().skip(1) {
        let [date, title, _, name, _, weight, reps, _, seconds, ..] = fields(line)[..] else {
            return None;
        };
        let workout = Workout::planned(title, &date.replace(' ', "T"));
        // The sets of a workout are in one block.
        if workouts.last().is_none_or(|last| last.id != workout.id) {
            workouts.push(workout);
        }
        let workout = workouts.last_mut()?;
        let mut set = json!({ "weight": weight.parse::<Number>().ok()?, "unit": "kg" });
        for (key, number) in [("reps", reps), ("seconds", seconds)] {
            if number != "0" {
                set[key] = number.parse::<Number>().ok()?.into();
            }
        }
        add(workout, name, set)?;
        sets += 1;
    }
    Some((workouts, sets))
}

/// Adds a set to the exercise a workout ends with, or begins the next one.
fn add(workout: &mut Workout, name: &str, set: Value) -> Option<()> {
    let exercises = workout.data["exercises"].as_array_mut()?;
    match exercises.last_mut() {
        Some(last) if last["name"] == name => last["sets"].as_array_mut()?.push(set),
        Some(_) | None => {
            // An id of its own is what lets two edits of the list be merged.
            let id = Uuid::new_v5(&workout.id, exercises.len().to_string().as_bytes());
            exercises.push(json!({ "id": id.to_string(), "name": name, "sets": [set] }));
        }
    }
    Some(())
}

/// The fields of a line; some are quoted, for the commas in them.
fn fields(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let fields = line.split(|c: char| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    fields.map(|field| field.trim_matches('"')).collect()
}
