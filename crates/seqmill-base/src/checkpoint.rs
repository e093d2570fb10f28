//! The state directory `OUT.seqmill/` of a job that can be resumed (`workflow.md` C).

use crate::error::{Error, Result};
use crate::sink::write_atomically;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// What `job.json` says: whether a state belongs to the job that wants to resume it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobIdentity {
    /// Version of the state's layout.
    pub format: u32,
    /// Version of seqmill that wrote it.
    pub seqmill: String,
    /// Name of the command.
    pub command: String,
    /// Options that can change bytes of the output.
    pub options: serde_json::Value,
    /// Fingerprints of the inputs, in order.
    pub inputs: serde_json::Value,
}

/// An open, locked state directory.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    lock: Option<File>,
}

const JOB_FILE: &str = "job.json";
const LOCK_FILE: &str = "lock";
const CHECKPOINT_FILE: &str = "checkpoint.json";

/// `OUT.seqmill` beside the output.
pub fn state_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".seqmill");
    PathBuf::from(name)
}

impl StateDirectory {
    /// Opens the state of `output` for the job `identity`.
    ///
    /// Returns the state and whether it holds an earlier run that may be resumed. With `resume`
    /// an earlier state of the same job is kept, one of another job is an error that names the
    /// difference; without it an earlier state is an error unless `force`, which discards it.
    pub fn open(
        output: &Path,
        identity: &JobIdentity,
        resume: bool,
        force: bool,
    ) -> Result<(Self, bool)> {
        let path = state_path(output);
        let io = |e: std::io::Error| Error::io(&path, &e);
        let existed = path.join(JOB_FILE).exists();
        if existed && !resume && !force {
            return Err(Error::input(
                "an interrupted run left its state; use --resume to go on or --force to begin anew",
            )
            .at_path(&path));
        }
        std::fs::create_dir_all(&path).map_err(io)?;
        let mut state = Self { lock: Some(lock(&path)?), path: path.clone() };
        if existed && resume {
            let earlier: Option<JobIdentity> = state.read_json(JOB_FILE)?;
            if let Some(earlier) = earlier {
                if let Some(difference) = difference(&earlier, identity) {
                    return Err(Error::input(format!(
                        "cannot resume: {difference}; use --force to begin anew"
                    ))
                    .at_path(&path));
                }
                return Ok((state, true));
            }
        }
        state.clear()?;
        write_json(&state.path.join(JOB_FILE), identity)?;
        Ok((state, false))
    }

    /// Path of a file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last checkpoint, if one was taken.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.read_json(CHECKPOINT_FILE)
    }

    /// Replaces the checkpoint. The data it counts must have been synced before.
    pub fn save_checkpoint<T: Serialize>(&self, value: &T) -> Result<()> {
        write_json(&self.path.join(CHECKPOINT_FILE), value)
    }

    /// Removes the directory and what is in it.
    pub fn remove(mut self) -> Result<()> {
        self.lock = None;
        std::fs::remove_dir_all(&self.path).map_err(|e| Error::io(&self.path, &e))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path.join(name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, &e)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            Error::input(format!("state is damaged ({e}); use --force to begin anew"))
                .at_path(&path)
        })
    }

    fn clear(&mut self) -> Result<()> {
        let io = |e: std::io::Error| Error::io(&self.path, &e);
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_name() == LOCK_FILE {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(|e| Error::io(&path, &e))?;
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| Error::io(&path, &e))?;
    // SAFETY: flock on a descriptor that `file` keeps open. The kernel drops the lock when the
    // process ends, so a stale lock cannot exist on one host.
    let status = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if status != 0 {
        return Err(Error::input("another job is writing this output").at_path(directory));
    }
    Ok(file)
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::internal(format!("cannot write state: {e}")))?;
    write_atomically(path, &text)
}

fn difference(earlier: &JobIdentity, now: &JobIdentity) -> Option<String> {
    if earlier.format != now.format || earlier.seqmill != now.seqmill {
        return Some(format!("state was written by seqmill {}", earlier.seqmill));
    }
    if earlier.command != now.command {
        return Some(format!("state belongs to the command {}", earlier.command));
    }
    if earlier.inputs != now.inputs {
        return Some("the inputs are others or have changed".to_owned());
    }
    let (Some(old), Some(new)) = (earlier.options.as_object(), now.options.as_object()) else {
        return (earlier.options != now.options).then(|| "the options differ".to_owned());
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing: Vec<String> = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| {
            let show =
                |v: Option<&serde_json::Value>| v.map_or("unset".into(), ToString::to_string);
            format!("{name} was {} and is {}", show(old.get(name)), show(new.get(name)))
        })
        .collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(k: u32) -> JobIdentity {
        JobIdentity {
            format: 1,
            seqmill: "0".into(),
            command: "x".into(),
            options: serde_json::json!({"k": k}),
            inputs: serde_json::json!([]),
        }
    }

    #[test]
    fn resume_needs_the_same_job() {
        let folder = std::env::temp_dir().join(format!("seqmill-state-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = folder.join("out");
        let (state, earlier) = StateDirectory::open(&output, &identity(1), true, false).unwrap();
        assert!(!earlier);
        state.save_checkpoint(&7_u32).unwrap();
        assert!(StateDirectory::open(&output, &identity(1), true, false).is_err(), "locked");
        drop(state);
        assert!(StateDirectory::open(&output, &identity(1), false, false).is_err());
        let other = StateDirectory::open(&output, &identity(2), true, false).unwrap_err();
        assert!(other.to_string().contains("k was 1 and is 2"), "{other}");
        let (state, earlier) = StateDirectory::open(&output, &identity(1), true, false).unwrap();
        assert!(earlier);
        assert_eq!(state.checkpoint::<u32>().unwrap(), Some(7));
        drop(state);
        let (state, _) = StateDirectory::open(&output, &identity(2), false, true).unwrap();
        assert_eq!(state.checkpoint::<u32>().unwrap(), None);
        state.remove().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
