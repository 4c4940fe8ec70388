//! The digest of one value.

use kevy_rt::Store;
use kevy_store::{StreamData, Value};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

/// Of the value as clients see it: how kevy keeps it in memory, and in which order a set was filled, do not show.
pub(super) fn digest(store: &Store, key: &[u8], value: &Value, kind: u8) -> (u64, usize) {
    let mut sum = Sum::new(kind);
    match value {
        Value::Str(text) => sum.part(text.as_slice()),
        Value::Int(number) => sum.part(number.to_string().as_bytes()),
        Value::ArcBulk(bytes) => sum.part(bytes),
        Value::List(list) => list.iter().for_each(|item| sum.part(item)),
        Value::SegList(list) => list.iter().for_each(|item| sum.part(item)),
        Value::SmallListInline(list) => list.iter().for_each(|item| sum.part(item)),
        Value::Set(set) => set.iter().for_each(|member| sum.member(member.as_slice(), 0)),
        Value::SegSet(set) => set.keys().for_each(|member| sum.member(member.as_slice(), 0)),
        Value::SmallSetInline(set) => set.iter().for_each(|member| sum.member(member, 0)),
        Value::ZSet(zset) => zset.ordered().for_each(|(member, score)| sum.member(member, score.to_bits())),
        Value::SegZSet(zset) => {
            zset.ordered().for_each(|(member, score)| sum.member(member, score.to_bits()));
        }
        Value::SmallZSetInline(zset) => {
            zset.iter().for_each(|(member, score)| sum.member(member, score.to_bits()));
        }
        Value::Hash(hash) => {
            sum.fields(store, key, hash.iter().map(|(field, value)| (field.as_slice(), value.as_slice())));
        }
        Value::SegHash(hash) => {
            sum.fields(store, key, hash.iter().map(|(field, value)| (field.as_slice(), value.as_slice())));
        }
        Value::SmallHashInline(hash) => sum.fields(store, key, hash.iter()),
        Value::PackedRow(row) => sum.fields(store, key, row.fields()),
        Value::Stream(stream) => stream_digest(&mut sum, stream),
        // `clone_with_ttl` has read it already.
        Value::Cold(_) => {}
    }
    sum.end()
}

fn stream_digest(sum: &mut Sum, stream: &StreamData) {
    let id = |ms: u64, seq: u64| [ms.to_le_bytes(), seq.to_le_bytes()].concat();
    sum.part(&id(stream.last_id().ms, stream.last_id().seq));
    sum.part(&id(stream.max_deleted_id().ms, stream.max_deleted_id().seq));
    sum.part(&stream.entries_added().to_le_bytes());
    for (at, fields) in stream.entries() {
        sum.part(&id(at.ms, at.seq));
        for (field, value) in fields {
            sum.part(field.as_slice());
            sum.part(value.as_slice());
        }
    }
    // Not when a consumer was last seen: a replica's notes of that are its own.
    for group in stream.export_groups() {
        let mut whole = id(group.last_delivered.0, group.last_delivered.1);
        for (ms, seq, consumer, delivered, count) in &group.pel {
            whole.extend_from_slice(&id(*ms, *seq));
            whole.extend_from_slice(&id(*delivered, *count));
            whole.extend_from_slice(&(consumer.len() as u64).to_le_bytes());
            whole.extend_from_slice(consumer);
        }
        sum.member(&group.name, xxh3_64(&whole));
    }
}

/// What a digest is made of: parts in their order, and members in any.
struct Sum {
    parts: Xxh3,
    members: u64,
    count: u64,
    bytes: usize,
}

impl Sum {
    fn new(kind: u8) -> Self {
        Self { parts: Xxh3::with_seed(u64::from(kind)), members: 0, count: 0, bytes: 0 }
    }

    fn part(&mut self, part: &[u8]) {
        self.parts.update(&(part.len() as u64).to_le_bytes());
        self.parts.update(part);
        self.bytes += part.len();
    }

    fn member(&mut self, member: &[u8], with: u64) {
        self.members = self.members.wrapping_add(xxh3_64_with_seed(member, with));
        self.count += 1;
        self.bytes += member.len();
    }

    fn fields<'a>(&mut self, store: &Store, key: &[u8], pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let (fields, values): (Vec<_>, Vec<_>) = pairs.unzip();
        let deadlines = store.hash_field_deadlines(key, &fields);
        for ((field, value), deadline) in fields.iter().zip(values).zip(deadlines) {
            self.member(field, xxh3_64_with_seed(value, deadline.unwrap_or(0)));
            self.bytes += value.len();
        }
    }

    fn end(mut self) -> (u64, usize) {
        self.parts.update(&self.members.to_le_bytes());
        self.parts.update(&self.count.to_le_bytes());
        (self.parts.digest(), self.bytes)
    }
}
