//! What happens to an item, decided without I/O: no clock, no randomness, no SQL, no protobuf.
//!
//! Reading order: [`version`], [`clock`] and [`scope`] name the words of the protocol, [`entity`] is what the
//! server keeps, [`item`] what a device sends. [`decide`] has the nine rules for one item, [`settle`] what a
//! [`policy`] makes of a conflict, [`merge`] what becomes of two edits of one thing; [`plan`] decides a whole
//! batch, over its `draft` and the `inbox`, and [`answer`] is what each item is told. [`conflict`] is what is
//! kept of a conflict, [`resolve`] how a person decides it. [`cursor`] and [`page`] are how devices read along,
//! [`catalog`] is what is known of entity types, [`schema`] what their data must look like, [`json`], [`number`]
//! and [`moment`] how it is read. [`standing`] says who may do what, [`erasure`] confirms that an account is to go.

pub mod answer;
pub mod catalog;
pub mod clock;
pub mod conflict;
pub mod cursor;
pub mod decide;
mod draft;
pub mod entity;
pub mod erasure;
mod inbox;
pub mod item;
pub mod json;
pub mod merge;
pub mod moment;
pub mod number;
pub mod page;
mod parts;
pub mod plan;
pub mod policy;
pub mod resolve;
pub mod schema;
pub mod scope;
pub mod settle;
pub mod standing;
#[cfg(test)]
mod testing;
pub mod version;
