//! Holds the imports in `src/` against the layer table.
//!
//! ```text
//! src/**/*.rs ──words──► paths that begin with `crate` ──table──► complaints
//! ```
//!
//! A module imports from lower layers and from its own, never upward; two modules
//! at one height but in different layers (4a and 4b) know nothing of each other.
//! `lib.rs` is above all layers. What only tests import is not held against them.
//!
//! So that nothing escapes the table, an import must look like one: a path from
//! the crate's root stands in a `use`, and names a module of the table first.

use std::fmt;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// The layer table, lowest first. `height` decides, `name` is for people.
const LAYERS: &[Layer] = &[
    layer(
        0,
        "0 ground",
        &["clock", "error", "explained", "address", "buffer"],
    ),
    layer(1, "1 reactor", &["reactor"]),
    layer(
        2,
        "2 executor",
        &["executor", "step", "waits", "sleeper", "waiters"],
    ),
    layer(3, "3 event loop", &["event_loop"]),
    layer(4, "4a tasks", &["task", "time", "sync", "sock"]),
    layer(4, "4b contract", &["contract"]),
    layer(5, "5 transports", &["transports"]),
    layer(6, "6 tls", &["tls"]),
    layer(7, "7 streams", &["streams"]),
    layer(8, "8 net", &["net", "subprocess"]),
    layer(9, "9 testing", &["testing"]),
];

// ------------------------------------------------------------- the source tree

#[test]
fn every_module_imports_from_lower_layers_and_its_own() {
    let mut complaints = Vec::new();
    for file in source_files() {
        let text = fs::read_to_string(source_folder().join(&file)).expect("it was just listed");
        complaints.extend(complaints_about(&file, &text));
    }
    let list: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn every_module_on_disk_has_a_layer() {
    let files = source_files();
    assert!(
        files.contains(&PathBuf::from("lib.rs")),
        "found only {files:?}"
    );
    for file in files.iter().filter(|file| !is_exempt(file)) {
        let module = module_of(file);
        assert!(
            layer_of(&module).is_some(),
            "src/{}: module `{module}` has no layer: put it into the table in tests/layers.rs",
            file.display(),
        );
    }
}

#[test]
fn no_module_stands_in_two_layers() {
    for layer in LAYERS {
        for module in layer.modules {
            let first = layer_of(module).expect("it is in the table");
            assert!(
                first == layer,
                "`{module}` is in layers {} and {}",
                first.name,
                layer.name
            );
        }
    }
}

// ------------------------------------------------------------- the checker itself

#[test]
fn an_import_from_below_or_beside_is_accepted() {
    accepts("net/server.rs", "use crate::streams::StreamReader;");
    accepts("net/server.rs", "use crate::net::socket::Options;");
    accepts("error.rs", "use crate::buffer::ReadBuffer;");
    accepts("time.rs", "use crate::task::spawn;");
    accepts(
        "transports/cell.rs",
        "use crate::{contract::Protocol, task};",
    );
    accepts("streams.rs", "pub(crate) use crate::reactor;");
    accepts("streams.rs", "pub(in crate::streams) struct S;");
    accepts(
        "buffer.rs",
        "use std::{io, net::TcpStream}; use other::net::streams;",
    );
}

#[test]
fn an_import_from_above_is_refused_with_its_place_and_both_layers() {
    refuses(
        "reactor/readiness.rs",
        "//! Doc.\n\nuse crate::streams::StreamReader;",
        "src/reactor/readiness.rs:3: `crate::streams` is layer 7 streams, \
         and `reactor` is layer 1 reactor: it may import only from lower layers and its own",
    );
    refuses("clock.rs", "use crate::reactor;", "layer 1 reactor");
    refuses(
        "reactor/mod.rs",
        "pub(crate) use crate::executor::Waker as W;",
        "2 executor",
    );
    refuses("net.rs", "use crate::testing::FaultySocket;", "9 testing");
    refuses("task.rs", "fn f() { use crate::net::connect; }", "8 net");
}

#[test]
fn tasks_and_contract_know_nothing_of_each_other() {
    refuses(
        "contract.rs",
        "use crate::task::spawn;",
        "`crate::task` is layer 4a tasks",
    );
    refuses(
        "sync/lock.rs",
        "use crate::contract::Protocol;",
        "4b contract",
    );
}

#[test]
fn tls_imports_nothing_of_streams_or_net() {
    accepts("tls/mod.rs", "use crate::transports::ConnectionState;");
    refuses(
        "tls/mod.rs",
        "use crate::streams::StreamWriter;",
        "7 streams",
    );
    refuses("tls/context.rs", "use crate::net::resolve;", "8 net");
}

#[test]
fn groups_are_read_whole_and_over_several_lines() {
    let text =
        "use crate::{\n    buffer::{ReadBuffer, WriteBuffer},\n    net::{self, connect},\n};";
    refuses(
        "reactor.rs",
        text,
        "src/reactor.rs:3: `crate::net` is layer 8 net",
    );
    refuses(
        "reactor.rs",
        "use {std::io, crate::{clock, net}};",
        "`crate::net`",
    );
    refuses(
        "reactor.rs",
        "use ::std::io;\nuse crate\n  ::\n  net;",
        "src/reactor.rs:4: ",
    );
    let two = complaints_about(
        Path::new("clock.rs"),
        "use crate::{net::{a, b}, buffer, tls::c};",
    );
    assert_eq!(two.len(), 2, "{two:?}");
}

#[test]
fn a_path_outside_a_use_is_refused_since_it_hides_an_import() {
    let hidden = "src/streams.rs:2: `crate::buffer` is a path outside a `use`";
    refuses(
        "streams.rs",
        "fn f() {\n    crate::buffer::ReadBuffer::new();\n}",
        hidden,
    );
    refuses(
        "streams.rs",
        "struct S(\ncrate::buffer::ReadBuffer);",
        hidden,
    );
    refuses("streams.rs", "let user = \n crate::buffer::user;", hidden);
    refuses(
        "streams.rs",
        "impl crate :: reactor::Source for S {}",
        "outside a `use`",
    );
}

#[test]
fn a_path_in_a_macro_is_held_against_the_table_like_an_import() {
    accepts(
        "streams.rs",
        "macro_rules! m { () => { $crate::buffer::f() } }",
    );
    refuses(
        "buffer.rs",
        "macro_rules! m { () => { $crate::streams::f() } }",
        "7 streams",
    );
}

#[test]
fn the_root_is_not_a_detour() {
    refuses(
        "reactor.rs",
        "use crate::StreamReader;",
        "`crate::StreamReader` is not a module",
    );
    refuses("reactor.rs", "use crate::*;", "`crate::*` is not a module");
    refuses("reactor.rs", "use crate as root;", "`crate` is renamed");
    refuses(
        "reactor.rs",
        "use crate::{self as root};",
        "`crate::self` is not a module",
    );
    refuses(
        "reactor.rs",
        "extern crate self as millstream;",
        "`crate` is renamed",
    );
    refuses(
        "reactor.rs",
        "use super::net;",
        "src/reactor.rs:1: `super` leads to the root",
    );
    refuses("reactor/mod.rs", "use super::net;", "leads to the root");
    refuses(
        "reactor/slot.rs",
        "use super::super::net;",
        "leads to the root",
    );
    refuses(
        "reactor.rs",
        "mod a { mod b { use super::super::super::net; } }",
        "leads to the root",
    );
    accepts("reactor/slot.rs", "use super::readiness::Readiness;");
    accepts("reactor.rs", "mod bits { use super::Readiness; } fn f() {}");
}

#[test]
fn comments_strings_and_tests_import_nothing() {
    accepts(
        "clock.rs",
        "//! [`crate::net::connect`]\n/* use crate::net; /* crate::net */ */",
    );
    accepts(
        "clock.rs",
        r##"fn f() { ("crate::net \" crate::tls", r#"crate::net""#, b'"') }"##,
    );
    accepts(
        "clock.rs",
        "#[cfg(test)]\nmod tests { use crate::net; fn f() { crate::tls::g() } }",
    );
    accepts(
        "clock.rs",
        "#[cfg(all(test, unix))] #[allow(dead_code)] mod tests { use super::*; }",
    );
    accepts("clock/tests/deep.rs", "use crate::net;");
    accepts("clock/tests.rs", "use crate::net;");
    accepts(
        "lib.rs",
        "pub use crate::net::connect; mod x { use super::net; }",
    );
}

#[test]
fn code_after_a_comment_a_string_or_a_test_is_still_read() {
    refuses("clock.rs", "/* a /* b */ c */ use crate::net;", "8 net");
    refuses(
        "clock.rs",
        "const C: (char, &str) = ('\"', \"\\\\\"); use crate::net;",
        "8 net",
    );
    refuses(
        "clock.rs",
        "fn f<'a>(c: &'a char) { ['\\'', '\\u{7f}']; } use crate::net;",
        "8 net",
    );
    refuses(
        "clock.rs",
        "const S: &str = r#\"\"\"#;\nuse crate::net;",
        "src/clock.rs:2",
    );
    refuses(
        "clock.rs",
        "const S: &str = \"a\n\\\n b\";\nuse crate::net;",
        "src/clock.rs:4",
    );
    refuses(
        "clock.rs",
        "#[cfg(test)] mod tests { fn f() {} }\nuse crate::net;",
        "src/clock.rs:2",
    );
    refuses(
        "clock.rs",
        "#[cfg(not(test))] mod real { use crate::net; }",
        "8 net",
    );
    refuses(
        "clock.rs",
        "#[cfg(any(test, feature = \"x\"))] mod real { use crate::net; }",
        "8 net",
    );
    refuses(
        "clock.rs",
        "#[cfg(test)] mod tests;\nmod real { use crate::net; }",
        "8 net",
    );
}

#[test]
fn a_module_without_a_layer_is_refused() {
    refuses(
        "helpers.rs",
        "use crate::clock;",
        "src/helpers.rs:1: `helpers` has no layer",
    );
    refuses(
        "net.rs",
        "use crate::helpers::f;",
        "`crate::helpers` is not a module of the table",
    );
}

#[track_caller]
fn accepts(file: &str, text: &str) {
    let complaints = complaints_about(Path::new(file), text);
    assert!(complaints.is_empty(), "{complaints:?} in {text}");
}

#[track_caller]
fn refuses(file: &str, text: &str, reason: &str) {
    let complaints = complaints_about(Path::new(file), text);
    let [complaint] = complaints.as_slice() else {
        panic!("expected one complaint, got {complaints:?} in {text}");
    };
    let message = complaint.to_string();
    assert!(
        message.contains(reason),
        "{message:?} does not say {reason:?}"
    );
}

// ------------------------------------------------------------- the table

#[derive(Debug, PartialEq)]
struct Layer {
    height: u8,
    name: &'static str,
    modules: &'static [&'static str],
}

const fn layer(height: u8, name: &'static str, modules: &'static [&'static str]) -> Layer {
    Layer {
        height,
        name,
        modules,
    }
}

impl Layer {
    fn may_import(&self, other: &Layer) -> bool {
        other.height < self.height || other == self
    }
}

fn layer_of(module: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.modules.contains(&module))
}

// ------------------------------------------------------------- files

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All Rust files, as paths inside `src/`, in alphabetical order.
fn source_files() -> Vec<PathBuf> {
    let root = source_folder();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src/ can be read") {
            let path = entry.expect("src/ can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(
                    path.strip_prefix(&root)
                        .expect("it is in src/")
                        .to_path_buf(),
                );
            }
        }
    }
    files.sort();
    files
}

/// The crate's front door, and tests kept in files of their own.
fn is_exempt(file: &Path) -> bool {
    let is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    file == Path::new("lib.rs") || file.iter().any(is_tests)
}

/// `reactor` for both `reactor.rs` and `reactor/readiness.rs`.
fn module_of(file: &Path) -> String {
    let first = file
        .iter()
        .next()
        .expect("a file has a name")
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// How many modules a file is below the root: 1 for `reactor.rs` and
/// `reactor/mod.rs`, 2 for `reactor/readiness.rs`.
fn depth_of(file: &Path) -> usize {
    file.iter().count() - usize::from(file.ends_with("mod.rs"))
}

// ------------------------------------------------------------- complaints

#[derive(Debug)]
struct Complaint {
    file: PathBuf,
    line: usize,
    reason: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "src/{}:{}: {}",
            self.file.display(),
            self.line,
            self.reason
        )
    }
}

fn complaints_about(file: &Path, text: &str) -> Vec<Complaint> {
    if is_exempt(file) {
        return Vec::new();
    }
    let complaint = |line, reason| Complaint {
        file: file.to_path_buf(),
        line,
        reason,
    };
    let module = module_of(file);
    let Some(own) = layer_of(&module) else {
        return vec![complaint(
            1,
            format!("`{module}` has no layer: put it into the table"),
        )];
    };
    let words = without_tests(words_of(text));
    paths_to_root(&words, depth_of(file))
        .into_iter()
        .filter_map(|path| Some(complaint(path.line, path.objection(&module, own)?)))
        .collect()
}

// ------------------------------------------------------------- paths

/// A way that some code takes from the crate's root, by its first step.
#[derive(Debug)]
struct RootPath {
    line: usize,
    kind: Kind,
    /// What follows `crate::`, such as a module's name or `*`.
    step: String,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Import,
    Inline,
    Renamed,
    Super,
}

impl RootPath {
    fn objection(&self, module: &str, own: &Layer) -> Option<String> {
        let step = &self.step;
        match self.kind {
            Kind::Inline => {
                return Some(format!(
                    "`crate::{step}` is a path outside a `use`, which hides an import: \
                     import it at the top"
                ));
            }
            Kind::Renamed => {
                return Some("`crate` is renamed, which hides imports: name the module".into());
            }
            Kind::Super => {
                return Some(
                    "`super` leads to the root, which hides an import: say `crate`".into(),
                );
            }
            Kind::Import => {}
        }
        let Some(other) = layer_of(step) else {
            return Some(format!(
                "`crate::{step}` is not a module of the table in tests/layers.rs: \
                 import from the module that has it"
            ));
        };
        (!own.may_import(other)).then(|| {
            format!(
                "`crate::{step}` is layer {}, and `{module}` is layer {}: \
                 it may import only from lower layers and its own",
                other.name, own.name,
            )
        })
    }
}

/// Finds every path that begins at the root, in a file `depth` modules below it.
fn paths_to_root(words: &[Word], depth: usize) -> Vec<RootPath> {
    let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
    let mut found = Vec::new();
    let mut in_use = false;
    // One entry per open brace, true for those that open a module.
    let mut braces: Vec<bool> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let before = |steps: usize| index.checked_sub(steps).map_or("", text);
        let mut found_here = |line, kind, step: &str| {
            found.push(RootPath {
                line,
                kind,
                step: step.to_owned(),
            });
        };
        match word.text.as_str() {
            // `impl use<'a>` bounds lifetimes and imports nothing.
            "use" => in_use = text(index + 1) != "<",
            ";" => in_use = false,
            "{" => braces.push(before(2) == "mod"),
            "}" => drop(braces.pop()),
            // `pub(in crate::x)` says who may look in.
            "crate" if before(1) == "in" => {}
            "crate" if before(1) == "extern" && text(index + 1) == "self" => {
                found_here(word.line, Kind::Renamed, "");
            }
            "crate" if in_use && text(index + 1) == "as" => {
                found_here(word.line, Kind::Renamed, "");
            }
            "crate" if text(index + 1) == "::" => {
                // A macro's body has no `use` of its own.
                let is_import = in_use || before(1) == "$";
                let kind = if is_import {
                    Kind::Import
                } else {
                    Kind::Inline
                };
                for step in first_steps(words, index + 2) {
                    found_here(step.line, kind, &step.text);
                }
            }
            "super" if before(1) != "::" => {
                let supers = (index..).step_by(2).take_while(|&at| text(at) == "super");
                let modules = braces.iter().filter(|&&is_module| is_module).count();
                if supers.count() >= depth + modules {
                    found_here(word.line, Kind::Super, "");
                }
            }
            _ => {}
        }
    }
    found
}

/// The word at `start`; or, if a group opens there, the first word of each of
/// its members.
fn first_steps(words: &[Word], start: usize) -> Vec<&Word> {
    let mut steps = Vec::new();
    let mut open = 0;
    let mut is_first = true;
    for word in &words[start.min(words.len())..] {
        match word.text.as_str() {
            "{" => open += 1,
            "}" => open -= 1,
            "," => is_first = open == 1,
            _ if is_first => {
                steps.push(word);
                is_first = false;
            }
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    steps
}

// ------------------------------------------------------------- words

/// An identifier, a `::`, or any other character that is not white space.
#[derive(Debug)]
struct Word {
    line: usize,
    text: String,
}

/// Leaves out each `mod` block under a `#[cfg(…)]` that cannot be without `test`.
fn without_tests(words: Vec<Word>) -> Vec<Word> {
    let mut kept: Vec<Word> = Vec::new();
    let mut words = words.into_iter().peekable();
    let mut only_in_tests = false;
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "#" => {
                let attribute = group(&mut words, "[", "]");
                let says = |what: &str| attribute.iter().any(|word| word.text == what);
                only_in_tests |= says("cfg") && says("test") && !says("not") && !says("any");
            }
            "mod" if only_in_tests => {
                let _name = words.next();
                group(&mut words, "{", "}");
                only_in_tests = false;
            }
            // What may stand between an attribute and its `mod`.
            "pub" | "(" | "crate" | ")" => kept.push(word),
            _ => {
                only_in_tests = false;
                kept.push(word);
            }
        }
    }
    kept
}

/// Takes a bracketed group, if one comes next (or after the `!` of `#![…]`).
fn group(words: &mut Peekable<impl Iterator<Item = Word>>, open: &str, close: &str) -> Vec<Word> {
    words.next_if(|word| word.text == "!");
    let mut taken = Vec::new();
    let mut depth = 0;
    while let Some(word) = words.next_if(|word| depth > 0 || word.text == open) {
        depth += i32::from(word.text == open) - i32::from(word.text == close);
        taken.push(word);
        if depth == 0 {
            break;
        }
    }
    taken
}

/// Splits Rust into words, without comments, strings, characters and lifetimes.
fn words_of(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut source = Source {
        rest: text.chars(),
        line: 1,
    };
    while let Some(first) = source.next() {
        let line = source.line;
        let word = match first {
            '/' if source.comes("/") => {
                source.skip_past("\n");
                continue;
            }
            '/' if source.comes("*") => {
                source.skip_block_comment();
                continue;
            }
            '"' => {
                source.skip_quoted('"');
                continue;
            }
            '\'' => {
                source.skip_character_or_lifetime();
                continue;
            }
            _ if first.is_whitespace() => continue,
            _ if is_name(first) => {
                let mut name = String::from(first);
                while let Some(next) = source.next_if(is_name) {
                    name.push(next);
                }
                if matches!(name.as_str(), "r" | "br" | "cr") && source.skip_raw_string() {
                    continue;
                }
                name
            }
            ':' if source.comes(":") => {
                source.next();
                "::".to_owned()
            }
            _ => first.to_string(),
        };
        words.push(Word { line, text: word });
    }
    words
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Rust text that is being read, and the line that has been reached.
struct Source<'a> {
    rest: Chars<'a>,
    line: usize,
}

impl Source<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn next_if(&mut self, accept: impl Fn(char) -> bool) -> Option<char> {
        let next = self.rest.clone().next()?;
        if accept(next) { self.next() } else { None }
    }

    fn comes(&self, what: &str) -> bool {
        self.rest.as_str().starts_with(what)
    }

    fn skip_past(&mut self, end: &str) {
        while !self.comes(end) && self.next().is_some() {}
        for _ in end.chars() {
            self.next();
        }
    }

    /// After the opening `/`. Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut open = 1;
        self.next();
        while open > 0 && !self.rest.as_str().is_empty() {
            if self.comes("*/") {
                open -= 1;
                self.next();
            } else if self.comes("/*") {
                open += 1;
                self.next();
            }
            self.next();
        }
    }

    /// After the opening quote.
    fn skip_quoted(&mut self, quote: char) {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => drop(self.next()),
                _ if letter == quote => return,
                _ => {}
            }
        }
    }

    /// After a `'`: either `a'` or an escape and a `'`, or a lifetime's name.
    fn skip_character_or_lifetime(&mut self) {
        let mut ahead = self.rest.clone();
        let (first, second) = (ahead.next(), ahead.next());
        if first == Some('\\') || second == Some('\'') {
            self.skip_quoted('\'');
        } else {
            while self.next_if(is_name).is_some() {}
        }
    }

    /// After an `r`: skips `#"…"#` with as many hashes on both sides. A raw name
    /// such as `r#use` is none; its hash is a word and its name another.
    fn skip_raw_string(&mut self) -> bool {
        let after_hashes = self.rest.as_str().trim_start_matches('#');
        if !after_hashes.starts_with('"') {
            return false;
        }
        let hashes = self.rest.as_str().len() - after_hashes.len();
        self.skip_past("\"");
        self.skip_past(&format!("\"{}", "#".repeat(hashes)));
        true
    }
}
