//! Skills (SEP-2640): directories of instructions that a host reads when its model needs them.
//!
//! A skill is a `SKILL.md` and the files beside it, which are resources like any other. `skills/list` and `skills/get`
//! say what there is, with a digest of each file, so that a host knows that it reads what was approved. These are a
//! part of the program. rmcp's `SkillCatalog` (feature `skills-fs`) reads them from a directory.

use std::collections::{BTreeMap, BTreeSet};

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, DIRECTORY_MIME_TYPE, GetSkillResult, ListSkillsResult, ReadResourceDirectoryResult,
    ReadResourceResult, Resource, ResourceContents, SKILL_MD, Skill, SkillFrontmatter, SkillResource,
    SkillResources,
};
use serde_json::json;

use crate::LISTS_LAST_MS;

const SCHEME: &str = "skill://";
const MARKDOWN: &str = "text/markdown";

/// The files of each skill, by their paths.
const FILES: [(&str, &str); 4] = [
    (
        "release-notes/SKILL.md",
        include_str!("skills/release-notes/SKILL.md"),
    ),
    (
        "release-notes/templates/notes.md",
        include_str!("skills/release-notes/templates/notes.md"),
    ),
    (
        "code-review/SKILL.md",
        include_str!("skills/code-review/SKILL.md"),
    ),
    (
        "code-review/checklist.md",
        include_str!("skills/code-review/checklist.md"),
    ),
];

/// The skills, the same on every node.
pub(crate) struct Skills {
    skills: Vec<Skill>,
    /// Each file's text, by its URI.
    files: BTreeMap<String, &'static str>,
}

impl Skills {
    pub(crate) fn new() -> Self {
        let files = FILES.map(|(path, text)| (format!("{SCHEME}{path}"), text));
        let skills = files.iter().filter_map(|(uri, text)| {
            let root = uri.strip_suffix(SKILL_MD)?;
            let own = files.iter().filter(|(file, _)| file.starts_with(root));
            let own = own.map(|(file, text)| SkillResource::from_bytes(file, text.as_bytes()));
            let resources = SkillResources::Files(own.collect());
            Some(Skill::new(uri, frontmatter(text)?, resources))
        });
        Self {
            skills: skills.collect(),
            files: files.into(),
        }
    }

    /// `skills/list`.
    pub(crate) fn list(&self) -> ListSkillsResult {
        ListSkillsResult::with_all_items(self.skills.clone())
            .with_ttl_ms(LISTS_LAST_MS)
            .with_cache_scope(CacheScope::Public)
    }

    /// `skills/get`.
    pub(crate) fn get(&self, uri: &str) -> Result<GetSkillResult, ErrorData> {
        let skill = self.skills.iter().find(|skill| skill.uri == uri);
        let skill = skill.ok_or_else(|| not_there("there is no such skill", uri))?;
        Ok(GetSkillResult::new(skill.clone())
            .with_ttl_ms(LISTS_LAST_MS)
            .with_cache_scope(CacheScope::Public))
    }

    /// Each `SKILL.md` as `resources/list` has it. The other files are found through it.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Resource> {
        self.skills.iter().map(|skill| {
            Resource::new(&skill.uri, skill.name())
                .with_description(&skill.frontmatter.description)
                .with_mime_type(MARKDOWN)
        })
    }

    /// `resources/read`, of a skill's file.
    pub(crate) fn read(&self, uri: &str) -> Option<ReadResourceResult> {
        let text = ResourceContents::text(*self.files.get(uri)?, uri).with_mime_type(MARKDOWN);
        Some(ReadResourceResult::new(vec![text]))
    }

    /// `resources/directory/read`: what is in a directory, and not in those below it.
    pub(crate) fn directory(&self, uri: &str) -> Result<ReadResourceDirectoryResult, ErrorData> {
        let inside = format!("{}/", uri.trim_end_matches('/'));
        let below = self.files.keys().filter_map(|file| file.strip_prefix(&inside));
        let children: BTreeSet<_> = below
            .map(|path| {
                path.split_once('/')
                    .map_or((path, false), |(directory, _)| (directory, true))
            })
            .collect();
        if children.is_empty() {
            return Err(not_there("there is no such directory", uri));
        }
        let children = children.into_iter().map(|(name, is_directory)| {
            let kind = if is_directory {
                DIRECTORY_MIME_TYPE
            } else {
                MARKDOWN
            };
            Resource::new(format!("{inside}{name}"), name).with_mime_type(kind)
        });
        Ok(ReadResourceDirectoryResult::with_all_items(children.collect())
            .with_ttl_ms(LISTS_LAST_MS)
            .with_cache_scope(CacheScope::Public))
    }
}

/// What a `SKILL.md` begins with. These are lines of plain text, `name: value`, which YAML reads in the same way.
fn frontmatter(text: &str) -> Option<SkillFrontmatter> {
    let (head, _body) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
    let field = |name| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    Some(SkillFrontmatter::new(field("name")?, field("description")?))
}

fn not_there(words: &'static str, uri: &str) -> ErrorData {
    ErrorData::invalid_params(words, Some(json!({ "uri": uri })))
}
