//! Where results are shared with other machines, and who works on what: `--store`, `SPOT_STORE`, and `spot.yaml` of a project.

use super::Cache;
use super::pipeline::Pipeline;
use super::trust::POLICY;
use crate::engine::manifest::problem::Problem;
use crate::engine::manifest::{node, read_value};
use crate::engine::plan::Plan;
use crate::engine::run::{self, Role, Unavailable};
use crate::engine::sharing::{Access, Sharing};
use crate::engine::store::{Store, provenance};
use crate::error::Usage;
use crate::remote::lease::{Leases, Worker};
use crate::remote::{self, Address, Objects};
use crate::ui;
use clap::Args;
use rustix::fs::statfs;
use serde::Deserialize;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The settings of a project.
const SETTINGS: &str = "spot.yaml";
/// Seconds that a lease stands without a beat, unless `SPOT_LEASE_SECONDS` says otherwise.
const TERM: f64 = 60.0;

/// A place that results are shared in, or none though the environment or the project names one.
#[derive(Clone, Debug)]
struct Place(Option<Address>);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|address| Self(Some(address))) }
    }
}

/// A pipeline, and where its results are: on this machine, and among machines.
#[derive(Args)]
pub(super) struct Places {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    pub(super) cache: Cache,
    #[command(flatten)]
    pub(super) shared: SharedStore,
}

/// Where results are shared.
#[derive(Args)]
pub(super) struct SharedStore {
    /// Where results are shared with other machines: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///folder`, or `none`
    /// [default: $SPOT_STORE, or `store` in `spot.yaml` of the project]
    #[arg(long, value_name = "ADDRESS")]
    store: Option<Place>,
    /// Take results from there, and bring none
    #[arg(long)]
    read_only_store: bool,
}

/// What `spot.yaml` says.
///
/// ```yaml
/// store: s3://lab/spot      # where results are shared
/// read_only: true           # and whether they are only taken from there
/// ```
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    store: String,
    #[serde(default)]
    read_only: bool,
}

impl SharedStore {
    /// The place that was named, and whether it is only read.
    ///
    /// # Errors
    /// If what the environment or the project says of it is wrong.
    fn place(&self) -> anyhow::Result<Option<(Address, bool)>> {
        let read = |text: &str, by: &str| text.parse::<Place>().map_err(|error| Usage(format!("{by}: {error}")));
        let of_project = match settings()? {
            Some(Settings { store, read_only }) => read(&store, SETTINGS)?.0.map(|address| (address, read_only)),
            None => None,
        };
        let from_environment = std::env::var("SPOT_STORE").ok().filter(|text| !text.trim().is_empty());
        let named = match (&self.store, from_environment) {
            (Some(place), _) => Some(place.clone()),
            (None, Some(text)) => Some(read(&text, "SPOT_STORE")?),
            (None, None) => None,
        };
        let Some(Place(named)) = named else {
            return Ok(of_project.map(|(address, read_only)| (address, read_only || self.read_only_store)));
        };
        // What the project only reads stays so, whoever names it once more.
        let is_read =
            |address: &Address| of_project.as_ref().is_some_and(|(own, read_only)| own == address && *read_only);
        Ok(named.map(|address| (address.clone(), self.read_only_store || is_read(&address))))
    }

    /// The words of a command line that name the same place.
    ///
    /// # Errors
    /// If what the environment or the project says of it is wrong.
    pub(super) fn words(&self) -> anyhow::Result<Vec<String>> {
        let Some((address, read_only)) = self.place()? else { return Ok(Vec::new()) };
        let place = ["--store".to_owned(), address.to_string()];
        Ok(place.into_iter().chain(read_only.then(|| "--read-only-store".to_owned())).collect())
    }

    /// Opens the place, if one was named, with this access at most.
    ///
    /// # Errors
    /// If it cannot be used, or only reading was asked for and no place is named.
    pub(super) fn open(&self, access: Access) -> anyhow::Result<Option<Arc<Sharing>>> {
        match self.place()? {
            None if self.read_only_store => {
                Err(Usage("`--read-only-store`: no store is named; `--store ADDRESS` does".to_owned()).into())
            }
            None => Ok(None),
            Some((address, read_only)) => {
                let access = if read_only { Access::Read } else { access };
                let sharing = Sharing::open(&address, access, Path::new(POLICY).exists())?;
                if sharing.is_new() {
                    ui::remark(&format!("there was no store at `{address}`; made one"));
                }
                Ok(Some(Arc::new(sharing)))
            }
        }
    }

    /// Opens the place that must be named.
    ///
    /// # Errors
    /// If none is, or it cannot be used so.
    pub(super) fn required(&self, what: &str, access: Access) -> anyhow::Result<Arc<Sharing>> {
        let Some(sharing) = self.open(access)? else {
            let how = format!("`--store ADDRESS`, SPOT_STORE or `store:` in `{SETTINGS}` names one");
            return Err(Usage(format!("{what} needs a store that machines share; {how}")).into());
        };
        if access != Access::Read && !sharing.writes() {
            return Err(Usage(format!("{what} writes, and `{}` is only read", sharing.address())).into());
        }
        Ok(sharing)
    }
}

/// What the project says, if it says anything.
///
/// # Errors
/// If it cannot be read, or says something else.
fn settings() -> anyhow::Result<Option<Settings>> {
    let text = match fs_err::read_to_string(SETTINGS) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let told = |Problem { place, message, .. }: &Problem| {
        Usage(format!("{SETTINGS}:{}:{}: {message}", place.line, place.column))
    };
    let node = node::parse(&text).map_err(|problems| told(&problems[0]))?;
    Ok(Some(read_value(&node).map_err(|problem| told(&problem))?))
}

/// How long a lease stands without a beat.
///
/// # Errors
/// If the environment says nothing sensible.
fn term() -> Result<Duration, Usage> {
    seconds_of("SPOT_LEASE_SECONDS", TERM, 0.5..=86_400.0)
}

/// Seconds that a variable of the environment says, or these.
///
/// # Errors
/// If it says something else.
pub(super) fn seconds_of(name: &str, default: f64, range: RangeInclusive<f64>) -> Result<Duration, Usage> {
    let Some(text) = std::env::var(name).ok().filter(|text| !text.trim().is_empty()) else {
        return Ok(Duration::from_secs_f64(default));
    };
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| range.contains(seconds));
    let expected = format!("expected a number of seconds from {} to {}", range.start(), range.end());
    seconds.map(Duration::from_secs_f64).ok_or_else(|| Usage(format!("{name} is `{text}`; {expected}")))
}

/// Where those who work at one plan leave word for each other: the shared place, or the cache that they share.
pub(super) fn home(sharing: Option<&Arc<Sharing>>, store: &Store) -> Arc<dyn Objects> {
    sharing.map_or_else(|| remote::folder(store.root()), |sharing| sharing.objects().clone())
}

/// Leases for a run, where the locks of this machine do not tell who works on what: in the shared place, or in a cache that lies on
/// a file system of many machines; and for workers always, who are seen by them.
///
/// # Errors
/// If the place cannot be written.
pub(super) fn leases(
    settings: &run::Settings,
    store: &Store,
    plan: &Plan,
    run: Option<&str>,
    leave: &Arc<AtomicBool>,
) -> anyhow::Result<Option<Arc<Leases>>> {
    let objects = match &settings.sharing {
        Some(sharing) if sharing.writes() => sharing.objects().clone(),
        Some(_) => return Ok(None),
        // Workers of one machine have its locks; a lease shows what they do.
        None if settings.role == Role::Worker || is_of_many_machines(store.root())? => home(None, store),
        None => return Ok(None),
    };
    let me = Worker {
        host: provenance::node(),
        pid: std::process::id(),
        pipeline: plan.name.clone(),
        run: run.map(str::to_owned),
        started: provenance::now(),
        device: settings.device.clone(),
        ..Worker::default()
    };
    let leases = Leases::start(objects, me, term()?, leave.clone());
    Ok(Some(Arc::new(leases.map_err(|error| Unavailable(format!("no lease can be taken: {error}")))?)))
}

/// File systems that many machines mount, by the numbers in Linux's `statfs`. On some of them locks hold, on others only on one
/// machine, and none says which.
const NETWORK: [i64; 13] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x0BD0_0BD0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0x00C3_6400, // Ceph
    0x6573_5546, // FUSE
    0x0102_1997, // 9p
    0x5346_414F, // AFS
    0x7461_636F, // OCFS2
    0x0116_1970, // GFS2
];

/// Whether a folder lies on a file system of many machines, or is said to.
///
/// # Errors
/// If the environment says nothing sensible of it.
fn is_of_many_machines(folder: &Path) -> Result<bool, Usage> {
    match std::env::var("SPOT_LEASES").unwrap_or_default().trim() {
        "" => {}
        "always" => return Ok(true),
        other => return Err(Usage(format!("SPOT_LEASES is `{other}`; expected `always`, or nothing"))),
    }
    // A cache that is still to be made is asked for by what it will be in.
    let there = folder.ancestors().find(|folder| folder.exists());
    #[allow(clippy::useless_conversion, reason = "its type differs between systems")]
    let kind = there.and_then(|folder| statfs(folder).ok()).map(|stat| i64::from(stat.f_type) & 0xFFFF_FFFF);
    Ok(kind.is_some_and(|kind| NETWORK.contains(&kind)))
}

/// The name of a run that several workers do together.
///
/// # Errors
/// If it could not be part of the name of an object.
pub(super) fn run_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=100).contains(&text.len())
        && text.chars().all(good)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        Ok(text.to_owned())
    } else {
        Err("expected at most 100 letters, digits, `-`, `_` and `.`, beginning with a letter or a digit".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_are_plain() {
        assert!(run_name("slurm-12_3.a").is_ok());
        for bad in ["", "a/b", "..", ".a", "a b", "ä", &"x".repeat(101)] {
            assert!(run_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_of_this_machine_is_none_of_many() {
        assert!(!NETWORK.contains(&0xEF53), "ext4");
        assert!(!NETWORK.contains(&0x0102_1994), "tmpfs");
        assert!(!NETWORK.contains(&0x794C_7630), "overlayfs");
    }
}
