//! Structured values out of a fuzzer's bytes. Where they end zeros follow, so that any bytes will do.

/// The bytes that are left.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (now, left) = self.0.split_at(self.0.len().min(N));
        taken[..now.len()].copy_from_slice(now);
        self.0 = left;
        taken
    }

    /// A text of so many bytes as the next byte says.
    pub fn text(&mut self) -> String {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, left) = self.0.split_at(length);
        self.0 = left;
        String::from_utf8_lossy(text).into_owned()
    }

    /// One of several.
    pub fn one_of(&mut self, all: &[&'static str]) -> &'static str {
        all[usize::from(self.byte()) % all.len()]
    }
}
