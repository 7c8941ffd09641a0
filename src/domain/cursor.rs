//! Cursors: where a device is in the order of changes, as opaque text it hands back.
//!
//! A cursor never expires (promise 8). It is signed together with the user and the types it was
//! made for, so one that was forged, changed or made for somebody else is told from ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::entity::EntityType;
use super::parts::{TAG_BYTES, is_tag, tag};
use super::scope::Scope;
use super::version::Revision;

/// The first byte of every cursor; another one means another layout.
const LAYOUT: u8 = 1;

/// Signs cursors, and confirmations ([`super::erasure`]). The same for all instances on one database. As long as
/// a block of SHA-256.
#[derive(Clone)]
pub struct CursorKey(pub [u8; 64]);

/// What a cursor may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Whose changes.
    pub scope: Scope,
    /// The types asked for, sorted; empty: all.
    pub types: Vec<EntityType>,
    /// Reading back everything there is, whatever is on-demand or newer than the app.
    pub export: bool,
}

/// A place in one scope's order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Everything up to here has been seen.
    pub after: Revision,
    /// What the scope held when the device began. Up to here entities are shown without tombstones
    /// and whoever wrote them; behind it changes are shown.
    pub began_at: Revision,
}

/// Types that are new to the app, on their way from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// The schema the app had before: the types that came after it are new.
    pub schema_before: i32,
    /// Where in the library; done at its position's `began_at`.
    pub library: Position,
    /// Where in the user's scope.
    pub user: Position,
}

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the database it was made in.
    pub epoch: Uuid,
    /// The app's schema version.
    pub schema: i32,
    /// Where in the library.
    pub library: Position,
    /// Where in the user's scope.
    pub user: Position,
    /// New types still to come, if any.
    pub backfill: Option<Backfill>,
}

/// Text that is no cursor of ours, or one for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCursor;

impl Cursor {
    /// The cursor as text.
    pub fn encode(&self, binding: &Binding, key: &CursorKey) -> String {
        let mut bytes = vec![LAYOUT];
        bytes.extend_from_slice(self.epoch.as_bytes());
        bytes.extend_from_slice(&self.schema.to_be_bytes());
        put(&mut bytes, self.library);
        put(&mut bytes, self.user);
        if let Some(backfill) = self.backfill {
            bytes.extend_from_slice(&backfill.schema_before.to_be_bytes());
            put(&mut bytes, backfill.library);
            put(&mut bytes, backfill.user);
        }
        let tag = tag(signed(&bytes, binding), key);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that was made with the same binding and key.
    pub fn decode(text: &str, binding: &Binding, key: &CursorKey) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let split = bytes.len().checked_sub(TAG_BYTES).ok_or(InvalidCursor)?;
        let (bytes, tag) = bytes.split_at(split);
        if !is_tag(tag, signed(bytes, binding), key) {
            return Err(InvalidCursor);
        }
        let mut rest = Reader(bytes);
        if rest.take::<1>()? != [LAYOUT] {
            return Err(InvalidCursor);
        }
        let cursor = Self {
            epoch: Uuid::from_bytes(rest.take()?),
            schema: rest.schema()?,
            library: rest.position()?,
            user: rest.position()?,
            backfill: match rest.0 {
                [] => None,
                _ => Some(Backfill {
                    schema_before: rest.schema()?,
                    library: rest.position()?,
                    user: rest.position()?,
                }),
            },
        };
        match rest.0 {
            [] => Ok(cursor),
            _ => Err(InvalidCursor),
        }
    }
}

fn put(bytes: &mut Vec<u8>, position: Position) {
    bytes.extend_from_slice(&position.after.number().to_be_bytes());
    bytes.extend_from_slice(&position.began_at.number().to_be_bytes());
}

/// What is signed: a cursor, and what it may be used for.
fn signed<'a>(cursor: &'a [u8], binding: &'a Binding) -> impl Iterator<Item = &'a [u8]> {
    let types = binding.types.iter().map(|entity_type| entity_type.as_str());
    [cursor, binding.scope.as_str().as_bytes()]
        .into_iter()
        .chain(types.map(str::as_bytes))
        // No type is called so.
        .chain(binding.export.then_some(&b"*"[..]))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], InvalidCursor> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(InvalidCursor)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn schema(&mut self) -> Result<i32, InvalidCursor> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn position(&mut self) -> Result<Position, InvalidCursor> {
        Ok(Position {
            after: Revision::new(i64::from_be_bytes(self.take()?)),
            began_at: Revision::new(i64::from_be_bytes(self.take()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scope::UserId;
    use super::*;

    fn key(byte: u8) -> CursorKey {
        CursorKey([byte; 64])
    }

    fn binding(user: &str, types: &[&str]) -> Binding {
        Binding {
            scope: Scope::of(&UserId::new(user).expect("a user")),
            types: types
                .iter()
                .filter_map(|name| EntityType::new(name))
                .collect(),
            export: false,
        }
    }

    fn position(after: i64) -> Position {
        Position {
            after: Revision::new(after),
            began_at: Revision::new(after / 2),
        }
    }

    fn cursor(after: i64, backfill: Option<i32>) -> Cursor {
        Cursor {
            epoch: Uuid::from_u128(7),
            schema: 3,
            library: position(after),
            user: position(after.saturating_add(1)),
            backfill: backfill.map(|schema_before| Backfill {
                schema_before,
                library: position(1),
                user: position(2),
            }),
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(after: i64, backfill: Option<i32>) {
            let cursor = cursor(after, backfill);
            let mia = binding("mia", &["workout"]);
            let text = cursor.encode(&mia, &key(1));
            prop_assert_eq!(Cursor::decode(&text, &mia, &key(1)), Ok(cursor));
        }

        #[test]
        fn changed_text_is_no_cursor(after: i64, at in 0usize..60, to in "[A-Za-z0-9_-]") {
            let mia = binding("mia", &[]);
            let text = cursor(after, None).encode(&mia, &key(1));
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != text);
            prop_assert_eq!(Cursor::decode(&changed, &mia, &key(1)), Err(InvalidCursor));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,120}") {
            prop_assert_eq!(Cursor::decode(&text, &binding("mia", &[]), &key(1)), Err(InvalidCursor));
        }
    }

    #[test]
    fn a_cursor_for_somebody_or_something_else_is_none() {
        let mia = binding("mia", &["workout"]);
        let text = cursor(5, None).encode(&mia, &key(1));
        for other in [
            binding("leo", &["workout"]),
            binding("mia", &[]),
            binding("mia", &["workout", "routine"]),
            Binding {
                export: true,
                ..binding("mia", &["workout"])
            },
        ] {
            assert_eq!(
                Cursor::decode(&text, &other, &key(1)),
                Err(InvalidCursor),
                "{other:?}"
            );
        }
        assert_eq!(
            Cursor::decode(&text, &mia, &key(2)),
            Err(InvalidCursor),
            "another key"
        );
    }
}
