//! Holds the tests against the catalogue of cases (docs/04-cases.md): each case has a test
//! that is named after it, or a reason why it has none. And the deviations from asyncio that
//! comments cite by number, against the table in docs/03-from-asyncio.md.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The catalogue's cases, by group. Numbers that are missing were never given, or given up.
const CATALOGUE: [(&str, &[u16]); 12] = [
    (
        "LOOP", // the loop, the executor, the reactor
        &[
            1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15, 19, 20, 21, 23, 25, 26, 27, 29, 30, 31, 33,
            35,
        ],
    ),
    (
        "TIM", // timers and clocks
        &[1, 2, 4, 5, 6, 8, 11, 13, 14, 16, 17, 19, 21, 22],
    ),
    (
        "TRN", // transports
        &[
            1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 23, 24, 25, 27, 30, 31,
            35, 36, 40, 42, 43, 44, 45, 47, 48,
        ],
    ),
    (
        "PRO", // protocols
        &[1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 15, 17, 19],
    ),
    (
        "RDR", // readers
        &[
            1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 28, 29, 31,
            33, 34, 35, 36, 38, 39, 41, 42, 43, 44, 45, 47, 50, 54, 55,
        ],
    ),
    (
        "WRT", // writers
        &[
            1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15, 18, 20, 21, 23, 24, 29, 31, 32,
        ],
    ),
    (
        "CAN", // cancellation, tasks, panics
        &[1, 2, 5, 6, 8, 9, 11, 12, 13, 15, 17, 18, 21, 22, 23, 25],
    ),
    (
        "SRV", // listening and accepting
        &[
            1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 18, 20, 22, 23, 28,
        ],
    ),
    (
        "UNX", // Unix-domain sockets
        &[1, 2, 4, 5, 6, 7, 9, 12, 13, 14, 15],
    ),
    (
        "RUN", // run, the runner, signals
        &[1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 17, 19, 20],
    ),
    (
        "CON", // connecting
        &[1, 2, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 16, 18, 22],
    ),
    (
        "TLS", // TLS, its beginning and its end
        &[
            1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 20, 21, 22, 24, 25, 26, 27, 29, 30, 31,
            35, 36, 38, 39, 41, 42, 45, 48, 49,
        ],
    ),
];

#[test]
fn each_case_is_tested_or_is_said_not_to_be_offered() -> io::Result<()> {
    let covered = covered()?;
    let excused = excused()?;
    let forgotten: Vec<String> = catalogue()
        .filter(|id| !covered.contains(id) && !excused.contains(id))
        .collect();
    assert!(
        forgotten.is_empty(),
        "no test is named after {forgotten:?}, and docs/04-cases.md doesn't say why"
    );
    Ok(())
}

#[test]
fn what_is_not_offered_is_in_the_catalogue_and_has_no_test() -> io::Result<()> {
    let covered = covered()?;
    let known: BTreeSet<String> = catalogue().collect();
    for id in excused()? {
        assert!(known.contains(&id), "there is no case {id}");
        assert!(!covered.contains(&id), "{id} is tested, so it is offered");
    }
    Ok(())
}

#[test]
fn tests_are_named_after_cases_that_exist() -> io::Result<()> {
    let known: BTreeSet<String> = catalogue().collect();
    for id in covered()? {
        assert!(known.contains(&id), "there is no case {id}");
    }
    Ok(())
}

#[test]
fn deviations_that_comments_cite_are_explained_in_the_book() -> io::Result<()> {
    let book = fs::read_to_string(root().join("docs/03-from-asyncio.md"))?;
    for text in sources(&root().join("src"))? {
        let comments = text.lines().filter(|line| line.trim().starts_with("//"));
        for word in comments.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric())) {
            let number = word.strip_prefix('D').and_then(|n| n.parse::<u8>().ok());
            assert!(
                number.is_none() || book.contains(&format!("\n| {word} | ")),
                "{word} is not in the table of docs/03-from-asyncio.md"
            );
        }
    }
    Ok(())
}

#[test]
fn ids_are_found_in_names_and_in_what_must_not_compile() {
    let text = "
        #[test]
        fn rdr_24_a_separator_beyond_the_limit() {}
        async fn can_17_18_two_cases_in_one() {}
        /// ```compile_fail,E0600
        /// reader.readexactly(-1).await; // RDR-31
        /// ```
        // RDR-99 is mentioned only.
        fn read_24_bytes() {}
        fn wrt_15_wrt_32_and_not_7() {}
        fn trn_5() {}
    ";
    let found: Vec<String> = ids(text).collect();
    assert_eq!(
        found,
        [
            "RDR-24", "CAN-17", "CAN-18", "RDR-31", "WRT-15", "WRT-32", "TRN-05"
        ]
    );
}

/// All IDs of the catalogue.
fn catalogue() -> impl Iterator<Item = String> {
    let groups = CATALOGUE.iter();
    groups.flat_map(|(group, numbers)| numbers.iter().map(|&number| id(group, number)))
}

/// The IDs that tests in `tests/` and `src/` are named after.
fn covered() -> io::Result<BTreeSet<String>> {
    let mut covered = BTreeSet::new();
    for folder in ["tests", "src"] {
        for text in sources(&root().join(folder))? {
            covered.extend(ids(&text));
        }
    }
    assert!(covered.len() > 50, "found only {covered:?}");
    Ok(covered)
}

/// The IDs in the table "Not offered" that have a reason beside them.
fn excused() -> io::Result<BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/04-cases.md"))?;
    let (_, section) = text
        .split_once("## Not offered")
        .expect("the page says what is not offered");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut excused = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let [_, names, reason, _] = cells[..] {
            if !reason.is_empty() {
                let names = names.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                excused.extend(names.filter_map(spelled_id));
            }
        }
    }
    Ok(excused)
}

/// The catalogue's IDs in one source: in the names of functions, and in examples that must not compile.
fn ids(text: &str) -> impl Iterator<Item = String> {
    let mut must_not_compile = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let doc = line.trim().strip_prefix("///").map(str::trim);
        if let Some(fence) = doc.and_then(|doc| doc.strip_prefix("```")) {
            must_not_compile = fence.starts_with("compile_fail");
        } else if let Some(doc) = doc.filter(|_| must_not_compile) {
            let words = doc.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            found.extend(words.filter_map(spelled_id));
        } else if let Some((_, name)) = line.split_once("fn ") {
            found.extend(named_ids(name));
        }
    }
    found.into_iter()
}

/// `rdr_24_a_separator…` is about RDR-24, `can_17_18_…` about CAN-17 and CAN-18, and
/// `wrt_15_wrt_32_…` about both.
fn named_ids(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut group = None;
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        match (word.parse(), group) {
            (Ok(number), Some(group)) => found.push(id(group, number)),
            _ => group = group_named(&word.to_ascii_uppercase()),
        }
        if group.is_none() {
            break;
        }
    }
    found
}

/// `RDR-24` as it stands in texts.
fn spelled_id(word: &str) -> Option<String> {
    let (group, number) = word.split_once('-')?;
    Some(id(group_named(group)?, number.parse().ok()?))
}

fn group_named(word: &str) -> Option<&'static str> {
    let mut groups = CATALOGUE.iter().map(|(group, _)| *group);
    groups.find(|group| *group == word)
}

fn id(group: &str, number: u16) -> String {
    format!("{group}-{number:02}")
}

/// The text of each Rust source below a folder, but for this one.
fn sources(folder: &Path) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            texts.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with(THIS_FILE) {
            texts.push(fs::read_to_string(&path)?);
        }
    }
    Ok(texts)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const THIS_FILE: &str = "tests/cases.rs";
