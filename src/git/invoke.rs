//! The one function that runs git, hardened.
//!
//! Nothing of our environment reaches git but what stands here, and nothing of git's configuration may start a
//! program: overrides go by `GIT_CONFIG_COUNT`, which beats every file. Arguments that come from elsewhere follow
//! `--end-of-options` or go by standard input.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, Result};
#[cfg(debug_assertions)]
use crate::fault;
use crate::port::Cut;
use crate::process::OWNER_VARIABLE;
use crate::process::exec::{self, Exec, ExecOutput};

/// Longest run of one git command; a checkout of a very large repository is the slowest there is.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Most bytes one git command may print: a listing of about a million paths.
pub(super) const OUTPUT_BYTES_MAX: usize = 256 << 20;
/// How much of git's complaint is kept.
const STDERR_BYTES_MAX: usize = 2000;

/// What a person's surroundings say about git, read once by the caller.
#[derive(Debug, Clone)]
pub struct UserEnvironment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `PATH`; git is looked up here.
    pub path: OsString,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `SSH_AUTH_SOCK`.
    pub ssh_auth_sock: Option<String>,
    /// The variables that name proxies, with their values; for commands that go to another repository.
    pub proxies: Vec<(String, String)>,
}

/// Keys that are set in every call.
const CONFIG: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    // An empty value would break ssh.
    ("core.sshCommand", "ssh"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("sequence.editor", "false"),
    ("core.askPass", ""),
    ("core.quotePath", "false"),
    ("core.alternateRefsCommand", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.fsync", "committed,reference"),
    // An empty entry clears the list.
    ("credential.helper", ""),
    ("protocol.ext.allow", "never"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("merge.verifySignatures", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
    ("color.ui", "false"),
    ("advice.detachedHead", "false"),
];

/// Environment of every call.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    // A missing object of a partial clone is an error, not a download.
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_PAGER", "cat"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_MERGE_AUTOEDIT", "no"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
];

/// Commands that write, with the option that makes them, and the name of the failpoint before each.
#[cfg(debug_assertions)]
const WRITING: &[(&str, &str, &str)] = &[
    ("checkout-index", "", "git.checkout-index"),
    ("config", "true", "git.config"),
    ("fetch", "", "git.fetch"),
    ("hash-object", "-w", "git.hash-object"),
    ("merge-tree", "", "git.merge-tree"),
    ("read-tree", "", "git.read-tree"),
    ("reset", "", "git.reset"),
    ("update-index", "", "git.update-index"),
    ("update-ref", "--create-reflog", "git.update-ref.target"),
    ("update-ref", "", "git.update-ref"),
    ("worktree", "add", "git.worktree-add"),
    ("write-tree", "", "git.write-tree"),
];

/// The failpoint before a command, if it writes.
#[cfg(debug_assertions)]
fn writing(args: &[OsString]) -> Option<&'static str> {
    let words = match args {
        [first, _, rest @ ..] if first == "-C" => rest,
        all => all,
    };
    let (command, options) = words.split_first()?;
    let row = WRITING.iter().find(|(name, option, _)| {
        command == name && (option.is_empty() || options.iter().any(|o| o == option))
    });
    row.map(|(.., name)| *name)
}

/// Whose configuration applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nobody's but the git directory's own.
    Nobody,
    /// The person's: system, user and repository.
    Person,
}

/// One git command to be.
#[derive(Debug, Clone)]
pub(super) struct Call {
    args: Vec<OsString>,
    cwd: PathBuf,
    whose: Whose,
    env: Vec<(OsString, OsString)>,
    config: Vec<(Cow<'static, str>, OsString)>,
    stdin: Vec<u8>,
    timeout: Duration,
    output_bytes_max: usize,
    attributes_from: Option<String>,
    aside: Option<Cut>,
}

impl Call {
    pub(super) fn new(cwd: &Path, whose: Whose) -> Self {
        Self {
            args: Vec::new(),
            cwd: cwd.to_owned(),
            whose,
            env: Vec::new(),
            config: Vec::new(),
            stdin: Vec::new(),
            timeout: TIMEOUT,
            output_bytes_max: OUTPUT_BYTES_MAX,
            attributes_from: None,
            aside: None,
        }
    }

    /// Adds an argument.
    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Sets a configuration key above all files.
    pub(super) fn config(mut self, key: impl Into<Cow<'static, str>>, value: impl AsRef<OsStr>) -> Self {
        self.config.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// What it reads.
    pub(super) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// Ends it after this long.
    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Keeps at most this much of its output.
    pub(super) fn output_bytes_max(mut self, bytes: usize) -> Self {
        self.output_bytes_max = bytes;
        self
    }

    /// Attributes come from this tree and not from files.
    pub(super) fn attributes_from(mut self, tree: &str) -> Self {
        self.attributes_from = Some(tree.to_owned());
        self
    }

    /// What it writes goes with who asks, and it ends when that is cut off.
    pub(super) fn aside(mut self, cut: &Cut) -> Self {
        self.aside = Some(cut.clone());
        self
    }

    /// For messages: the arguments, without the hardening.
    pub(super) fn describe(&self) -> String {
        let words: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join(" ")
    }
}

/// A git program and the person it is run for.
#[derive(Debug, Clone)]
pub(super) struct Invoker {
    program: PathBuf,
    user: UserEnvironment,
    /// Whose commands these are, for who finds one of them after our death.
    owner: Option<String>,
}

impl Invoker {
    /// Finds git on the person's `PATH`.
    pub(super) fn find(user: &UserEnvironment) -> Result<Self> {
        let program = std::env::split_paths(&user.path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("git"))
            .find(|candidate| {
                rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok() && candidate.is_file()
            })
            .ok_or(Error::GitMissing)?;
        Ok(Self {
            program,
            user: user.clone(),
            owner: None,
        })
    }

    /// The same, for commands that are this process's in the repository with that common directory.
    pub(super) fn owned(self, common_dir: &Path) -> Self {
        let owner = Some(format!("{}:{}", std::process::id(), common_dir.display()));
        Self { owner, ..self }
    }

    pub(super) fn user(&self) -> &UserEnvironment {
        &self.user
    }

    /// Runs a command whatever its exit status; only a command that cannot be run is an error.
    pub(super) fn run(&self, call: &Call) -> Result<ExecOutput> {
        #[cfg(debug_assertions)]
        self.pass_point(call)?;
        let mut args: Vec<OsString> = vec!["--no-pager".into()];
        if let Some(tree) = &call.attributes_from {
            args.push(format!("--attr-source={tree}").into());
        }
        args.extend(call.args.iter().cloned());
        exec::run(&Exec {
            program: self.program.clone(),
            args,
            cwd: call.cwd.clone(),
            env: self.environment(call),
            stdin: call.stdin.clone(),
            timeout: call.timeout,
            output_bytes_max: call.output_bytes_max,
            cut: call.aside.clone(),
        })
        .map_err(|source| Error::Run {
            command: call.describe(),
            source,
        })
    }

    /// The failpoint before a command that writes something that stays.
    #[cfg(debug_assertions)]
    fn pass_point(&self, call: &Call) -> Result<()> {
        let Some(name) = writing(&call.args).filter(|_| call.aside.is_none()) else {
            return Ok(());
        };
        fault::point(name).map_err(|source| Error::Run {
            command: call.describe(),
            source: exec::ExecError::Start {
                program: self.program.clone(),
                cwd: call.cwd.clone(),
                source,
            },
        })
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub(super) fn output(&self, call: &Call) -> Result<Vec<u8>> {
        let output = self.run(call)?;
        if output.truncated {
            return Err(Error::OutputTooLarge {
                command: call.describe(),
                bytes_max: call.output_bytes_max,
            });
        }
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(call, &output))
    }

    /// Like [`Self::output`], as text without its last line end.
    pub(super) fn line(&self, call: &Call) -> Result<String> {
        let bytes = self.output(call)?;
        let text = String::from_utf8(bytes).map_err(|error| Error::Answer {
            command: call.describe(),
            answer: String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })?;
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    fn environment(&self, call: &Call) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = vec![("PATH".into(), self.user.path.clone())];
        env.extend(
            self.owner
                .iter()
                .map(|owner| (OWNER_VARIABLE.into(), owner.into())),
        );
        env.extend(
            ENVIRONMENT
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        match call.whose {
            Whose::Nobody => env.extend([
                // Nothing is looked up in a home that does not exist.
                ("HOME".into(), "/nonexistent".into()),
                ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
                ("GIT_CONFIG_GLOBAL".into(), "/dev/null".into()),
                ("GIT_ATTR_NOSYSTEM".into(), "1".into()),
            ]),
            Whose::Person => {
                env.extend(self.user.home.iter().map(|home| ("HOME".into(), home.into())));
                let xdg = self.user.xdg_config_home.iter();
                env.extend(xdg.map(|path| ("XDG_CONFIG_HOME".into(), path.into())));
                let socket = self.user.ssh_auth_sock.iter();
                env.extend(socket.map(|path| ("SSH_AUTH_SOCK".into(), path.into())));
            }
        }
        let fixed = CONFIG
            .iter()
            .map(|(key, value)| (Cow::Borrowed(*key), OsString::from(value)));
        let attributes =
            (call.whose == Whose::Nobody).then(|| (Cow::Borrowed("core.attributesFile"), "/dev/null".into()));
        let all: Vec<_> = fixed
            .chain(attributes)
            .chain(call.config.iter().cloned())
            .collect();
        env.push(("GIT_CONFIG_COUNT".into(), all.len().to_string().into()));
        for (place, (key, value)) in all.into_iter().enumerate() {
            env.push((
                format!("GIT_CONFIG_KEY_{place}").into(),
                OsString::from(key.into_owned()),
            ));
            env.push((format!("GIT_CONFIG_VALUE_{place}").into(), value));
        }
        env.extend(call.env.iter().cloned());
        env
    }
}

/// The error of a command that ended with a status that is not expected.
pub(super) fn failed(call: &Call, output: &ExecOutput) -> Error {
    let from = output.stderr.len().saturating_sub(STDERR_BYTES_MAX);
    let tail = String::from_utf8_lossy(&output.stderr[from..]);
    let stderr: String = tail.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    Error::Command {
        command: call.describe(),
        cwd: call.cwd.clone(),
        status: output.status.to_string(),
        stderr: stderr.trim().to_owned(),
    }
}

/// Splits what `-z` made: every item is ended, not separated, by NUL.
pub(super) fn nul_items(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ended = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    ended
        .split(|byte| *byte == 0)
        .take(if bytes.is_empty() { 0 } else { usize::MAX })
}

/// Items ended by NUL, as `-z --stdin` reads them.
pub(super) fn nul_ended<I: AsRef<[u8]>>(items: impl IntoIterator<Item = I>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend_from_slice(item.as_ref());
        bytes.push(0);
    }
    bytes
}

/// A path as git prints it.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
