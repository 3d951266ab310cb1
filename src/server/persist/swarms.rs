//! Saving all swarms to a file, and loading them again.

use std::fs;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tracing::{error, info, warn};

use super::atomic_file::write_aside;
use super::directory::{PRIVATE_MODE, StateError, open_private};
use super::slices::{self, Slices, WalkOptions};
use super::swarm_file::{
    Block, FormatError, Header, SavedFamily, SwarmWriter, TorrentEntries, header, scan,
};
use crate::error::one_line;
use crate::io::Now;
use crate::io::clock::Clock;
use crate::telemetry::log::LogOnChange;
use crate::tracker::core::TrackerSettings;
use crate::tracker::store::{Gauges, Ipv4, Ipv6, Limits, Restored, Shard, Shards, Torrents, Walk};

/// How much was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSwarms {
    /// Torrents, each address family counted for itself.
    pub torrents: u64,
    /// Peers of both address families.
    pub peers: u64,
}

/// Saves all swarms to `path`: written aside, then put in place.
///
/// # Errors
/// What the system says; `Interrupted` when the manner's `stop` was set. The file is then as it
/// was.
pub fn save(
    path: &Path,
    shards: &Shards,
    clock: &Clock,
    manner: WalkOptions<'_>,
) -> io::Result<SavedSwarms> {
    write_aside(path, PRIVATE_MODE, |file| write(file, shards, clock, manner))
}

/// Writes the file that [`save`] puts in place.
pub fn write(
    to: &mut impl Write,
    shards: &Shards,
    clock: &Clock,
    manner: WalkOptions<'_>,
) -> io::Result<SavedSwarms> {
    // The time that the next process will know. Ages are by this one's clock, which may have gone
    // apart from it since the start.
    to.write_all(&header(Clock::start().now()))?;
    let mut saving = Saving { writer: SwarmWriter::new(clock.now()), to, clock };
    slices::over(shards, manner, &mut saving)?;
    saving.writer.end();
    saving.write()?;
    let (torrents, peers) = saving.writer.saved();
    Ok(SavedSwarms { torrents, peers })
}

struct Saving<'a, W> {
    writer: SwarmWriter,
    to: &'a mut W,
    clock: &'a Clock,
}

impl<W> Saving<'_, W> {
    fn slice<F: SavedFamily>(
        &mut self,
        torrents: &Torrents<F>,
        walk: &mut Walk,
        budget: usize,
    ) -> bool {
        self.writer.set_now(self.clock.now());
        torrents.walk(walk, budget, |piece| self.writer.push::<F>(piece))
    }
}

impl<W: Write> Slices for Saving<'_, W> {
    fn ipv4(&mut self, torrents: &Torrents<Ipv4>, walk: &mut Walk, budget: usize) -> bool {
        self.slice(torrents, walk, budget)
    }

    fn ipv6(&mut self, torrents: &Torrents<Ipv6>, walk: &mut Walk, budget: usize) -> bool {
        self.slice(torrents, walk, budget)
    }

    fn write(&mut self) -> io::Result<()> {
        self.to.write_all(self.writer.take())?;
        self.writer.clear();
        Ok(())
    }
}

/// What was loaded, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadedSwarms {
    /// Peers that are stored again.
    pub peers: u64,
    /// Peers whose time ran out since they were saved.
    pub expired: u64,
    /// Peers over a cap, those included that others took the place of.
    pub refused: u64,
    /// How long ago they were saved.
    pub age: Duration,
}

/// Why saved swarms were not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a file of this user's alone.
    #[error(transparent)]
    File(#[from] StateError),
    /// Not what a save leaves behind.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// All of its peers have expired.
    #[error("saved {} ago, so that all of its peers have expired", humantime::format_duration(*.0))]
    Old(Duration),
}

impl LoadError {
    /// The name for a file that has this fault: it says why, and is not read again.
    fn name_aside(&self, path: &Path, now: Now) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        match self {
            Self::Old(_) | Self::Format(FormatError::Version(_)) => name.push(".old"),
            _ => name.push(format!(".damaged-{}", now.seconds())),
        }
        name.into()
    }
}

/// Loads what was saved to `path` into `shards`, within the caps and timeouts of `settings`.
/// `None` if nothing was saved. The whole file is checked before anything is loaded.
///
/// # Errors
/// When the file cannot be used.
pub fn load(
    path: &Path,
    shards: &Shards,
    settings: &TrackerSettings,
    now: Now,
) -> Result<Option<LoadedSwarms>, LoadError> {
    let Some(mut file) = open_private(path)? else { return Ok(None) };
    let check_age = |header: Header| match age(header, now) {
        age if age.as_secs() > settings.peer_timeout_s.into() => Err(LoadError::Old(age)),
        _ => Ok(()),
    };
    scan(BufReader::new(&file), check_age, |(), _| Ok(()))?;
    file.rewind().map_err(FormatError::Read)?;
    Ok(Some(read(BufReader::new(file), shards, settings, now)?))
}

/// Puts the peers of a file into `shards`.
///
/// # Errors
/// When it turns out to be damaged: what came before the damage is loaded then.
pub fn read(
    from: impl Read,
    shards: &Shards,
    settings: &TrackerSettings,
    now: Now,
) -> Result<LoadedSwarms, FormatError> {
    let limits = settings.limits_per_shard(shards.len());
    let timeout_s = settings.peer_timeout_s;
    let begin = |header| {
        let loaded = LoadedSwarms { age: age(header, now), ..LoadedSwarms::default() };
        Ok(Loading { shards, limits, now, timeout_s, loaded })
    };
    let done = scan(from, begin, |loading, block| {
        match block {
            Block::Ipv4(entries) => loading.add(entries, |shard, caps| {
                let limits = shard.limits_ipv4(caps);
                (&mut shard.ipv4, &mut shard.rng, limits)
            }),
            Block::Ipv6(entries) => loading.add(entries, |shard, caps| {
                let limits = shard.limits_ipv6(caps);
                (&mut shard.ipv6, &mut shard.rng, limits)
            }),
        }
        Ok(())
    });
    done.map(|loading: Loading<'_>| loading.loaded)
}

/// How long ago a file was saved; nothing for one from the future, where clocks were set back.
fn age(header: Header, now: Now) -> Duration {
    Duration::from_secs(now.seconds().saturating_sub(header.saved_at_s))
}

struct Loading<'a> {
    shards: &'a Shards,
    limits: Limits,
    now: Now,
    timeout_s: u32,
    loaded: LoadedSwarms,
}

impl Loading<'_> {
    fn add<F: SavedFamily>(
        &mut self,
        entries: TorrentEntries<'_, F>,
        parts: impl Fn(&mut Shard, Limits) -> (&mut Torrents<F>, &mut Rng, Limits),
    ) {
        for entry in entries {
            let owner = self.shards.owner(&entry.info_hash);
            let records = entry.records(self.now, self.loaded.age.as_secs(), self.timeout_s);
            let mut shard = self.shards.lock(owner);
            let (torrents, rng, limits) = parts(&mut shard, self.limits);
            let Restored { stored, refused, evicted } =
                torrents.restore(&entry.info_hash, entry.completed, records, &limits, rng);
            self.loaded.peers = (self.loaded.peers + stored as u64).saturating_sub(evicted as u64);
            self.loaded.refused += (refused + evicted) as u64;
            self.loaded.expired += (entry.peers().len() - stored - refused) as u64;
        }
    }
}

/// Loads what was saved, and says in the log how that went. What cannot be used is set aside under
/// another name; swarms then begin anew.
pub fn load_or_set_aside(path: &Path, shards: &Shards, settings: &TrackerSettings, now: Now) {
    let began = Instant::now();
    let error = match load(path, shards, settings, now) {
        Ok(None) => return,
        Ok(Some(LoadedSwarms { peers, expired, refused, age })) => {
            let torrents = shards.gauges().map(Gauges::torrents).sum::<usize>();
            let (age, took) = (humantime::format_duration(age), began.elapsed());
            return info!(torrents, peers, expired, refused, %age, ?took, "loaded swarm");
        }
        Err(error) => error,
    };
    let (reason, aside) = (one_line(&error), error.name_aside(path, now));
    match fs::rename(path, &aside) {
        Ok(()) => warn!(
            "{} is {reason}; it is set aside as {} and swarms begin anew",
            path.display(),
            aside.display()
        ),
        Err(source) => warn!(
            "{} is {reason}; swarms begin anew, and it cannot be set aside: {source}",
            path.display()
        ),
    }
}

/// Saves all swarms, and says in the log how that went; what `told` knows is not said again.
pub fn save_and_log(
    path: &Path,
    shards: &Shards,
    clock: &Clock,
    manner: WalkOptions<'_>,
    told: &mut LogOnChange,
) {
    let began = Instant::now();
    match save(path, shards, clock, manner) {
        Ok(SavedSwarms { torrents, peers }) => {
            told.is_over();
            info!(torrents, peers, took = ?began.elapsed(), "saved swarm");
        }
        // Another save comes, or none is wanted any more.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) if !told.is_news(&error.to_string()) => {}
        Err(error) => error!("cannot save swarms to {}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests;
