//! A source that shows only some of its folders. It passes everything else on as it is.

use std::collections::{HashMap, HashSet};

use super::sift::Picked;
use super::{FolderInfo, Listed, ListedFlags, Listing, Source};
use crate::error::Result;
use crate::folder::Folder;
use crate::message::{Digest, Message};
use crate::query::Query;

/// The source behind a choice of folders.
pub struct Narrowed<F> {
    source: Box<dyn Source>,
    chosen: F,
}

impl<F: Fn(&Folder) -> bool + Send> Narrowed<F> {
    /// Shows the folders of `source` that are `chosen`.
    pub fn new(source: Box<dyn Source>, chosen: F) -> Self {
        Self { source, chosen }
    }
}

impl<F: Fn(&Folder) -> bool + Send> Source for Narrowed<F> {
    fn place(&self) -> String {
        self.source.place()
    }

    fn folders(&mut self) -> Result<Vec<FolderInfo>> {
        let mut folders = self.source.folders()?;
        folders.retain(|info| (self.chosen)(&info.folder));
        Ok(folders)
    }

    fn list(&mut self, folder: &Folder) -> Result<Listing> {
        self.source.list(folder)
    }

    fn list_with_flags(&mut self, folder: &Folder) -> Result<(Listing, ListedFlags)> {
        self.source.list_with_flags(folder)
    }

    fn read(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Message>) -> Result<()>) -> Result<()> {
        self.source.read(wanted, each)
    }

    fn headers(&mut self, wanted: &[Listed], each: &mut dyn FnMut(usize, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        self.source.headers(wanted, each)
    }

    fn header_digests(&mut self, wanted: &[Listed]) -> Option<HashSet<Digest>> {
        self.source.header_digests(wanted)
    }

    fn unique_id(&self, listed: &Listed) -> Option<String> {
        self.source.unique_id(listed)
    }

    fn gmail_ids(&mut self, wanted: &[Listed]) -> Result<HashMap<u32, u64>> {
        self.source.gmail_ids(wanted)
    }

    fn has_labels(&self) -> bool {
        self.source.has_labels()
    }

    fn labels(&mut self, wanted: &[Listed], each: &mut dyn FnMut(u32, Vec<Vec<u8>>)) -> Result<()> {
        self.source.labels(wanted, each)
    }

    fn matching(&mut self, messages: &[Listed], query: &Query) -> Result<Picked> {
        self.source.matching(messages, query)
    }

    fn remarks(&mut self) -> Vec<String> {
        self.source.remarks()
    }

    fn end_marks(&self) -> bool {
        self.source.end_marks()
    }

    fn stuck_at(&self) -> Option<u32> {
        self.source.stuck_at()
    }

    fn finish(&mut self) -> Result<()> {
        self.source.finish()
    }
}
