//! Protobuf as everybody speaks it, but a message that is none is the sender's fault, and a stream that is silent
//! holds hardly any buffer.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::packed::Pack;
use super::status::invalid_message;

/// Bytes a buffer begins with, and in whose multiples room is made for what is packed.
const BUFFER_STEP: usize = 256;

/// Bytes of a stream's messages that are sent at once, if there are so many.
const SENT_AT_ONCE: usize = 32 * 1024;

/// What tonic's own does, except that bytes which do not decode are INVALID_ARGUMENT instead of INTERNAL, and that
/// each message gets a buffer of its size.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Pack + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// The encoding half of [`Codec`].
#[derive(Debug, Clone)]
pub struct ExactEncoder<T>(PhantomData<T>);

impl<T: Pack> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.packed_len());
        let packed = message.pack(buffer);
        packed.map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_STEP, SENT_AT_ONCE)
    }
}

/// The decoding half of [`Codec`].
#[derive(Debug, Clone)]
pub struct StrictDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let message = U::decode(buffer).map_err(|error| invalid_message(&error))?;
        Ok(Some(message))
    }
}
