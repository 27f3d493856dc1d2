//! Keeping the stream short: older events are cut off, and those that still matter are put beside it first.

use skynet_model::event::Event;

use super::append::Writer;
use super::chain::{Base, BaseDigest, Head, Key};
use super::walk;
use super::{Keys, Trouble};
use crate::journal::{Call, Connection, Outbox, what_matters};

/// A list that never got into a head is gone after a day, in milliseconds.
const UNFINISHED: u64 = 86_400_000;
/// Events that are put into the list at once.
const PUSHED: usize = 500;

/// Cuts the stream to about `keep` entries. `head` is what it is afterwards. False when it has to be tried again.
pub(super) async fn cut(
    connection: &mut Connection,
    writer: Writer<'_>,
    (fleet, key): (&str, Option<&Key>),
    head: &mut Head,
    outbox: &mut Outbox,
    keep: u64,
) -> Result<bool, Trouble> {
    let keys: &Keys = writer.keys;
    // The last event that goes: numbers have holes, so that the entry before the wanted number is asked for.
    let target = head.seq.saturating_sub(keep);
    let call = Call::new("XREVRANGE").arg(keys.events()).number(target).arg("-").arg("COUNT").number(1);
    let reply = connection.call(&call).await?;
    let Some(entry) = walk::entries(&reply).into_iter().next() else { return Ok(true) };
    let Some(hash) = entry.hash.filter(|_| entry.fault.is_none()) else { return Ok(true) };
    let list = matter_up_to(entry.seq, outbox)?;
    let mut digest = BaseDigest::new();
    list.iter().for_each(|event| digest.add(event));
    let base = Base { seq: entry.seq, hash, digest: digest.finish() };
    let name = keys.base(base.seq);
    connection.call(&Call::new("DEL").arg(&name)).await?;
    for some in list.chunks(PUSHED) {
        let push = some.iter().fold(Call::new("RPUSH").arg(&name), |call, event| call.arg(event));
        let expire = Call::new("PEXPIRE").arg(&name).number(UNFINISHED);
        connection.pipeline(vec![push, expire]).await?;
    }
    let after = Head { base: Some(base), ..head.clone() };
    let seal = after.seal(key, fleet, writer.instance);
    let done = writer.cut(connection, (&after, &seal), head.base.map(|base| base.seq)).await?;
    if done {
        *head = after;
    }
    Ok(done)
}

/// The journal's events up to number `last` that still matter, as JSON.
fn matter_up_to(last: u64, outbox: &mut Outbox) -> Result<Vec<Vec<u8>>, Trouble> {
    let own = |text: String| Trouble::Own(text);
    let (mut after, mut events) = (0, Vec::<Event>::new());
    loop {
        let kept = outbox.next(after, last, 10_000, 16 << 20).map_err(|e| own(e.to_string()))?;
        let Some(newest) = kept.last() else { break };
        after = newest.seq;
        for kept in &kept {
            let event = serde_json::from_slice(&kept.json);
            events.push(event.map_err(|e| own(format!("event {} of the journal cannot be read: {e}", kept.seq)))?);
        }
    }
    let list = what_matters(events, 0).into_iter().map(|event| serde_json::to_vec(&event));
    list.collect::<Result<Vec<_>, _>>().map_err(|e| own(e.to_string()))
}
