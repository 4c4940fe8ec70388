//! Every command that the server knows, with arguments that make sense.
//!
//! Nothing here names a command that the server names itself: the arguments are drawn from the syntax that
//! `COMMAND DOCS` tells, so that a command that kevy adds is tried without anybody thinking of it.

use crate::contents::{Contents, text};
use crate::limit::Limit;
use crate::syntax::Draw;
use crate::wire::{Group, Wire, Words};
use crate::world::World;
use kevy_resp::Reply;

/// Is never answered, so nothing waits for that. Nobody here does what it wishes for; if kevy did, the test would end.
/// What becomes of it in a whole server, `ending.rs` has.
const UNANSWERED: &str = "SHUTDOWN";

/// Commands that `COMMAND` hides, and how they are used.
const HIDDEN: [(&str, &str, &str); 14] = [
    ("EVAL_RO", "script", "EVAL_RO script numkeys [key] [arg]"),
    ("EVALSHA_RO", "script", "EVALSHA_RO sha1 numkeys [key] [arg]"),
    ("GEORADIUS_RO", "geo", "GEORADIUS_RO key longitude latitude radius km [STORE key]"),
    ("GEORADIUSBYMEMBER_RO", "geo", "GEORADIUSBYMEMBER_RO key member radius km [STORE key]"),
    ("MOVE-SCOPE", "migration", "MOVE-SCOPE prefix FROM node TO node"),
    ("MOVE-SCOPE-INGEST", "migration", "MOVE-SCOPE-INGEST prefix frames"),
    ("XINTERNAL.CATALOG", "internal", "XINTERNAL.CATALOG count count value value value"),
    ("XINTERNAL.CONSUMERSEEN", "stream", "XINTERNAL.CONSUMERSEEN key group consumer ms ms"),
    ("XINTERNAL.PENDING", "stream", "XINTERNAL.PENDING key group consumer id ms count"),
    ("AGG.FETCH", "index", "AGG.FETCH name value [value ...]"),
    ("IDX.PART", "index", "IDX.PART count IDX.QUERY name RANGE min max"),
    ("MATCH.SCORE", "index", "MATCH.SCORE name value [value ...]"),
    ("VIEW.HYDRATE", "view", "VIEW.HYDRATE name value [value ...]"),
    // What this server says to its own shards when it becomes the primary.
    ("ELECT.BARRIER", "internal", "ELECT.BARRIER count"),
];

/// How many ways to use one command are drawn.
const DRAWN: usize = 80;
/// How many that change something are kept, and how many others.
const KEPT_CHANGING: usize = 3;
const KEPT_OTHERS: usize = 3;
/// Longer than any buffer that a server reads into at once.
const LARGE_BYTES: usize = 40_000;

/// A command, and ways to use it.
pub struct Command {
    pub name: String,
    /// Whether it can let a client wait for data.
    pub blocks: bool,
    /// Whether nothing may be sent behind it before it is answered.
    pub waits: bool,
    pub tries: Vec<Try>,
}

pub struct Try {
    pub words: Words,
    /// Whether it changes what a server holds that may write.
    pub changes: bool,
}

impl Command {
    /// The way to use it that changes something, if there is one.
    pub fn changing(&self) -> Option<&Try> {
        self.tries.iter().find(|attempt| attempt.changes)
    }
}

/// All commands, tried out on a server that may write.
pub fn find(wire: &mut Wire, world: &mut World, limit: &Limit) -> Vec<Command> {
    world.fill(wire);
    let pristine = Contents::of(wire);
    let known = known(wire);
    let try_out = |known: Known| {
        limit.at(known.name.clone());
        try_out(wire, world, &pristine, known)
    };
    known.into_iter().map(try_out).collect()
}

/// What the server says of a command.
struct Known {
    name: String,
    group: String,
    syntax: String,
    blocks: bool,
}

/// Everything that can be enumerated.
fn known(wire: &mut Wire) -> Vec<Known> {
    let Reply::Array(docs) = wire.ask("COMMAND DOCS") else { panic!("COMMAND DOCS") };
    let mut all: Vec<Known> = docs
        .chunks(2)
        .map(|entry| {
            let Reply::Array(fields) = &entry[1] else { panic!("COMMAND DOCS") };
            let field = |name: &str| {
                let at = fields.iter().position(|field| text(field) == name).unwrap();
                text(&fields[at + 1])
            };
            let blocks = field("flags").contains("blocking");
            Known { name: text(&entry[0]), group: field("group"), syntax: field("syntax"), blocks }
        })
        .collect();
    let Reply::Array(rows) = wire.ask("COMMAND") else { panic!("COMMAND") };
    assert_eq!(rows.len(), all.len(), "COMMAND and COMMAND DOCS name the same");
    let hidden = |name: &str, group: &str, syntax: String| Known {
        name: name.to_owned(),
        group: group.to_owned(),
        syntax,
        blocks: false,
    };
    all.extend(HIDDEN.iter().map(|(name, group, syntax)| hidden(name, group, (*syntax).to_owned())));
    // What else kevy's tables name, for which nobody wrote a syntax.
    let verbs = kevy_verbs::VERBS.iter().map(|verb| verb.name);
    for name in verbs.chain(kevy_resp::ops_table::OP_TABLE.iter().map(|op| op.name)) {
        if !all.iter().any(|known| known.name == name) {
            all.push(hidden(name, "", format!("{name} [key] [value] [value] [count] [value]")));
        }
    }
    all
}

fn try_out(wire: &mut Wire, world: &mut World, pristine: &Contents, known: Known) -> Command {
    let Known { name, group, syntax, blocks } = known;
    // With several shards kevy 7.0.0 also mixes up what is sent behind a command that two of them work on.
    let waits = blocks || world.shards > 1 && name != UNANSWERED;
    let mut drawn = draw(&name, &group, &syntax, world);
    let mut tries = Vec::new();
    let all: Vec<Group> = drawn.iter().map(|words| Group::of(&[words], waits)).collect();
    wire.exchange(&all);
    if pristine.difference(&Contents::of(wire)).is_empty() {
        tries.extend(drawn.drain(..).take(KEPT_OTHERS).map(|words| Try { words, changes: false }));
        return Command { name, blocks, waits, tries };
    }
    world.restore(wire, pristine);
    let mut others = 0;
    for words in drawn {
        if tries.iter().filter(|attempt: &&Try| attempt.changes).count() >= KEPT_CHANGING {
            break;
        }
        let changes = changes(wire, world, pristine, &words, waits);
        others += usize::from(!changes);
        if changes {
            let large = large(&words);
            if large != words && self::changes(wire, world, pristine, &large, waits) {
                tries.push(Try { words: large, changes });
            }
        }
        if changes || others <= KEPT_OTHERS {
            tries.push(Try { words, changes });
        }
    }
    Command { name, blocks, waits, tries }
}

fn changes(wire: &mut Wire, world: &mut World, pristine: &Contents, words: &Words, waits: bool) -> bool {
    wire.exchange(&[Group::of(&[words], waits)]);
    let changed = !pristine.difference(&Contents::of(wire)).is_empty();
    if changed {
        world.restore(wire, pristine);
    }
    changed
}

/// The same with a last argument that no server reads in one go.
fn large(words: &Words) -> Words {
    let mut large = words.clone();
    if let Some(last) = large.last_mut().filter(|_| words.len() > 1) {
        *last = vec![b'x'; LARGE_BYTES];
    }
    large
}

/// Ways to use a command.
fn draw(name: &str, group: &str, syntax: &str, world: &World) -> Vec<Words> {
    let mut draw = Draw::new(name, group, world);
    let mut all: Vec<Words> = Vec::new();
    for _ in 0..DRAWN {
        let words = draw.words(syntax);
        let own = words.first().is_some_and(|verb| verb.eq_ignore_ascii_case(name.as_bytes()));
        // Subcommands: the syntax of all but the first alternative begins with its own word.
        let words = if own { words } else { [vec![name.as_bytes().to_vec()], words].concat() };
        if !all.contains(&words) {
            all.push(words);
        }
    }
    all
}
