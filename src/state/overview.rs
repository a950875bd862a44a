//! What a journal of copies tells people: how far each folder of each source is, and what did not make it. It only reads.

use super::Journal;
use crate::error::Result;
use crate::folder::Folder;

/// How far a folder of a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progressed {
    /// The source's place.
    pub source: String,
    /// Its folder.
    pub folder: Folder,
    /// Copies that are at the destination.
    pub done: u64,
    /// Copies whose fate is open.
    pub open: u64,
    /// Copies that the destination refused.
    pub refused: u64,
    /// Messages put aside.
    pub put_aside: u64,
    /// Those that a person said are no problem, and that are in neither of the two numbers above.
    pub ignored: u64,
}

/// A message that did not make it to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The source's place.
    pub source: String,
    /// Its folder.
    pub folder: Folder,
    /// Its key, or `number:N`.
    pub key: String,
    /// UID or message number, where known.
    pub uid: Option<u32>,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// The destination refused it; each run tries it anew.
    pub refused: bool,
    /// A person said that it is no problem.
    pub ignored: bool,
}

impl Journal {
    /// How far each folder of each source is, by source and folder.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn progressed(&self) -> Result<Vec<Progressed>> {
        let ignored = self.ignored_table()?;
        let sql = format!(
            "SELECT origin.source, origin.folder,
             (SELECT count(*) FROM quarantine WHERE quarantine.origin = origin.id AND (origin.id, quarantine.key) NOT IN {ignored}),
             counted.done, counted.open, counted.refused, (SELECT count(*) FROM {ignored} AS one WHERE one.origin = origin.id)
             FROM origin LEFT JOIN (SELECT origin, sum(state IN (2, 5)) AS done, sum(state IN (1, 3)) AS open,
             sum(state = 4 AND (origin, key) NOT IN {ignored}) AS refused
             FROM copy GROUP BY origin) AS counted ON counted.origin = origin.id ORDER BY origin.source, origin.folder"
        );
        self.all(&sql, [], |row| {
            let number = |index: usize| row.get::<_, Option<i64>>(index).map(|found| found.unwrap_or(0).unsigned_abs());
            Ok(Progressed {
                source: row.get(0)?,
                folder: folder(&row.get::<_, String>(1)?)?,
                put_aside: number(2)?,
                done: number(3)?,
                open: number(4)?,
                refused: number(5)?,
                ignored: number(6)?,
            })
        })
    }

    /// Every message that did not make it, by source and folder.
    ///
    /// # Errors
    /// [`crate::error::Kind::Local`] when the database cannot be read.
    pub fn failed(&self) -> Result<Vec<Failed>> {
        let ignored = self.ignored_table()?;
        let sql = format!(
            "SELECT origin.source, origin.folder, quarantine.key, quarantine.uid, quarantine.reason, quarantine.tries, 0,
             (origin.id, quarantine.key) IN {ignored} FROM quarantine JOIN origin ON origin.id = quarantine.origin
             UNION ALL
             SELECT origin.source, origin.folder, copy.key, NULL, coalesce(copy.reason, 'refused'), copy.tries, 1,
             (origin.id, copy.key) IN {ignored} FROM copy JOIN origin ON origin.id = copy.origin WHERE copy.state = 4
             ORDER BY 1, 2, 4, 3"
        );
        self.all(&sql, [], |row| {
            let key: String = row.get(2)?;
            let uid: Option<u32> = row.get(3)?;
            Ok(Failed {
                source: row.get(0)?,
                folder: folder(&row.get::<_, String>(1)?)?,
                uid: uid.or_else(|| key.strip_prefix("uid:")?.rsplit_once(':')?.1.parse().ok()),
                key,
                reason: row.get(4)?,
                tries: row.get(5)?,
                refused: row.get(6)?,
                ignored: row.get(7)?,
            })
        })
    }
}

impl Journal {
    /// What to ask for origins and keys that are ignored; a journal that is only read may be of an earlier version.
    fn ignored_table(&self) -> Result<&'static str> {
        Ok(if self.has_table("ignored")? { "(SELECT origin, key FROM ignored)" } else { "(SELECT NULL AS origin, NULL AS key WHERE 0)" })
    }
}

fn folder(name: &str) -> rusqlite::Result<Folder> {
    Folder::parse(name).ok_or(rusqlite::Error::InvalidQuery)
}
