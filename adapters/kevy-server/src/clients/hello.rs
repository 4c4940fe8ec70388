//! `HELLO`, which kevy answers for a primary, whoever it is asked of, and whatever password comes with it.

use kevy_resp::{
    RespVersion, encode_array_len, encode_bulk, encode_error, encode_integer, encode_map_header,
};
use kevy_rt::ArgvView;

/// The answer to `AUTH`, in `HELLO` too: who sends a password must not think that it protects anything.
pub(crate) const NO_PASSWORDS: &str = "ERR AUTH called without any password configured: this server has none, and whoever reaches its \
                            ports can read and write; connect without a password, and keep the ports in a private network";

/// `HELLO [2|3] [AUTH user password] [SETNAME name]`, and `RESET`: the protocol from now on, and the answer in it.
pub(crate) fn answer<A: ArgvView + ?Sized>(
    args: &A,
    current: RespVersion,
    primary: bool,
) -> (RespVersion, Vec<u8>) {
    let mut out = Vec::new();
    if args.first().is_some_and(|verb| verb.eq_ignore_ascii_case(b"RESET")) {
        // What the connection watches and listens for stays: that is kevy's, and nothing tells it.
        return (RespVersion::V2, b"+RESET\r\n".to_vec());
    }
    let version = match args.get(1) {
        None => current,
        Some(b"2") => RespVersion::V2,
        Some(b"3") => RespVersion::V3,
        Some(_) => {
            encode_error(&mut out, "NOPROTO unsupported protocol version");
            return (current, out);
        }
    };
    if let Err(error) = options(args) {
        encode_error(&mut out, &error);
        return (current, out);
    }
    let number = match version {
        RespVersion::V2 => {
            encode_array_len(&mut out, 14);
            2
        }
        RespVersion::V3 => {
            encode_map_header(&mut out, 7);
            3
        }
    };
    let text =
        |out: &mut Vec<u8>, words: [&str; 2]| words.iter().for_each(|word| encode_bulk(out, word.as_bytes()));
    text(&mut out, ["server", "kevy"]);
    text(&mut out, ["version", "7.0.0"]);
    encode_bulk(&mut out, b"proto");
    encode_integer(&mut out, number);
    encode_bulk(&mut out, b"id");
    encode_integer(&mut out, 0);
    text(&mut out, ["mode", "standalone"]);
    text(&mut out, ["role", if primary { "master" } else { "replica" }]);
    encode_bulk(&mut out, b"modules");
    encode_array_len(&mut out, 0);
    (version, out)
}

/// Whether what follows the protocol's number can be granted.
fn options<A: ArgvView + ?Sized>(args: &A) -> Result<(), String> {
    let mut at = 2;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"AUTH") && args.len() > at + 2 {
            return Err(NO_PASSWORDS.to_owned());
        }
        // As to `CLIENT SETNAME`, kevy listens and keeps nothing.
        if !option.eq_ignore_ascii_case(b"SETNAME") || args.len() <= at + 1 {
            let shown: String =
                String::from_utf8_lossy(option).chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(format!("ERR Syntax error in HELLO option '{shown}'"));
        }
        at += 2;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

    fn said(line: &str, primary: bool) -> (RespVersion, String) {
        let args = Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        let (version, out) = answer(&args, RespVersion::V2, primary);
        (version, String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn the_role_is_the_nodes_own() {
        let role =
            |text: &str, role: &str| assert!(text.contains(&format!("\r\nrole\r\n{role}\r\n")), "{text}");
        let (version, text) = said("HELLO 3", true);
        assert!(version == RespVersion::V3 && text.starts_with("%7\r\n"));
        role(&text, "$6\r\nmaster");
        let (version, text) = said("HELLO", false);
        assert!(version == RespVersion::V2 && text.starts_with("*14\r\n"));
        role(&text, "$7\r\nreplica");
    }

    #[test]
    fn a_connection_that_is_reset_speaks_resp2() {
        let args = Argv::from(vec![b"reset".to_vec()]);
        assert_eq!(answer(&args, RespVersion::V3, true), (RespVersion::V2, b"+RESET\r\n".to_vec()));
    }

    #[test]
    fn a_password_is_refused_where_there_is_none() {
        let (version, text) = said("HELLO 3 AUTH default secret SETNAME app", true);
        assert!(
            version == RespVersion::V2 && text.starts_with("-ERR AUTH called without any password"),
            "{text}"
        );
        assert!(said("HELLO 3 SETNAME app", true).1.starts_with('%'));
        assert!(said("HELLO 3 NOPE", true).1.starts_with("-ERR Syntax error in HELLO option 'NOPE'"));
        assert!(said("HELLO 4", true).1.starts_with("-NOPROTO "));
    }
}
