//! What a write is streamed and logged as, where the command itself would not do the same everywhere.
//!
//! A frame is a command that does the same on every node and at every time. Several commands in one frame are
//! a script of plain kevy, so that a log stays readable without this crate; here they are played without Lua.

use kevy_resp::{Argv, ArgvView};
use kevy_store::Store;
use kevy_verbs::Effect;

/// A command, word by word.
pub(crate) type Frame = Vec<Vec<u8>>;

/// Plays the commands in `ARGV`, each behind the number of its words.
const SEVERAL: &[u8] =
    b"local i=1 while ARGV[i] do local n=tonumber(ARGV[i])redis.call(unpack(ARGV,i+1,i+n))i=i+n+1 end";
/// The commonest two in one: a string and its deadline.
const SET_AT: &[u8] = b"redis.call('SET',KEYS[1],ARGV[1])redis.call('PEXPIREAT',KEYS[1],ARGV[2])";

/// A frame of these words.
pub(crate) fn frame(words: &[&[u8]]) -> Frame {
    words.iter().map(|word| word.to_vec()).collect()
}

/// The same words as a frame.
pub(crate) fn to_frame<A: ArgvView + ?Sized>(args: &A) -> Frame {
    (0..args.len()).map(|i| args[i].to_vec()).collect()
}

/// Commands whose record kevy leaves relative, conditional, or both.
pub(crate) fn is_conditional(upper: &[u8]) -> bool {
    matches!(
        upper,
        b"SET"
            | b"SETNX"
            | b"SETEX"
            | b"PSETEX"
            | b"GETEX"
            | b"EXPIRE"
            | b"PEXPIRE"
            | b"EXPIREAT"
            | b"PEXPIREAT"
            | b"HEXPIRE"
            | b"HPEXPIRE"
            | b"HPEXPIREAT"
            | b"RENAMENX"
    )
}

/// What one of those just did, in commands without conditions and with absolute deadlines. `reply` is its answer.
pub(crate) fn settled<A: ArgvView + ?Sized>(
    store: &Store,
    upper: &[u8],
    args: &A,
    reply: &[u8],
) -> Vec<Frame> {
    let (Some(key), true) = (args.get(1), args.len() > 1) else { return Vec::new() };
    match upper {
        b"SET" if reply.starts_with(b"+") => set(store, key, &args[2]),
        b"SETNX" if reply == b":1\r\n" => set(store, key, &args[2]),
        b"SETEX" | b"PSETEX" if reply.starts_with(b"+") => set(store, key, &args[3]),
        b"RENAMENX" if reply == b":1\r\n" => vec![frame(&[b"RENAME", key, &args[2]])],
        // A value came back, so there is a key whose deadline was moved.
        b"GETEX" if args.len() > 2 && matches!(reply, [b'$', b'0'..=b'9', ..]) => deadline(store, key),
        b"EXPIRE" | b"PEXPIRE" | b"EXPIREAT" | b"PEXPIREAT" if reply == b":1\r\n" => deadline(store, key),
        b"HEXPIRE" | b"HPEXPIRE" | b"HPEXPIREAT" if reply.starts_with(b"*") => {
            field_deadlines(store, key, args, reply)
        }
        _ => Vec::new(),
    }
}

/// What a string with a deadline was set by, if that is what it was. As the frame that it travels as, and at once: it is the
/// commonest of these commands, and most of its price is pieces of memory.
pub(crate) fn timed_set<A: ArgvView + ?Sized>(
    store: &Store,
    upper: &[u8],
    args: &A,
    reply: &[u8],
) -> Option<Frame> {
    let value = match upper {
        b"SET" if args.len() > 3 => &args[2],
        b"SETEX" | b"PSETEX" => args.get(3)?,
        _ => return None,
    };
    let at = store.deadline_unix_ms(args.get(1)?)?;
    reply.starts_with(b"+").then(|| set_at(&args[1], value, at))
}

fn set(store: &Store, key: &[u8], value: &[u8]) -> Vec<Frame> {
    vec![match store.deadline_unix_ms(key) {
        Some(at) => set_at(key, value, at),
        None => frame(&[b"SET", key, value]),
    }]
}

fn set_at(key: &[u8], value: &[u8], at: u64) -> Frame {
    let at = at.to_string().into_bytes();
    vec![b"EVAL".to_vec(), SET_AT.to_vec(), b"1".to_vec(), key.to_vec(), value.to_vec(), at]
}

/// A deadline in the past has ended the key.
fn deadline(store: &Store, key: &[u8]) -> Vec<Frame> {
    vec![match store.deadline_unix_ms(key) {
        Some(at) => frame(&[b"PEXPIREAT", key, at.to_string().as_bytes()]),
        None => frame(&[b"DEL", key]),
    }]
}

fn field_deadlines<A: ArgvView + ?Sized>(store: &Store, key: &[u8], args: &A, reply: &[u8]) -> Vec<Frame> {
    let Some(word) = (3..args.len()).find(|i| args[*i].eq_ignore_ascii_case(b"FIELDS")) else {
        return Vec::new();
    };
    let codes = reply.split(|byte| *byte == b'\n').skip(1).filter_map(|line| line.strip_suffix(b"\r"));
    let (mut timed, mut gone) = (Vec::new(), Vec::new());
    for (field, code) in (word + 2..args.len()).map(|i| &args[i]).zip(codes) {
        match code {
            b":1" => timed.push(field),
            b":2" => gone.push(field),
            _ => {}
        }
    }
    let mut frames = Vec::new();
    if !gone.is_empty() {
        frames.push(frame(&[&[b"HDEL", key], gone.as_slice()].concat()));
    }
    let deadlines = store.hash_field_deadlines(key, &timed);
    if let Some(Some(at)) = deadlines.first() {
        // One command sets one deadline.
        let (at, count) = (at.to_string(), timed.len().to_string());
        let head: [&[u8]; 5] = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", count.as_bytes()];
        frames.push(frame(&[&head, timed.as_slice()].concat()));
    }
    frames
}

/// What a command that `kevy_verbs` just ran did. Not for a reply that is an error.
pub(crate) fn of_effect(
    store: &Store,
    upper: &[u8],
    args: &Argv,
    effect: Effect,
    reply: &[u8],
) -> Vec<Frame> {
    match effect {
        Effect::Read | Effect::Unchanged | Effect::Skip => Vec::new(),
        Effect::Write if is_conditional(upper) => settled(store, upper, args, reply),
        Effect::Write => vec![to_frame(args)],
        Effect::Record(frame) => vec![frame],
        effect => kevy_verbs::aof::deferred_frames(store, args, &effect).iter().map(to_frame).collect(),
    }
}

/// What a command did that made a key which was not there: kevy's own record of it, of which only the effect on
/// that key matters.
pub(crate) fn of_creation<A: ArgvView + ?Sized>(upper: &[u8], args: &A, reply: &[u8]) -> Frame {
    let mut words = to_frame(args);
    if upper == b"XADD"
        && let Some(id) = bulk(reply)
        && let Some(at) = xadd_id(args)
    {
        words[at] = id.to_vec();
    }
    words
}

/// The text of a bulk reply.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|byte| *byte == b'\r')?;
    (reply.first() == Some(&b'$')).then_some(())?;
    reply.get(end + 2..)?.strip_suffix(b"\r\n")
}

/// Where the id of an `XADD` is, behind its options.
fn xadd_id<A: ArgvView + ?Sized>(args: &A) -> Option<usize> {
    let mut i = 2;
    while i < args.len() {
        let word = &args[i];
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        i += match () {
            () if is(b"NOMKSTREAM") => 1,
            () if is(b"MAXLEN") || is(b"MINID") => match args.get(i + 1) {
                Some(b"~" | b"=") => 3,
                _ => 2,
            },
            () if is(b"LIMIT") => 2,
            () => return Some(i),
        };
    }
    None
}

/// All of them as one frame; `None` for none.
pub(crate) fn one(mut frames: Vec<Frame>) -> Option<Frame> {
    if frames.len() < 2 {
        return frames.pop();
    }
    let mut all = frame(&[b"EVAL", SEVERAL]);
    match frames.iter().find_map(|frame| frame.get(key_index(frame)?)) {
        Some(key) => all.extend([b"1".to_vec(), key.clone()]),
        None => all.push(b"0".to_vec()),
    }
    for frame in frames {
        match frame.as_slice() {
            // A script cannot play another one.
            [verb, script, _, key, value, at] if verb == b"EVAL" && script == SET_AT => {
                set_and_deadline(key, value, at).into_iter().for_each(|words| add(&mut all, words));
            }
            _ => add(&mut all, frame),
        }
    }
    Some(all)
}

/// Puts a command behind the others of a frame.
fn add(all: &mut Frame, words: Frame) {
    all.push(words.len().to_string().into_bytes());
    all.extend(words);
}

fn set_and_deadline(key: &[u8], value: &[u8], at: &[u8]) -> [Frame; 2] {
    [frame(&[b"SET", key, value]), frame(&[b"PEXPIREAT", key, at])]
}

/// Where a recorded command names its key.
fn key_index(frame: &Frame) -> Option<usize> {
    let verb = frame.first()?;
    let (second, none) = (&b"XGROUP"[..], [&b"FLUSHALL"[..], b"FLUSHDB"]);
    match () {
        () if verb == b"EVAL" => Some(3),
        () if none.iter().any(|verb2| verb.eq_ignore_ascii_case(verb2)) => None,
        () if verb.eq_ignore_ascii_case(second) => Some(2),
        () => Some(1),
    }
}

/// The commands of a frame that [`one`] made of several; `None`: it is another command.
pub(crate) fn apart<A: ArgvView + ?Sized>(args: &A) -> Option<Vec<Argv>> {
    if args.len() < 4 || &args[0] != b"EVAL" {
        return None;
    }
    if &args[1] == SET_AT && args.len() == 6 {
        return Some(set_and_deadline(&args[3], &args[4], &args[5]).map(Argv::from).into());
    }
    if &args[1] != SEVERAL {
        return None;
    }
    let number = |i: usize| std::str::from_utf8(args.get(i)?).ok()?.parse::<usize>().ok();
    let (mut commands, mut i) = (Vec::new(), 3 + number(2)?);
    while i < args.len() {
        let count = number(i)?;
        let words =
            (i + 1..=i + count).map(|i| args.get(i).map(<[u8]>::to_vec)).collect::<Option<Frame>>()?;
        commands.push(Argv::from(words));
        i += count + 1;
    }
    Some(commands)
}

/// The keys of a command that `kevy_verbs` runs.
pub(crate) fn keys<A: ArgvView + ?Sized>(upper: &[u8], args: &A) -> Vec<usize> {
    let all = |from: usize, to: usize| (from..to.min(args.len())).collect();
    match upper {
        b"PING" | b"ECHO" | b"TIME" | b"SELECT" | b"DBSIZE" | b"FLUSHALL" | b"FLUSHDB" => Vec::new(),
        b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" => all(1, args.len()),
        b"BLPOP" | b"BRPOP" | b"BZPOPMIN" => all(1, args.len().saturating_sub(1)),
        b"RENAME" | b"RENAMENX" | b"LMOVE" | b"RPOPLPUSH" | b"BRPOPLPUSH" | b"GEOSEARCHSTORE" => all(1, 3),
        b"MSET" => (1..args.len()).step_by(2).collect(),
        b"XGROUP" | b"XINFO" => all(2, 3),
        b"XREAD" | b"XREADGROUP" => {
            match (1..args.len()).find(|i| args[*i].eq_ignore_ascii_case(b"STREAMS")) {
                Some(word) => all(word + 1, word + 1 + (args.len() - word - 1) / 2),
                None => Vec::new(),
            }
        }
        b"GEORADIUS" | b"GEORADIUSBYMEMBER" => {
            let is_store = |i: &usize| {
                args[*i].eq_ignore_ascii_case(b"STORE") || args[*i].eq_ignore_ascii_case(b"STOREDIST")
            };
            let stored = (2..args.len()).find(is_store).map(|i| i + 1).filter(|i| *i < args.len());
            all(1, 2).into_iter().chain(stored).collect()
        }
        _ => all(1, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Argv {
        Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    /// Runs a command as a client would, and gives what is recorded of it.
    fn run(store: &mut Store, line: &str) -> Vec<String> {
        let (args, mut out) = (argv(line), Vec::new());
        let upper = args[0].to_ascii_uppercase();
        let effect = kevy_verbs::exec(store, &upper, &args, &mut out).unwrap();
        let frames = match out.first() {
            Some(b'-') => Vec::new(),
            _ => of_effect(store, &upper, &args, effect, &out),
        };
        frames.iter().map(|frame| String::from_utf8_lossy(&frame.join(&b' ')).into_owned()).collect()
    }

    #[test]
    fn a_frame_has_no_condition_and_no_relative_deadline() {
        crate::process::clock::advance();
        let mut store = Store::new();
        assert_eq!(run(&mut store, "SET k v NX"), ["SET k v"]);
        assert_eq!(run(&mut store, "SET k w NX"), [""; 0], "nothing was done");
        let timed = run(&mut store, "SET k w PX 100000");
        assert!(
            timed.len() == 1 && timed[0].contains("'PEXPIREAT'") && timed[0].contains(" 1 k w "),
            "{timed:?}"
        );
        assert!(run(&mut store, "PEXPIRE k 100000")[0].starts_with("PEXPIREAT k "));
        assert_eq!(run(&mut store, "PEXPIREAT k 2000000000000"), ["PEXPIREAT k 2000000000000"]);
        assert!(run(&mut store, "GETEX k EX 5")[0].starts_with("PEXPIREAT k "));
        assert_eq!(run(&mut store, "GETEX k"), [""; 0]);
        assert_eq!(run(&mut store, "EXPIRE k -1"), ["DEL k"]);
        assert_eq!(run(&mut store, "EXPIRE k 1"), [""; 0]);
        assert_eq!(run(&mut store, "INCR k x"), [""; 0], "an error");
        run(&mut store, "SET from v");
        assert_eq!(run(&mut store, "RENAMENX from to"), ["RENAME from to"]);
        run(&mut store, "SET from v");
        assert_eq!(run(&mut store, "RENAMENX from to"), [""; 0]);
        run(&mut store, "HSET h f v g v");
        let fields = run(&mut store, "HPEXPIRE h 100000 FIELDS 3 f none g");
        assert!(fields[0].starts_with("HPEXPIREAT h ") && fields[0].ends_with(" FIELDS 2 f g"), "{fields:?}");
        assert_eq!(run(&mut store, "HPEXPIREAT h 1 FIELDS 1 f"), ["HDEL h f"]);
    }

    #[test]
    fn several_commands_travel_as_one_and_are_taken_apart_again() {
        let frames =
            ["DEL a b", "SADD s x y", "XGROUP CREATE s g 0", "FLUSHALL"].map(|line| to_frame(&argv(line)));
        let all = Argv::from(one(frames.to_vec()).unwrap());
        assert_eq!(&all[2], b"1");
        assert_eq!(&all[3], b"a");
        assert_eq!(apart(&all).unwrap().iter().map(to_frame).collect::<Vec<_>>(), frames);
        let pair = ["SET k v", "PEXPIREAT k 7"].map(|line| to_frame(&argv(line)));
        let timed = frame(&[b"EVAL", SET_AT, b"1", b"k", b"v", b"7"]);
        let played = |frame: &Frame| {
            apart(&Argv::from(frame.clone())).unwrap().iter().map(to_frame).collect::<Vec<_>>()
        };
        assert_eq!(one(vec![timed.clone()]).unwrap(), timed);
        assert_eq!(played(&timed), pair);
        let behind = one(vec![frames[0].clone(), timed]).unwrap();
        assert_eq!(&behind[2..4], frame(&[b"1", b"a"]), "the first key");
        assert_eq!(played(&behind), [frames[..1].to_vec(), pair.to_vec()].concat());
        assert_eq!(one(vec![pair[0].clone()]).unwrap(), pair[0]);
        assert_eq!(one(Vec::new()), None);
        for other in ["SET k v", "EVAL return(1) 1 k", "EVAL return(1) 0"] {
            assert_eq!(apart(&argv(other)), None, "{other}");
        }
    }

    #[test]
    fn plain_kevy_plays_both_frames_as_scripts() {
        let commands = kevy::KevyCommands::new();
        let mut store = Store::new();
        let several =
            ["SET k v", "RPUSH l 1 2 3", "PEXPIREAT k 4000000000000"].map(|line| to_frame(&argv(line)));
        let timed = frame(&[b"EVAL", SET_AT, b"1", b"t", b"v", b"4000000000000"]);
        for frames in [several.to_vec(), vec![timed]] {
            let reply = commands.dispatch(&mut store, &Argv::from(one(frames).unwrap()));
            assert_eq!(reply, b"$-1\r\n", "{}", String::from_utf8_lossy(&reply));
        }
        assert_eq!(store.llen(b"l").unwrap(), 3);
        assert!(store.deadline_unix_ms(b"k").is_some() && store.deadline_unix_ms(b"t").is_some());
    }

    #[test]
    fn the_keys_of_a_command_are_found_wherever_they_are() {
        let names = |line: &str| {
            let args = argv(line);
            keys(&args[0], &args)
                .into_iter()
                .map(|i| String::from_utf8_lossy(&args[i]).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("GET a"), ["a"]);
        assert_eq!(names("DEL a b c"), ["a", "b", "c"]);
        assert_eq!(names("MSET a 1 b 2"), ["a", "b"]);
        assert_eq!(names("XREADGROUP GROUP g c COUNT 1 STREAMS a b > >"), ["a", "b"]);
        assert_eq!(names("XGROUP CREATE a g 0"), ["a"]);
        assert_eq!(names("GEORADIUS a 1 2 3 km STORE b"), ["a", "b"]);
        assert_eq!(names("BLPOP a b 0"), ["a", "b"]);
        assert_eq!(names("PING"), [""; 0]);
    }

    #[test]
    fn a_generated_id_is_recorded_as_the_one_that_it_gave() {
        let id = |line: &str| of_creation(b"XADD", &argv(line), b"$3\r\n7-0\r\n").join(&b' ');
        assert_eq!(id("XADD s * f v"), b"XADD s 7-0 f v");
        assert_eq!(
            id("XADD s NOMKSTREAM MAXLEN ~ 5 LIMIT 3 7-* f v"),
            b"XADD s NOMKSTREAM MAXLEN ~ 5 LIMIT 3 7-0 f v"
        );
    }
}
