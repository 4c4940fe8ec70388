//! Replies in the protocol that the client speaks.

use kevy_resp::{
    RespVersion, encode_array_len, encode_bulk, encode_error, encode_integer, encode_map_header, encode_null,
    encode_null_bulk, encode_push_header, encode_simple_string,
};

/// Writes replies for one client.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) version: RespVersion,
}

impl Reply<'_> {
    fn is_new(&self) -> bool {
        matches!(self.version, RespVersion::V3)
    }

    pub(crate) fn ok(&mut self) {
        self.simple("OK");
    }

    pub(crate) fn simple(&mut self, text: &str) {
        encode_simple_string(self.out, text);
    }

    /// `text` may come from a client: what would end the line is replaced.
    pub(crate) fn error(&mut self, text: &str) {
        encode_error(self.out, &text.replace(|c: char| c.is_control(), " "));
    }

    /// One line as another node wrote it.
    pub(crate) fn line(&mut self, line: &str) {
        match line.split_at_checked(1) {
            Some(("+", text)) => self.simple(text),
            Some(("-", text)) => self.error(text),
            _ => self.error(&format!("ERR the primary said {line}")),
        }
    }

    pub(crate) fn number(&mut self, number: i64) {
        encode_integer(self.out, number);
    }

    pub(crate) fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        encode_bulk(self.out, bytes.as_ref());
    }

    pub(crate) fn null(&mut self) {
        if self.is_new() { encode_null(self.out) } else { encode_null_bulk(self.out) }
    }

    /// No list, which older clients tell from no value.
    pub(crate) fn null_list(&mut self) {
        if self.is_new() { encode_null(self.out) } else { encode_array_len(self.out, -1) }
    }

    pub(crate) fn list(&mut self, count: usize) {
        encode_array_len(self.out, length(count));
    }

    /// The head of so many pairs.
    pub(crate) fn map(&mut self, pairs: usize) {
        if self.is_new() {
            encode_map_header(self.out, length(pairs));
        } else {
            encode_array_len(self.out, length(pairs * 2));
        }
    }

    /// The head of what the client did not ask for.
    pub(crate) fn push(&mut self, count: usize) {
        if self.is_new() {
            encode_push_header(self.out, length(count));
        } else {
            encode_array_len(self.out, length(count));
        }
    }

    /// Pairs of texts.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) {
        self.map(fields.len());
        for (name, value) in fields {
            self.bulk(name);
            self.bulk(value);
        }
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
