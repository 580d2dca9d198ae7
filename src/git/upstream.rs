//! Where a branch's upstream is, and fetching it: the only commands that go to another repository.
//!
//! A fetch never asks anybody anything: no terminal, no askpass, ssh in batch mode. It may use the person's own
//! credential helpers, those of the system's and of the user's configuration; helpers that only the repository's
//! configuration names stay off, because whatever runs in a worktree can write that file. Of refs it writes the
//! tracking branch, as any fetch does, and one of ours that says what was found.

use std::time::Duration;

use super::invoke::{Call, nul_items};
use super::repository::Repository;
use super::{Error, Result};
use crate::id::Oid;

/// How long the other side may take to say where the branch is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What a fetch found, until it is read.
const FETCHED: &str = "refs/pipeline/fetched";
/// Ways to another repository. Others start a program that the configuration names: `ext`, or the proxy of `git`.
const PROTOCOLS: &str = "file:http:https:ssh";
/// Tracking branches are below this; a person's refspec may lead elsewhere, where nothing is written.
const TRACKING: &str = "refs/remotes/";

/// The branch of another repository that a branch follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    remote: String,
    /// The ref there.
    name: String,
    /// The ref here that follows it, if there is one.
    tracking: Option<String>,
}

impl Upstream {
    /// As people write it: `origin/main`.
    pub fn short(&self) -> String {
        let branch = self.name.strip_prefix("refs/heads/").unwrap_or(&self.name);
        format!("{}/{branch}", self.remote)
    }

    /// What a person writes to merge it, once it is fetched.
    pub fn merge_arguments(&self) -> String {
        let tracking = self.tracking.as_deref();
        match tracking.and_then(|name| name.strip_prefix(TRACKING)) {
            Some(short) => format!("merge {}", shell_words::quote(short)),
            None => {
                let words = ["pull", "--no-rebase", &self.remote, &self.name];
                shell_words::join(words)
            }
        }
    }
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The branch, with its commits here now.
    At(Oid),
    /// There is no such branch: deleted, or never pushed.
    Gone,
}

impl Repository {
    /// The upstream of a branch; `None` when it has none, when that is a branch of this very repository, and when its
    /// remote can only be pushed to.
    ///
    /// # Errors
    /// When git fails.
    pub fn upstream_of(&self, branch: &str) -> Result<Option<Upstream>> {
        let remote = self.setting(&format!("branch.{branch}.remote"))?;
        let name = self.setting(&format!("branch.{branch}.merge"))?;
        let (Some(remote), Some(name)) = (remote.filter(|remote| remote != "."), name) else {
            return Ok(None);
        };
        let only_pushed_to = self.setting(&format!("remote.{remote}.url"))?.is_none()
            && self.setting(&format!("remote.{remote}.pushurl"))?.is_some();
        if only_pushed_to {
            return Ok(None);
        }
        let call = self
            .personal(self.root())
            .args(["for-each-ref", "--format=%(upstream)", "--end-of-options"])
            .arg(format!("refs/heads/{branch}"));
        let tracking = self.invoker().line(&call)?;
        let tracking = Some(tracking).filter(|name| name.starts_with(TRACKING));
        Ok(Some(Upstream {
            remote,
            name,
            tracking,
        }))
    }

    /// Asks where an upstream is, and fetches it when its commits are not here. Blocks while the network does.
    ///
    /// # Errors
    /// When the other repository cannot be reached, refuses, or wants credentials nobody gives.
    pub fn fetch_upstream(&self, upstream: &Upstream) -> Result<Fetched> {
        let Some(there) = self.ask_upstream(upstream)? else {
            return Ok(Fetched::Gone);
        };
        if let Some(tracking) = &upstream.tracking
            && self.ref_value(tracking)?.as_ref() == Some(&there)
        {
            return Ok(Fetched::At(there));
        }
        let mut call = self.abroad()?.args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-prune",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--upload-pack=git-upload-pack",
            "--refmap=",
            "--end-of-options",
            &upstream.remote,
        ]);
        let local = upstream.tracking.iter().map(String::as_str).chain([FETCHED]);
        for local in local {
            call = call.arg(format!("+{}:{local}", upstream.name));
        }
        self.output(&call)?;
        let fetched = self.ref_value(FETCHED)?;
        self.delete_ref(FETCHED, None)?;
        fetched.map(Fetched::At).ok_or_else(|| Error::Answer {
            command: call.describe(),
            answer: format!("no commit at {}", upstream.name),
        })
    }

    /// The commit that the upstream is at by now; `None` when it does not exist.
    fn ask_upstream(&self, upstream: &Upstream) -> Result<Option<Oid>> {
        let call = self
            .abroad()?
            .timeout(ANSWER_TIMEOUT)
            .args([
                "ls-remote",
                "--refs",
                "--upload-pack=git-upload-pack",
                "--end-of-options",
            ])
            .args([&upstream.remote, &upstream.name]);
        let listed = self.output(&call)?;
        let listed = String::from_utf8_lossy(&listed);
        // The pattern also fits longer names that end like this one.
        let mut rows = listed.lines().filter_map(|line| line.split_once('\t'));
        let found = rows.find(|(_, name)| *name == upstream.name);
        Ok(found.map(|(oid, _)| oid.parse()).transpose()?)
    }

    /// A command that goes to another repository.
    fn abroad(&self) -> Result<Call> {
        let mut call = self
            .personal(self.root())
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .config("core.sshCommand", "ssh -o BatchMode=yes");
        for (name, value) in &self.invoker().user().proxies {
            call = call.env(name, value);
        }
        for scope in ["--system", "--global"] {
            let ask = self
                .personal(self.root())
                .args(["config", scope, "--includes", "-z"]);
            let ask = ask.args(["--get-regexp", r"^credential\.(.*\.)?helper$"]);
            for item in nul_items(&self.invoker().run(&ask)?.stdout) {
                let text = String::from_utf8_lossy(item).into_owned();
                if let Some((key, value)) = text.split_once('\n') {
                    call = call.config(key.to_owned(), value);
                }
            }
        }
        Ok(call)
    }

    /// One setting of the person's configuration, the repository's included; the last one where there are several.
    fn setting(&self, key: &str) -> Result<Option<String>> {
        let call = self
            .personal(self.root())
            .args(["config", "-z", "--get", "--end-of-options", key]);
        let output = self.invoker().run(&call)?;
        let value = nul_items(&output.stdout).next().map(String::from_utf8_lossy);
        Ok(value
            .filter(|value| output.status.success() && !value.is_empty())
            .map(std::borrow::Cow::into_owned))
    }
}
