//! Making a repository from scratch, for people who want to try the program.

use std::path::Path;

use git2::{IndexAddOption, RepositoryInitOptions, Signature};

use super::{Error, Identity, Result};

/// Makes a repository of everything in `folder`, with one commit on `branch`. The identity is written into the
/// repository's own configuration.
///
/// # Errors
/// When the folder cannot be written, or holds a repository already.
pub fn create_repository(folder: &Path, branch: &str, identity: &Identity, message: &str) -> Result<()> {
    let failed = |error: git2::Error| Error::Scratch {
        path: folder.to_owned(),
        source: error,
    };
    let mut options = RepositoryInitOptions::new();
    options
        .initial_head(branch)
        .no_reinit(true)
        .external_template(false);
    let repository = git2::Repository::init_opts(folder, &options).map_err(failed)?;
    let mut config = repository
        .config()
        .and_then(|config| config.open_level(git2::ConfigLevel::Local))
        .map_err(failed)?;
    config.set_str("user.name", &identity.name).map_err(failed)?;
    config.set_str("user.email", &identity.email).map_err(failed)?;
    let mut index = repository.index().map_err(failed)?;
    index
        .add_all(["*"], IndexAddOption::DEFAULT, None)
        .map_err(failed)?;
    index.write().map_err(failed)?;
    let tree = index
        .write_tree()
        .and_then(|tree| repository.find_tree(tree))
        .map_err(failed)?;
    let who = Signature::now(&identity.name, &identity.email).map_err(failed)?;
    repository
        .commit(Some("HEAD"), &who, &who, message, &tree, &[])
        .map_err(failed)?;
    Ok(())
}
