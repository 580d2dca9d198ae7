//! What is brought into a fresh worktree from the main one: ignored and untracked files, by pattern.
//!
//! The worktree's content is an author's, so every directory on the way to a new file is checked not to be a link.
//! No process runs there yet, hence nothing can change between the check and the use.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Copies what matches `patterns` from `main` to `tree`; sentences about what was left out.
///
/// `tracked` are paths that are never copied. Nothing below `main`'s `.git`, nor below `except`, is looked at. A
/// symbolic link is copied as a link if it stays within `main`, and left out if not.
///
/// # Errors
/// A pattern cannot be read, or a file cannot be copied.
pub(super) fn bring(
    main: &Path,
    tree: &Path,
    patterns: &[String],
    tracked: &HashSet<String>,
    except: &Path,
) -> io::Result<Vec<String>> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let mut builder = GitignoreBuilder::new(main);
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(io::Error::other)?;
    }
    let mut copy = Copy {
        main,
        tree,
        except,
        tracked,
        wanted: builder.build().map_err(io::Error::other)?,
        notes: Vec::new(),
    };
    copy.directory(Path::new(""), false)?;
    Ok(copy.notes)
}

struct Copy<'a> {
    main: &'a Path,
    tree: &'a Path,
    except: &'a Path,
    tracked: &'a HashSet<String>,
    wanted: Gitignore,
    notes: Vec<String>,
}

impl Copy<'_> {
    /// Goes through one directory, by its path from the root; `all` when a pattern matched it as a whole.
    fn directory(&mut self, path: &Path, all: bool) -> io::Result<()> {
        let entries = fs::read_dir(self.main.join(path)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            // A person works there: a directory may be another user's, or gone since its parent was read.
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.notes
                        .push(format!("{} was not looked through: {error}", path.display()));
                }
                return Ok(());
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let below = path.join(entry.file_name());
            let kind = entry.file_type()?;
            if entry.file_name() == ".git" || entry.path() == self.except {
                continue;
            }
            let said = self.wanted.matched(&below, kind.is_dir());
            let wanted = said.is_ignore() || (all && !said.is_whitelist());
            if kind.is_dir() {
                self.directory(&below, wanted)?;
            } else if wanted && !below.to_str().is_some_and(|path| self.tracked.contains(path)) {
                self.file(&below, kind)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, kind: fs::FileType) -> io::Result<()> {
        let (from, to) = (self.main.join(path), self.tree.join(path));
        let shown = path.display();
        if !kind.is_file() && !kind.is_symlink() {
            self.notes
                .push(format!("{shown} was not copied: it is neither file nor link"));
            return Ok(());
        }
        if !self.make_parents(path)? || fs::symlink_metadata(&to).is_ok() {
            self.notes.push(format!(
                "{shown} was not copied: something else is in its place in the worktree"
            ));
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&from)?;
            if leaves(path, &target) {
                self.notes.push(format!(
                    "{shown} was not copied: it is a link that leaves the repository"
                ));
                return Ok(());
            }
            return symlink(target, to);
        }
        clone_file(&from, &to).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{} cannot be written: {error}", to.display()),
            )
        })
    }

    /// Makes the directories above a file; false when one of them is a link or a file.
    fn make_parents(&self, path: &Path) -> io::Result<bool> {
        let mut directory = self.tree.to_owned();
        for part in path.parent().into_iter().flat_map(Path::components) {
            directory.push(part);
            match fs::symlink_metadata(&directory) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&directory)?,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Whether a link at `path` to `target`, both from the root, leads out of it.
fn leaves(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count() - 1;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// Copies a file's content and mode, sharing its blocks where the file system can.
fn clone_file(from: &Path, to: &Path) -> io::Result<()> {
    crate::fault::point("workspace.copy")?;
    let source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode() & 0o777;
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(to)?;
    if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
        io::copy(&mut &source, &mut copy)?;
    }
    Ok(())
}

/// Every path below `tree`, except `.git`, that is not in `tracked`: what `bring` and set-up made. Links are not
/// followed; directories are not listed.
pub(super) fn untracked(tree: &Path, tracked: &HashSet<String>) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(tree.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if path == Path::new(".git") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if let Some(path) = path.to_str().filter(|path| !tracked.contains(*path)) {
                found.push(path.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), path).unwrap();
    }

    fn tracked(paths: &[&str]) -> HashSet<String> {
        paths.iter().map(|&path| path.to_owned()).collect()
    }

    fn patterns(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|&pattern| pattern.to_owned()).collect()
    }

    #[test]
    fn what_matches_is_brought_and_what_is_tracked_is_not() {
        let (main, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for path in [
            ".env",
            "a/.env",
            "config/x.local",
            "config/y",
            "deps/p/q",
            "deps/r",
            "z",
            ".git/.env",
        ] {
            write(main.path(), path);
        }
        let wanted = patterns(&[".env", "config/*.local", "/deps/", "!deps/r"]);
        let notes = bring(
            main.path(),
            tree.path(),
            &wanted,
            &tracked(&["a/.env"]),
            Path::new("/none"),
        )
        .unwrap();
        assert!(notes.is_empty());
        let brought = untracked(tree.path(), &HashSet::new()).unwrap();
        assert_eq!(brought, [".env", "config/x.local", "deps/p/q"]);
        assert_eq!(
            fs::read_to_string(tree.path().join("deps/p/q")).unwrap(),
            "deps/p/q"
        );
    }

    #[test]
    fn a_link_is_brought_as_a_link_and_one_that_leaves_is_not() {
        let (main, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(main.path(), "deps/bin/real");
        symlink("bin/real", main.path().join("deps/inside")).unwrap();
        symlink("../../etc/passwd", main.path().join("deps/outside")).unwrap();
        symlink("/etc/passwd", main.path().join("deps/absolute")).unwrap();
        let notes = bring(
            main.path(),
            tree.path(),
            &patterns(&["deps"]),
            &HashSet::new(),
            Path::new("/none"),
        );
        assert_eq!(notes.unwrap().len(), 2);
        assert_eq!(
            fs::read_link(tree.path().join("deps/inside")).unwrap(),
            Path::new("bin/real")
        );
        assert!(fs::symlink_metadata(tree.path().join("deps/outside")).is_err());
    }

    #[test]
    fn nothing_is_written_through_a_link_an_author_committed() {
        let (main, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = tempfile::tempdir().unwrap();
        write(main.path(), "config/.env");
        write(main.path(), "top");
        symlink(outside.path(), tree.path().join("config")).unwrap();
        symlink(outside.path().join("file"), tree.path().join("top")).unwrap();
        let wanted = patterns(&[".env", "top"]);
        let notes = bring(
            main.path(),
            tree.path(),
            &wanted,
            &HashSet::new(),
            Path::new("/none"),
        )
        .unwrap();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_copy_keeps_the_mode() {
        let (main, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(main.path(), "run");
        fs::set_permissions(main.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        bring(
            main.path(),
            tree.path(),
            &patterns(&["run"]),
            &HashSet::new(),
            Path::new("/none"),
        )
        .unwrap();
        let mode = fs::metadata(tree.path().join("run"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
