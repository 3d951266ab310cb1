//! Which product file uses which: modules found from `lib.rs` down, and every path in them resolved
//! to the file that defines what it names. What is compiled for tests only is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::scanner::{Leaf, expand, is_word_character, words};
use crate::tree::File;

/// The product files and the uses between them.
pub(crate) struct Modules {
    /// By path of the file.
    pub(crate) uses: BTreeMap<String, BTreeSet<Use>>,
}

/// One use of another file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    /// The file that defines what is used.
    pub(crate) target: String,
    /// Where it is used, as `file:line`.
    pub(crate) place: String,
}

/// A module that is a file of its own.
struct Module {
    file: String,
    /// The code without what is compiled for tests only.
    code: String,
    children: Vec<String>,
    imports: Vec<Import>,
}

struct Import {
    name: String,
    /// From the crate's root, without `crate`.
    path: Vec<String>,
    at: usize,
    /// Whether the name occurs in the file outside of imports.
    named: bool,
    public: bool,
}

impl Modules {
    pub(crate) fn of(files: &[File]) -> Self {
        let by_path = files.iter().map(|file| (file.path.as_str(), file)).collect();
        let mut modules = BTreeMap::new();
        collect(&by_path, "src/lib.rs", Vec::new(), &mut modules);
        let mut uses = BTreeMap::new();
        for (path, module) in &modules {
            uses.insert(
                module.file.clone(),
                uses_of(&modules, path, module, by_path[module.file.as_str()]),
            );
        }
        if let Some(main) = by_path.get("src/main.rs") {
            uses.insert(main.path.clone(), uses_of_main(&modules, main));
        }
        Self { uses }
    }

    /// The groups of files that use each other in a circle, without the uses by those in `except`.
    pub(crate) fn circles(&self, except: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.uses.keys().map(|file| (file.as_str(), self.reachable(file, &except))).collect();
        let mut circles: Vec<Vec<&str>> = Vec::new();
        for (file, reachable) in &reach {
            if !reachable.contains(file) || circles.iter().flatten().any(|known| known == file) {
                continue;
            }
            let mutual = |other: &&&str| reach.get(**other).is_some_and(|back| back.contains(file));
            circles.push(reachable.iter().filter(mutual).copied().collect());
        }
        circles
    }

    fn reachable(&self, from: &str, except: impl Fn(&str) -> bool) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            if except(file) {
                continue;
            }
            for used in self.uses.get(file).into_iter().flatten() {
                if found.insert(used.target.as_str()) {
                    open.push(&used.target);
                }
            }
        }
        found
    }
}

/// Adds the module of a file and those below it.
fn collect(
    files: &BTreeMap<&str, &File>,
    file: &str,
    path: Vec<String>,
    modules: &mut BTreeMap<Vec<String>, Module>,
) {
    let code = without_tests(&files[file].code);
    let directory = match file.rsplit_once('/') {
        Some((directory, "lib.rs" | "mod.rs")) => directory.to_owned(),
        _ => file.trim_end_matches(".rs").to_owned(),
    };
    let mut children = Vec::new();
    for (name, at) in declared(&code) {
        if !code[at..].starts_with(';') {
            continue;
        }
        let candidates = [format!("{directory}/{name}.rs"), format!("{directory}/{name}/mod.rs")];
        let Some(child) = candidates.iter().find(|child| files.contains_key(child.as_str())) else {
            continue;
        };
        let below = path.iter().cloned().chain([name.to_owned()]).collect();
        collect(files, child, below, modules);
        children.push(name.to_owned());
    }
    let imports = imports(&code, &path, &children);
    modules.insert(path, Module { file: file.to_owned(), code, children, imports });
}

/// The modules that code declares, each with where its `;` or `{` stands.
fn declared(code: &str) -> impl Iterator<Item = (&str, usize)> {
    words(code, "mod").filter_map(|at| {
        let after = code[at + "mod".len()..].trim_start();
        let name = &after[..after.find(|c| !is_word_character(c))?];
        let end = code.len() - after[name.len()..].trim_start().len();
        (!name.is_empty() && code[end..].starts_with([';', '{'])).then_some((name, end))
    })
}

/// The code with what is compiled for tests only replaced by spaces.
fn without_tests(code: &str) -> String {
    let mut rest = code.as_bytes().to_vec();
    for attribute in TEST_ATTRIBUTES {
        for (at, _) in code.match_indices(attribute) {
            let item = at + code[at..].find(']').map_or(0, |end| end + 1);
            let end = item_end(code, item);
            rest[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
    }
    // Whole items were replaced, so this is still UTF-8.
    String::from_utf8(rest).unwrap()
}

/// Where the item, field or statement that begins here, maybe with attributes, ends.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0;
    let after_attributes = {
        let mut at = from;
        while code[at..].trim_start().starts_with("#[") {
            at += code[at..].find(']').map_or(1, |end| end + 1);
        }
        code[at..].trim_start()
    };
    let keyword = after_attributes
        .split(|c| !is_word_character(c))
        .find(|word| !["", "pub", "crate", "super", "self", "in"].contains(word))
        .unwrap_or("");
    let is_item = ITEMS.contains(&keyword);
    let needs_semicolon = ["use", "const", "static", "let", "type"].contains(&keyword)
        && !after_attributes.contains("const fn");
    for (offset, byte) in code[from..].bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return from + offset;
        }
        let ends = match byte {
            b';' => true,
            b'}' => !needs_semicolon,
            b',' => !is_item && keyword != "let",
            _ => false,
        };
        if ends && depth == 0 {
            return from + offset + 1;
        }
    }
    code.len()
}

/// What a file imports.
fn imports(code: &str, module: &[String], children: &[String]) -> Vec<Import> {
    let mut imports = Vec::new();
    let others = without_imports(code);
    for range in import_ranges(code) {
        let public = is_public(code, range.start);
        let mut leaves = Vec::new();
        let tree = code[range.start + "use".len()..range.end].trim_start();
        expand("", tree.trim_start_matches("::"), &mut leaves);
        let module = within(code, range.start, module);
        for Leaf { path, name } in leaves {
            let Some(path) = absolute(&path, &module, children) else { continue };
            let named = words(&others, &name).next().is_some();
            imports.push(Import { name, path, at: range.start, named, public });
        }
    }
    imports
}

/// Where imports stand in code, from the word `use` to the semicolon.
fn import_ranges(code: &str) -> impl Iterator<Item = Range<usize>> {
    // Not the bound `use<'a>`.
    words(code, "use")
        .filter(|at| !code[at + 3..].starts_with('<'))
        .map(|at| at..at + code[at..].find(';').unwrap_or(code.len() - at))
}

fn is_public(code: &str, at: usize) -> bool {
    let before = code[..at].trim_end();
    before.ends_with("pub")
        || before.rfind("pub(").is_some_and(|open| {
            before[open..].find(')').is_some_and(|close| open + close + 1 == before.len())
        })
}

fn without_imports(code: &str) -> String {
    let mut rest = code.as_bytes().to_vec();
    for range in import_ranges(code) {
        rest[range].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    // Whole statements were replaced, so this is still UTF-8.
    String::from_utf8(rest).unwrap()
}

/// The module of a place in a file, which may be in modules within it.
fn within(code: &str, at: usize, module: &[String]) -> Vec<String> {
    let mut module = module.to_vec();
    for (name, open) in declared(code) {
        if code[open..].starts_with('{') && (open..item_end(code, open)).contains(&at) {
            module.push(name.to_owned());
        }
    }
    module
}

/// A path from the root of the crate, or nothing when it leads out of the crate.
fn absolute(path: &str, module: &[String], children: &[String]) -> Option<Vec<String>> {
    let mut segments = path.split("::").peekable();
    let mut base = match *segments.peek()? {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        child if children.iter().any(|known| known == child) => module.to_vec(),
        _ => return None,
    };
    for segment in segments {
        match segment {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            segment => base.push(segment.to_owned()),
        }
    }
    Some(base)
}

/// The files that a module uses.
fn uses_of(
    modules: &BTreeMap<Vec<String>, Module>,
    path: &[String],
    module: &Module,
    file: &File,
) -> BTreeSet<Use> {
    let mut uses = BTreeSet::new();
    let mut add = |at: usize, named: &[String]| {
        let target = resolve(modules, named, 0);
        if target != module.file {
            uses.insert(Use { target: target.to_owned(), place: file.place(at) });
        }
    };
    for import in &module.imports {
        // A module that shows what its own children define does not use it thereby.
        let shows = import.public && import.path.starts_with(path) && !import.named;
        if !shows {
            add(import.at, &import.path);
        }
    }
    let code = without_imports(&module.code);
    let heads = ["crate", "self", "super"].into_iter();
    for head in heads.chain(module.children.iter().map(String::as_str)) {
        for at in words(&code, head) {
            let is_path = code[at + head.len()..].starts_with("::") && !code[..at].ends_with("::");
            if !is_path {
                continue;
            }
            let mut leaves = Vec::new();
            expand("", &code[at..], &mut leaves);
            let place = within(&code, at, path);
            for leaf in leaves {
                if let Some(named) = absolute(&leaf.path, &place, &module.children) {
                    add(at, &named);
                }
            }
        }
    }
    uses
}

/// `main.rs` is a crate of its own and knows the library by its name.
fn uses_of_main(modules: &BTreeMap<Vec<String>, Module>, main: &File) -> BTreeSet<Use> {
    let mut leaves = Vec::new();
    for at in words(&main.code, "ringtide") {
        expand("", &main.code[at..], &mut leaves);
    }
    let uses = leaves.iter().filter_map(|leaf| {
        let path: Vec<_> = leaf.path.split("::").skip(1).map(str::to_owned).collect();
        (!path.is_empty()).then(|| Use {
            target: resolve(modules, &path, 0).to_owned(),
            place: main.path.clone(),
        })
    });
    uses.collect()
}

/// The file that defines what a path names.
fn resolve<'a>(
    modules: &'a BTreeMap<Vec<String>, Module>,
    path: &[String],
    depth: usize,
) -> &'a str {
    assert!(depth < IMPORTS_IN_A_ROW_MAX, "imports of each other: {path:?}");
    let mut length = 0;
    while length < path.len() && modules.contains_key(&path[..length + 1]) {
        length += 1;
    }
    let module = &modules[&path[..length]];
    let import =
        path.get(length).and_then(|name| module.imports.iter().find(|import| import.name == *name));
    match import {
        Some(import) => {
            let rest = &path[length + 1..];
            resolve(modules, &[&import.path, rest].concat(), depth + 1)
        }
        None => &module.file,
    }
}

const TEST_ATTRIBUTES: &[&str] = &["#[cfg(test)]", "#[cfg(all(test, "];
const ITEMS: &[&str] = &[
    "fn",
    "impl",
    "struct",
    "enum",
    "mod",
    "trait",
    "const",
    "static",
    "type",
    "use",
    "async",
    "unsafe",
    "macro_rules",
];
const IMPORTS_IN_A_ROW_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// What each file uses, as `user > used`.
    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        let modules = Modules::of(&files);
        let mut arrows: Vec<_> = modules
            .uses
            .iter()
            .flat_map(|(file, uses)| {
                uses.iter().map(move |used| format!("{} > {}", &file[4..], &used.target[4..]))
            })
            .collect();
        arrows.dedup();
        arrows
    }

    #[test]
    fn every_way_to_name_another_file_is_seen() {
        for text in [
            "use crate::b::c::C;",
            "use crate::{b::{c::C}, b};",
            "use crate::b::c::*;",
            "pub use crate::b::c::C as D;",
            "use super::b::c;",
            "fn f() { crate::b::c::f(); }",
            "fn f() -> super::b::c::C { }",
            "fn f() { crate::b::c::f::<u8>(); }",
            "mod m { use super::super::b::c::C; }",
            "use crate::b::Shown;",
            "use crate::b::Shown as D;",
        ] {
            let found = arrows(&[
                ("src/lib.rs", "mod a; mod b;"),
                ("src/a.rs", text),
                ("src/b/mod.rs", "mod c; pub use c::C as Shown;"),
                ("src/b/c.rs", ""),
            ]);
            assert!(found.contains(&"a.rs > b/c.rs".to_owned()), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_use_is_not_one() {
        for text in [
            "use std::b::c; // crate::b",
            "#[cfg(test)] mod tests { use crate::b; }",
            "#[cfg(test)] use crate::b::{C, D};",
            "#[cfg(test)] fn f<A, B>() { crate::b::f() }",
            "struct S { #[cfg(test)] c: crate::b::C, d: u8 }",
            "#[cfg(test)] mod c; pub(crate) fn f() {}",
            "mod m { pub fn f() {} } use self::m::f;",
        ] {
            let found = arrows(&[
                ("src/lib.rs", "mod a; mod b;"),
                ("src/a.rs", text),
                ("src/a/c.rs", "use crate::b;"),
                ("src/b.rs", ""),
            ]);
            assert_eq!(found, [""; 0], "{text}");
        }
    }

    #[test]
    fn a_module_that_only_shows_its_children_does_not_use_them() {
        let file =
            |text| arrows(&[("src/lib.rs", "mod a;"), ("src/a.rs", text), ("src/a/b.rs", "")]);
        assert_eq!(file("mod b; pub use b::B;"), [""; 0]);
        assert_eq!(file("mod b; pub use b::B; fn f(_: B) {}"), ["a.rs > a/b.rs"]);
        assert_eq!(file("mod b; use b::B;"), ["a.rs > a/b.rs"]);
        assert_eq!(file("mod b; fn f() { b::g() }"), ["a.rs > a/b.rs"]);
    }

    #[test]
    fn circles_are_found_and_broken_by_exceptions() {
        let files: Vec<_> = [
            ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "use crate::c::C; use crate::d::D;"),
            ("src/c.rs", "use crate::a::A;"),
            ("src/d.rs", ""),
        ]
        .map(|(path, text)| File::new(path, text))
        .into();
        let modules = Modules::of(&files);
        assert_eq!(modules.circles(|_| false), [["src/a.rs", "src/b.rs", "src/c.rs"]]);
        assert_eq!(modules.circles(|file| file == "src/b.rs"), [[""; 3]; 0]);
    }
}
