//! A repository in a temporary directory, with a person whose configuration is only what a test writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::invoke::UserEnvironment;
use super::repository::{Identity, Repository};
use crate::id::Oid;
use crate::process::exec::{self, Exec, ExecOutput};

pub(super) struct TestRepo {
    /// Holds `home` and `repo`, and what else a test puts there.
    pub(super) dir: tempfile::TempDir,
}

impl TestRepo {
    /// A repository on `main` with one commit of one file.
    pub(super) fn new() -> Self {
        let repo = Self::empty();
        repo.commit("first", &[("a.txt", "one\ntwo\nthree\n")]);
        repo
    }

    pub(super) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("home")).unwrap();
        fs::create_dir_all(dir.path().join("repo")).unwrap();
        let repo = Self { dir };
        repo.git(&["init", "-q", "-b", "main"]);
        repo.git(&["config", "user.name", "Ada"]);
        repo.git(&["config", "user.email", "ada@example.com"]);
        repo
    }

    pub(super) fn root(&self) -> PathBuf {
        self.path("repo")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    pub(super) fn user(&self) -> UserEnvironment {
        UserEnvironment {
            home: Some(self.path("home")),
            path: "/usr/local/bin:/usr/bin:/bin".into(),
            xdg_config_home: None,
            ssh_auth_sock: None,
            proxies: Vec::new(),
        }
    }

    pub(super) fn open(&self) -> Repository {
        Repository::discover(&self.root(), &self.user()).unwrap()
    }

    pub(super) fn run_in(&self, cwd: &Path, args: &[&str]) -> ExecOutput {
        let fixed = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_DATE", "1700000000 +0100"),
            ("GIT_COMMITTER_DATE", "1700000000 +0100"),
            ("GIT_EDITOR", "true"),
        ];
        let mut env: Vec<_> = fixed.map(|(k, v)| (k.into(), v.into())).to_vec();
        env.push(("HOME".into(), self.path("home").into()));
        exec::run(&Exec {
            program: "git".into(),
            args: args.iter().map(Into::into).collect(),
            cwd: cwd.to_owned(),
            env,
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            cut: None,
            output_bytes_max: 64 << 20,
        })
        .unwrap()
    }

    pub(super) fn git_in(&self, cwd: &Path, args: &[&str]) -> String {
        let output = self.run_in(cwd, args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.root(), args)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        write_in(&self.root(), path, text);
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(super) fn commit(&self, message: &str, files: &[(&str, &str)]) -> Oid {
        for (path, text) in files {
            self.write(path, text);
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    pub(super) fn head(&self) -> Oid {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub(super) fn oid(&self, revision: &str) -> Oid {
        self.git(&["rev-parse", revision]).parse().unwrap()
    }

    /// A script that leaves a trace when it is run, and passes its input on.
    pub(super) fn canary(&self) -> (String, PathBuf) {
        let (script, trace) = (self.path("canary.sh"), self.path("canary.trace"));
        fs::write(&script, format!("#!/bin/sh\ntouch {}\ncat\n", trace.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        (script.to_str().unwrap().to_owned(), trace)
    }
}

pub(super) fn write_in(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

pub(super) fn ada() -> Identity {
    Identity {
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
    }
}
