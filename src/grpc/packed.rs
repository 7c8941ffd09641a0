//! Answers with pages, packed into the buffer they are sent from straight from the rows they were read as.

use prost::bytes::BufMut;
use prost::{EncodeError, Message};
use uuid::fmt::Hyphenated;

use super::proto;
use crate::store::page::{Entity, EntityRow};

/// What can be sent.
pub trait Pack {
    /// Its bytes.
    fn packed_len(&self) -> usize;

    /// Appends it to a buffer that has room for it.
    fn pack(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError>;
}

impl<M: Message> Pack for M {
    fn packed_len(&self) -> usize {
        self.encoded_len()
    }

    fn pack(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        self.encode(buffer)
    }
}

/// A message that holds entities in its field 1, and what else it holds.
#[derive(Debug)]
pub struct Paged<M> {
    /// The entities, in order.
    pub entities: Vec<EntityRow>,
    /// The message without them.
    pub rest: M,
}

impl<M> From<M> for Paged<M> {
    fn from(rest: M) -> Self {
        let entities = Vec::new();
        Self { entities, rest }
    }
}

impl<M: Message> Pack for Paged<M> {
    fn packed_len(&self) -> usize {
        let entities = self.entities.iter().map(EntityRow::entity);
        let entities: usize = entities.map(|row| bytes_len(entity_len(&row))).sum();
        entities + self.rest.encoded_len()
    }

    fn pack(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        for row in &self.entities {
            let entity = row.entity();
            put_len(buffer, 1, entity_len(&entity));
            put_entity(buffer, &entity);
        }
        self.rest.encode(buffer)
    }
}

/// A page: `proto::PullResponse` to whoever reads it.
pub type PullResponse = Paged<proto::PullResponse>;

/// What happens on a watch: `proto::WatchResponse` to whoever reads it.
#[derive(Debug)]
pub enum WatchResponse {
    /// Entities changed: field 1.
    Changes(Paged<proto::Changes>),
    /// Something else.
    Other(proto::WatchResponse),
}

impl From<proto::WatchResponse> for WatchResponse {
    fn from(message: proto::WatchResponse) -> Self {
        Self::Other(message)
    }
}

impl Pack for WatchResponse {
    fn packed_len(&self) -> usize {
        match self {
            Self::Changes(page) => bytes_len(page.packed_len()),
            Self::Other(message) => message.encoded_len(),
        }
    }

    fn pack(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        match self {
            Self::Changes(page) => {
                put_len(buffer, 1, page.packed_len());
                page.pack(buffer)
            }
            Self::Other(message) => message.encode(buffer),
        }
    }
}

const ID_LEN: usize = Hyphenated::LENGTH;

fn entity_len(entity: &Entity<'_>) -> usize {
    let texts = [
        entity.entity_type,
        entity.data.unwrap_or_default(),
        entity.device,
    ];
    let texts = texts.map(|text| {
        if text.is_empty() {
            0
        } else {
            bytes_len(text.len())
        }
    });
    let numbers = numbers(entity).map(|(_, number)| {
        if number == 0 {
            0
        } else {
            1 + varint_len(number)
        }
    });
    bytes_len(ID_LEN) + texts.iter().sum::<usize>() + numbers.iter().sum::<usize>()
}

/// The fields of a `proto::Entity`. One that holds nothing is left out.
fn put_entity(buffer: &mut impl BufMut, entity: &Entity<'_>) {
    put_text(buffer, 1, entity.entity_type);
    let mut id = [0; ID_LEN];
    let id = entity.entity_id.hyphenated().encode_lower(&mut id);
    put_text(buffer, 2, id.as_bytes());
    put_text(buffer, 3, entity.data.unwrap_or_default());
    put_text(buffer, 6, entity.device);
    for (field, number) in numbers(entity) {
        if number != 0 {
            buffer.put_u8(field << 3);
            put_varint(buffer, number);
        }
    }
}

/// The fields of a `proto::Entity` that are numbers.
fn numbers(entity: &Entity<'_>) -> [(u8, u64); 5] {
    [
        (4, i64::from(entity.version.number()) as u64),
        (5, entity.data.is_none().into()),
        (7, entity.edit_time.0 as u64),
        (8, entity.created_at.0 as u64),
        (9, entity.updated_at.0 as u64),
    ]
}

fn put_text(buffer: &mut impl BufMut, field: u8, text: &[u8]) {
    if !text.is_empty() {
        put_len(buffer, field, text.len());
        buffer.put_slice(text);
    }
}

/// The head of a field of `len` bytes. Fields up to 15 have a key of one byte.
fn put_len(buffer: &mut impl BufMut, field: u8, len: usize) {
    buffer.put_u8(field << 3 | 2);
    put_varint(buffer, len as u64);
}

/// How long a field of `len` bytes is with its head.
fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn put_varint(buffer: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        buffer.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.put_u8(number as u8);
}

fn varint_len(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Millis;
    use crate::domain::version::Version;

    proptest! {
        #[test]
        fn an_entity_is_read_as_it_was_packed(
            entity_type in "[a-z_]{0,70}",
            id in any::<u128>(),
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..300)),
            version in 1..=i32::MAX,
            device in "\\PC{0,128}",
            times in any::<[i64; 3]>(),
        ) {
            let [edit_time, created_at, updated_at] = times;
            let entity = Entity {
                entity_type: entity_type.as_bytes(),
                entity_id: Uuid::from_u128(id),
                data: data.as_deref(),
                version: Version::new(version).expect("a version"),
                device: device.as_bytes(),
                edit_time: Millis(edit_time),
                created_at: Millis(created_at),
                updated_at: Millis(updated_at),
            };
            let mut packed = Vec::new();
            put_entity(&mut packed, &entity);
            prop_assert_eq!(packed.len(), entity_len(&entity));
            let deleted = data.is_none();
            let read = proto::Entity::decode(packed.as_slice()).expect("a message");
            prop_assert_eq!(read, proto::Entity {
                entity_type,
                entity_id: Uuid::from_u128(id).to_string(),
                data: data.unwrap_or_default(),
                version,
                deleted,
                device_id: device,
                edit_time,
                created_at,
                updated_at,
            });
        }

        #[test]
        fn a_number_is_as_long_as_it_is_said_to_be(number: u64, bits in 0..64) {
            let number = number >> bits;
            let mut packed = Vec::new();
            put_varint(&mut packed, number);
            prop_assert_eq!(packed.len(), varint_len(number));
        }
    }
}
