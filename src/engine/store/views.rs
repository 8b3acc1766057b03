//! Views: links with human names to the newest artifacts of a job.

use super::Store;
use super::digest::Key;
use super::entry::{Entry, Record};
use super::names::{file_name, is_cut, job_folder, job_name, list, readable, remove};
use std::io;
use std::path::{Path, PathBuf};

impl Store {
    /// The folder of the views of a pipeline's job.
    pub fn view_path(&self, pipeline: &str, job: &str) -> PathBuf {
        self.root.join("views").join(file_name(pipeline)).join(job_folder(job))
    }

    /// Points the views of a job at an entry, its artifacts and their parts; `named` gives the name of an artifact's file. Links of
    /// earlier entries that have no place in this one are removed.
    ///
    /// # Errors
    /// If a link cannot be made or removed.
    pub fn view(&self, pipeline: &str, job: &str, entry: &Entry, named: &dyn Fn(&Record) -> String) -> io::Result<()> {
        let folder = self.view_path(pipeline, job);
        self.clear_way(&folder.join("entry.json"))?;
        fs_err::create_dir_all(&folder)?;
        let entry_path = self.entry_path(&entry.key);
        let mut links = vec![("entry.json".to_owned(), entry_path)];
        links.extend(entry.artifacts.iter().map(|a| (file_name(&named(a)), self.blob_path(&a.digest))));
        self.drop_former(&folder, &links)?;
        for (name, target) in links {
            let inside = target.strip_prefix(&self.root).expect("entries and blobs are in the store");
            self.link(&folder.join(name), &Path::new("../../..").join(inside))?;
        }
        entry.artifacts.iter().try_for_each(|artifact| self.view_parts(&folder, artifact))
    }

    /// Links the parts of an artifact by their names in a folder beside it, which holds nothing else.
    fn view_parts(&self, folder: &Path, artifact: &Record) -> io::Result<()> {
        let folder = folder.join(format!("{}.parts", file_name(&artifact.name)));
        let names: Vec<String> = artifact.parts.iter().map(|part| file_name(&part.name)).collect();
        let old = if folder.is_symlink() { Vec::new() } else { list(&folder)? };
        for old in old.into_iter().filter(|old| !names.contains(old)) {
            remove(fs_err::remove_file(folder.join(old)))?;
        }
        if names.is_empty() {
            // A link of that name is an artifact of that name.
            return if folder.is_symlink() { Ok(()) } else { remove(fs_err::remove_dir(&folder)) };
        }
        fs_err::create_dir_all(&folder)?;
        for (name, part) in names.iter().zip(&artifact.parts) {
            let target = part.external.clone().unwrap_or_else(|| {
                let blob = self.blob_path(&part.digest);
                Path::new("../../../..").join(blob.strip_prefix(&self.root).expect("blobs are in the store"))
            });
            self.link(&folder.join(name), &target)?;
        }
        Ok(())
    }

    /// Removes links into the store that are none of these, such as those of outputs that a job no longer has.
    fn drop_former(&self, folder: &Path, links: &[(String, PathBuf)]) -> io::Result<()> {
        let is_ours = |path: &Path| fs_err::read_link(path).is_ok_and(|target| target.starts_with("../../.."));
        let others = list(folder)?.into_iter().filter(|name| links.iter().all(|(link, _)| link != name));
        let mut ours = others.map(|name| folder.join(name)).filter(|path| is_ours(path));
        ours.try_for_each(|path| remove(fs_err::remove_file(path)))
    }

    /// Gives the folders of a pipeline's views the names that they have today; those of programs before had brackets.
    ///
    /// # Errors
    /// If a folder cannot be renamed or removed.
    pub fn respell_views(&self, pipeline: &str) -> io::Result<()> {
        let root = self.root.join("views").join(file_name(pipeline));
        for name in list(&root)? {
            let (old, new) = (root.join(&name), root.join(job_folder(&job_name(&name))));
            if old == new || is_cut(&name) || viewed_in(&old).is_none() {
                continue;
            }
            if new.exists() { self.drop_views(&old)? } else { remove(fs_err::rename(&old, &new))? }
        }
        Ok(())
    }

    fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        if fs_err::read_link(path).is_ok_and(|now| now == target) {
            return Ok(());
        }
        self.clear_way(path)?;
        let temp = self.temp_path();
        if let Some(folder) = temp.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::os::unix::fs::symlink(target, &temp)?;
        fs_err::rename(&temp, path)
    }

    /// The key of the entry that a job's views point at.
    pub fn viewed(&self, pipeline: &str, job: &str) -> Option<Key> {
        viewed_in(&self.view_path(pipeline, job))
    }

    /// The folders of all views, and the keys that they point at.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn view_folders(&self) -> io::Result<Vec<(PathBuf, Key)>> {
        let root = self.root.join("views");
        let mut folders = Vec::new();
        for pipeline in list(&root)? {
            for job in list(&root.join(&pipeline))? {
                let folder = root.join(&pipeline).join(&job);
                folders.extend(viewed_in(&folder).map(|key| (folder.clone(), key)));
            }
        }
        Ok(folders)
    }

    /// Removes a folder of views; files that somebody put there stay.
    ///
    /// # Errors
    /// If a link or an empty folder cannot be removed.
    pub fn drop_views(&self, folder: &Path) -> io::Result<()> {
        for name in list(folder)? {
            let path = folder.join(&name);
            if path.is_symlink() {
                remove(fs_err::remove_file(path))?;
            } else if name.ends_with(".parts") && path.is_dir() {
                self.drop_views(&path)?;
            }
        }
        if list(folder)?.is_empty() { remove(fs_err::remove_dir(folder)) } else { Ok(()) }
    }

    /// Every job that views show: pipeline, job and key, sorted. Names are as in the file system.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn all_views(&self) -> io::Result<Vec<(String, String, Key)>> {
        let mut views = Vec::new();
        for pipeline in list(&self.root.join("views"))? {
            for job in list(&self.root.join("views").join(&pipeline))? {
                if let Some(key) = viewed_in(&self.root.join("views").join(&pipeline).join(&job)) {
                    views.push((readable(&pipeline), job_name(&job), key));
                }
            }
        }
        Ok(views)
    }
}

/// The key of the entry that the views in a folder point at.
fn viewed_in(folder: &Path) -> Option<Key> {
    fs_err::read_link(folder.join("entry.json")).ok()?.file_stem()?.to_str()?.parse().ok()
}
