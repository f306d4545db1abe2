//! The table of edges: its rows as they are written in TOML, and compiled so that a record is walked once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use serde::Deserialize;

use super::{
    readers::Reader,
    tree::{Place, Tree},
};

/// Who acted: the first row that names somebody.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActorText {
    name: String,
    #[serde(default)]
    when: WhenText,
    is: NodeText,
    #[serde(default)]
    over: Over,
}

/// In whose place an actor is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Over {
    /// Nobody's: the first such row decides.
    #[default]
    None,
    /// That of an account of the service's own, or of nobody.
    System,
    /// That of nobody.
    Nobody,
}

/// One fact: from a node to a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeText {
    name: String,
    #[serde(default)]
    when: WhenText,
    /// Where it starts; left out: at who acted.
    from: Option<NodeText>,
    to: NodeText,
    /// Instead of the Operation.
    label: Option<String>,
    /// `false`: not where the node bears the name of who acted.
    #[serde(default = "yes")]
    own: bool,
}

/// The reading of a text that wholly names something and that no other row read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnywhereText {
    name: String,
    to: Kind,
    /// Names of fields, as globs; none: every field.
    #[serde(default)]
    fields: Vec<String>,
    label: Option<String>,
}

/// The kinds of name that can be told from the text alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Ip,
    Account,
    Address,
    /// An address of SharePoint or OneDrive: a site, or something in it.
    Location,
    App,
}

/// Which records a row is for: all that is written must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WhenText {
    /// RecordType.
    r#type: Vec<u32>,
    not_type: Vec<u32>,
    workload: Vec<String>,
    not_workload: Vec<String>,
    /// Globs.
    operation: Vec<String>,
    /// Of a cmdlet: what stands behind the verb. Globs.
    noun: Vec<String>,
    not_noun: Vec<String>,
    /// Fields of which all must be there; none must be there.
    has: Vec<String>,
    has_not: Vec<String>,
    /// Fields, and values of which one must be theirs.
    r#where: BTreeMap<String, Vec<String>>,
    /// Two fields of the same value.
    same: Vec<String>,
    /// Who acted is a person or an application, and in no edge yet.
    alone: bool,
}

/// A reader and its paths, and beside them where the kind (`type`) and the organization stand.
type NodeText = BTreeMap<String, String>;

const fn yes() -> bool {
    true
}

/// A file of the table.
#[derive(Default)]
struct File {
    actors: Vec<ActorText>,
    edges: Vec<EdgeText>,
    anywhere: Vec<AnywhereText>,
    names_nothing: Vec<String>,
    off: Vec<String>,
}

/// The compiled table.
#[derive(Debug)]
pub struct Table {
    pub(super) tree: Tree,
    pub(super) places: Places,
    pub(super) whens: Vec<When>,
    pub(super) actors: Vec<Actor>,
    pub(super) rows: Vec<Row>,
    pub(super) anywhere: Vec<Anywhere>,
    /// Names of fields whose texts name nothing.
    pub(super) names_nothing: Vec<Glob>,
    /// The rows for each kind of record that was seen.
    rows_for: RwLock<HashMap<Box<str>, Arc<Rows>>>,
}

/// Kinds of record whose rows are remembered. Real tenants have a few hundred.
const MAX_KINDS: usize = 4_096;

/// The rows that are for records of a RecordType, Workload and Operation, by where they stand in the table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) actors: Vec<usize>,
    pub(super) edges: Vec<usize>,
    /// Those for who acted on nothing that is named.
    pub(super) alone: Vec<usize>,
}

/// Where what is asked of every record stands.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) operation: Place,
    pub(super) record_type: Place,
    pub(super) workload: Place,
    pub(super) organization: Place,
    pub(super) organization_name: Place,
}

impl Places {
    /// True if it is one of these: they were made first, and name nothing.
    pub(super) fn has(&self, place: Place) -> bool {
        (self.operation..=self.organization_name).contains(&place)
    }
}

#[derive(Debug)]
pub(super) struct Actor {
    pub(super) when: usize,
    pub(super) is: Source,
    pub(super) over: Over,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) when: usize,
    pub(super) from: Option<Source>,
    pub(super) to: Source,
    pub(super) label: Option<String>,
    pub(super) own: bool,
}

#[derive(Debug)]
pub(super) struct Anywhere {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) fields: Vec<Glob>,
    pub(super) label: Option<String>,
}

/// Where nodes come from, and how they are read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) reader: Reader,
    /// Every one of these; of each, the first that is there.
    pub(super) paths: Vec<Choice>,
    /// All places of the paths.
    pub(super) places: Vec<Place>,
    /// Where the kind of an account stands: a number as UserType has, or a word.
    pub(super) kind: Option<Place>,
    /// Where the organization stands that an account belongs to.
    pub(super) organization: Option<Place>,
}

impl Source {
    /// True if it reads only a part of what a text names.
    pub(super) fn is_part(&self) -> bool {
        self.reader == Reader::SiteOf
    }
}

/// Paths of which the first counts that is there.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) paths: Vec<Path>,
    /// All lead to the same list or object: the first counts in each of its elements.
    pub(super) is_of_one: bool,
}

#[derive(Debug)]
pub(super) enum Path {
    Place {
        place: Place,
        /// Counts only where it holds an address.
        has_at: bool,
    },
    /// Parts of one address.
    Joined(Vec<Place>),
}

/// A `when` compiled.
#[derive(Debug)]
pub(super) struct When {
    text: WhenText,
    operation: Vec<Glob>,
    noun: Vec<Glob>,
    not_noun: Vec<Glob>,
    pub(super) has: Vec<Place>,
    pub(super) has_not: Vec<Place>,
    pub(super) r#where: Vec<(Place, Vec<Glob>)>,
    pub(super) same: Option<(Place, Place)>,
}

impl When {
    /// True if records of a kind are meant, whatever else they hold.
    fn fits(&self, record_type: &str, workload: &str, operation: &str) -> bool {
        let WhenText { r#type, not_type, workload: workloads, not_workload, .. } = &self.text;
        let record_type = record_type.parse().ok();
        let is_among = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(workload));
        let noun = noun(operation);
        (r#type.is_empty() || record_type.is_some_and(|kind| r#type.contains(&kind)))
            && !record_type.is_some_and(|kind| not_type.contains(&kind))
            && (workloads.is_empty() || is_among(workloads))
            && !is_among(not_workload)
            && (self.operation.is_empty() || matches(&self.operation, operation))
            && (self.noun.is_empty() || matches(&self.noun, noun))
            && !matches(&self.not_noun, noun)
    }
}

/// The noun of a cmdlet: of `New-InboxRule` it is `InboxRule`.
fn noun(operation: &str) -> &str {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    operation.split_once('-').filter(|(verb, noun)| is_word(verb) && is_word(noun)).map_or("", |(_, noun)| noun)
}

/// True if one of the patterns is that of a text.
pub(super) fn matches(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}

/// A pattern with `*` for any text, in any letter case.
#[derive(Debug)]
pub(super) struct Glob(Vec<Box<str>>);

impl Glob {
    fn new(pattern: &str) -> Self {
        Self(pattern.split('*').map(|part| part.to_ascii_lowercase().into()).collect())
    }

    fn matches(&self, text: &str) -> bool {
        let (first, last) = (self.0[0].as_bytes(), self.0[self.0.len() - 1].as_bytes());
        let text = text.as_bytes();
        if self.0.len() == 1 {
            return text.eq_ignore_ascii_case(first);
        }
        let fits = text.len() >= first.len() + last.len()
            && text[..first.len()].eq_ignore_ascii_case(first)
            && text[text.len() - last.len()..].eq_ignore_ascii_case(last);
        let mut rest = if fits { &text[first.len()..text.len() - last.len()] } else { return false };
        self.0[1..self.0.len() - 1].iter().all(|part| {
            let found = find(rest, part.as_bytes());
            found.inspect(|at| rest = &rest[at + part.len()..]).is_some()
        })
    }
}

/// Where a part in lower case begins in a text.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let Some(first) = part.first() else { return Some(0) };
    let last = text.len().checked_sub(part.len())?;
    (0..=last).find(|at| text[*at].to_ascii_lowercase() == *first && text[*at..at + part.len()].eq_ignore_ascii_case(part))
}

fn globs(patterns: &[String]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern)).collect()
}

impl Table {
    /// Compiles the built-in table with the rows of further files behind it; and what is wrong with files and rows, each of
    /// which is then left out.
    pub(super) fn compile(files: &[(&str, &str)]) -> (Self, Vec<String>) {
        let mut faults = Vec::new();
        let mut all = File::default();
        for (name, text) in files {
            let file = File::read(name, text, &mut faults);
            all.actors.extend(file.actors);
            all.edges.extend(file.edges);
            all.anywhere.extend(file.anywhere);
            all.names_nothing.extend(file.names_nothing);
            all.off.extend(file.off);
        }
        let mut compiler = Compiler::new(faults);
        compiler.switch_off(&mut all);
        compiler.add(all);
        (compiler.table, compiler.faults)
    }

    /// The rows for a kind of record.
    pub(super) fn rows_for(&self, record_type: &str, workload: &str, operation: &str) -> Arc<Rows> {
        let kind = [record_type, workload, operation].join("\n");
        if let Some(known) = self.rows_for.read().unwrap_or_else(PoisonError::into_inner).get(&*kind) {
            return Arc::clone(known);
        }
        let fits = |when: usize| self.whens[when].fits(record_type, workload, operation);
        let is_alone = |row: &usize| self.whens[self.rows[*row].when].text.alone;
        let edges = (0..self.rows.len()).filter(|row| fits(self.rows[*row].when));
        let (alone, edges) = edges.partition(is_alone);
        let actors = (0..self.actors.len()).filter(|row| fits(self.actors[*row].when)).collect();
        let rows = Arc::new(Rows { actors, edges, alone });
        let mut all = self.rows_for.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_KINDS {
            all.insert(kind.into(), Arc::clone(&rows));
        }
        rows
    }
}

impl File {
    fn read(name: &str, text: &str, faults: &mut Vec<String>) -> Self {
        let mut file = Self::default();
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                faults.push(format!("{name} cannot be read: {}", error.to_string().trim()));
                return file;
            }
        };
        for (key, value) in table {
            let result = match key.as_str() {
                "actor" => rows(&value, &mut file.actors),
                "edge" => rows(&value, &mut file.edges),
                "anywhere" => rows(&value, &mut file.anywhere),
                "names_nothing" => list(value, &mut file.names_nothing),
                "off" => list(value, &mut file.off),
                other => vec![format!("{other} is not known; known are actor, edge, anywhere, names_nothing and off")],
            };
            faults.extend(result.into_iter().map(|fault| format!("{name}: {fault}")));
        }
        file
    }
}

fn list(value: toml::Value, to: &mut Vec<String>) -> Vec<String> {
    match value.try_into::<Vec<String>>() {
        Ok(names) => {
            to.extend(names);
            Vec::new()
        }
        Err(error) => vec![error.to_string().trim().to_owned()],
    }
}

/// Takes the rows that can be read; tells what is wrong with the others.
fn rows<T: serde::de::DeserializeOwned>(value: &toml::Value, to: &mut Vec<T>) -> Vec<String> {
    let Some(rows) = value.as_array() else { return vec!["a row begins with [[, not with [".to_owned()] };
    let mut faults = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let name = row.get("name").and_then(toml::Value::as_str).map_or(format!("row {}", at + 1), |name| format!("row {name:?}"));
        match row.clone().try_into() {
            Ok(row) => to.push(row),
            Err(error) => faults.push(format!("{name}: {}", error.to_string().trim())),
        }
    }
    faults
}

struct Compiler {
    table: Table,
    names: HashSet<String>,
    faults: Vec<String>,
}

impl Compiler {
    fn new(faults: Vec<String>) -> Self {
        let mut tree = Tree::new();
        let mut place = |name| tree.plant(std::iter::once(name)).unwrap_or_default();
        let places = Places {
            operation: place("Operation"),
            record_type: place("RecordType"),
            workload: place("Workload"),
            organization: place("OrganizationId"),
            organization_name: place("OrganizationName"),
        };
        let (whens, actors, rows, anywhere, names_nothing, rows_for) = Default::default();
        let table = Table { tree, places, whens, actors, rows, anywhere, names_nothing, rows_for };
        Self { table, names: HashSet::new(), faults }
    }

    fn switch_off(&mut self, file: &mut File) {
        for off in &file.off {
            let rows = file.actors.len() + file.edges.len() + file.anywhere.len();
            file.actors.retain(|row| row.name != *off);
            file.edges.retain(|row| row.name != *off);
            file.anywhere.retain(|row| row.name != *off);
            if rows == file.actors.len() + file.edges.len() + file.anywhere.len() {
                self.faults.push(format!("off: there is no row {off:?}"));
            }
        }
    }

    fn add(&mut self, file: File) {
        self.table.names_nothing = globs(&file.names_nothing);
        for row in file.actors {
            let name = row.name.clone();
            let actor = self.actor(row);
            self.take(&name, actor, |table, actor| table.actors.push(actor));
        }
        for row in file.edges {
            let name = row.name.clone();
            let row = self.row(row);
            self.take(&name, row, |table, row| table.rows.push(row));
        }
        for AnywhereText { name, to, fields, label } in file.anywhere {
            let row = Anywhere { name: name.clone(), kind: to, fields: globs(&fields), label };
            self.take(&name, Ok(row), |table, row| table.anywhere.push(row));
        }
    }

    fn take<T>(&mut self, name: &str, row: Result<T, String>, to: impl FnOnce(&mut Table, T)) {
        match row {
            Ok(_) if !self.names.insert(name.to_owned()) => self.faults.push(format!("row {name:?}: another row has this name")),
            Ok(row) => to(&mut self.table, row),
            Err(fault) => self.faults.push(format!("row {name:?}: {fault}")),
        }
    }

    fn actor(&mut self, row: ActorText) -> Result<Actor, String> {
        Ok(Actor { when: self.when(row.when)?, is: self.source(&row.is)?, over: row.over })
    }

    fn row(&mut self, row: EdgeText) -> Result<Row, String> {
        let EdgeText { name, when, from, to, label, own } = row;
        let from = from.map(|from| self.source(&from)).transpose()?;
        Ok(Row { name, when: self.when(when)?, from, to: self.source(&to)?, label, own })
    }

    /// The place of a `when` among those that differ.
    fn when(&mut self, text: WhenText) -> Result<usize, String> {
        if let Some(known) = self.table.whens.iter().position(|when| when.text == text) {
            return Ok(known);
        }
        let same = match &text.same[..] {
            [] => None,
            [one, other] => Some((self.place(one)?, self.place(other)?)),
            _ => return Err("same takes two fields".to_owned()),
        };
        let mut r#where = Vec::new();
        for (path, values) in &text.r#where {
            r#where.push((self.place(path)?, globs(values)));
        }
        let when = When {
            operation: globs(&text.operation),
            noun: globs(&text.noun),
            not_noun: globs(&text.not_noun),
            has: text.has.iter().map(|path| self.place(path)).collect::<Result<_, _>>()?,
            has_not: text.has_not.iter().map(|path| self.place(path)).collect::<Result<_, _>>()?,
            r#where,
            same,
            text,
        };
        self.table.whens.push(when);
        Ok(self.table.whens.len() - 1)
    }

    fn source(&mut self, node: &NodeText) -> Result<Source, String> {
        let mut reader = None;
        let (mut kind, mut organization) = (None, None);
        for (name, paths) in node {
            match name.as_str() {
                "type" => kind = Some(self.place(paths)?),
                "organization" => organization = Some(self.place(paths)?),
                name if reader.is_some() => return Err(format!("a node has one reader; {name} is a second one")),
                name => {
                    let read = Reader::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name));
                    reader = Some((read.map_err(|error| error.to_string())?, paths));
                }
            }
        }
        let (reader, paths) = reader.ok_or("a node needs a reader and its paths")?;
        let paths: Vec<Choice> = paths.split(',').map(|choice| self.choice(choice)).collect::<Result<_, _>>()?;
        let places = paths.iter().flat_map(|choice| &choice.paths).flat_map(Path::places).collect();
        Ok(Source { reader, paths, places, kind, organization })
    }

    fn choice(&mut self, text: &str) -> Result<Choice, String> {
        let parent = |path: &str| path.trim().trim_end_matches('@').rsplit_once(['.', '[']).map(|(parent, _)| parent.to_owned());
        let first = text.split('|').next().and_then(parent);
        let is_of_one = first.is_some() && text.split('|').all(|path| parent(path) == first);
        let paths = text.split('|').map(|path| self.path(path)).collect::<Result<_, _>>()?;
        Ok(Choice { paths, is_of_one })
    }

    fn path(&mut self, text: &str) -> Result<Path, String> {
        if text.contains('+') {
            return Ok(Path::Joined(text.split('+').map(|part| self.place(part)).collect::<Result<_, _>>()?));
        }
        let text = text.trim();
        let path = text.strip_suffix('@');
        Ok(Path::Place { place: self.place(path.unwrap_or(text))?, has_at: path.is_some() })
    }

    /// `A.B`, `A[Name of a property].B`.
    fn place(&mut self, path: &str) -> Result<Place, String> {
        let mut names = Vec::new();
        let mut rest = path.trim();
        while !rest.is_empty() {
            let (name, after) = match rest.strip_prefix('[') {
                Some(start) => start.split_once(']').ok_or_else(|| format!("{path}: ] is missing"))?,
                None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
            };
            if name.is_empty() {
                return Err(format!("{path:?} is no path"));
            }
            names.push(name);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        if names.is_empty() {
            return Err("a path is empty".to_owned());
        }
        self.table.tree.plant(names.into_iter()).ok_or_else(|| "there are too many paths".to_owned())
    }
}

impl Path {
    fn places(&self) -> Vec<Place> {
        match self {
            Self::Place { place, .. } => vec![*place],
            Self::Joined(places) => places.clone(),
        }
    }
}
