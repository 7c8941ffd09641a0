//! Who may call: what is no token, or not for us, or not any more. `hostile`: tokens made to get in;
//! `keys`: key sets that change, and sources that fail; `calls`: the service as a caller sees it.

mod calls;
mod hostile;
mod key_server;
mod keys;
mod signer;
