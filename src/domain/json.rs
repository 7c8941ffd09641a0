//! JSON as a tree of our own, compared by meaning. It is read strictly, for what jsonb and other
//! readers would silently change or refuse: duplicate keys, lone surrogates, `\u0000`, endless
//! numbers, endless depth. Every complaint carries the JSON Pointer of the place.
//!
//! Why not a library: docs/adr/0002-own-json-reader.md.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use smol_str::SmolStr;

use super::number::{Decimal, size_problem};
pub use shorten::{may_hold_overlong_number, shorten_numbers};

mod shorten;
#[cfg(test)]
pub(super) mod testing;
mod write;

/// Bytes of a JSON Pointer in a complaint. Keys may be as long as a document is, and the answers to a
/// batch have to fit into a message.
const POINTER_BYTES_MAX: usize = 4096;

/// How deep arrays and objects may nest (docs/protocol.md, section 8).
/// It also bounds the recursion of the reader.
pub const DEPTH_MAX: usize = 64;

/// A JSON value. Equality is equality of meaning: key order, white space, escapes and
/// ways of writing a number do not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exact.
    Number(Decimal),
    /// A string, unescaped. A short one, as most are, is kept in place.
    String(SmolStr),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Members),
}

/// The members of an object, by key.
pub type Members = BTreeMap<SmolStr, Json>;

/// One thing wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer (RFC 6901); empty for the whole document.
    pub path: String,
    /// What is wrong there and what was expected.
    pub description: String,
}

impl Json {
    /// Reads a document a device sent: one object in UTF-8, within the limits of the protocol.
    pub fn from_device(bytes: &[u8]) -> Result<Self, Violation> {
        let text = std::str::from_utf8(bytes).map_err(|e| Violation {
            path: String::new(),
            description: format!("expected UTF-8, byte {} is not", e.valid_up_to()),
        })?;
        let value = read(text, true)?;
        match value {
            Json::Object(_) => Ok(value),
            _ => Err(Violation {
                path: String::new(),
                description: "expected a JSON object".to_owned(),
            }),
        }
    }

    /// Reads a document the store wrote out. Numbers may have any length, since jsonb
    /// writes them without an exponent.
    pub fn from_store(text: &str) -> Result<Self, Violation> {
        read(text, false)
    }
}

fn read(text: &str, numbers_limited: bool) -> Result<Json, Violation> {
    let document = Reader::new(text, numbers_limited).document();
    document.map_err(|violation| *violation)
}

/// A key as part of a JSON Pointer.
pub(super) fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Whether a byte of a string stands for itself.
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// A recursive descent over valid UTF-8; recursion is bounded by [`DEPTH_MAX`].
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The way to the current place, for complaints.
    path: Vec<Step>,
    numbers_limited: bool,
}

enum Step {
    /// The member whose key opens at this byte.
    Key(usize),
    Index(usize),
}

/// What is read, or a complaint. That is rare, so it takes no room in what is passed on all the time.
type Read<T> = Result<T, Box<Violation>>;

impl<'a> Reader<'a> {
    fn new(text: &'a str, numbers_limited: bool) -> Self {
        Self {
            text,
            at: 0,
            path: Vec::new(),
            numbers_limited,
        }
    }

    fn document(mut self) -> Read<Json> {
        self.skip_space();
        let value = self.value()?;
        self.skip_space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.unexpected("the end of the document")),
        }
    }

    fn value(&mut self) -> Read<Json> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    /// Reads an array or object, one level deeper. `path` has one step per open level.
    fn nested(&mut self, read: fn(&mut Self) -> Read<Json>) -> Read<Json> {
        if self.path.len() == DEPTH_MAX {
            return Err(self.complain(format!("expected at most {DEPTH_MAX} levels of nesting")));
        }
        self.at += 1;
        read(self)
    }

    fn object(&mut self) -> Read<Json> {
        let mut members = Members::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let opens_at = self.at;
            let key = self.string()?;
            self.path.push(Step::Key(opens_at));
            let Entry::Vacant(member) = members.entry(key) else {
                return Err(self.complain("expected each key once, this one occurs again".into()));
            };
            self.skip_space();
            if !self.take(b':') {
                return Err(self.unexpected("a colon after the key"));
            }
            self.skip_space();
            member.insert(self.value()?);
            self.path.pop();
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or a closing brace"));
            }
        }
    }

    fn array(&mut self) -> Read<Json> {
        let mut elements = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            self.skip_space();
            self.path.push(Step::Index(elements.len()));
            elements.push(self.value()?);
            self.path.pop();
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or a closing bracket"));
            }
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Read<Json> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.unexpected("a JSON value"))
        }
    }

    fn number(&mut self) -> Read<Json> {
        let start = self.at;
        self.take(b'-');
        let whole = self.digits();
        let leading_zero = whole > 1 && self.text.as_bytes()[self.at - whole] == b'0';
        let fraction_missing = self.take(b'.') && self.digits() == 0;
        let mut power_missing = false;
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            power_missing = self.digits() == 0;
        }
        if whole == 0 || leading_zero || fraction_missing || power_missing {
            return Err(self.complain(format!("expected a JSON number at byte {start}")));
        }
        let token = &self.text[start..self.at];
        match size_problem(token).filter(|_| self.numbers_limited) {
            Some(problem) => Err(self.complain(problem.to_owned())),
            None => Ok(Json::Number(Decimal::from_token(token))),
        }
    }

    /// Moves over digits and says how many there were.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// Reads a string.
    fn string(&mut self) -> Read<SmolStr> {
        self.at += 1;
        let mut unescaped = String::new();
        loop {
            let start = self.at;
            let rest = &self.text.as_bytes()[start..];
            let plain = rest.iter().position(|byte| !is_plain(*byte));
            self.at += plain.unwrap_or(rest.len());
            let part = &self.text[start..self.at];
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(part.into());
                    }
                    unescaped.push_str(part);
                    return Ok(unescaped.into());
                }
                Some(b'\\') => {
                    unescaped.push_str(part);
                    self.at += 1;
                    unescaped.push(self.escape()?);
                }
                Some(_) => {
                    return Err(self.unexpected("control characters in strings to be escaped"));
                }
                None => return Err(self.unexpected("a closing double quote")),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Read<char> {
        let simple = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.unexpected("an escape sequence")),
        };
        self.at += 1;
        Ok(simple)
    }

    fn unicode_escape(&mut self) -> Read<char> {
        const LONE: &str = "expected surrogates in pairs, found a lone one";
        let unit = self.code_unit()?;
        let code_point = match unit {
            0 => return Err(self.complain("expected no \\u0000 in strings".to_owned())),
            0xD800..0xDC00 => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.complain(LONE.to_owned()));
                }
                self.at += 1;
                match self.code_unit()? {
                    low @ 0xDC00..0xE000 => 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err(self.complain(LONE.to_owned())),
                }
            }
            _ => unit,
        };
        char::from_u32(code_point).ok_or_else(|| self.complain(LONE.to_owned()))
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Read<u32> {
        let unit = self
            .text
            .get(self.at + 1..self.at + 5)
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or_else(|| self.unexpected("four hexadecimal digits after \\u"))?;
        self.at += 5;
        Ok(unit)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn unexpected(&self, expected: &str) -> Box<Violation> {
        self.complain(format!("expected {expected} at byte {}", self.at))
    }

    /// A complaint about the current place, or about the innermost around it whose pointer is not too long.
    fn complain(&self, description: String) -> Box<Violation> {
        let mut path = String::new();
        for step in &self.path {
            let token = match step {
                Step::Key(opens_at) => self.key(*opens_at),
                Step::Index(index) => index.to_string(),
            };
            if path.len() + 1 + token.len() > POINTER_BYTES_MAX {
                break;
            }
            path.push('/');
            path.push_str(&token);
        }
        Box::new(Violation { path, description })
    }

    /// A key that was read before, as part of a JSON Pointer.
    fn key(&self, opens_at: usize) -> String {
        let mut reader = Reader::new(self.text, false);
        reader.at = opens_at;
        reader
            .string()
            .map(|key| pointer_token(&key))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::number::NUMBER_CHARS_MAX;

    fn read(text: &str) -> Result<Json, Violation> {
        Json::from_device(text.as_bytes())
    }

    fn nested(levels: usize) -> String {
        format!("{}{}", "{\"a\":".repeat(levels - 1), "{}") + &"}".repeat(levels - 1)
    }

    /// Bad documents, the pointer of the complaint and a word of its text.
    #[test]
    fn bad_documents_are_refused_with_the_place() {
        let too_deep = nested(DEPTH_MAX + 1);
        let long_number = format!("{{\"n\":{}}}", "1".repeat(NUMBER_CHARS_MAX + 1));
        let deep_path = "/a".repeat(DEPTH_MAX);
        for (text, path, word) in [
            ("", "", "a JSON value"),
            ("[]", "", "a JSON object"),
            ("5", "", "a JSON object"),
            ("null", "", "a JSON object"),
            ("{} {}", "", "the end"),
            ("\u{feff}{}", "", "a JSON value"),
            ("{\"a\":1,}", "", "a key"),
            ("{\"a\" 1}", "/a", "a colon"),
            ("{\"a\":[1 2]}", "/a", "a comma"),
            ("{\"a\":[1,]}", "/a/1", "a JSON value"),
            ("{\"a\":nul}", "/a", "a JSON value"),
            ("{\"a\":NaN}", "/a", "a JSON value"),
            ("{\"a\":01}", "/a", "a JSON number"),
            ("{\"a\":1.}", "/a", "a JSON number"),
            ("{\"a\":-}", "/a", "a JSON number"),
            ("{\"a\":1e}", "/a", "a JSON number"),
            ("{\"a\":.5}", "/a", "a JSON value"),
            ("{\"a\":1,\"b\":{\"a\":1,\"\\u0061\":2}}", "/b/a", "once"),
            ("{\"x/y\":{\"~\":[0,1e309]}}", "/x~1y/~0/1", "exponent"),
            ("{\"a\":1e130000}", "/a", "exponent"),
            ("{\"a\":1e-99999999999999999999}", "/a", "exponent"),
            ("{\"a\":1e-9223372036854775808}", "/a", "exponent"),
            (&long_number, "/n", "64 characters"),
            ("{\"a\":\"\\u0000\"}", "/a", "u0000"),
            ("{\"a\":\"\\ud800\"}", "/a", "surrogate"),
            ("{\"a\":\"\\ud800\\u0041\"}", "/a", "surrogate"),
            ("{\"a\":\"\\udc00\"}", "/a", "surrogate"),
            ("{\"a\":\"\\uD83\"}", "/a", "hexadecimal"),
            ("{\"a\":\"\\u+123\"}", "/a", "hexadecimal"),
            ("{\"a\":\"\\x\"}", "/a", "escape"),
            ("{\"a\":\"\n\"}", "/a", "control"),
            ("{\"a\":\"", "/a", "closing"),
            ("{\"\\u0000\":1}", "", "u0000"),
            (&too_deep, &deep_path, "64 levels"),
        ] {
            let violation = read(text).expect_err(text);
            assert_eq!(violation.path, path, "{text}: {violation:?}");
            assert!(
                violation.description.contains(word),
                "{text}: {violation:?}"
            );
        }
        let violation = Json::from_device(b"{\"a\":\"\xff\"}").expect_err("not UTF-8");
        assert!(violation.description.contains("byte 6"), "{violation:?}");
    }

    #[test]
    fn the_place_is_the_innermost_whose_pointer_is_not_too_long() {
        let key = |length: usize| "~".repeat(length / 2);
        let longest = format!("/a/{}", key(POINTER_BYTES_MAX - 3).replace('~', "~0"));
        for (length, path) in [
            (POINTER_BYTES_MAX - 3, &*longest),
            (POINTER_BYTES_MAX, "/a"),
        ] {
            let key = key(length);
            let text = format!("{{\"a\":{{\"{key}\":1,\"{key}\":2}}}}");
            assert_eq!(read(&text).expect_err("twice").path, path);
        }
    }

    #[test]
    fn documents_at_the_limits_are_accepted() {
        read(&nested(DEPTH_MAX)).expect("64 levels");
        read(&format!("{{\"n\":{}}}", "1".repeat(NUMBER_CHARS_MAX))).expect("64 characters");
        read("{\"n\":[1e308,1E-308,-0,1.10]}").expect("exponents");
        read(" {\"s\":\"\\ud83c\\udfcb \\\"\\\\\\/\\b\\f\\n\\r\\t\u{7f}\"}\r\n").expect("escapes");
    }

    #[test]
    fn order_space_escapes_and_ways_of_writing_numbers_do_not_matter() {
        let a = read("{\"sets\":[{\"reps\":3,\"kg\":102.50}],\"note\":\"\\u00fc\"}");
        let b = read(" {\"note\":\"ü\", \"sets\":[ {\"kg\":1025e-1,\"reps\":3.0} ]}");
        assert_eq!(a.expect("valid"), b.expect("valid"));
        assert_ne!(read("{\"a\":[1,2]}"), read("{\"a\":[2,1]}"));
        assert_ne!(read("{\"a\":null}"), read("{}"));
        assert_ne!(read("{\"a\":\"1\"}"), read("{\"a\":1}"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Json::from_device(&bytes);
        }

        /// Text made of JSON's own pieces gets much further into the reader than noise does.
        #[test]
        fn no_near_json_panics(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", "[", "]", ":", ",", "\"", "\\u", "d83c", "dfcb", "0000", "\\", "a",
                    "1", "-", ".", "e", "0", "true", "null", " ", "é", "\"k\":", "1e308",
                ]),
                0..60,
            )
        ) {
            let text = pieces.concat();
            let _ = read(&text);
            let _ = shorten_numbers(text);
        }

        /// An independent reader agrees on what is valid.
        #[test]
        fn whatever_is_accepted_is_json_to_others(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{\"a\":", "}", "[", "]", ",", "\"b\":", "1", "-2.5e3", "true", "{", "\"x\"",
                ]),
                0..14,
            )
        ) {
            let text = pieces.concat();
            if read(&text).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
