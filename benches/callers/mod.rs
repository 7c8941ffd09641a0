//! Callers who cost next to nothing: HTTP/2 written by hand, their calls made beforehand.
//!
//! They share the machine with what they load. With a client of tonic, offering a call that is refused cost
//! more than refusing it.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::time::{Duration, Instant};

use ironflow_sync::grpc::proto::{PullRequest, SyncItem, SyncRequest};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use uuid::{Builder, Uuid};

use crate::ITEM_BYTES;
use crate::support::frames;
use crate::support::service::token;
use crate::workout::workout;

/// Calls under way on a connection: what the service allows. More wait here.
const STREAMS_MAX: usize = 100;

/// How often what is due is sent: few enough for a timer, whose steps are a millisecond.
const TICK: Duration = Duration::from_millis(5);

/// Callers stop waiting then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for answers under way: more than there ever are.
const ROOM_BYTES: u32 = 1 << 30;

/// `grpc-status` with the value 0, and with 14 (UNAVAILABLE), as a server writes them that was told to keep
/// no table of headers: both in the code of RFC 7541, appendix B, the lengths before them.
const STATUS: [u8; 9] = [0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
const OK: [u8; 2] = [0x81, 0x07];
const UNAVAILABLE: [u8; 3] = [0x82, 0x0b, 0x5f];

/// How calls are made.
#[derive(Clone, Copy)]
pub enum Pace {
    /// So many at once; the next when one is answered.
    AtOnce(usize),
    /// So many a second, whatever comes of them.
    PerSecond(f64),
}

/// What came of calls.
#[derive(Default)]
pub struct Tally {
    /// How long each took that was done. In an open loop: since it was due.
    pub taken: Vec<Duration>,
    /// Done before the turn was over.
    pub done: usize,
    /// Told that the service is too busy.
    pub shed: usize,
    /// Anything else, and what was not answered in time.
    pub failed: usize,
}

/// A connection that some devices share.
pub struct Connection {
    stream: TcpStream,
    calls: Vec<Call>,
    /// Which of them is next.
    next: usize,
    /// The number of the next stream.
    number: u32,
    /// Calls under way: since when, and whether their answer has begun.
    under_way: HashMap<u32, (Instant, bool)>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Bytes of answers since room was last made for more.
    taken_bytes: usize,
}

/// A call of one device, ready to be sent again and again.
pub struct Call {
    bytes: Vec<u8>,
    /// Where the number of its stream is, twice.
    numbers: [usize; 2],
    /// Where the ids are that are others each time.
    ids: Vec<usize>,
}

impl Call {
    /// A page from the beginning.
    pub fn pull(user: &str, device: &str) -> Self {
        let request = PullRequest {
            device_id: device.to_owned(),
            ..PullRequest::default()
        };
        Self::new("Pull", user, &request, &[])
    }

    /// A push of a new workout.
    pub fn push(user: &str, device: &str, number: usize) -> Self {
        let ids = [Uuid::from_u128(1), Uuid::from_u128(2)].map(|id| id.to_string());
        let item = SyncItem {
            entity_type: "workout".to_owned(),
            entity_id: ids[0].clone(),
            operation: "create".to_owned(),
            data: workout(number, ITEM_BYTES).into_bytes(),
            mutation_id: ids[1].clone(),
            ..SyncItem::default()
        };
        let request = SyncRequest {
            device_id: device.to_owned(),
            items: vec![item],
            ..SyncRequest::default()
        };
        Self::new("Sync", user, &request, &ids)
    }

    fn new(method: &str, user: &str, request: &impl Message, ids: &[String]) -> Self {
        let headers = frames::call(method, &token(user));
        let message = frames::message(false, &request.encode_to_vec());
        let mut bytes = frames::frame(frames::HEADERS, frames::END_HEADERS, 0, &headers);
        let second = bytes.len();
        bytes.extend(frames::frame(frames::DATA, frames::END_STREAM, 0, &message));
        let place = |id: &String| {
            let mut places = bytes.windows(id.len());
            let place = places.position(|place| place == id.as_bytes());
            place.expect("it is there")
        };
        Self {
            numbers: [5, second + 5],
            ids: ids.iter().map(place).collect(),
            bytes,
        }
    }
}

impl Connection {
    /// Opens a connection for these calls, made in turn.
    pub async fn open(address: &str, calls: Vec<Call>) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("accepted");
        stream.set_nodelay(true).expect("a socket");
        let mut opening = frames::opening(ROOM_BYTES);
        // No table of headers: SETTINGS_HEADER_TABLE_SIZE is 0.
        opening.extend(frames::frame(frames::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        opening.extend(room());
        stream.write_all(&opening).await.expect("taken");
        Self {
            stream,
            calls,
            next: 0,
            number: 1,
            under_way: HashMap::new(),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            taken_bytes: 0,
        }
    }

    /// Calls for a turn, and waits for what is under way then.
    pub async fn call(mut self, pace: Pace, turn: Duration) -> (Self, Tally) {
        let begun = Instant::now();
        let mut tally = Tally::default();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut due = VecDeque::new();
        let mut offered = 0;
        let over = sleep_until((begun + turn).into());
        let called = async {
            tokio::pin!(over);
            let mut open = true;
            if let Pace::AtOnce(count) = pace {
                due.extend((0..count).map(|_| begun));
            }
            while open || !self.under_way.is_empty() {
                self.send(&mut due).await;
                let tick = async {
                    match pace {
                        Pace::PerSecond(_) => ticks.tick().await,
                        Pace::AtOnce(_) => pending().await,
                    }
                };
                tokio::select! {
                    () = &mut over, if open => {
                        open = false;
                        due.clear();
                    }
                    now = tick, if open => {
                        let Pace::PerSecond(rate) = pace else { continue };
                        let sent = (begun.elapsed().as_secs_f64() * rate) as usize;
                        due.extend((offered..sent).map(|_| now.into_std()));
                        offered = offered.max(sent);
                    }
                    read = self.stream.read_buf(&mut self.incoming) => {
                        assert!(read.expect("a connection") > 0, "closed");
                        let answered = self.take_answers(begun + turn, &mut tally);
                        if open && matches!(pace, Pace::AtOnce(_)) {
                            due.extend((0..answered).map(|_| Instant::now()));
                        }
                    }
                }
            }
        };
        let answered = timeout(turn + PATIENCE, called).await;
        tally.failed += match answered {
            Ok(()) => 0,
            Err(_) => self.under_way.drain().count(),
        };
        (self, tally)
    }

    /// Sends what is due, as far as there is room.
    async fn send(&mut self, due: &mut VecDeque<Instant>) {
        while self.under_way.len() < STREAMS_MAX
            && let Some(since) = due.pop_front()
        {
            let place = self.next % self.calls.len();
            let call = &mut self.calls[place];
            for at in call.numbers {
                call.bytes[at..at + 4].copy_from_slice(&self.number.to_be_bytes());
            }
            for at in call.ids.iter().copied() {
                let id = Builder::from_random_bytes(fastrand::u128(..).to_be_bytes());
                id.into_uuid()
                    .hyphenated()
                    .encode_lower(&mut call.bytes[at..at + 36]);
            }
            self.outgoing.extend_from_slice(&call.bytes);
            self.under_way.insert(self.number, (since, false));
            self.next += 1;
            self.number += 2;
        }
        if !self.outgoing.is_empty() {
            self.stream.write_all(&self.outgoing).await.expect("taken");
            self.outgoing.clear();
        }
    }

    /// Looks at what has come. How many calls have been answered.
    fn take_answers(&mut self, end: Instant, tally: &mut Tally) -> usize {
        const HEAD: usize = 9;
        let mut answered = 0;
        let mut at = 0;
        while let Some(head) = self.incoming.get(at..at + HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let Some(payload) = self.incoming.get(at + HEAD..at + HEAD + length) else {
                break;
            };
            at += HEAD + length;
            let is_last = flags & frames::END_STREAM != 0;
            match kind {
                frames::HEADERS if !is_last => {
                    if let Some((_, begun)) = self.under_way.get_mut(&number) {
                        *begun = true;
                    }
                }
                frames::HEADERS | frames::RST_STREAM => {
                    // A stream whose call was refused early may be reset behind its answer.
                    let Some((since, begun)) = self.under_way.remove(&number) else {
                        continue;
                    };
                    answered += 1;
                    let now = Instant::now();
                    if begun && says(payload, &OK) {
                        tally.taken.push(now - since);
                        tally.done += usize::from(now < end);
                    } else if says(payload, &UNAVAILABLE) {
                        tally.shed += 1;
                    } else {
                        tally.failed += 1;
                    }
                }
                frames::DATA => {
                    self.taken_bytes += length;
                    if self.taken_bytes > ROOM_BYTES as usize / 2 {
                        self.taken_bytes = 0;
                        self.outgoing.extend(room());
                    }
                }
                frames::SETTINGS if flags == 0 => {
                    let taken = frames::frame(frames::SETTINGS, frames::ACK, 0, &[]);
                    self.outgoing.extend(taken);
                }
                frames::PING if flags == 0 => {
                    let here = frames::frame(frames::PING, frames::ACK, 0, payload);
                    self.outgoing.extend(here);
                }
                frames::GOAWAY => panic!("the service has gone"),
                _ => (),
            }
        }
        self.incoming.drain(..at);
        answered
    }
}

/// Makes room for answers.
fn room() -> Vec<u8> {
    frames::frame(frames::WINDOW_UPDATE, 0, 0, &(ROOM_BYTES / 2).to_be_bytes())
}

/// Whether headers hold this status.
fn says(headers: &[u8], status: &[u8]) -> bool {
    let wanted = [&STATUS, status].concat();
    headers.windows(wanted.len()).any(|place| place == wanted)
}
