//! Loads shared reference data into the library: as pushes, so that unchanged objects are not
//! written again, changed ones become new versions, and every device learns of them.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error as ThisError;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Database, now, print};
use crate::config::{Config, LibraryCommand};
use crate::domain::catalog::Catalog;
use crate::domain::decide::Resolution;
use crate::domain::entity::EntityType;
use crate::domain::item::{ItemRules, RawItem, Sender, Submission};
use crate::domain::plan::Answer;
use crate::domain::scope::{DeviceId, Scope, UserId};
use crate::error::Fault;
use crate::feed::Feed;
use crate::push::{Push, PushRequest};
use crate::store::Store;
use crate::store::device::DeviceInfo;
use crate::store::migrations::migrate;

/// Namespace of the ids made from keys that are no UUIDs (UUID v5). Never change it: a second load
/// has to find what the first one wrote.
const KEYED: Uuid = Uuid::from_u128(0x7c1d_0e52_3f0b_4d57_9a41_52f6_e0c3_8b1a);

/// The one who writes the library. Always the same, so that a load never conflicts with another.
const OPERATOR: &str = "operator";

/// Objects in one transaction.
const BATCH_ITEMS: usize = 500;

/// What is wrong with a file.
#[derive(Debug, ThisError)]
enum LibraryError {
    #[error("{0}: expected a JSON array of objects")]
    NoArray(String),
    #[error("object {place}: expected a text or number under the key {key:?}")]
    NoKey { place: usize, key: String },
    #[error("object {place}: expected each {key:?} once, this one occurs again")]
    SameKey { place: usize, key: String },
    #[error("--type: expected a shared type (exercise_definition or settings_option), got {0:?}")]
    NotShared(String),
    #[error("the object with the id {0} can not be stored: {1}")]
    Refused(String, String),
}

/// Runs a library command.
pub(super) async fn run(config: &Config, command: LibraryCommand) -> Result<(), Box<dyn Error>> {
    let LibraryCommand::Load {
        file,
        entity_type,
        key,
        prune,
    } = command;
    let catalog = Catalog::builtin();
    let shared = EntityType::new(&entity_type).filter(|known| catalog.rules(known).shared);
    let entity_type = shared.ok_or(LibraryError::NotShared(entity_type))?;
    let objects = read(&file, &key)?;
    let database = Database::open(config, "ironflow-sync library").await?;
    let load = Load {
        store: &database.store,
        catalog: &catalog,
        entity_type: &entity_type,
        item_bytes_max: config.limits.item_bytes_max,
    };
    let loaded = load.run(&objects, prune).await;
    database.close().await;
    for (outcome, count) in loaded? {
        print(&format!("{count} {outcome}\n"));
    }
    Ok(())
}

/// An object of a file, as it is written there.
struct Object {
    id: Uuid,
    text: String,
}

/// The objects of a file.
fn read(file: &Path, key: &str) -> Result<Vec<Object>, Box<dyn Error>> {
    let no_array = || LibraryError::NoArray(file.display().to_string());
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let texts: Vec<&RawValue> = serde_json::from_str(&text).map_err(|_| no_array())?;
    let mut seen = HashSet::new();
    let mut objects = Vec::new();
    for (place, text) in texts.into_iter().map(RawValue::get).enumerate() {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|_| no_array())?;
        let key = key.to_owned();
        let id = match object.get(&key) {
            Some(Value::String(text)) if !text.is_empty() => id_from(text),
            Some(Value::Number(number)) => id_from(&number.to_string()),
            _ => return Err(LibraryError::NoKey { place, key }.into()),
        };
        if !seen.insert(id) {
            return Err(LibraryError::SameKey { place, key }.into());
        }
        let text = text.to_owned();
        objects.push(Object { id, text });
    }
    Ok(objects)
}

fn id_from(key: &str) -> Uuid {
    Uuid::parse_str(key).unwrap_or_else(|_| Uuid::new_v5(&KEYED, key.as_bytes()))
}

struct Load<'a> {
    store: &'a Store,
    catalog: &'a Catalog,
    entity_type: &'a EntityType,
    item_bytes_max: usize,
}

impl Load<'_> {
    /// Loads the objects, and says how many came to what.
    async fn run(
        &self,
        objects: &[Object],
        prune: bool,
    ) -> Result<BTreeMap<&'static str, usize>, Box<dyn Error>> {
        migrate(self.store).await?;
        let mut items = Vec::new();
        for object in objects {
            items.push(self.item(object.id, "update", object.text.clone().into_bytes()));
        }
        if prune {
            let kept: HashSet<Uuid> = objects.iter().map(|object| object.id).collect();
            let library = Scope::library();
            for id in self.store.list_entities(&library, self.entity_type).await? {
                if !kept.contains(&id) {
                    items.push(self.item(id, "delete", Vec::new()));
                }
            }
        }
        let push = Push::new(
            self.store.clone(),
            Feed::new(),
            TaskTracker::new(),
            usize::MAX,
        );
        let mut outcomes = BTreeMap::new();
        for batch in items.chunks(BATCH_ITEMS) {
            for (item, answer) in batch.iter().zip(self.push(&push, batch).await?) {
                *outcomes.entry(outcome(item, &answer)?).or_insert(0) += 1;
            }
        }
        Ok(outcomes)
    }

    /// Based on nothing: what equals is unchanged (rule 4), the rest continues the operator's own
    /// chain of versions (rule 5).
    fn item(&self, id: Uuid, operation: &str, data: Vec<u8>) -> RawItem {
        RawItem {
            entity_type: self.entity_type.as_str().to_owned(),
            entity_id: id.to_string(),
            operation: operation.to_owned(),
            data,
            // Every load is a new edit, also one that brings back an older state.
            mutation_id: Uuid::new_v4().to_string(),
            ..RawItem::default()
        }
    }

    async fn push(&self, push: &Push, batch: &[RawItem]) -> Result<Vec<Answer>, Box<dyn Error>> {
        let no_id = || Fault::Defect("the operator has no id".into(), None);
        let sender = Sender {
            user: UserId::new(OPERATOR).ok_or_else(no_id)?,
            device: DeviceId::new(OPERATOR).ok_or_else(no_id)?,
            client_time: 0,
            received: now(),
        };
        let rules = ItemRules {
            catalog: self.catalog,
            item_bytes_max: self.item_bytes_max,
            operator: true,
        };
        let submit = |raw: &RawItem| Submission::parse(raw.clone(), &sender, &rules);
        let request = PushRequest {
            scope: Scope::library(),
            device: sender.device.clone(),
            info: DeviceInfo::default(),
            batch: batch.iter().map(submit).collect(),
            validate_only: false,
            now: sender.received,
        };
        Ok(push.run(request).await?.answers)
    }
}

/// What came of an object, in one word.
fn outcome(item: &RawItem, answer: &Answer) -> Result<&'static str, LibraryError> {
    match answer {
        Answer::Written(_) if item.operation == "delete" => Ok("deleted"),
        Answer::Written(written) if written.version.number() == 1 => Ok("added"),
        Answer::Written(written) if written.resolution == Resolution::Resurrected => Ok("restored"),
        Answer::Written(_) => Ok("changed"),
        Answer::Unchanged { .. } => Ok("unchanged"),
        Answer::Conflict(..) => {
            let why = "somebody else has written it".to_owned();
            Err(LibraryError::Refused(item.entity_id.clone(), why))
        }
        Answer::Rejected(rejection) => {
            let why = rejection.message.clone();
            Err(LibraryError::Refused(item.entity_id.clone(), why))
        }
    }
}
