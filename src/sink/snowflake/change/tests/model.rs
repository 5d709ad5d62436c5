//! A table in memory that understands the statements of a change.

use super::*;

/// Digits after the point in which the model counts.
pub(super) const UNIT: u8 = 6;
/// Stands for a value that fits a column of 2 digits after the point, and none of 4.
pub(super) const HUGE: i128 = i128::MAX;

/// A value by the column's number: none is NULL.
type Cells = BTreeMap<u64, i128>;

pub(super) struct Held {
    name: String,
    number: u64,
    pub(super) scale: u8,
}

/// A table in memory, and the rows of progress of those who write to it.
#[derive(Default)]
pub(super) struct Model {
    pub(super) columns: Vec<Held>,
    pub(super) rows: BTreeMap<u8, Cells>,
    heads: BTreeMap<String, Head>,
    pub(super) made: u64,
    /// What was committed last of each key.
    pub(super) truth: BTreeMap<u8, Option<i128>>,
    /// What came into the table as another value than it was.
    pub(super) wrong: Vec<String>,
}

/// Whether a column of this scale has room for a value.
fn fits(value: i128, scale: u8) -> bool {
    value != HUGE || scale <= 2
}

/// What a column of this scale makes of a value: of one that it has no room for as a double
/// does, without a word.
fn rounded(value: i128, scale: u8) -> i128 {
    let step = 10_i128.pow(u32::from(UNIT - scale));
    match value == HUGE {
        true if fits(value, scale) => value,
        true => value - 1,
        false => value / step * step,
    }
}

fn no<T>() -> Result<T> {
    Err(refused_with("000904"))
}

impl Model {
    pub(super) fn of(names: &[&str]) -> Self {
        let mut model = Self::default();
        for name in names {
            model.add(name, 2);
        }
        model
    }

    pub(super) fn add(&mut self, name: &str, scale: u8) {
        self.made += 1;
        self.columns.push(Held { name: name.to_owned(), number: self.made, scale });
    }

    fn at(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column.name == name).map_or_else(no, Ok)
    }

    fn alter(&mut self, sql: &str, names: &[&str]) -> Result<()> {
        if let Some((_, ty)) = sql.split_once("NUMBER(38,") {
            if self.at(names[3]).is_err() {
                self.add(names[3], ty[..1].parse().unwrap());
            } else if !sql.contains("IF NOT EXISTS") {
                return no();
            }
        } else if sql.contains(" RENAME COLUMN ") {
            let at = self.at(names[3])?;
            if self.at(names[4]).is_ok() {
                return no();
            }
            self.columns[at].name = names[4].to_owned();
        } else if let Ok(at) = self.at(names[3]) {
            self.columns.remove(at);
        } else if !sql.contains("IF EXISTS") {
            return no();
        }
        Ok(())
    }

    fn fill(&mut self, names: &[&str]) -> Result<()> {
        // All rows, or those where the one differs from what the other one is made of.
        assert!(names.len() == 5 || names[5..] == names[3..5], "{names:?}");
        let (to, from) = (self.at(names[3])?, self.at(names[4])?);
        let (scale, to, from) = (self.columns[to].scale, self.columns[to].number, self.columns[from].number);
        for cells in self.rows.values_mut() {
            match cells.get(&from).copied() {
                Some(value) => cells.insert(to, rounded(value, scale)),
                None => cells.remove(&to),
            };
        }
        Ok(())
    }

    fn fence(&mut self, pipeline: &str) {
        let others = self.heads.iter_mut().filter(|(other, _)| *other != pipeline);
        others.for_each(|(_, head)| head.version += 1);
    }

    pub(super) fn execute(&mut self, Statement { sql, binds }: &Statement) -> Result<Answer> {
        let names: Vec<&str> = sql.split('"').skip(1).step_by(2).collect();
        let pipeline = binds.iter().rev().nth(1).map(|bind| match bind {
            Bind::Text(pipeline) => pipeline.as_str(),
            Bind::Integer(_) => panic!("{sql}"),
        });
        let text = |cell: &dyn ToString| Some(cell.to_string());
        if sql.starts_with("SELECT CAST(TABLE_NAME") {
            let column = |held: &Held| {
                vec![text(&"T"), text(&held.name), text(&"NUMBER"), text(&38), text(&held.scale)]
            };
            let own = Metadata::ALL.iter().map(|metadata| {
                vec![text(&"T"), text(&held_name(metadata.column())), text(&"TEXT"), None, None]
            });
            return Ok(self.columns.iter().map(column).chain(own).collect());
        }
        if sql.starts_with("SELECT CAST(COUNT(*)") {
            let at = self.columns[self.at(names[3])?].number;
            let bound: i128 = sql.rsplit(' ').next().unwrap().parse().unwrap();
            let bound = bound.saturating_mul(10_i128.pow(u32::from(UNIT)));
            let held = self.rows.values().filter_map(|cells| cells.get(&at));
            return Ok(vec![vec![text(&held.filter(|value| value.abs() >= bound).count())]]);
        }
        if sql.starts_with("SELECT CAST(\"PIPELINE\"") {
            let (name, head) = self.heads.get_key_value(pipeline.unwrap()).unwrap();
            let (epoch, version) = (text(&head.epoch), text(&head.version));
            return Ok(vec![vec![
                text(name),
                text(&"s"),
                text(&"t"),
                text(&"true"),
                epoch,
                version,
                text(&0),
                None,
            ]]);
        }
        match sql.split(' ').next() {
            Some("ALTER") => self.alter(sql, &names)?,
            Some("UPDATE") if names[2] == "_TAPELINE_STREAMS" => self.fence(pipeline.unwrap()),
            Some("UPDATE") => self.fill(&names)?,
            _ => panic!("{sql}"),
        }
        Ok(Vec::new())
    }

    /// Takes a stream over.
    pub(super) fn claim(&mut self, pipeline: &str) -> Head {
        let head = self.heads.entry(pipeline.to_owned()).or_default();
        head.version += 1;
        head.epoch += 1;
        *head
    }

    /// Loads a value, as one of `scale` digits, and returns the column that it goes to.
    pub(super) fn load(&mut self, value: Option<i128>, scale: u8) -> Result<(u64, bool)> {
        let held = &self.columns[self.at("V")?];
        match value {
            Some(value) if !fits(value, held.scale) => Err(refused_with("100132")),
            _ => Ok((held.number, held.scale != scale)),
        }
    }

    /// Commits what was loaded, unless the progress has moved.
    pub(super) fn commit(
        &mut self,
        pipeline: &str,
        head: &mut Head,
        key: u8,
        value: Option<i128>,
        at: (u64, bool),
    ) -> bool {
        let stored = self.heads.get_mut(pipeline).unwrap();
        if stored.version != head.version {
            return false;
        }
        stored.version += 1;
        head.version += 1;
        let cells = self.rows.entry(key).or_default();
        match value {
            Some(value) => cells.insert(at.0, value),
            None => cells.remove(&at.0),
        };
        self.truth.insert(key, value);
        if at.1 {
            self.wrong.push(format!("{key} has a value that was meant for another type"));
        }
        true
    }

    /// The values of V.
    pub(super) fn values(&self) -> BTreeMap<u8, Option<i128>> {
        let at = self.columns[self.at("V").unwrap()].number;
        self.rows.iter().map(|(key, cells)| (*key, cells.get(&at).copied())).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }
}
