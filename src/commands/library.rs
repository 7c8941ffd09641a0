//! Loads shared reference data into the library: as pushes, so that unchanged objects are not
//! written again, changed ones become new versions, and every device learns of them.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use thiserror::Error as ThisError;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Database, catalog, now, print};
use crate::config::{Config, LibraryCommand};
use crate::domain::answer::Answer;
use crate::domain::decide::Resolution;
use crate::domain::entity::EntityType;
use crate::domain::item::{Change, Item, ItemRules, RawItem, Rejection, Sender, Submission};
use crate::domain::json::Json;
use crate::domain::scope::{DeviceId, Scope, UserId};
use crate::domain::standing::Gate;
use crate::error::Fault;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::places::Places;
use crate::push::{Push, PushRequest, PushRules};
use crate::store::Store;
use crate::store::device::DeviceInfo;
use crate::store::migrations::migrate;

/// Namespace of the ids made from keys that are no UUIDs (UUID v5). Never change it: a second load
/// has to find what the first one wrote.
const KEYED: Uuid = Uuid::from_u128(0x7c1d_0e52_3f0b_4d57_9a41_52f6_e0c3_8b1a);

/// The one who writes the library. Always the same, so that a load never conflicts with another.
const OPERATOR: &str = "operator";

/// Objects in one transaction. A load that is cut short leaves whole batches behind; loading again
/// goes on from there.
const BATCH_ITEMS: usize = 500;

/// How long a batch waits for the one before it, which has always ended by then.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// What is wrong with a file, or a load.
#[derive(Debug, ThisError)]
enum LibraryError {
    #[error("{0}: expected a file to read")]
    Unreadable(String, #[source] std::io::Error),
    #[error("{0}: expected a JSON array of objects")]
    NoArray(String, #[source] serde_json::Error),
    #[error("{file}: at {pointer}: {problem}")]
    Object {
        file: String,
        /// A JSON Pointer into the file.
        pointer: String,
        problem: String,
    },
    #[error("--type: expected a shared type of the catalog ({0}), got {1:?}")]
    NotShared(String, String),
    #[error("the object with the id {0} cannot be stored: {1}")]
    Refused(Uuid, String),
}

/// Runs a library command.
pub(super) async fn run(config: &Config, command: LibraryCommand) -> Result<(), Box<dyn Error>> {
    let LibraryCommand::Load {
        file,
        entity_type,
        key,
        prune,
    } = command;
    let catalog = catalog::in_effect(config)?;
    let shared = EntityType::new(&entity_type).filter(|known| catalog.rules(known).shared);
    let entity_type = shared.ok_or_else(|| {
        let types = catalog.types().filter(|(_, rules)| rules.shared);
        let shared: Vec<&str> = types.map(|(name, _)| name.as_str()).collect();
        LibraryError::NotShared(shared.join(", "), entity_type)
    })?;
    let rules = ItemRules {
        catalog: &catalog,
        item_bytes_max: config.limits.item_bytes_max,
        operator: true,
    };
    let operator = Operator::new(&entity_type, rules)?;
    // Every object is checked before the first is written.
    let items = operator.read(&file, &key)?;
    let database = Database::open(config, "ironflow-sync library").await?;
    let loaded = operator.load(&database.store, items, prune).await;
    database.close().await;
    for (outcome, count) in loaded? {
        print(&format!("{count} {outcome}\n"));
    }
    Ok(())
}

/// The one who writes the library, here the entities of one type.
struct Operator<'a> {
    entity_type: &'a EntityType,
    rules: ItemRules<'a>,
    sender: Sender,
}

impl<'a> Operator<'a> {
    fn new(entity_type: &'a EntityType, rules: ItemRules<'a>) -> Result<Self, Fault> {
        let no_id = || Fault::Defect("the operator has no id".into(), None);
        Ok(Self {
            entity_type,
            rules,
            sender: Sender {
                user: UserId::new(OPERATOR).ok_or_else(no_id)?,
                device: DeviceId::new(OPERATOR).ok_or_else(no_id)?,
                client_time: 0,
                received: now(),
            },
        })
    }

    /// The objects of a file as items, if all of them can be stored.
    fn read(&self, file: &Path, key: &str) -> Result<Vec<Item>, LibraryError> {
        let name = || file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| LibraryError::Unreadable(name(), error))?;
        let texts: Vec<&RawValue> =
            serde_json::from_str(&text).map_err(|error| LibraryError::NoArray(name(), error))?;
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        for (place, text) in texts.into_iter().map(RawValue::get).enumerate() {
            let problem = |path: &str, problem: String| LibraryError::Object {
                file: name(),
                pointer: format!("/{place}{path}"),
                problem,
            };
            let object = Json::from_device(text.as_bytes())
                .map_err(|violation| problem(&violation.path, violation.description))?;
            let id = id_of(&object, key).ok_or_else(|| {
                problem(
                    "",
                    format!("expected a text or number under the key {key:?}"),
                )
            })?;
            if !seen.insert(id) {
                let again = format!("expected each {key:?} once, this one occurs again");
                return Err(problem("", again));
            }
            let item = self
                .item(id, "update", text.as_bytes().to_vec())
                .map_err(|rejection| match rejection.violations.first() {
                    Some(first) => problem(&first.path, first.description.clone()),
                    None => problem("", rejection.message),
                })?;
            items.push(item);
        }
        Ok(items)
    }

    /// Based on nothing: what equals is unchanged (rule 4), the rest continues the operator's own
    /// chain of versions (rule 5).
    fn item(&self, id: Uuid, operation: &str, data: Vec<u8>) -> Result<Item, Rejection> {
        let raw = RawItem {
            entity_type: self.entity_type.as_str().to_owned(),
            entity_id: id.to_string(),
            operation: operation.to_owned(),
            data,
            // Every load is a new edit, also one that brings back an older state.
            mutation_id: Uuid::new_v4().to_string(),
            ..RawItem::default()
        };
        Submission::parse(raw, &self.sender, &self.rules).item
    }

    /// Loads the items, and says how many came to what.
    async fn load(
        &self,
        store: &Store,
        mut items: Vec<Item>,
        prune: bool,
    ) -> Result<BTreeMap<&'static str, usize>, Box<dyn Error>> {
        migrate(store).await?;
        if prune {
            items.extend(self.deletions(store, &items).await?);
        }
        let rules = PushRules {
            catalog: Arc::new(self.rules.catalog.clone()),
            item_bytes_max: usize::MAX,
            copy_bytes_max: usize::MAX,
            account_devices_max: usize::MAX,
            account_entities_max: usize::MAX,
        };
        let places = Places::new(1, 1, PLACE_WAIT);
        let push = Push::new(
            store.clone(),
            Feed::new(),
            places,
            Metrics::new(self.rules.catalog),
            TaskTracker::new(),
            rules,
        );
        let mut outcomes = BTreeMap::new();
        for batch in items.chunks(BATCH_ITEMS) {
            let submit = |item: &Item| Submission {
                group: None,
                item: Ok(item.clone()),
            };
            let request = PushRequest {
                scope: Scope::library(),
                device: self.sender.device.clone(),
                info: DeviceInfo::default(),
                batch: batch.iter().map(submit).collect(),
                mark: None,
                gate: Gate::default(),
                validate_only: false,
                now: self.sender.received,
            };
            let answers = push.run(request).await?.answers;
            for (item, answer) in batch.iter().zip(answers) {
                *outcomes.entry(outcome(item, &answer)?).or_insert(0) += 1;
            }
        }
        Ok(outcomes)
    }

    /// Deletes what the library has and the items have not.
    async fn deletions(&self, store: &Store, items: &[Item]) -> Result<Vec<Item>, Box<dyn Error>> {
        let kept: HashSet<Uuid> = items.iter().map(|item| item.key.entity_id).collect();
        let held = store
            .list_entities(&Scope::library(), self.entity_type)
            .await?;
        let mut deletions = Vec::new();
        for id in held.into_iter().filter(|id| !kept.contains(id)) {
            let item = self.item(id, "delete", Vec::new());
            deletions.push(item.map_err(|rejection| refused(id, &rejection))?);
        }
        Ok(deletions)
    }
}

/// The id of an object: the UUID under the key, or one made from the text or number there.
fn id_of(object: &Json, key: &str) -> Option<Uuid> {
    let Json::Object(fields) = object else {
        return None;
    };
    let text = match fields.get(key)? {
        Json::String(text) if !text.is_empty() => text.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => {
            return None;
        }
    };
    Some(Uuid::parse_str(&text).unwrap_or_else(|_| Uuid::new_v5(&KEYED, text.as_bytes())))
}

/// What came of an item, in one word.
fn outcome(item: &Item, answer: &Answer) -> Result<&'static str, LibraryError> {
    let id = item.key.entity_id;
    match (answer, &item.change) {
        (Answer::Written { .. }, Change::Delete) => Ok("deleted"),
        (Answer::Written { written, .. }, Change::Put(_)) => match written.resolution {
            _ if written.version.number() == 1 => Ok("added"),
            Resolution::Resurrected => Ok("restored"),
            Resolution::Applied | Resolution::ClientWon | Resolution::Merged => Ok("changed"),
        },
        (Answer::Unchanged { .. }, _) => Ok("unchanged"),
        (Answer::Conflict(_), _) => Err(LibraryError::Refused(
            id,
            "somebody else has written it".to_owned(),
        )),
        (Answer::Rejected(rejection), _) => Err(refused(id, rejection)),
    }
}

fn refused(id: Uuid, rejection: &Rejection) -> LibraryError {
    LibraryError::Refused(id, rejection.message.clone())
}
