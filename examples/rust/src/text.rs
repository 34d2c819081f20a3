//! Joins the bytes of tokens into text that never ends inside a character.

#[derive(Default)]
pub struct Utf8Text {
    pending: Vec<u8>,
}

impl Utf8Text {
    /// Adds bytes and returns what is complete now. Bytes that cannot become a character are replaced by U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            let (valid, invalid) = match std::str::from_utf8(&self.pending) {
                Ok(all) => (all.len(), None),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            text.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
            self.pending.drain(..valid + invalid.unwrap_or(0));
            if invalid.is_none() {
                return text; // what is left may be the start of a character
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}
