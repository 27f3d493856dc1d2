//! A server in a snapshot: series with their latest values, blocks that grow, and blocks that wait to be packed.

use std::sync::Arc;

use skynet_model::series::SeriesKey;

use super::super::block::Block;
use super::super::bytes::{Cursor, put_signed, put_text, put_varint};
use super::super::seen::Seen;
use super::super::wal::Position;
use super::{Full, Hot, NO_GROUP, Server};

impl Server {
    /// Appends what [`Server::load`] reads.
    pub(in super::super) fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.applied.0.to_le_bytes());
        self.seen.save(out);
        put_varint(out, self.hot.len() as u64);
        put_varint(out, self.order.len() as u64);
        for place in &self.order {
            let Some((hot, key)) = self.hot.get(*place as usize).zip(self.key(*place)) else { continue };
            put_varint(out, u64::from(*place));
            put_text(out, &key.to_string());
            out.push(u8::from(hot.retired));
            put_signed(out, hot.time);
            out.extend_from_slice(&hot.bits.to_le_bytes());
        }
        let blocks = || self.groups.iter().chain([&self.late]).filter(|b| b.rows() > 0);
        put_varint(out, blocks().count() as u64);
        for block in blocks() {
            block.save(out);
        }
        put_varint(out, self.full.len() as u64);
        for full in &self.full {
            full.save(out);
        }
    }

    /// Reads a server; `None` if the bytes are not one of at most `most` series.
    pub(in super::super) fn load(cursor: &mut Cursor<'_>, most: usize, number: u64) -> Option<Self> {
        let mut server = Self { applied: Position(cursor.u64()?), seen: Seen::load(cursor)?, ..Self::new(number) };
        let places = usize::try_from(cursor.varint()?).ok().filter(|n| *n <= most)?;
        let free =
            Hot { generation: 0, group: NO_GROUP, segment: 0, retired: true, renewed: false, time: i64::MIN, bits: 0 };
        server.hot = vec![free; places];
        server.keys = vec![None; places];
        for _ in 0..cursor.count(1)? {
            let place = usize::try_from(cursor.varint()?).ok()?;
            let key: SeriesKey = cursor.text()?.parse().ok()?;
            let (retired, time, bits) = (cursor.u8()? != 0, cursor.signed()?, cursor.u64()?);
            server.generations += 1;
            let hot = server.hot.get_mut(place).filter(|hot| hot.generation == 0)?;
            *hot = Hot {
                generation: server.generations,
                group: NO_GROUP,
                segment: 0,
                retired,
                renewed: false,
                time,
                bits,
            };
            server.keys[place] = Some(key);
            server.order.push(place as u32);
        }
        let Self { order, keys, .. } = &mut server;
        order.sort_by(|a, b| keys[*a as usize].cmp(&keys[*b as usize]));
        order.dedup_by(|a, b| keys[*a as usize] == keys[*b as usize]);
        server.free = (0..places as u32).filter(|place| server.hot[*place as usize].generation == 0).collect();
        for _ in 0..cursor.count(1)? {
            let block = Block::load(cursor, places as u32)?;
            let group = server.groups.len() as u32;
            for place in block.slots() {
                let hot = &mut server.hot[place as usize];
                if hot.group == NO_GROUP {
                    hot.group = group;
                }
            }
            server.groups.push(block);
        }
        for _ in 0..cursor.count(1)? {
            server.full.push_back(Arc::new(Full::load(cursor)?));
        }
        Some(server)
    }
}

impl Full {
    fn save(&self, out: &mut Vec<u8>) {
        put_varint(out, self.keys.len() as u64);
        for (place, key) in &self.keys {
            put_varint(out, u64::from(*place));
            put_text(out, &key.to_string());
        }
        self.block.save(out);
    }

    fn load(cursor: &mut Cursor<'_>) -> Option<Self> {
        let keys: Option<Vec<_>> = (0..cursor.count(1)?)
            .map(|_| Some((u32::try_from(cursor.varint()?).ok()?, cursor.text()?.parse().ok()?)))
            .collect();
        let mut keys: Vec<(u32, SeriesKey)> = keys?;
        keys.sort_by_key(|(place, _)| *place);
        let mut block = Block::load(cursor, u32::MAX)?;
        block.freeze();
        Some(Self { block, keys })
    }
}
