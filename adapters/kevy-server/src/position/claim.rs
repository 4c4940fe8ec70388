//! What a node holds, as its shards say where they are.

use crate::position::marks::{Before, Place};
use crate::position::replay::Restored;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;

/// What a node holds whose shards hold this: the newest history of which every shard says where it is.
pub(crate) fn position(shards: &[Restored]) -> Position {
    if !shards.iter().any(|shard| shard.data || shard.held.at.is_some()) {
        return Position::NONE;
    }
    if let Some(position) = same_history(shards) {
        return position;
    }
    let entries: Vec<Vec<Before>> = (0..shards.len()).map(|shard| entries(shard, shards)).collect();
    let in_history = |epoch| {
        let offset =
            |of: &Vec<Before>| of.iter().find(|entry| entry.epoch == epoch).map(|entry| entry.offset);
        entries.iter().map(offset).collect::<Option<Vec<u64>>>()
    };
    let mut epochs: Vec<Epoch> = entries.iter().flatten().map(|entry| entry.epoch).collect();
    epochs.sort_unstable();
    let newest = epochs.into_iter().rev().find_map(|epoch| Position::new(epoch, &in_history(epoch)?).ok());
    newest.unwrap_or(Position::NONE)
}

/// Where the node is in the history that all its shards have: one shard, where that is, several at the newest cut that all of
/// them have (S7).
fn same_history(shards: &[Restored]) -> Option<Position> {
    let (first, others) = shards.split_first()?;
    let at = first.held.at?;
    if others.is_empty() {
        return Position::new(at.epoch, &[at.position_offset()]).ok();
    }
    let in_history = |shard: &Restored| shard.held.at.is_some_and(|there| there.epoch == at.epoch);
    let cut = |number| {
        let place = |shard: &Restored| shard.cuts.place(number).filter(|place| place.epoch == at.epoch);
        let offsets = shards.iter().map(|shard| place(shard).map(Place::position_offset));
        Position::new(at.epoch, &offsets.collect::<Option<Vec<u64>>>()?).ok()
    };
    let numbers = first.cuts.0.iter().rev().map(|(number, _)| *number);
    others.iter().all(in_history).then(|| numbers.into_iter().find_map(cut))?
}

/// The histories of which a shard says where it is. Data that no election has named belongs to a history without a name:
/// more than nothing, less than any that an election began.
fn entries(shard: usize, shards: &[Restored]) -> Vec<Before> {
    let restored = &shards[shard];
    let unnamed = Before { epoch: Epoch::ZERO, offset: u64::from(shard == 0) };
    let place = match shards {
        [alone] => alone.held.at,
        // What it said as part of its node lay before a cut.
        _ => {
            restored.cuts.newest().filter(|place| restored.held.at.is_some_and(|at| at.epoch == place.epoch))
        }
    };
    let at = place.map(|at| Before { epoch: at.epoch, offset: at.position_offset() });
    let at = at.or((!restored.named).then_some(unnamed));
    // A shard alone in its history holds what it holds; one of several was not part of it before they all had a cut.
    let all = shards.len() > 1
        && shards.iter().all(|other| other.held.at.map(|at| at.epoch) == restored.held.at.map(|at| at.epoch));
    at.filter(|_| !all || !restored.named).into_iter().chain(restored.held.before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::marks::{Cuts, Held};

    #[test]
    fn a_node_claims_the_newest_history_that_all_its_shards_know() {
        let shard = |epoch, cuts: &[(u64, u64)], before: Option<(u64, u64)>| {
            let place = |offset| Place { epoch: Epoch(epoch), flushes: 0, offset };
            Restored {
                held: Held {
                    lineage: 1,
                    // Somewhere behind its last cut.
                    at: Some(place(1000)),
                    before: before.map(|(epoch, offset)| Before { epoch: Epoch(epoch), offset }),
                },
                cuts: Cuts(cuts.iter().map(|(number, offset)| (*number, place(*offset))).collect()),
                named: true,
                data: true,
                doubtful: false,
            }
        };
        let claim = |epoch, offsets: &[u64]| Position::new(Epoch(epoch), offsets).unwrap();
        assert_eq!(position(&[shard(7, &[], None)]), claim(7, &[1000]), "one shard needs no cuts");
        let (ahead, back) = (shard(7, &[(3, 10), (4, 20)], None), shard(7, &[(2, 1), (3, 5)], None));
        assert_eq!(position(&[ahead.clone(), back.clone()]), claim(7, &[10, 5]), "the newest that both have");
        assert_eq!(position(&[back, ahead]), claim(7, &[5, 10]));
        let old = shard(5, &[(9, 50)], None);
        assert_eq!(position(&[shard(7, &[(1, 1)], Some((5, 40))), old.clone()]), claim(5, &[40, 50]));
        // Both have a copy, and no cut yet: the node has not joined.
        assert_eq!(
            position(&[shard(7, &[], Some((5, 40))), shard(7, &[], Some((5, 50)))]),
            claim(5, &[40, 50])
        );
        // Was on its way to 7 when 9 came, and held 5 all the while.
        assert_eq!(
            position(&[shard(9, &[], Some((5, 40))), shard(7, &[(1, 3)], Some((5, 50)))]),
            claim(5, &[40, 50])
        );
        assert_eq!(position(&[shard(7, &[(1, 1)], None), old]), Position::NONE);
        let unnamed = Restored { data: true, ..Restored::default() };
        assert_eq!(position(&[Restored::default(), unnamed.clone()]), claim(0, &[1, 0]));
        assert_eq!(position(&[shard(7, &[], Some((0, 1))), unnamed]), claim(0, &[1, 0]));
        assert_eq!(position(&[Restored::default(), Restored::default()]), Position::NONE);
    }
}
