//! UTF-8 checked while it arrives: a byte that cannot continue is reported at once, however the text is cut.
//! Nothing here knows frames or messages.

use std::str::from_utf8;

/// What is left of a text that was cut inside a character: at most its first three bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Utf8 {
    carry: [u8; 3],
    carried: u8,
}

impl Utf8 {
    /// Checks the next piece of the text, which begins at the text's byte `start`.
    ///
    /// # Errors
    /// Where in the text the first wrong sequence begins.
    pub(super) fn feed(&mut self, chunk: &[u8], start: usize) -> Result<(), usize> {
        let carried = usize::from(self.carried);
        let Some(skip) = self.finish_carried(chunk) else {
            return Err(start - carried);
        };
        let Err(error) = from_utf8(&chunk[skip..]) else {
            return Ok(());
        };
        let good = skip + error.valid_up_to();
        match error.error_len() {
            Some(_) => Err(start + good),
            None => {
                self.carry(&chunk[good..]);
                Ok(())
            }
        }
    }

    /// Whether the text may end here, that is, not inside a character.
    pub(super) fn is_complete(self) -> bool {
        self.carried == 0
    }

    /// Completes the carried character and returns how many bytes of `chunk` that took. If `chunk` is too short for
    /// it, all of it is carried too. `None` if it is wrong.
    fn finish_carried(&mut self, chunk: &[u8]) -> Option<usize> {
        let carried = usize::from(self.carried);
        if carried == 0 {
            return Some(0);
        }
        let taken = chunk.len().min(4 - carried);
        let mut joined = [0; 4];
        joined[..carried].copy_from_slice(&self.carry[..carried]);
        joined[carried..carried + taken].copy_from_slice(&chunk[..taken]);
        let joined = &joined[..carried + taken];
        let good = match from_utf8(joined) {
            Ok(_) => joined.len(),
            // The carried character is whole; what follows it is checked with the rest of the chunk.
            Err(error) if error.valid_up_to() > 0 => error.valid_up_to(),
            Err(error) if error.error_len().is_some() => return None,
            Err(_) => {
                self.carry(joined);
                return Some(taken);
            }
        };
        self.carried = 0;
        Some(good - carried)
    }

    /// Keeps the beginning of a character; longer ones than three bytes do not exist.
    fn carry(&mut self, bytes: &[u8]) {
        self.carry[..bytes.len()].copy_from_slice(bytes);
        self.carried = bytes.len() as u8;
    }
}
