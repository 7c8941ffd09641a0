//! The story of the demo, step by step.

use serde_json::{Value, json};
use uuid::Uuid;

use super::DemoError;
use super::device::{Conflict, Device, Held, Told};
use super::log::{self, Workout};
use super::question::{QUESTION, choose};
use super::screen::{Screen, Tone, row};
use crate::config::Side;
use crate::grpc::proto::Choice;

/// The workout both devices edit.
const TITLE: &str = "Full body";
const DATE: &str = "2021-12-24T15:00:00";

/// Who says which side stays.
#[derive(Clone, Copy)]
pub(super) enum Chooser {
    /// The person at the terminal.
    Person,
    /// The arguments.
    Argument(Side),
    /// Nobody can be asked.
    Nobody,
}

/// Two devices of one lifter.
pub(super) struct Story {
    screen: Screen,
    phone: Device,
    tablet: Device,
    /// The workout both edit.
    workout: Uuid,
}

impl Story {
    pub(super) fn new(screen: Screen, service: &str, token: &str) -> Result<Self, DemoError> {
        Ok(Self {
            screen,
            phone: Device::new("phone", service, token)?,
            tablet: Device::new("tablet", service, token)?,
            workout: Workout::planned(TITLE, DATE).id,
        })
    }

    /// The workout both devices edit.
    pub(super) fn workout(&self) -> Uuid {
        self.workout
    }

    /// Tells all of it but the end.
    pub(super) async fn tell(&mut self, chooser: Chooser) -> Result<(), DemoError> {
        self.sync_first().await?;
        self.go_offline()?;
        let conflict = self.come_online().await?;
        self.settle(&conflict, chooser).await?;
        self.converge().await?;
        self.sync_last().await
    }

    async fn sync_first(&mut self) -> Result<(), DemoError> {
        let screen = self.screen;
        screen.step(1, "First sync");
        let bad_log = DemoError::Unexpected("the training log to be an export of the Strong app");
        let (workouts, sets) = log::read().ok_or(bad_log)?;
        let all = workouts.len();
        screen.say(&format!(
            "The phone holds ten months of a real training log: {all} workouts, {sets} sets.\n\
             It pushes them in batches; the tablet, which is new, pulls them page by page."
        ));
        self.phone.go_online().await?;
        self.phone.pull(|_, _| ()).await?;
        workouts.into_iter().for_each(|one| self.phone.edit(one, 0));
        self.phone
            .push(|done| screen.progress("phone", "pushed", done, all))
            .await?;
        self.tablet.go_online().await?;
        self.tablet
            .pull(|done, all| screen.progress("tablet", "pulled", done, all))
            .await?;

        screen.say("Then the phone plans one more, and the tablet hears of it.");
        self.phone.edit(Workout::planned(TITLE, DATE), 0);
        self.phone.push(|_| ()).await?;
        self.tablet.pull(|_, _| ()).await?;
        let version = held(&self.tablet, self.workout)?.version.to_string();
        screen.table(&[
            row(["workout", "version", "exercises"]),
            row([TITLE, &version, "none yet"]),
        ]);
        Ok(())
    }

    fn go_offline(&mut self) -> Result<(), DemoError> {
        let (screen, id) = (self.screen, self.workout);
        screen.step(2, "Both go offline");
        screen.say("Each logs a part of that workout, shows it at once, and queues it for later.");
        let mut table = vec![row(["device", "adds", "based on", "queued"])];
        // Not at the same moment: what stands first in the merge would be chance.
        for (device, name, pounds, minutes_ago) in [
            (&mut self.phone, "Bench Press (Barbell)", 225, 10),
            (&mut self.tablet, "Squat (Barbell)", 315, 5),
        ] {
            device.go_offline();
            let mut data = held(device, id)?.data.clone();
            let set = json!({ "weight": pounds, "unit": "lb", "reps": 5 });
            let own_id = Uuid::new_v4().to_string();
            let exercise = json!({ "id": own_id, "name": name, "sets": [set, set, set] });
            let exercises = data["exercises"].as_array_mut();
            exercises
                .ok_or(DemoError::Unexpected("a workout with exercises"))?
                .push(exercise);
            let adds = list(&data);
            device.edit(Workout { id, data }, minutes_ago);
            let base = format!("version {}", held(device, id)?.version);
            table.push(row([
                device.name,
                &adds,
                &base,
                &device.queued().to_string(),
            ]));
        }
        screen.table(&table);
        Ok(())
    }

    async fn come_online(&mut self) -> Result<Conflict, DemoError> {
        let screen = self.screen;
        screen.step(3, "Both come online");
        screen.say("Each sends its queue. The phone is first.");
        let mut table = vec![row(["device", "is told"])];
        let mut conflict = None;
        for device in [&mut self.phone, &mut self.tablet] {
            device.go_online().await?;
            for told in device.push(|_| ()).await? {
                let answer = match told {
                    Told::Stored(version) => {
                        let success = screen.toned(Tone::Good, "SUCCESS");
                        format!("{success}: the server holds it, as version {version}")
                    }
                    Told::Asked(asked) => {
                        let word = screen.toned(Tone::Open, "CONFLICT");
                        let (version, by) = (asked.server_version, &asked.server_label);
                        let said = format!(
                            "{word}: version {version}, by the {by}, was first; nothing is overwritten"
                        );
                        conflict = Some(*asked);
                        said
                    }
                };
                table.push(row([device.name, &answer]));
            }
        }
        screen.table(&table);
        conflict.ok_or(DemoError::Unexpected("the tablet to be told of a conflict"))
    }

    async fn settle(&mut self, conflict: &Conflict, chooser: Chooser) -> Result<(), DemoError> {
        let screen = self.screen;
        screen.step(4, "The conflict");
        screen.say("The tablet shows both sides, and what the service proposes.");
        let sides = [
            &conflict.server,
            &held(&self.tablet, self.workout)?.data,
            &conflict.proposed,
        ];
        let phones = format!("phone, version {}", conflict.server_version);
        let mut table = vec![row([
            "exercise",
            &phones,
            "tablet, not stored",
            "proposed merge",
        ])];
        for (name, _) in exercises(&conflict.proposed) {
            let cell = |side: &Value| {
                let mut all = exercises(side).into_iter();
                let found = all.find(|(other, _)| *other == name);
                found.map_or("-".to_owned(), |(_, sets)| sets)
            };
            let [phone, tablet, merged] = sides.map(cell);
            table.push([name, phone, tablet, merged]);
        }
        screen.table(&table);
        screen.say("\n");

        let side = match chooser {
            Chooser::Person => choose(screen).await.map_err(DemoError::Keyboard)?,
            Chooser::Argument(side) => {
                screen.say(&format!("{QUESTION} {} (--choose)", answer(side)));
                side
            }
            Chooser::Nobody => {
                screen.say(&format!(
                    "{QUESTION} {}\n(nobody to ask here; --choose phone, tablet or merge decides)",
                    answer(Side::Merge)
                ));
                Side::Merge
            }
        };
        let choice = match side {
            Side::Phone => Choice::KeepServer,
            Side::Tablet => Choice::KeepClient,
            Side::Merge => Choice::UseData,
        };
        let version = self.tablet.resolve(conflict, choice, self.workout).await?;
        let resolved = screen.toned(Tone::Good, "RESOLVED");
        screen.say(&format!(
            "{resolved}: version {version} is what was chosen, and the history keeps both sides."
        ));
        Ok(())
    }

    async fn converge(&mut self) -> Result<(), DemoError> {
        let screen = self.screen;
        screen.step(5, "Both converge");
        let phones = self.phone.pull(|_, _| ()).await?.changes;
        let tablets = self.tablet.pull(|_, _| ()).await?.changes;
        screen.say(&format!(
            "Both pull what the other wrote: changes for the phone {phones}, for the tablet {tablets}."
        ));
        let mut table = vec![row(["device", "workouts", TITLE, "exercises"])];
        for device in [&self.phone, &self.tablet] {
            let both = held(device, self.workout)?;
            table.push(row([
                device.name,
                &device.held().len().to_string(),
                &format!("version {}", both.version),
                &list(&both.data),
            ]));
        }
        screen.table(&table);
        if self.phone.held() != self.tablet.held() {
            return Err(DemoError::Unexpected("both devices to hold the same"));
        }
        let same = screen.toned(Tone::Good, "The same");
        screen.say(&format!("\n{same}, in every workout and every set."));
        Ok(())
    }

    async fn sync_last(&mut self) -> Result<(), DemoError> {
        let screen = self.screen;
        screen.step(6, "A last sync is silent");
        let mut table = vec![row(["device", "pushed", "pulled", "open conflicts"])];
        for device in [&mut self.phone, &mut self.tablet] {
            let pushed = device.push(|_| ()).await?.len();
            let pulled = device.pull(|_, _| ()).await?;
            if pushed + pulled.changes != 0 || pulled.open_conflicts != 0 {
                return Err(DemoError::Unexpected("nothing left to sync"));
            }
            table.push(row([
                device.name,
                &pushed.to_string(),
                &pulled.changes.to_string(),
                &pulled.open_conflicts.to_string(),
            ]));
        }
        screen.table(&table);
        Ok(())
    }
}

fn held(device: &Device, id: Uuid) -> Result<&Held, DemoError> {
    let held = device.held().get(&id);
    held.ok_or(DemoError::Unexpected("both devices to hold the workout"))
}

/// The exercises of a workout, with what was lifted: `3 × 225 lb`.
fn exercises(workout: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = workout["exercises"].as_array().map(Vec::as_slice);
    let named = list.unwrap_or_default().iter().map(|exercise| {
        let sets = exercise["sets"].as_array().map_or(0, Vec::len);
        let (weight, unit) = (&exercise["sets"][0]["weight"], &exercise["sets"][0]["unit"]);
        let lifted = format!("{sets} × {weight} {}", text(unit));
        (text(&exercise["name"]), lifted)
    });
    named.collect()
}

/// The same on one line.
fn list(workout: &Value) -> String {
    let named = exercises(workout).into_iter();
    let named: Vec<String> = named
        .map(|(name, lifted)| format!("{name} {lifted}"))
        .collect();
    named.join(", ")
}

fn answer(side: Side) -> &'static str {
    match side {
        Side::Phone => "keep phone",
        Side::Tablet => "keep tablet",
        Side::Merge => "merge both",
    }
}
