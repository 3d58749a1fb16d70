//! The sources of a crate, parsed: modules, what they import, the types they define.
//!
//! A path is resolved to the file that defines what it names. A re-export (`pub use`) in a `mod.rs` is followed, so importing
//! from a parent module is an import of the child that defines the item. Unit tests do not count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

/// Stands before paths into other crates.
const EXTERNAL: &str = "::";

/// A module path within a crate, such as `["store", "outbox"]`. Empty for the root.
type ModulePath = Vec<String>;

/// The sources of one crate.
pub(super) struct SourceTree {
    /// By module path.
    files: BTreeMap<ModulePath, SourceFile>,
}

/// One file.
pub(super) struct SourceFile {
    /// Relative to the folder of the crate's sources.
    pub(super) path: PathBuf,
    /// What is imported or named by a path, unresolved.
    paths: BTreeSet<Vec<String>>,
    /// Names that `pub use` exports from other modules, with their paths.
    exports: HashMap<String, Vec<String>>,
    /// Modules of which `pub use` exports everything.
    glob_exports: Vec<Vec<String>>,
    /// Names of types and traits, unit tests included.
    pub(super) types: Vec<String>,
    pub(super) is_async: bool,
}

impl SourceTree {
    /// Parses the sources below a folder, such as `src`.
    pub(super) fn parse(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for path in rust_files(folder) {
            let relative = path.strip_prefix(folder).unwrap().to_owned();
            let module = module_of(&relative);
            let text = fs::read_to_string(&path).unwrap();
            let file = SourceFile::parse(relative, &module, &text);
            files.insert(module, file);
        }
        assert!(!files.is_empty(), "{} has no sources", folder.display());
        Self { files }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.values()
    }

    /// The files of the crate that a file depends on.
    pub(super) fn dependencies(&self, file: &SourceFile) -> BTreeSet<&Path> {
        file.paths
            .iter()
            .filter_map(|path| self.resolve(path, 0))
            .map(|found| found.path.as_path())
            .filter(|path| *path != file.path)
            .collect()
    }

    /// The file that defines what a path from the root of the crate names.
    fn resolve(&self, path: &[String], depth: usize) -> Option<&SourceFile> {
        // Longer chains of re-exports do not exist.
        if depth > 8 {
            return None;
        }
        if path.first().is_some_and(|first| first == EXTERNAL) {
            return None;
        }
        let mut module: ModulePath = Vec::new();
        for (index, name) in path.iter().enumerate() {
            let mut child = module.clone();
            child.push(name.clone());
            if self.files.contains_key(&child) {
                module = child;
                continue;
            }
            let file = self.files.get(&module)?;
            if let Some(target) = file.exports.get(name) {
                let target = [target, &path[index + 1..]].concat();
                return self.resolve(&target, depth + 1).or(Some(file));
            }
            for target in &file.glob_exports {
                let target = [target, &path[index..]].concat();
                if let Some(found) = self.resolve(&target, depth + 1) {
                    return Some(found);
                }
            }
            return Some(file);
        }
        // A module by itself is no dependency. What is used of it is.
        None
    }

    /// The other crates that a file names.
    pub(super) fn libraries(file: &SourceFile) -> BTreeSet<&str> {
        let external = file.paths.iter().filter(|path| path[0] == EXTERNAL);
        external.map(|path| path[1].as_str()).collect()
    }

    /// Groups of files that import each other.
    pub(super) fn cycles(&self) -> Vec<Vec<String>> {
        let graph: BTreeMap<&Path, BTreeSet<&Path>> = self
            .files()
            .map(|file| (file.path.as_path(), self.dependencies(file)))
            .collect();
        let reaches: BTreeMap<&Path, BTreeSet<&Path>> = graph
            .keys()
            .map(|file| (*file, reachable(&graph, file)))
            .collect();
        let mut cycles: BTreeSet<Vec<String>> = BTreeSet::new();
        for (file, reached) in &reaches {
            if reached.contains(file) {
                let group = reached
                    .iter()
                    .filter(|other| reaches[*other].contains(file));
                cycles.insert(group.map(|path| path.display().to_string()).collect());
            }
        }
        cycles.into_iter().collect()
    }
}

fn reachable<'a>(
    graph: &BTreeMap<&'a Path, BTreeSet<&'a Path>>,
    from: &'a Path,
) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in &graph[file] {
            if reached.insert(*next) {
                open.push(next);
            }
        }
    }
    reached
}

impl SourceFile {
    fn parse(path: PathBuf, module: &ModulePath, text: &str) -> Self {
        let parsed =
            syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_test_file = name == "tests" || name.ends_with("_tests");
        let mut file = Self {
            path,
            paths: BTreeSet::new(),
            exports: HashMap::new(),
            glob_exports: Vec::new(),
            types: Vec::new(),
            is_async: false,
        };
        let mut visitor = FileVisitor {
            module,
            file: &mut file,
            children: children(&parsed.items),
            aliases: HashMap::new(),
            is_test: is_test_file,
        };
        if is_test_file {
            visitor.visit_types(&parsed.items);
        } else {
            visitor.visit_items(&parsed.items);
        }
        file
    }
}

/// Collects what a file names and defines.
struct FileVisitor<'a> {
    module: &'a ModulePath,
    file: &'a mut SourceFile,
    /// The modules that the file declares.
    children: BTreeSet<String>,
    /// Imported names with their full paths, because a path may begin with one.
    aliases: HashMap<String, Vec<String>>,
    is_test: bool,
}

impl FileVisitor<'_> {
    fn visit_items(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Use(item) = item {
                let is_export = !matches!(item.vis, Visibility::Inherited);
                self.add_use(&item.tree, Vec::new(), is_export);
            }
        }
        for item in items {
            self.visit_item(item);
        }
    }

    /// Only the names of types count in tests.
    fn visit_types(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Struct(_) | Item::Enum(_) | Item::Trait(_) | Item::Type(_) = item {
                self.visit_item(item);
            }
        }
    }

    fn add_use(&mut self, tree: &UseTree, mut prefix: Vec<String>, is_export: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(&path.tree, prefix, is_export);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, prefix.clone(), is_export);
                }
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                if name != "self" {
                    prefix.push(name.clone());
                }
                let alias = prefix.last().cloned().unwrap_or(name);
                self.add_import(alias, &prefix, is_export);
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.add_import(rename.rename.to_string(), &prefix, is_export);
            }
            UseTree::Glob(_) => {
                let path = self.absolute(&prefix);
                if is_export {
                    self.file.glob_exports.push(path);
                } else if !self.is_test {
                    self.file.paths.insert(path);
                }
            }
        }
    }

    fn add_import(&mut self, alias: String, path: &[String], is_export: bool) {
        let path = self.absolute(path);
        if is_export {
            self.file.exports.insert(alias.clone(), path.clone());
        } else if !self.is_test {
            self.file.paths.insert(path.clone());
        }
        self.aliases.insert(alias, path);
    }

    /// The path from the root of the crate, or a path into another crate that begins with [`EXTERNAL`].
    fn absolute(&self, path: &[String]) -> Vec<String> {
        match path.first().map(String::as_str) {
            Some("crate") => path[1..].to_vec(),
            Some("self") => [self.module.as_slice(), &path[1..]].concat(),
            Some("super") => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let parent = &self.module[..self.module.len().saturating_sub(supers)];
                [parent, &path[supers..]].concat()
            }
            Some(first) if self.children.contains(first) => [self.module.as_slice(), path].concat(),
            _ => [&[EXTERNAL.to_owned()], path].concat(),
        }
    }

    fn add_path(&mut self, names: &[String]) {
        let Some(first) = names.first() else { return };
        let path = match first.as_str() {
            "crate" | "self" | "super" if names.len() > 1 => self.absolute(names),
            first => match self.aliases.get(first) {
                Some(alias) => [alias.as_slice(), &names[1..]].concat(),
                // A name of this file, of a child module or of another crate.
                None if names.len() > 1 => self.absolute(names),
                None => return,
            },
        };
        self.file.paths.insert(path);
    }

    /// The paths in the arguments of a macro, which are not parsed.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut names: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_path(&std::mem::take(&mut names));
                    }
                    names.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.add_path(&std::mem::take(&mut names));
                    self.add_tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.add_path(&std::mem::take(&mut names));
                    colons = 0;
                }
            }
        }
        self.add_path(&names);
    }

    fn add_type(&mut self, name: &syn::Ident) {
        self.file.types.push(name.to_string());
    }
}

fn children(items: &[Item]) -> BTreeSet<String> {
    let modules = items.iter().filter_map(|item| match item {
        Item::Mod(item) => Some(item.ident.to_string()),
        _ => None,
    });
    modules.collect()
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut is_test = attribute.path().is_ident("test");
        if attribute.path().is_ident("cfg") {
            let _ = attribute.parse_nested_meta(|meta| {
                is_test |= meta.path.is_ident("test");
                Ok(())
            });
        }
        is_test
    })
}

impl Visit<'_> for FileVisitor<'_> {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let Some((_, items)) = &item.content else {
            return;
        };
        let was_test = self.is_test;
        self.is_test |= is_test(&item.attrs);
        if self.is_test {
            self.visit_types(items);
        } else {
            self.visit_items(items);
        }
        self.is_test = was_test;
    }

    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        self.add_type(&item.ident);
        if !self.is_test {
            visit::visit_item_struct(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
        self.add_type(&item.ident);
        if !self.is_test {
            visit::visit_item_enum(self, item);
        }
    }

    fn visit_item_trait(&mut self, item: &syn::ItemTrait) {
        self.add_type(&item.ident);
        if !self.is_test {
            visit::visit_item_trait(self, item);
        }
    }

    fn visit_item_type(&mut self, item: &syn::ItemType) {
        self.add_type(&item.ident);
        if !self.is_test {
            visit::visit_item_type(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.file.is_async |= item.sig.asyncness.is_some();
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.file.is_async |= item.sig.asyncness.is_some();
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, _: &syn::ItemUse) {
        // Done before, because aliases must be known.
    }

    fn visit_visibility(&mut self, _: &Visibility) {
        // `pub(in crate::grpc)` is no dependency.
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.add_path(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        self.visit_path(&item.path);
        self.add_tokens(item.tokens.clone());
    }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`.
fn module_of(file: &Path) -> ModulePath {
    let path = file.with_extension("");
    let mut parts: ModulePath = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if ["mod", "lib"].contains(&parts.last().unwrap().as_str()) {
        parts.pop();
    }
    parts
}

/// The Rust files below a folder, in order.
pub(super) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
