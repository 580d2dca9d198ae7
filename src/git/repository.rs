//! Finding a repository and asking it simple things.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;

use super::aside::Aside;
use super::invoke::{Call, Invoker, UserEnvironment, Whose, nul_items, path_of};
use super::{Error, MINIMUM, Result};
use crate::fault;
use crate::id::Oid;
use crate::process::await_stragglers;

/// A repository, seen from one of its worktrees. Cheap to clone; may be used from many threads at once.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
    /// Where what is made goes, when nothing of it is to stay.
    pub(super) aside: Option<Arc<Aside>>,
}

#[derive(Debug)]
struct Inner {
    invoker: Invoker,
    root: PathBuf,
    main_root: PathBuf,
    common_dir: PathBuf,
    identity: Option<Identity>,
    excludes: Option<PathBuf>,
    /// Where neutral directories are.
    temporary_root: PathBuf,
    /// Made when the first command needs it: who only reads journals must not need a disk that can be written.
    neutral: OnceLock<Neutral>,
}

/// The git directory of the neutral setting; goes with the last clone of the repository.
#[derive(Debug)]
struct Neutral {
    directory: TempDir,
    /// Locked as long as this process lives, so that others can tell that the directory is in use.
    _owner: File,
}

/// Who a commit is by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
}

/// As it stands in commits and trailers: `Name <email>`.
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

impl Repository {
    /// Finds the repository that `start` is in, for a person with these surroundings.
    ///
    /// # Errors
    /// When there is none, or it is one that cannot be worked in; each with its remedy.
    pub fn discover(start: &Path, user: &UserEnvironment) -> Result<Self> {
        let invoker = Invoker::find(user)?;
        require_version(&invoker)?;
        let ask = |what: &str| {
            let call = Call::new(start, Whose::Person).args(["rev-parse", "--path-format=absolute", what]);
            invoker.line(&call)
        };
        let common_dir = match ask("--git-common-dir") {
            Ok(text) => canonical(Path::new(&text))?,
            Err(Error::Command { stderr, .. }) if stderr.contains("not a git repository") => {
                return Err(Error::NotARepository(start.to_owned()));
            }
            Err(Error::Command { stderr, .. }) => {
                return Err(Error::Unusable {
                    path: start.to_owned(),
                    message: stderr,
                });
            }
            Err(error) => return Err(error),
        };
        refuse_formats(&invoker, &common_dir)?;
        if ask("--is-inside-work-tree")? != "true" {
            return Err(Error::Bare(common_dir));
        }
        let root = canonical(Path::new(&ask("--show-toplevel")?))?;
        if ask_head(&invoker, &root)?.is_none() {
            return Err(Error::Unborn(root));
        }
        let inner = Inner {
            temporary_root: std::env::temp_dir(),
            neutral: OnceLock::new(),
            main_root: main_root(&invoker, &common_dir)?.unwrap_or_else(|| root.clone()),
            identity: identity(&invoker, &root)?,
            excludes: excludes(&invoker, &root)?,
            invoker: invoker.owned(&common_dir),
            root,
            common_dir,
        };
        Ok(Self {
            inner: Arc::new(inner),
            aside: None,
        })
    }

    /// The worktree the person is in.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The main worktree; [`Self::root`] where a bare repository has linked worktrees only.
    pub fn main_root(&self) -> &Path {
        &self.inner.main_root
    }

    /// The git directory that all worktrees share.
    pub fn common_dir(&self) -> &Path {
        &self.inner.common_dir
    }

    /// Waits for the git commands that an engine of this repository which was killed had started; those that are still
    /// there after `patience`. What they do late must not meet what the next engine does. Blocks.
    pub fn await_stragglers(&self, patience: Duration) -> Vec<i32> {
        await_stragglers(&self.common_dir().display().to_string(), patience)
    }

    /// The version of git, such as `2.47.3`.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn git_version(&self) -> Result<String> {
        version(self.invoker())
    }

    /// Where the locks of this program are; made when it is missing.
    pub(super) fn own_dir(&self) -> Result<PathBuf> {
        let path = self.common_dir().join("pipeline");
        fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
        Ok(path)
    }

    /// Whether history is cut off.
    pub fn is_shallow(&self) -> bool {
        self.common_dir().join("shallow").exists()
    }

    /// The branch the person is on, without `refs/heads/`; `None` when detached.
    ///
    /// # Errors
    /// When git fails.
    pub fn current_branch(&self) -> Result<Option<String>> {
        let call = Call::new(self.root(), Whose::Person).args(["symbolic-ref", "--quiet", "HEAD"]);
        let output = self.invoker().run(&call)?;
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end_matches('\n')
                .strip_prefix("refs/heads/")
                .map(str::to_owned)),
            Some(1) => Ok(None),
            _ => Err(super::invoke::failed(&call, &output)),
        }
    }

    /// Who the person is to git.
    ///
    /// # Errors
    /// [`Error::IdentityMissing`] when name or address is not configured; git's own guesses are not used.
    pub fn identity(&self) -> Result<Identity> {
        self.inner.identity.clone().ok_or(Error::IdentityMissing)
    }

    /// The person's own exclude file, for all repositories.
    pub(super) fn excludes(&self) -> Option<&Path> {
        self.inner.excludes.as_deref()
    }

    pub(super) fn invoker(&self) -> &Invoker {
        &self.inner.invoker
    }

    /// Where directories for a moment are made: they go with the process, or are found when it was killed.
    pub(super) fn scratch_root(&self) -> Result<&Path> {
        if let Some(neutral) = self.inner.neutral.get() {
            return Ok(neutral.directory.path());
        }
        let (directory, owner) = neutral_directory(&self.inner.temporary_root, self.common_dir())?;
        let made = Neutral {
            directory,
            _owner: owner,
        };
        // Of two threads that come here at once one is late, and what it made goes at once.
        Ok(self.inner.neutral.get_or_init(|| made).directory.path())
    }

    /// Where neutral directories are.
    pub(super) fn temporary_root(&self) -> &Path {
        &self.inner.temporary_root
    }

    /// A command in the neutral setting: the repository's objects, nobody's configuration.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub(super) fn neutral(&self) -> Result<Call> {
        let git_dir = self.scratch_root()?;
        let call = Call::new(git_dir, Whose::Nobody)
            .env("GIT_DIR", git_dir)
            .env("GIT_OBJECT_DIRECTORY", self.objects_dir());
        let call = match &self.aside {
            // Nothing outlives the question: nothing is made to last, and the disk is asked as little as can be.
            Some(aside) => call
                .aside(aside.cut())
                .config("core.fsync", "none")
                .config("core.createObject", "rename")
                .config("core.looseCompression", "0"),
            None => call,
        };
        Ok(if self.is_shallow() {
            call.env("GIT_SHALLOW_FILE", self.common_dir().join("shallow"))
        } else {
            call
        })
    }

    /// A command in the repository setting: refs and worktrees.
    pub(super) fn shared(&self) -> Call {
        Call::new(self.common_dir(), Whose::Nobody).env("GIT_DIR", self.common_dir())
    }

    /// A command in the person setting, in one of their checkouts.
    pub(super) fn personal(&self, checkout: &Path) -> Call {
        Call::new(checkout, Whose::Person)
    }

    /// Runs a command that has to succeed.
    pub(super) fn output(&self, call: &Call) -> Result<Vec<u8>> {
        self.invoker().output(call)
    }

    /// Runs a command that answers with an object id.
    pub(super) fn oid(&self, call: &Call) -> Result<Oid> {
        Ok(self.invoker().line(call)?.parse()?)
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(Error::io("resolve", path))
}

fn version(invoker: &Invoker) -> Result<String> {
    let text = invoker.line(&Call::new(Path::new("/"), Whose::Nobody).arg("version"))?;
    Ok(text.strip_prefix("git version ").unwrap_or(&text).to_owned())
}

fn require_version(invoker: &Invoker) -> Result<()> {
    let found = version(invoker)?;
    if parse_version(&found).is_some_and(|version| version >= MINIMUM) {
        return Ok(());
    }
    Err(Error::GitTooOld { found })
}

/// Major and minor of `2.47.3` or `2.39.5 (Apple Git-154)`.
pub(super) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', ' ', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// `--file` reads just this file, without includes, and starts nothing.
fn refuse_formats(invoker: &Invoker, common_dir: &Path) -> Result<()> {
    let call = Call::new(common_dir, Whose::Nobody)
        .args(["config", "--file"])
        .arg(common_dir.join("config"));
    let formats = configured(invoker, call, r"^extensions\.(objectformat|refstorage)$")?;
    let other_than = |key: &str, usual: &str| {
        let format = formats.get(key);
        format.is_some_and(|format| !format.eq_ignore_ascii_case(usual))
    };
    if other_than("extensions.objectformat", "sha1") {
        return Err(Error::Sha256(common_dir.to_owned()));
    }
    if other_than("extensions.refstorage", "files") {
        return Err(Error::Reftable(common_dir.to_owned()));
    }
    Ok(())
}

/// The keys that match a pattern, in lower case, each with the value that counts: the last one.
fn configured(invoker: &Invoker, config: Call, pattern: &str) -> Result<BTreeMap<String, String>> {
    let output = invoker.run(&config.args(["-z", "--get-regexp", pattern]))?;
    let pairs = nul_items(&output.stdout).map(|item| {
        let text = String::from_utf8_lossy(item);
        // A key without `=` has no value.
        let (key, value) = text.split_once('\n').unwrap_or((&text, ""));
        (key.to_lowercase(), value.trim().to_owned())
    });
    Ok(pairs.collect())
}

fn ask_head(invoker: &Invoker, root: &Path) -> Result<Option<Oid>> {
    let call = Call::new(root, Whose::Person).args(["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]);
    let output = invoker.run(&call)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}

/// The main worktree is where git takes it to be: beside its `.git`, unless that is bare. Git's own listing of the
/// worktrees is not asked, because it fails while one of them is half registered.
fn main_root(invoker: &Invoker, common_dir: &Path) -> Result<Option<PathBuf>> {
    let call = Call::new(common_dir, Whose::Nobody)
        .env("GIT_DIR", common_dir)
        .args(["rev-parse", "--is-bare-repository"]);
    if invoker.line(&call)? == "true" {
        return Ok(None);
    }
    let beside = common_dir.file_name().is_some_and(|name| name == ".git");
    let place = common_dir.parent().filter(|_| beside).unwrap_or(common_dir);
    Ok(Some(place.to_owned()))
}

fn identity(invoker: &Invoker, root: &Path) -> Result<Option<Identity>> {
    let call = Call::new(root, Whose::Person).arg("config");
    let configured = configured(invoker, call, r"^user\.(name|email)$")?;
    let value_of = |key: &str| {
        let clean = configured.get(key)?.chars();
        let text: String = clean
            .filter(|c| !c.is_control() && !['<', '>'].contains(c))
            .collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let (name, email) = (value_of("user.name"), value_of("user.email"));
    Ok(name.zip(email).map(|(name, email)| Identity { name, email }))
}

fn excludes(invoker: &Invoker, root: &Path) -> Result<Option<PathBuf>> {
    let call = Call::new(root, Whose::Person).args(["config", "--type=path", "--get", "core.excludesFile"]);
    let output = invoker.run(&call)?;
    if output.status.success() {
        return Ok(Some(root.join(path_of(output.stdout.trim_ascii_end()))));
    }
    let user = invoker.user();
    let own = user
        .xdg_config_home
        .clone()
        .or_else(|| user.home.as_ref().map(|home| home.join(".config")));
    Ok(own
        .map(|directory| directory.join("git/ignore"))
        .filter(|path| path.is_file()))
}

/// The least that git takes for a git directory, locked by this process. Who finds it unlocked, even half made, may
/// remove it while it holds the lock; so it is looked at again once the lock is ours.
fn neutral_directory(parent: &Path, common_dir: &Path) -> Result<(TempDir, File)> {
    let prefix = neutral_prefix(common_dir)?;
    let (directory, owner) = loop {
        let directory = fault::point("git.neutral")
            .and_then(|()| tempfile::Builder::new().prefix(&prefix).tempdir_in(parent))
            .map_err(Error::io("make a directory in", parent))?;
        match File::open(directory.path()) {
            Ok(owner) => {
                // Where locks do not work nobody else gets it either, and the directory is never taken for abandoned.
                drop(owner.lock());
                if directory.path().exists() {
                    break (directory, owner);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("open", directory.path())(error)),
        }
    };
    let config =
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\tsymlinks = true\n";
    write_git_dir(directory.path(), "ref: refs/heads/none\n", config)?;
    Ok((directory, owner))
}

/// How the names of the neutral directories of one repository begin.
pub(super) fn neutral_prefix(common_dir: &Path) -> Result<String> {
    let path = common_dir.as_os_str().as_bytes();
    let hash = git2::Oid::hash_object(git2::ObjectType::Blob, path)
        .map_err(super::objects::unreadable("the repository's path"))?;
    Ok(format!("pipeline-git-{}-", &hash.to_string()[..8]))
}

/// Makes a git directory with this `HEAD` and configuration and without any template.
pub(super) fn write_git_dir(path: &Path, head: &str, config: &str) -> Result<()> {
    fault::point("git.directory").map_err(Error::io("make", path))?;
    for below in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        let directory = path.join(below);
        fs::create_dir_all(&directory).map_err(Error::io("make", &directory))?;
    }
    for (name, text) in [("HEAD", head), ("config", config)] {
        let file = path.join(name);
        fault::point("git.directory.file")
            .and_then(|()| fs::write(&file, text))
            .map_err(Error::io("write", &file))?;
    }
    Ok(())
}
