//! What a device sends: one edit of one entity, parsed into a type that cannot be wrong.

use std::sync::Arc;

use uuid::Uuid;

use super::catalog::Catalog;
use super::clock::{Millis, clock_offset_ms, edit_time};
use super::entity::{Document, EntityKey, EntityType, MutationId, Stored};
use super::json::{Json, Violation};
use super::parts::joined;
use super::scope::{DeviceId, LABEL_BYTES_MAX, UserId};
use super::version::Version;

/// Namespace of the mutation ids derived for items that bring none (UUID v5). Never change it:
/// a retry that crosses an upgrade must still be recognised.
const DERIVED_MUTATIONS: Uuid = Uuid::from_u128(0x1f0d_5f6c_9d3e_4f0b_8a53_6b1d_c0de_5a17);

/// An item as it came over the wire.
#[derive(Debug, Clone, Default)]
pub struct RawItem {
    /// See [`EntityKey`].
    pub entity_type: String,
    /// A UUID with hyphens.
    pub entity_id: String,
    /// `create`, `update` or `delete` in any letter case.
    pub operation: String,
    /// JSON object; ignored for a delete.
    pub data: Vec<u8>,
    /// Base version.
    pub version: i32,
    /// Device clock, milliseconds; 0 = on arrival.
    pub timestamp: i64,
    /// A UUID with hyphens, or empty.
    pub mutation_id: String,
    /// The person has chosen this side.
    pub force: bool,
    /// Empty = no group.
    pub group_id: String,
}

/// Who sends a batch, and when it arrived.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The verified user.
    pub user: UserId,
    /// The device that sends.
    pub device: DeviceId,
    /// The device's clock when it sent; 0 = absent.
    pub client_time: i64,
    /// The server's clock on arrival.
    pub received: Millis,
}

/// What an item may be.
#[derive(Debug, Clone, Copy)]
pub struct ItemRules<'a> {
    /// What is known of entity types.
    pub catalog: &'a Catalog,
    /// Bytes of data at most.
    pub item_bytes_max: usize,
    /// Whether the operator sends: only they write shared types, into the library.
    pub operator: bool,
}

/// What an edit does to its entity.
#[derive(Debug, Clone)]
pub enum Change {
    /// Create or update: the entity shall hold this.
    Put(Arc<Document>),
    /// The entity shall be gone.
    Delete,
}

impl Change {
    /// What the entity shall hold; `None`: nothing.
    pub fn document(&self) -> Option<&Arc<Document>> {
        match self {
            Self::Put(document) => Some(document),
            Self::Delete => None,
        }
    }
}

/// A valid item.
#[derive(Debug, Clone)]
pub struct Item {
    /// The entity.
    pub key: EntityKey,
    /// What shall happen to it.
    pub change: Change,
    /// The version the edit started from.
    pub base: Version,
    /// When it was made, by the server's clock.
    pub edit_time: Millis,
    /// Which edit this is, as sent or derived.
    pub mutation: MutationId,
    /// The person has chosen this side.
    pub force: bool,
    /// What was added to the times of the device's clock to get the server's.
    pub clock_offset_ms: i64,
    /// Of a type that only the operator writes, and somebody else sends it.
    pub read_only: bool,
}

impl Item {
    /// Whether it follows an edit of the same device on the same base, which is the stored version: then
    /// no other device's edit lies between the two (promise 5).
    pub fn goes_on_from(&self, stored: &Stored, device: &DeviceId) -> bool {
        stored.device == *device && stored.base == Some(self.base) && self.base < stored.version
    }
}

/// Why an item is an ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionCode {
    /// A field is malformed.
    InvalidItem,
    /// The catalog does not have the type.
    UnknownEntityType,
    /// The data is not acceptable JSON, or not what its type's schema describes.
    InvalidData,
    /// The data is too large.
    TooLarge,
    /// Only the operator writes this.
    ReadOnly,
    /// The account holds as much as it may.
    QuotaExceeded,
    /// Another item of the group failed.
    GroupAborted,
    /// Not decided this time.
    RetryLater,
}

/// An ERROR: the item changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For programs.
    pub code: RejectionCode,
    /// For people: names the field and says what was expected. Never repeats what was sent.
    pub message: String,
    /// Where the data is wrong.
    pub violations: Vec<Violation>,
}

impl Rejection {
    /// A rejection without places in the data.
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            violations: Vec::new(),
        }
    }
}

/// One place in a batch: the item or why it is none, and the group it belongs to either way.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Items of one batch with the same group are applied all or none.
    pub group: Option<String>,
    /// The item, if it is valid.
    pub item: Result<Item, Rejection>,
}

impl Submission {
    /// Parses one item; a bad one becomes its own ERROR (promise 3).
    pub fn parse(raw: RawItem, sender: &Sender, rules: &ItemRules<'_>) -> Self {
        Self {
            group: Some(raw.group_id.clone()).filter(|group| !group.is_empty()),
            item: parse(raw, sender, rules),
        }
    }
}

fn parse(raw: RawItem, sender: &Sender, rules: &ItemRules<'_>) -> Result<Item, Rejection> {
    let invalid = |message: &str| Rejection::new(RejectionCode::InvalidItem, message);
    let entity_type = EntityType::new(&raw.entity_type).ok_or_else(|| {
        invalid(
            "entity_type: expected 1-64 lower-case letters, digits and underscores, \
             beginning with a letter",
        )
    })?;
    if !rules.catalog.knows(&entity_type) {
        return Err(Rejection::new(
            RejectionCode::UnknownEntityType,
            "entity_type: expected a type of the catalog, see GetServerInfo",
        ));
    }
    let read_only = rules.catalog.rules(&entity_type).shared && !rules.operator;
    let entity_id = uuid(&raw.entity_id).ok_or_else(|| {
        invalid("entity_id: expected a UUID such as 6f1c5a4e-0d5b-4c57-9d0e-3f6f4f3a2b10")
    })?;
    let operation = Operation::new(&raw.operation)
        .ok_or_else(|| invalid("operation: expected create, update or delete"))?;
    let base = Version::new(raw.version)
        .ok_or_else(|| invalid("version: expected the base version, 0 or more"))?;
    if raw.group_id.len() > LABEL_BYTES_MAX {
        return Err(invalid("group_id: expected at most 128 bytes"));
    }
    let mutation = if raw.mutation_id.is_empty() {
        derived_mutation(&raw, operation, entity_id, sender)
    } else {
        let sent = uuid(&raw.mutation_id)
            .ok_or_else(|| invalid("mutation_id: expected a UUID, or nothing"))?;
        MutationId(sent)
    };
    let change = match operation {
        Operation::Create | Operation::Update => {
            Change::Put(Arc::new(document(raw.data, &entity_type, rules)?))
        }
        Operation::Delete => Change::Delete,
    };
    Ok(Item {
        key: EntityKey {
            entity_type,
            entity_id,
        },
        change,
        base,
        edit_time: edit_time(raw.timestamp, sender.client_time, sender.received),
        mutation,
        force: raw.force,
        clock_offset_ms: clock_offset_ms(sender.client_time, sender.received),
        read_only,
    })
}

#[derive(Clone, Copy)]
enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn new(text: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete]
            .into_iter()
            .find(|operation| operation.as_str().eq_ignore_ascii_case(text))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A UUID in its one form with hyphens, the form answers have it in; any letter case.
pub fn uuid(text: &str) -> Option<Uuid> {
    const HYPHENATED_LENGTH: usize = 36;
    (text.len() == HYPHENATED_LENGTH)
        .then(|| Uuid::parse_str(text).ok())
        .flatten()
}

/// The document of an entity of a type: within the limits, and as the type's schema describes it.
///
/// # Errors
///
/// TOO_LARGE, or INVALID_DATA with the places.
pub fn document(
    data: Vec<u8>,
    entity_type: &EntityType,
    rules: &ItemRules<'_>,
) -> Result<Document, Rejection> {
    let bytes_max = rules.item_bytes_max;
    if data.len() > bytes_max {
        return Err(Rejection::new(
            RejectionCode::TooLarge,
            format!("data: {}", too_large(&data, bytes_max)),
        ));
    }
    let document = untyped_document(data, bytes_max).map_err(invalid_data)?;
    match rules.catalog.violations(entity_type, &document) {
        violations if violations.is_empty() => Ok(document),
        violations => Err(invalid_data(violations)),
    }
}

/// A document within the limits, whatever its type.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn untyped_document(data: Vec<u8>, bytes_max: usize) -> Result<Document, Vec<Violation>> {
    let whole = |description: String| {
        let path = String::new();
        vec![Violation { path, description }]
    };
    if data.len() > bytes_max {
        return Err(whole(too_large(&data, bytes_max)));
    }
    let json = Json::from_device(&data).map_err(|violation| vec![violation])?;
    let text = String::from_utf8(data).map_err(|error| whole(error.to_string()))?;
    Ok(Document::from_device(text, json))
}

fn too_large(data: &[u8], bytes_max: usize) -> String {
    format!("expected at most {bytes_max} bytes, got {}", data.len())
}

/// A rejection whose message tells of the first place, the violations of all.
fn invalid_data(violations: Vec<Violation>) -> Rejection {
    let message = match violations.as_slice() {
        [only] if only.path.is_empty() => format!("data: {}", only.description),
        [first, ..] => format!("data: {} in a field (see violations)", first.description),
        [] => "data: expected a JSON object".to_owned(),
    };
    Rejection {
        code: RejectionCode::InvalidData,
        message,
        violations,
    }
}

/// Identifies an edit of a device that sends no mutation ids by all that makes it the same edit.
fn derived_mutation(
    raw: &RawItem,
    operation: Operation,
    entity_id: Uuid,
    sender: &Sender,
) -> MutationId {
    let parts: [&[u8]; 8] = [
        sender.user.as_str().as_bytes(),
        sender.device.as_str().as_bytes(),
        raw.entity_type.as_bytes(),
        entity_id.as_bytes(),
        operation.as_str().as_bytes(),
        &raw.version.to_be_bytes(),
        &raw.timestamp.to_be_bytes(),
        &raw.data,
    ];
    MutationId(Uuid::new_v5(&DERIVED_MUTATIONS, &joined(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1c5a4e-0d5b-4c57-9d0e-3f6f4f3a2b10";

    fn sender() -> Sender {
        Sender {
            user: UserId::new("mia").expect("valid"),
            device: DeviceId::new("phone").expect("valid"),
            client_time: 0,
            received: Millis(1_700_000_000_000),
        }
    }

    fn raw() -> RawItem {
        RawItem {
            entity_type: "workout".into(),
            entity_id: ID.into(),
            operation: "Update".into(),
            data: b"{\"a\":1}".to_vec(),
            version: 3,
            ..RawItem::default()
        }
    }

    fn parse(raw: RawItem, sender: &Sender) -> Submission {
        let rules = ItemRules {
            catalog: &Catalog::builtin(),
            item_bytes_max: 64,
            operator: false,
        };
        Submission::parse(raw, sender, &rules)
    }

    fn parsed(change: impl FnOnce(&mut RawItem)) -> Result<Item, Rejection> {
        let mut raw = raw();
        change(&mut raw);
        parse(raw, &sender()).item
    }

    #[test]
    fn bad_fields_are_named_with_what_was_expected() {
        type Case = (&'static str, RejectionCode, fn(&mut RawItem));
        let cases: [Case; 19] = [
            ("entity_type", RejectionCode::UnknownEntityType, |r| {
                r.entity_type = "workouts".into();
            }),
            ("data", RejectionCode::InvalidData, |r| {
                r.data = b"{\"title\":7}".to_vec()
            }),
            ("entity_type", RejectionCode::InvalidItem, |r| {
                r.entity_type.clear()
            }),
            ("entity_type", RejectionCode::InvalidItem, |r| {
                r.entity_type = "Workout".into()
            }),
            ("entity_type", RejectionCode::InvalidItem, |r| {
                r.entity_type = "_a".into()
            }),
            ("entity_type", RejectionCode::InvalidItem, |r| {
                r.entity_type = "a".repeat(65)
            }),
            ("entity_id", RejectionCode::InvalidItem, |r| {
                r.entity_id = "1".into()
            }),
            ("entity_id", RejectionCode::InvalidItem, |r| {
                r.entity_id = ID.replace('-', "")
            }),
            ("operation", RejectionCode::InvalidItem, |r| {
                r.operation = "upsert".into()
            }),
            ("operation", RejectionCode::InvalidItem, |r| {
                r.operation.clear()
            }),
            ("version", RejectionCode::InvalidItem, |r| r.version = -1),
            ("mutation_id", RejectionCode::InvalidItem, |r| {
                r.mutation_id = "again".into()
            }),
            ("group_id", RejectionCode::InvalidItem, |r| {
                r.group_id = "g".repeat(129)
            }),
            ("data", RejectionCode::InvalidData, |r| r.data.clear()),
            ("data", RejectionCode::InvalidData, |r| {
                r.data = b"[]".to_vec()
            }),
            ("data", RejectionCode::InvalidData, |r| {
                r.data = b"{\"a\":\"\xff\"}".to_vec()
            }),
            ("data", RejectionCode::InvalidData, |r| {
                r.data = b"{\"a\":1,\"a\":2}".to_vec()
            }),
            ("data", RejectionCode::InvalidData, |r| {
                r.data = b"{\"a\":1e999}".to_vec()
            }),
            ("data", RejectionCode::TooLarge, |r| r.data = vec![b' '; 65]),
        ];
        for (field, code, change) in cases {
            let rejection = parsed(change).expect_err(field);
            assert_eq!(rejection.code, code, "{rejection:?}");
            let message = &rejection.message;
            assert!(message.starts_with(&format!("{field}: ")), "{message}");
            assert!(message.contains("expected"), "{message}");
            let places = usize::from(code == RejectionCode::InvalidData);
            assert_eq!(rejection.violations.len(), places, "{rejection:?}");
        }
    }

    #[test]
    fn a_bad_item_still_belongs_to_its_group() {
        let bad = RawItem {
            group_id: "g".into(),
            ..RawItem::default()
        };
        let submission = parse(bad, &sender());
        assert_eq!(submission.group.as_deref(), Some("g"));
        assert!(submission.item.is_err());
    }

    #[test]
    fn letter_case_does_not_matter_and_data_of_a_delete_is_ignored() {
        let item = parsed(|r| {
            r.operation = "DELETE".into();
            r.entity_id = ID.to_uppercase();
            r.data = b"whatever".to_vec();
        });
        let item = item.expect("valid");
        assert!(matches!(item.change, Change::Delete));
        assert_eq!(item.key.entity_id.to_string(), ID);
    }

    #[test]
    fn a_derived_mutation_id_is_the_same_for_a_retry_and_another_for_another_edit() {
        let derived = |change: fn(&mut RawItem)| parsed(change).expect("valid").mutation;
        let first = derived(|_| ());
        assert_eq!(
            derived(|r| r.entity_id = ID.to_uppercase()),
            first,
            "a retry"
        );
        assert_eq!(derived(|r| r.operation = "UPDATE".into()), first, "a retry");
        let others: [fn(&mut RawItem); 6] = [
            |r| r.entity_type = "routine".into(),
            |r| r.entity_id = ID.replace('6', "7"),
            |r| r.operation = "delete".into(),
            |r| r.version = 4,
            |r| r.timestamp = 1,
            |r| r.data = b"{\"a\":2}".to_vec(),
        ];
        for other in others {
            assert_ne!(derived(other), first);
        }
        let tablet = Sender {
            device: DeviceId::new("tablet").expect("valid"),
            ..sender()
        };
        let elsewhere = parse(raw(), &tablet).item.expect("valid");
        assert_ne!(elsewhere.mutation, first);
    }

    /// An app in the field may retry across an upgrade of the service.
    #[test]
    fn derived_mutation_ids_never_change() {
        let item = parsed(|_| ()).expect("valid");
        assert_eq!(
            item.mutation.0.to_string(),
            "1b6361ae-939a-55d9-a6ae-d84d8d5f175b"
        );
    }
}
