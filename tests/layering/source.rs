//! Reads just enough Rust to see which paths a file mentions.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// One source file.
pub(crate) struct Source {
    /// The file's name, for people.
    pub shown: String,
    /// The module it is, from the crate's root.
    pub path: Vec<String>,
    pub mentions: Vec<Mention>,
    /// Modules in files of their own that it declares for tests alone.
    pub test_only: Vec<String>,
    /// What would bring code in past this reader, or make it resolve a path wrongly.
    pub hidden: Vec<String>,
}

/// A path, from `crate` or from the name of another crate where it starts there.
#[derive(Debug)]
pub(crate) struct Mention {
    pub line: usize,
    pub path: Vec<String>,
    /// Whether a `use` brings it in.
    pub import: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Sep,
    Other(char),
}
use Token::{Other, Sep, Word};

impl Source {
    /// Reads `text`, the file `shown`, which is the module `path`.
    pub(crate) fn read(shown: &str, path: &[&str], text: &str) -> Self {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let (shown, mentions) = (shown.to_owned(), Vec::new());
        let source = Self { shown, path, mentions, test_only: Vec::new(), hidden: Vec::new() };
        let mut reader = Reader { tokens: tokens(text), at: 0, source };
        reader.file();
        reader.source
    }
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    source: Source,
}

impl Reader {
    fn file(&mut self) {
        while let Some(token) = self.peek(0) {
            match token {
                Other('#') if self.spells("#[cfg(test)]") => self.test_code(),
                Other('#') if self.peek(2) == Some(Word("path".to_owned())) => {
                    self.hide("a #[path] attribute")
                }
                Word(w) if w == "include" && self.peek(1) == Some(Other('!')) => self.hide("an include!"),
                Word(w) if w == "mod" && self.peek(2) == Some(Other('{')) => self.hide("an inline module"),
                // `use<'a>` is a bound, not an import.
                Word(w) if w == "use" && self.peek(1) != Some(Other('<')) => {
                    self.at += 1;
                    self.skip(&Sep);
                    self.tree(Vec::new());
                }
                Word(_) => self.path(),
                _ => self.at += 1,
            }
        }
    }

    /// `#[cfg(test)] mod name;` or `#[cfg(test)] mod name { ... }`, other attributes between them or not; anything else is read
    /// as usual.
    fn test_code(&mut self) {
        self.at += 7;
        while self.peek(0) == Some(Other('#')) && self.peek(1) == Some(Other('[')) {
            self.at += 1;
            self.bracketed('[', ']');
        }
        if self.peek(0) != Some(Word("mod".to_owned())) {
            return;
        }
        match (self.peek(1), self.peek(2)) {
            (Some(Word(name)), Some(Other(';'))) => self.source.test_only.push(name),
            (Some(Word(_)), Some(Other('{'))) => {
                self.at += 2;
                self.bracketed('{', '}');
            }
            _ => {}
        }
    }

    /// Passes over what stands between two brackets, the next token being the first of them.
    fn bracketed(&mut self, open: char, close: char) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            self.at += 1;
            match token {
                Other(c) if c == open => depth += 1,
                Other(c) if c == close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// What follows `prefix::` in a `use`.
    fn tree(&mut self, mut prefix: Vec<String>) {
        match self.peek(0) {
            Some(Other('{')) => {
                self.at += 1;
                while !matches!(self.peek(0), None | Some(Other('}'))) {
                    self.tree(prefix.clone());
                    self.skip(&Other(','));
                }
                self.at += 1;
            }
            Some(Word(word)) => {
                let line = self.line();
                self.at += 1;
                if word != "self" || prefix.is_empty() {
                    prefix.push(word);
                }
                if self.skip(&Sep) {
                    return self.tree(prefix);
                }
                if self.skip(&Word("as".to_owned())) {
                    self.at += 1;
                }
                self.mention(line, prefix, true);
            }
            _ => {
                // A glob brings in all of the prefix.
                let line = self.line();
                self.at += 1;
                self.mention(line, prefix, true);
            }
        }
    }

    fn path(&mut self) {
        let line = self.line();
        let mut path = Vec::new();
        while let Some(Word(word)) = self.peek(0) {
            path.push(word);
            self.at += 1;
            if !(self.peek(0) == Some(Sep) && matches!(self.peek(1), Some(Word(_)))) {
                break;
            }
            self.at += 1;
        }
        self.mention(line, path, false);
    }

    fn mention(&mut self, line: usize, path: Vec<String>, import: bool) {
        let mut rest = &path[..];
        let mut here = self.source.path.clone();
        let relative = rest.len() > 1 && (rest[0] == "super" || rest[0] == "self");
        while let Some((first, tail)) =
            rest.split_first().filter(|(f, _)| relative && matches!(f.as_str(), "super" | "self"))
        {
            if first == "super" {
                here.pop();
            }
            rest = tail;
        }
        let mut full = if relative { [vec!["crate".to_owned()], here, rest.to_vec()].concat() } else { path };
        match full.first_mut() {
            // The same things under another name.
            Some(first) if first == "core" || first == "alloc" => *first = "std".to_owned(),
            Some(_) => {}
            None => return,
        }
        self.source.mentions.push(Mention { line, path: full, import });
    }

    fn hide(&mut self, what: &str) {
        let line = self.line();
        self.source.hidden.push(format!("line {line}: {what}, past which this test cannot see"));
        self.at += 1;
    }

    fn peek(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token.clone())
    }

    fn skip(&mut self, token: &Token) -> bool {
        let there = self.peek(0).as_ref() == Some(token);
        self.at += usize::from(there);
        there
    }

    fn spells(&self, text: &str) -> bool {
        tokens(text).iter().enumerate().all(|(n, (_, token))| self.peek(n).as_ref() == Some(token))
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(line, _)| *line)
    }
}

fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    flatten(text.parse().unwrap(), &mut tokens);
    tokens
}

/// Without literals and lifetimes, whose insides are no paths.
fn flatten(stream: TokenStream, tokens: &mut Vec<(usize, Token)>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let token = match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Bracket => ('[', ']'),
                    Delimiter::Parenthesis => ('(', ')'),
                    Delimiter::Brace | Delimiter::None => ('{', '}'),
                };
                tokens.push((line, Other(open)));
                flatten(group.stream(), tokens);
                Other(close)
            }
            TokenTree::Ident(word) => Word(word.to_string()),
            TokenTree::Punct(mark) if mark.as_char() == '\'' => {
                trees.next();
                continue;
            }
            TokenTree::Punct(mark) => {
                let second =
                    |next: &TokenTree| matches!(next, TokenTree::Punct(next) if next.as_char() == ':');
                match mark.as_char() {
                    ':' if mark.spacing() == Spacing::Joint && trees.next_if(second).is_some() => Sep,
                    other => Other(other),
                }
            }
            TokenTree::Literal(_) => continue,
        };
        tokens.push((line, token));
    }
}
