//! The one way events get into Redis: a batch and its head at once, and only behind the head that is expected.

use super::chain::Head;
use super::{Keys, Trouble};
use crate::journal::{Call, Connection, Reply};

/// `KEYS`: meta, head, events. `ARGV`: instance, expected last event and hash, new last event, hash and seal, time,
/// channel, message, then for each event its number, JSON, hash and gap.
///
/// Everything that could fail is looked at before the first write: scripts are not undone.
const SCRIPT: &str = r"
if redis.call('HGET', KEYS[1], 'instance') ~= ARGV[1] then return {'meta'} end
local head = redis.call('HMGET', KEYS[2], 'seq', 'hash')
if (head[1] or '0') ~= ARGV[2] or (head[2] or ARGV[3]) ~= ARGV[3] then return {'head'} end
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
if (last[1] and last[1][1] or '0-0') ~= ARGV[2] .. '-0' then return {'stream'} end
redis.call('HSET', KEYS[2], 'time', ARGV[7])
for i = 10, #ARGV, 4 do
  if ARGV[i + 3] == '' then
    redis.call('XADD', KEYS[3], ARGV[i] .. '-0', 'e', ARGV[i + 1], 'h', ARGV[i + 2])
  else
    redis.call('XADD', KEYS[3], ARGV[i] .. '-0', 'e', ARGV[i + 1], 'h', ARGV[i + 2], 'gap', ARGV[i + 3])
  end
end
if #ARGV > 9 then
  redis.call('HSET', KEYS[2], 'seq', ARGV[4], 'hash', ARGV[5], 'hmac', ARGV[6])
end
local live = ''
if ARGV[9] ~= '' then
  local told = redis.pcall('PUBLISH', ARGV[8], ARGV[9])
  if type(told) == 'table' and told.err then live = told.err end
end
return {'ok', redis.call('XLEN', KEYS[3]), live}
";

/// `KEYS`: meta, head, events. `ARGV`: instance, format, fleet, time. Marks the keys as ours, if nothing is there.
const CLAIM: &str = r"
local instance = redis.call('HGET', KEYS[1], 'instance')
if instance and instance ~= ARGV[1] then return {'meta'} end
if redis.call('XLEN', KEYS[3]) > 0 then return {'stream'} end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'format', ARGV[2], 'fleet', ARGV[3], 'instance', ARGV[1], 'created', ARGV[4])
return {'ok'}
";

/// `KEYS`: meta, head, events, the new base, the old base. `ARGV`: instance, expected last event and hash, base's last
/// event, hash and digest, seal. Cuts the stream behind the base, and takes the base into the head.
const CUT: &str = r"
if redis.call('HGET', KEYS[1], 'instance') ~= ARGV[1] then return {'meta'} end
local head = redis.call('HMGET', KEYS[2], 'seq', 'hash')
if head[1] ~= ARGV[2] or head[2] ~= ARGV[3] then return {'head'} end
redis.call('HSET', KEYS[2], 'base_seq', ARGV[4], 'base_hash', ARGV[5], 'base_digest', ARGV[6], 'hmac', ARGV[7])
redis.call('PERSIST', KEYS[4])
if KEYS[4] ~= KEYS[5] then redis.call('DEL', KEYS[5]) end
redis.call('XTRIM', KEYS[3], 'MINID', (ARGV[4] + 1) .. '-0')
return {'ok'}
";

/// One event of a batch.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) json: Vec<u8>,
    pub(super) hash: String,
    /// The events missing before it; empty if none.
    pub(super) gap: String,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Appended {
    /// It is there, the stream has so many entries, and why the live channel could not be told.
    Done(u64, Option<String>),
    /// Something else is there than was expected; nothing was written.
    Unexpected,
}

/// Who writes, and behind which head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer<'a> {
    pub(super) keys: &'a Keys,
    pub(super) instance: &'a str,
}

fn outcome(reply: &Reply) -> Option<&str> {
    reply.list().first().and_then(Reply::text)
}

impl Writer<'_> {
    fn eval(&self, script: &str, more: &[String]) -> Call {
        let keys = [self.keys.meta(), self.keys.head(), self.keys.events()];
        let call = Call::new("EVAL").arg(script).number(3 + more.len() as u64);
        keys.iter().chain(more).fold(call, |call, key| call.arg(key)).arg(self.instance)
    }

    /// Writes `entries`, after which the head is `after`, behind `before`. Without entries it only looks whether all is
    /// as expected and can be written.
    pub(super) async fn append(
        &self,
        connection: &mut Connection,
        before: &Head,
        (after, seal): (&Head, &str),
        time: i64,
        message: &str,
        entries: &[Entry],
    ) -> Result<Appended, Trouble> {
        let mut call = self
            .eval(SCRIPT, &[])
            .number(before.seq)
            .arg(before.hash.to_string())
            .number(after.seq)
            .arg(after.hash.to_string())
            .arg(seal)
            .arg(time.to_string())
            .arg(self.keys.live())
            .arg(message);
        for entry in entries {
            call = call.number(entry.seq).arg(&entry.json).arg(&entry.hash).arg(&entry.gap);
        }
        let reply = connection.call(&call).await?;
        if outcome(&reply) != Some("ok") {
            return Ok(Appended::Unexpected);
        }
        let length = reply.list().get(1).and_then(Reply::int).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let live = reply.list().get(2).and_then(Reply::text).filter(|text| !text.is_empty());
        Ok(Appended::Done(length, live.map(str::to_owned)))
    }

    /// Marks empty keys as ours; false when something is there after all.
    pub(super) async fn claim(&self, connection: &mut Connection, fleet: &str, time: i64) -> Result<bool, Trouble> {
        let call = self.eval(CLAIM, &[]).number(u64::from(super::FORMAT)).arg(fleet).arg(time.to_string());
        Ok(outcome(&connection.call(&call).await?) == Some("ok"))
    }

    /// Cuts the stream behind `after`'s base, whose list is there; `old`: the base before.
    pub(super) async fn cut(
        &self,
        connection: &mut Connection,
        (after, seal): (&Head, &str),
        old: Option<u64>,
    ) -> Result<bool, Trouble> {
        let Some(base) = after.base else { return Ok(false) };
        let lists = [self.keys.base(base.seq), self.keys.base(old.unwrap_or(base.seq))];
        let call = self
            .eval(CUT, &lists)
            .number(after.seq)
            .arg(after.hash.to_string())
            .number(base.seq)
            .arg(base.hash.to_string())
            .arg(base.digest.to_string())
            .arg(seal);
        Ok(outcome(&connection.call(&call).await?) == Some("ok"))
    }
}
