//! What happens to an item, decided without I/O: no clock, no randomness, no SQL, no protobuf.
//!
//! Reading order: [`version`], [`clock`] and [`scope`] name the words of the protocol,
//! [`entity`] is what the server keeps, [`item`] what a device sends, [`decide`] the nine rules for
//! one item, [`merge`] what becomes of two edits of one thing, [`plan`] a whole batch. [`cursor`]
//! and [`page`] are how devices read along, [`catalog`] what is known of entity types, [`schema`] what
//! their data must look like. [`standing`] says who may do what.

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
