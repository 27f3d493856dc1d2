//! Questions and answers of SNTP (RFC 4330), the simple use of NTP.

const SIZE: usize = 48;
/// Version 4, client.
const CLIENT: u8 = 0x23;
const SERVER: u8 = 4;
/// Seconds from 1900, where NTP begins, to 1970.
const TO_1970: i64 = 2_208_988_800;
/// NTP's seconds come round every 136 years.
const ERA: i64 = 1 << 32;

/// What a server said; milliseconds since 1970.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    received: i64,
    sent: i64,
    /// Whether it says that its own clock is right.
    pub(super) synchronised: bool,
}

impl Answer {
    /// How far our clock is ahead (RFC 4330, section 5), the question having left at `left` and the answer come at `came`
    /// by our clock.
    pub(super) fn ahead_ms(&self, left: i64, came: i64) -> i64 {
        let behind = (self.received.saturating_sub(left)).saturating_add(self.sent.saturating_sub(came));
        -(behind / 2)
    }
}

/// A question that can be told from every other by `nonce`: it stands where the time of sending would, which is no
/// server's business.
pub(super) fn question(nonce: u64) -> [u8; SIZE] {
    let mut question = [0; SIZE];
    question[0] = CLIENT;
    question[40..].copy_from_slice(&nonce.to_be_bytes());
    question
}

/// Whether this is a server's answer to `question`.
pub(super) fn is_answer(answer: &[u8], question: &[u8; SIZE]) -> bool {
    answer.len() >= SIZE && answer[0] & 7 == SERVER && answer[24..32] == question[40..]
}

/// Reads what [`is_answer`]; `near` is about now, to tell NTP's eras apart.
///
/// # Errors
/// When the server refuses to tell the time.
pub(super) fn read(answer: &[u8], near: i64) -> Result<Answer, String> {
    let stratum = answer.get(1).copied().unwrap_or(0);
    if stratum == 0 {
        let code = String::from_utf8_lossy(answer.get(12..16).unwrap_or_default()).into_owned();
        return Err(format!(
            "the server refuses to tell the time (`{}`); ask it less often, or another",
            code.escape_debug()
        ));
    }
    let time = |at: usize| {
        let word = |at: usize| Some(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
        let (whole, part) = (i64::from(word(at)?), i64::from(word(at + 4)?));
        (whole != 0 || part != 0).then(|| {
            let near = near / 1000 + TO_1970;
            let era = (near - whole + ERA / 2).div_euclid(ERA);
            (whole + era * ERA - TO_1970) * 1000 + ((part * 1000) >> 32)
        })
    };
    let (received, sent) = time(32).zip(time(40)).ok_or("the server's answer holds no time")?;
    let unsynchronised = answer[0] >> 6 == 3 || stratum > 15;
    Ok(Answer { received, sent, synchronised: !unsynchronised })
}
