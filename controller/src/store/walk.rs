//! What lies in Redis, read and checked: for taking up the copy, for `store verify` and for `store restore`.

use std::collections::BTreeMap;

use super::chain::{Base, BaseDigest, Gap, Hash, Head};
use super::{Keys, Trouble};
use crate::journal::{Call, Connection, FaultKind, Reply};

/// Entries that are read at once.
const PAGE: u64 = 1000;
/// Oldest server that is spoken to.
const OLDEST: u32 = 7;

/// One entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) json: Vec<u8>,
    pub(super) hash: Option<Hash>,
    pub(super) gap: Option<Gap>,
    /// What is wrong with its form, if anything is.
    pub(super) fault: Option<String>,
}

/// What the keys say before the events are read.
#[derive(Clone, Debug)]
pub(super) struct There {
    pub(super) meta: BTreeMap<String, String>,
    pub(super) head: Option<Head>,
    pub(super) seal: String,
    /// The stream's last id and entry.
    pub(super) last: Option<(String, Stored)>,
    pub(super) length: u64,
}

impl There {
    pub(super) fn meta(&self, field: &str) -> &str {
        self.meta.get(field).map_or("", String::as_str)
    }
}

fn fields(reply: &Reply) -> BTreeMap<String, String> {
    let text = |reply: &Reply| reply.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    reply.list().chunks(2).filter_map(|pair| Some((text(pair.first()?)?, text(pair.get(1)?)?))).collect()
}

fn head(fields: &BTreeMap<String, String>, key: &str) -> Result<Option<Head>, Trouble> {
    if !fields.contains_key("seq") {
        return Ok(None);
    }
    let wrong = |field: &str| {
        Trouble::Own(format!(
            "the field `{field}` of {key} in Redis is not what belongs there; `skynetctl store verify` tells more"
        ))
    };
    let number = |field: &str| fields.get(field).and_then(|text| text.parse().ok()).ok_or_else(|| wrong(field));
    let hash = |field: &str| fields.get(field).and_then(|text| text.parse().ok()).ok_or_else(|| wrong(field));
    let base = match fields.contains_key("base_seq") {
        true => Some(Base { seq: number("base_seq")?, hash: hash("base_hash")?, digest: hash("base_digest")? }),
        false => None,
    };
    Ok(Some(Head { seq: number("seq")?, hash: hash("hash")?, base }))
}

fn stored(reply: &Reply) -> Option<(String, Stored)> {
    let [id, fields] = reply.list() else { return None };
    let id = id.text()?.to_owned();
    let seq = id.strip_suffix("-0").and_then(|number| number.parse().ok());
    let mut entry = Stored { seq: seq.unwrap_or(0), json: Vec::new(), hash: None, gap: None, fault: None };
    if seq.is_none() {
        entry.fault = Some(format!("the id {id} is not an event's number"));
    }
    for pair in fields.list().chunks(2) {
        let [name, value] = pair else { continue };
        match name.text() {
            Some("e") => entry.json = value.bytes().unwrap_or_default().to_vec(),
            Some("h") => entry.hash = value.text().and_then(|text| text.parse().ok()),
            Some("gap") => {
                entry.gap = value.text().and_then(|text| text.parse().ok());
                if entry.gap.is_none() {
                    entry.fault = Some("its `gap` is not one".to_owned());
                }
            }
            Some(_) | None => entry.fault = Some("it has a field that is not known".to_owned()),
        }
    }
    Some((id, entry))
}

/// The entries of an answer.
pub(super) fn entries(reply: &Reply) -> Vec<Stored> {
    reply.list().iter().filter_map(stored).map(|(_, entry)| entry).collect()
}

/// Looks at version, types, marks and head.
///
/// # Errors
/// [`Trouble`]: the way there, a wrong type, a wrong version.
pub(super) async fn look(connection: &mut Connection, keys: &Keys) -> Result<There, Trouble> {
    match connection.call(&Call::new("INFO").arg("server")).await {
        Ok(reply) => check_version(&reply)?,
        // A user without that right still can do all that matters.
        Err(fault) if fault.kind == FaultKind::NoPermission => {}
        Err(fault) => return Err(fault.into()),
    }
    check_types(connection, keys).await?;
    let (meta, head_key, events) = (keys.meta(), keys.head(), keys.events());
    let calls = vec![
        Call::new("HGETALL").arg(&meta),
        Call::new("HGETALL").arg(&head_key),
        Call::new("XREVRANGE").arg(&events).arg("+").arg("-").arg("COUNT").number(1),
        Call::new("XLEN").arg(&events),
    ];
    let replies = connection.pipeline(calls).await?;
    let of = |index: usize| replies.get(index).unwrap_or(&Reply::Nil);
    let head_fields = fields(of(1));
    Ok(There {
        meta: fields(of(0)),
        head: head(&head_fields, &head_key)?,
        seal: head_fields.get("hmac").cloned().unwrap_or_default(),
        last: of(2).list().first().and_then(stored),
        length: of(3).int().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
    })
}

fn check_version(reply: &Reply) -> Result<(), Trouble> {
    let Some(text) = reply.text() else { return Ok(()) };
    let Some(version) = text.lines().find_map(|line| line.strip_prefix("redis_version:")) else { return Ok(()) };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major < OLDEST => Err(Trouble::TooOld { version: version.to_owned() }),
        Some(_) | None => Ok(()),
    }
}

/// Names the key that holds something of another type.
pub(super) async fn check_types(connection: &mut Connection, keys: &Keys) -> Result<(), Trouble> {
    let kinds = [(keys.meta(), "hash"), (keys.head(), "hash"), (keys.events(), "stream"), (keys.policies(), "hash")];
    let calls = kinds.iter().map(|(key, _)| Call::new("TYPE").arg(key)).collect();
    for ((key, should), is) in kinds.into_iter().zip(connection.pipeline(calls).await?) {
        let is = is.text().unwrap_or_default().to_owned();
        if is != should && is != "none" {
            return Err(Trouble::WrongType { key, is, should });
        }
    }
    Ok(())
}

/// The entries of the stream after event `after`, a page of them. Ids that are no event's come with their fault.
pub(super) async fn page(
    connection: &mut Connection,
    keys: &Keys,
    after: &str,
) -> Result<Vec<(String, Stored)>, Trouble> {
    let from = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
    let call = Call::new("XRANGE").arg(keys.events()).arg(from).arg("+").arg("COUNT").number(PAGE);
    Ok(connection.call(&call).await?.list().iter().filter_map(stored).collect())
}

/// The list of a base, each event's JSON; and whether its digest is right.
pub(super) async fn base(
    connection: &mut Connection,
    keys: &Keys,
    base: &Base,
) -> Result<(Vec<Vec<u8>>, bool), Trouble> {
    let (mut events, mut digest) = (Vec::new(), BaseDigest::new());
    loop {
        let from = events.len() as u64;
        let call = Call::new("LRANGE").arg(keys.base(base.seq)).number(from).number(from + PAGE - 1);
        let reply = connection.call(&call).await?;
        if reply.list().is_empty() {
            return Ok((events, digest.finish() == base.digest));
        }
        for event in reply.list() {
            let event = event.bytes().unwrap_or_default().to_vec();
            digest.add(&event);
            events.push(event);
        }
    }
}

/// The chain as it is walked: what each entry has to be.
#[derive(Clone, Debug)]
pub(super) struct Walker {
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

impl Walker {
    /// At the beginning, or behind the base.
    pub(super) fn new(fleet: &str, base: Option<&Base>) -> Self {
        base.map_or(Self { seq: 0, hash: Hash::start(fleet) }, |base| Self { seq: base.seq, hash: base.hash })
    }

    /// One entry further.
    ///
    /// # Errors
    /// Why it cannot come here, in words.
    pub(super) fn step(&mut self, entry: &Stored) -> Result<(), String> {
        if let Some(fault) = &entry.fault {
            return Err(fault.clone());
        }
        let gap = (entry.seq > self.seq + 1).then(|| Gap { first: self.seq + 1, last: entry.seq - 1 });
        if entry.seq <= self.seq {
            return Err(format!("it comes after event {}", self.seq));
        }
        if gap != entry.gap {
            return Err(match (gap, entry.gap) {
                (Some(gap), None) => format!("events {gap} are missing before it, and nothing says why"),
                (_, said) => {
                    format!("it says that events {} are missing", said.map_or("none".to_owned(), |g| g.to_string()))
                }
            });
        }
        let hash = self.hash.then(gap, &entry.json);
        if entry.hash != Some(hash) {
            return Err("its content does not fit the chain".to_owned());
        }
        (self.seq, self.hash) = (entry.seq, hash);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(walker: &Walker, seq: u64, json: &str) -> Stored {
        let gap = (seq > walker.seq + 1).then(|| Gap { first: walker.seq + 1, last: seq - 1 });
        let hash = Some(walker.hash.then(gap, json.as_bytes()));
        Stored { seq, json: json.as_bytes().to_vec(), hash, gap, fault: None }
    }

    #[test]
    fn every_change_to_an_entry_breaks_the_chain() {
        let mut walker = Walker::new("demo", None);
        let one = entry(&walker, 1, "{}");
        walker.step(&one).unwrap();
        let four = entry(&walker, 4, "{}");
        assert_eq!(four.gap, Some(Gap { first: 2, last: 3 }));
        walker.clone().step(&four).unwrap();
        let mut broken = |change: &dyn Fn(&mut Stored), word: &str| {
            let mut entry = four.clone();
            change(&mut entry);
            let error = walker.step(&entry).unwrap_err();
            assert!(error.contains(word), "{error}");
        };
        broken(&|e| e.json = b"{ }".to_vec(), "content");
        broken(&|e| e.hash = None, "content");
        broken(&|e| e.gap = None, "2-3 are missing");
        broken(&|e| e.gap = Some(Gap { first: 3, last: 3 }), "3-3");
        broken(&|e| e.seq = 1, "after event 1");
        broken(&|e| e.seq = 5, "missing");
        broken(&|e| e.fault = Some("odd".to_owned()), "odd");
    }

    #[test]
    fn servers_that_are_too_old_are_refused() {
        let reply =
            |version: &str| Reply::Bytes(format!("# Server\r\nredis_version:{version}\r\nx:1\r\n").into_bytes());
        assert!(matches!(check_version(&reply("6.2.14")), Err(Trouble::TooOld { .. })));
        check_version(&reply("7.0.15")).unwrap();
        check_version(&reply("10.1.0")).unwrap();
        check_version(&Reply::Nil).unwrap();
    }
}
