//! Reads just enough Rust to know which names a file uses: no comments, no texts, no unit tests.

use std::collections::{BTreeMap, BTreeSet};

/// The code of one file under `src/`, line by line as in the file.
pub(super) struct Code {
    /// The modules down to this file, such as `["store", "redis"]`.
    modules: Vec<String>,
    text: String,
}

impl Code {
    /// Reads a file, by its path under `src/`.
    pub(super) fn read(path: &str, text: &str) -> Self {
        let modules = path
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_owned)
            .collect();
        Self {
            modules,
            text: without_tests(&without_comments_and_texts(text)),
        }
    }

    /// The outermost module that this file belongs to.
    pub(super) fn module(&self) -> &str {
        &self.modules[0]
    }

    /// One line of the code, counted from 1.
    pub(super) fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number - 1).unwrap_or_default()
    }

    /// Every module that is named by its path from the crate's root, with its line.
    pub(super) fn crate_paths(&self) -> Vec<(usize, String)> {
        let to_root = "super::".repeat(self.modules.len());
        let mut paths = self.paths_under("crate");
        for (at, _) in self.text.match_indices(&to_root) {
            let before = &self.text[..at];
            if !before.ends_with("super::") && !before.ends_with(is_word) {
                self.names_at(at + to_root.len(), &mut paths);
            }
        }
        paths
    }

    /// The names right under `root::`, with their lines: `a` and `b` of `root::a::x` and `root::{a, b::y}`.
    pub(super) fn paths_under(&self, root: &str) -> Vec<(usize, String)> {
        let root = format!("{root}::");
        let mut names = Vec::new();
        for (at, _) in self.text.match_indices(&root) {
            let before = &self.text[..at];
            // `$crate::` in a macro is the crate too; `other::crate::` is not Rust.
            if !before.ends_with(is_word) && !before.ends_with("::") {
                self.names_at(at + root.len(), &mut names);
            }
        }
        names
    }

    /// The part of its outermost module that this file belongs to: `call` for `engine/call/ending.rs`.
    pub(super) fn part(&self) -> Option<&str> {
        self.modules.get(1).map(String::as_str)
    }

    /// The parts of its own outermost module that are named, with their lines.
    pub(super) fn parts(&self) -> Vec<(usize, String)> {
        let to_module = "super::".repeat(self.modules.len() - 1);
        let mut names = self.paths_under(&format!("crate::{}", self.module()));
        for (at, _) in self.text.match_indices(&to_module) {
            if !to_module.is_empty() && !self.text[..at].ends_with("super::") {
                self.names_at(at + to_module.len(), &mut names);
            }
        }
        names
    }

    /// Every use of one of these words, with its line.
    pub(super) fn words(&self, wanted: &[&str]) -> Vec<(usize, String)> {
        let mut words = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            for word in line.split(|letter| !is_word(letter)) {
                if wanted.contains(&word) {
                    words.push((index + 1, word.to_owned()));
                }
            }
        }
        words
    }

    /// The name at a place in the text, or the first names of a group in braces.
    fn names_at(&self, at: usize, names: &mut Vec<(usize, String)>) {
        let Some(group) = self.text[at..].strip_prefix('{') else {
            names.extend(self.name_at(at));
            return;
        };
        let (mut depth, mut awaits_name) = (0, true);
        for (offset, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                ',' if depth == 0 => awaits_name = true,
                _ if awaits_name && is_word(letter) => {
                    names.extend(self.name_at(at + 1 + offset));
                    awaits_name = false;
                }
                _ => {}
            }
        }
    }

    fn name_at(&self, at: usize) -> Option<(usize, String)> {
        let name: String = self.text[at..]
            .chars()
            .take_while(|letter| is_word(*letter))
            .collect();
        let line = self.text[..at].matches('\n').count() + 1;
        (!name.is_empty()).then_some((line, name))
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The files that are compiled for unit tests only.
pub(super) fn test_files(files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut of_tests = BTreeSet::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line != "#[cfg(test)]" {
                continue;
            }
            let (attributes, item) = item_after(&mut lines);
            let Some(name) = item
                .trim_end()
                .strip_suffix(';')
                .and_then(|item| item.split("mod ").nth(1))
            else {
                continue;
            };
            let beside = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let named = attributes.iter().find_map(|attribute| {
                let file = attribute.strip_prefix("#[path = \"")?.strip_suffix("\"]")?;
                Some(format!("{beside}/{file}"))
            });
            let own = || format!("{}/{name}.rs", path.trim_end_matches(".rs"));
            of_tests.insert(named.unwrap_or_else(own));
        }
    }
    // What such a file is made of is of tests too.
    let within = |path: &String| {
        let parents = of_tests.iter().filter_map(|parent| parent.strip_suffix(".rs"));
        parents
            .filter_map(|parent| path.strip_prefix(parent))
            .any(|rest| rest.starts_with('/'))
    };
    let parts: Vec<_> = files.keys().filter(|path| within(path)).cloned().collect();
    of_tests.extend(parts);
    of_tests
}

/// The attributes that come next, and the line after them.
fn item_after<'a>(lines: &mut std::str::Lines<'a>) -> (Vec<&'a str>, &'a str) {
    let mut attributes = Vec::new();
    for line in lines {
        if !line.starts_with("#[") {
            return (attributes, line);
        }
        attributes.push(line);
    }
    (attributes, "")
}

/// The same text with every inline module of unit tests emptied.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let (mut after_cfg, mut inside) = (false, false);
    for line in text.lines() {
        if inside {
            inside = line != "}";
        } else if after_cfg && line.starts_with("#[") {
            // Another attribute of the same module.
        } else {
            inside = after_cfg && line.contains("mod ") && line.ends_with('{');
            after_cfg = line == "#[cfg(test)]";
            if !inside {
                kept.push_str(line);
            }
        }
        kept.push('\n');
    }
    kept
}

/// The same text, as many lines, with comments and the insides of texts and characters left out.
fn without_comments_and_texts(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let mut kept = String::new();
    let mut index = 0;
    while index < letters.len() {
        let end = match (at(index), at(index + 1)) {
            ('/', '/') => (index..letters.len())
                .find(|&next| at(next) == '\n')
                .unwrap_or(letters.len()),
            ('/', '*') => comment_end(&letters, index),
            ('"', _) => text_end(&letters, index),
            ('r', '"' | '#') if index == 0 || !is_word(at(index - 1)) || at(index - 1) == 'b' => {
                raw_text_end(&letters, index)
            }
            ('\'', '\\') => {
                (index + 3..letters.len())
                    .find(|&next| at(next) == '\'')
                    .unwrap_or(index)
                    + 1
            }
            ('\'', _) if at(index + 2) == '\'' => index + 3,
            _ => {
                kept.push(at(index));
                index += 1;
                continue;
            }
        };
        let left_out = &letters[index..end.min(letters.len())];
        kept.extend(left_out.iter().filter(|letter| **letter == '\n'));
        index = end;
    }
    kept
}

/// The end of a block comment, which may hold others.
fn comment_end(letters: &[char], start: usize) -> usize {
    let (mut depth, mut index) = (0, start);
    while index < letters.len() {
        match letters.get(index..index + 2) {
            Some(['/', '*']) => (depth, index) = (depth + 1, index + 2),
            Some(['*', '/']) => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

fn text_end(letters: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < letters.len() && letters[index] != '"' {
        index += if letters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// The end of `r"..."` or `r##"..."##`; of a raw name such as `r#type`, what comes before the name.
fn raw_text_end(letters: &[char], start: usize) -> usize {
    let hashes = letters[start + 1..]
        .iter()
        .take_while(|letter| **letter == '#')
        .count();
    let open = start + 1 + hashes;
    if letters.get(open) != Some(&'"') {
        return open;
    }
    let closes = |index: &usize| {
        letters[*index] == '"'
            && letters[index + 1..]
                .iter()
                .take(hashes)
                .filter(|letter| **letter == '#')
                .count()
                == hashes
    };
    (open + 1..letters.len())
        .find(closes)
        .map_or(letters.len(), |index| index + 1 + hashes)
}
