//! Imports a training log into a running service: the CSV export of the Strong app.
//!
//! ```sh
//! cargo run                                             # the service, in a terminal of its own
//! export IRONFLOW_TOKEN=$(cargo run -q -- token --user lifter)
//! cargo run --example import_strong                     # 129 APPLIED
//! cargo run --example import_strong                     # 129 UNCHANGED
//! cargo run --example import_strong -- --conflict       # two devices edit one workout
//! ```
//!
//! Reading order: [`strong`] makes workouts from the file, [`import`] pushes them, [`conflict`] is
//! what happens when two devices edit one, [`Device`] is what pushes, [`client`] what every client
//! needs. `follow` is its twin: it watches what arrives.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{HumanDuration, ProgressBar};
use ironflow_sync::grpc::proto::{
    DeviceInfo, SyncItem, SyncRequest, SyncResponse, SyncResult, SyncStatus,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use client::{Account, Connection, Patience, described};
use strong::Workout;

/// Items of one push. The service takes up to 500; the progress bar is smoother with fewer.
const BATCH_ITEMS: usize = 50;

/// Imports the CSV export of the Strong app into Ironflow Sync.
#[derive(Parser)]
struct Arguments {
    /// The export [default: ten months of a real training log, 129 workouts]
    #[arg(hide_default_value = true,
          default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/strong-export.csv"))]
    file: PathBuf,
    #[command(flatten)]
    account: Account,
    /// The device to import as
    #[arg(long, default_value = "strong-import")]
    device: String,
    /// After the import, edit the last workout on a phone and on a tablet that does not know of it
    #[arg(long)]
    conflict: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("import_strong: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let workouts = read(&arguments.file)?;
    println!("{} workouts in the file", workouts.len());
    let connection = Connection::open(&arguments.account).await?;
    let importer = Device::new(&connection, &arguments.device, "Strong import");
    let results = import(&importer, &workouts).await?;
    report(&workouts, &results);
    if let (true, Some(workout), Some(result)) =
        (arguments.conflict, workouts.last(), results.last())
    {
        let phone = Device::new(&connection, "phone", "Phone");
        let tablet = Device::new(&connection, "tablet", "Tablet");
        conflict(&phone, &tablet, workout, result.server_version).await?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Workout>, Box<dyn Error>> {
    let problem = |error: &dyn Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| problem(&error))?;
    Ok(strong::read(file).map_err(|error| problem(error.as_ref()))?)
}

/// Pushes every workout as new. One that the service holds already is answered UNCHANGED, one that
/// another device edited since is a conflict: the import does not overwrite it.
async fn import(
    device: &Device<'_>,
    workouts: &[Workout],
) -> Result<Vec<SyncResult>, Box<dyn Error>> {
    let bar = ProgressBar::new(workouts.len() as u64);
    let mut results = Vec::new();
    for batch in workouts.chunks(BATCH_ITEMS) {
        let items: Result<Vec<SyncItem>, serde_json::Error> = batch
            .iter()
            .map(|workout| Ok(put(workout, "create", 0, serde_json::to_vec(workout)?)))
            .collect();
        results.extend(device.push(items?).await?.results);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(results)
}

/// Prints how often each outcome occurred, and what is to be said about single workouts.
fn report(workouts: &[Workout], results: &[SyncResult]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (workout, result) in workouts.iter().zip(results) {
        let (outcome, version) = (outcome(result), result.server_version);
        match result.status() {
            SyncStatus::Success => (),
            SyncStatus::Conflict => {
                println!("{workout}: {outcome}, the server keeps version {version}");
            }
            SyncStatus::Error | SyncStatus::Unspecified => {
                println!("{workout}: {outcome}, {}", result.error_message);
            }
        }
        *counts.entry(outcome).or_default() += 1;
    }
    for (outcome, count) in counts {
        println!("{count} {outcome}");
    }
}

/// Edits a workout on a phone, and then on a tablet that still has the version from before.
async fn conflict(
    phone: &Device<'_>,
    tablet: &Device<'_>,
    workout: &Workout,
    version: i32,
) -> Result<(), Box<dyn Error>> {
    let edited = |notes: &str| -> Result<Vec<u8>, serde_json::Error> {
        let mut data = serde_json::to_value(workout)?;
        data["notes"] = notes.into();
        serde_json::to_vec(&data)
    };
    println!("\nTwo devices edit {workout}, both from version {version}:");
    let edit = put(workout, "update", version, edited("New personal best")?);
    let answer = phone.push(vec![edit]).await?;
    for result in &answer.results {
        let now = result.server_version;
        println!("  phone:  {}, version {now}", outcome(result));
    }
    let edit = put(workout, "update", version, edited("Slept badly")?);
    let answer = tablet.push(vec![edit.clone()]).await?;
    for result in &answer.results {
        let held = result.server_version;
        println!("  tablet: {}, the server holds {held}", outcome(result));
        if result.status() == SyncStatus::Conflict {
            show_both(&edit, result, answer.server_time)?;
        }
    }
    Ok(())
}

/// Prints the two sides of a conflict beside each other, as an app would before it asks.
fn show_both(mine: &SyncItem, theirs: &SyncResult, server_time: i64) -> Result<(), Box<dyn Error>> {
    let detail = theirs.conflict.clone().unwrap_or_default();
    let edit_time = detail.server_edit_time;
    let age = Duration::from_millis(server_time.saturating_sub(edit_time).max(0) as u64);
    println!(
        "\nThe server copy was written by device {} ({}), edited {} ago ({edit_time} ms UTC)\n",
        detail.server_device_id,
        detail.server_device_label,
        HumanDuration(age),
    );
    let server: Map<String, Value> = serde_json::from_slice(&theirs.server_data)?;
    let device: Map<String, Value> = serde_json::from_slice(&mine.data)?;
    let (held, base) = (theirs.server_version, mine.version);
    print_row(
        "",
        &format!("server, version {held}"),
        &format!("tablet, from version {base}"),
    );
    let fields: BTreeSet<&String> = server.keys().chain(device.keys()).collect();
    for field in fields {
        let mark = if server.get(field) == device.get(field) {
            " "
        } else {
            "*"
        };
        let text =
            |side: &Map<String, Value>| side.get(field).map_or(String::new(), Value::to_string);
        print_row(&format!("{mark} {field}"), &text(&server), &text(&device));
    }
    Ok(())
}

fn print_row(name: &str, left: &str, right: &str) {
    const WIDTH: usize = 36;
    let cut = |text: &str| match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    println!("{name:12} | {:37} | {}", cut(left), cut(right));
}

/// `APPLIED`, `NEEDS_USER`, .., or the code of an error.
fn outcome(result: &SyncResult) -> String {
    match result.status() {
        SyncStatus::Error => result.error_code().as_str_name().replace("ERROR_CODE_", ""),
        SyncStatus::Unspecified | SyncStatus::Success | SyncStatus::Conflict => {
            result.resolution().as_str_name().replace("RESOLUTION_", "")
        }
    }
}

/// An edit of a workout that is made now: with an identity of its own, and without a timestamp,
/// which means "when it arrives". An app with a queue gives both when the person makes the edit,
/// and sends the same ones until it has its answer.
fn put(workout: &Workout, operation: &str, base_version: i32, data: Vec<u8>) -> SyncItem {
    SyncItem {
        entity_type: "workout_session".to_owned(),
        entity_id: workout.entity_id().to_string(),
        operation: operation.to_owned(),
        data,
        version: base_version,
        mutation_id: Uuid::new_v4().to_string(),
        ..SyncItem::default()
    }
}

/// One installation of an app.
struct Device<'a> {
    connection: &'a Connection,
    id: &'a str,
    label: &'a str,
}

impl<'a> Device<'a> {
    fn new(connection: &'a Connection, id: &'a str, label: &'a str) -> Self {
        Self {
            connection,
            id,
            label,
        }
    }

    /// Pushes one batch. While the service is away it is asked again, a few times: the edits keep
    /// their mutation ids, so even one that was applied already is never applied twice.
    async fn push(&self, items: Vec<SyncItem>) -> Result<SyncResponse, Box<dyn Error>> {
        let batch = SyncRequest {
            device_id: self.id.to_owned(),
            device: Some(DeviceInfo {
                label: self.label.to_owned(),
                ..DeviceInfo::default()
            }),
            items,
            ..SyncRequest::default()
        };
        let mut patience = Patience::default();
        loop {
            let request = self.connection.request(batch.clone());
            match self.connection.client().sync(request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => patience
                    .wait(status)
                    .await
                    .map_err(|status| described(&status))?,
            }
        }
    }
}

/// The CSV export of the Strong app: one row per set, grouped here into workouts.
mod strong {
    use std::error::Error;
    use std::fmt;
    use std::io::Read;

    use serde::{Deserialize, Serialize};
    use serde_json::Number;
    use uuid::Uuid;

    /// Namespace of the entity ids (UUID v5).
    const STRONG_WORKOUTS: Uuid = Uuid::from_u128(0x0f6f_3b0e_5a0d_4d2c_9c1b_7a52_f4c3_ee11);

    /// A workout, in the JSON form that is pushed. What the export leaves empty is absent.
    #[derive(Serialize)]
    pub struct Workout {
        title: String,
        /// When it began, `2021-02-10T16:46:13`, by the clock on the wall.
        date: String,
        /// In minutes.
        #[serde(skip_serializing_if = "Option::is_none")]
        duration: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        notes: Option<String>,
        exercises: Vec<Exercise>,
    }

    #[derive(Serialize)]
    struct Exercise {
        name: String,
        sets: Vec<Set>,
    }

    /// One set. Numbers stay as the export has them: a decimal of up to 15 digits is exact.
    #[derive(Serialize)]
    struct Set {
        order: Number,
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reps: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        distance: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rpe: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        notes: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Row {
        date: String,
        #[serde(rename = "Workout Name")]
        workout_name: String,
        duration: Option<String>,
        #[serde(rename = "Exercise Name")]
        exercise_name: String,
        #[serde(rename = "Set Order")]
        set_order: Number,
        weight: Option<Number>,
        reps: Option<Number>,
        distance: Option<Number>,
        seconds: Option<Number>,
        notes: Option<String>,
        #[serde(rename = "Workout Notes")]
        workout_notes: Option<String>,
        #[serde(rename = "RPE")]
        rpe: Option<Number>,
    }

    impl Workout {
        /// The same workout has the same id whenever and wherever it is imported.
        pub fn entity_id(&self) -> Uuid {
            let name = format!("{}\n{}", self.date, self.title);
            Uuid::new_v5(&STRONG_WORKOUTS, name.as_bytes())
        }
    }

    impl fmt::Display for Workout {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "\"{}\" of {}", self.title, self.date)
        }
    }

    /// Reads an export. Rows belong to the same workout if date and workout name agree.
    pub fn read(file: impl Read) -> Result<Vec<Workout>, Box<dyn Error>> {
        let mut workouts: Vec<Workout> = Vec::new();
        for row in csv::Reader::from_reader(file).deserialize() {
            let row: Row = row?;
            let date = row.date.replace(' ', "T");
            let known = workouts
                .iter()
                .rposition(|workout| workout.date == date && workout.title == row.workout_name);
            let place = known.unwrap_or(workouts.len());
            if known.is_none() {
                workouts.push(Workout {
                    title: row.workout_name,
                    date,
                    duration: row.duration.as_deref().map(minutes).transpose()?,
                    notes: None,
                    exercises: Vec::new(),
                });
            }
            let workout = &mut workouts[place];
            workout.notes = workout.notes.take().or(row.workout_notes);
            let set = Set {
                order: row.set_order,
                weight: row.weight,
                reps: row.reps,
                distance: row.distance,
                seconds: row.seconds,
                rpe: row.rpe,
                notes: row.notes,
            };
            match workout.exercises.last_mut() {
                Some(exercise) if exercise.name == row.exercise_name => exercise.sets.push(set),
                Some(_) | None => workout.exercises.push(Exercise {
                    name: row.exercise_name,
                    sets: vec![set],
                }),
            }
        }
        Ok(workouts)
    }

    /// `1h 50m`, `2h`, `53m`, `40s` in whole minutes.
    fn minutes(duration: &str) -> Result<u64, String> {
        let seconds = duration.split_whitespace().map(|part| {
            let (count, unit) = part.split_at_checked(part.len() - 1)?;
            let count = u64::from(count.parse::<u32>().ok()?);
            match unit {
                "h" => Some(count * 3600),
                "m" => Some(count * 60),
                "s" => Some(count),
                _ => None,
            }
        });
        let seconds: Option<u64> = seconds.sum();
        seconds
            .map(|seconds| seconds / 60)
            .ok_or_else(|| format!("Duration: expected one like 1h 50m, got {duration}"))
    }
}
