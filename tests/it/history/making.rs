//! A history like that of a public project, made from a seed: a main line, and branches off all of it by several people, which
//! edit, add, move, delete and change modes of files, get in each other's way at times, and break the tests at times.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::kills::next;

/// Commits of the main line.
const MAIN: usize = 40;
/// Files that are written to, and others that go away in time.
const FILES: u64 = 60;
const DOOMED: u64 = 40;
const LINES: u64 = 60;
/// Lines that many branches write to.
const HOT: u64 = 8;

const PEOPLE: [&str; 6] = [
    "Ada <ada@example.org>",
    "Grace <grace@example.org>",
    "Linus <linus@example.org>",
    "Margaret <margaret@example.org>",
    "Zoë <zoe@example.org>",
    "李明 <liming@example.org>",
];

#[derive(Clone, PartialEq)]
struct File {
    path: String,
    is_program: bool,
    lines: Vec<String>,
}

/// Files by a number that stays when they move.
type Tree = BTreeMap<u64, File>;

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        next(&mut self.0) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// What is told to `git fast-import`.
struct Stream {
    text: String,
    marks: usize,
}

impl Stream {
    /// A commit that makes one tree of another; its mark.
    fn commit(
        &mut self,
        branch: &str,
        from: &str,
        person: &str,
        message: &str,
        (old, new): (&Tree, &Tree),
    ) -> usize {
        self.marks += 1;
        let (mark, second) = (self.marks, 1_700_000_000 + 60 * self.marks);
        let to = &mut self.text;
        let _ = write!(to, "commit refs/heads/{branch}\nmark :{mark}\n");
        for who in ["author", "committer"] {
            let _ = writeln!(to, "{who} {person} {second} +0100");
        }
        let _ = write!(to, "data {}\n{message}\nfrom {from}\n", message.len());
        let by_path = |tree: &Tree| -> BTreeMap<String, File> {
            tree.values()
                .map(|file| (file.path.clone(), file.clone()))
                .collect()
        };
        let (old, new) = (by_path(old), by_path(new));
        for path in old.keys().filter(|path| !new.contains_key(*path)) {
            let _ = writeln!(to, "D {path}");
        }
        for (path, file) in new.iter().filter(|(path, file)| old.get(*path) != Some(file)) {
            let mode = if file.is_program { "100755" } else { "100644" };
            let text: String = file.lines.iter().map(|line| format!("{line}\n")).collect();
            let _ = write!(to, "M {mode} inline {path}\ndata {}\n{text}\n", text.len());
        }
        to.push('\n');
        mark
    }
}

/// The input of `git fast-import` that puts the history onto `root`, with branches called as `name` says.
pub(super) fn history(seed: u64, root: &str, branches: usize, name: impl Fn(usize) -> String) -> String {
    let mut making = Making {
        dice: Dice(seed),
        stream: Stream {
            text: String::new(),
            marks: 0,
        },
        places: Vec::new(),
        files: FILES + DOOMED,
    };
    making.mark_places();
    let main = making.main_line(root);
    let mut last = None;
    for branch in 0..branches {
        // At times somebody has done the same before.
        let again = last.take().filter(|_| branch % 40 == 39);
        let (base, trees) = match again {
            Some(same) => same,
            None => making.branch(branch, &main),
        };
        making.tell(&name(branch), branch, base, &trees);
        last = Some((base, trees));
    }
    making.stream.text
}

struct Making {
    dice: Dice,
    stream: Stream,
    /// Lines that nobody has changed yet, with room around each.
    places: Vec<(u64, usize)>,
    files: u64,
}

impl Making {
    fn mark_places(&mut self) {
        for file in HOT..FILES {
            self.places
                .extend((1..LINES as usize - 1).step_by(4).map(|line| (file, line)));
        }
        for at in (1..self.places.len()).rev() {
            let other = self.dice.roll(at as u64 + 1) as usize;
            self.places.swap(at, other);
        }
    }

    /// The commits of the main line with what each holds.
    fn main_line(&mut self, root: &str) -> Vec<(usize, Tree)> {
        let mut tree = Tree::new();
        let first: Tree = (0..FILES + DOOMED)
            .map(|number| (number, first_file(number)))
            .collect();
        let mark = self
            .stream
            .commit("main", root, PEOPLE[0], "feat: begin", (&tree, &first));
        tree = first;
        let mut line = vec![(mark, tree.clone())];
        for number in 1..MAIN {
            let before = tree.clone();
            self.edit(&mut tree, &format!("main {number}"));
            let from = format!(":{}", line[number - 1].0);
            let person = PEOPLE[number % PEOPLE.len()];
            let message = format!("feat: main {number}");
            let mark = self
                .stream
                .commit("main", &from, person, &message, (&before, &tree));
            line.push((mark, tree.clone()));
        }
        line
    }

    /// The mark of what a branch stands on, and the tree before and after each of its commits.
    fn branch(&mut self, branch: usize, main: &[(usize, Tree)]) -> (usize, Vec<Tree>) {
        let (base, tree) = &main[self.dice.roll(main.len() as u64) as usize];
        let mut trees = vec![tree.clone()];
        for commit in 0..=self.dice.roll(4) {
            let mut tree = trees[trees.len() - 1].clone();
            for _ in 0..=self.dice.roll(3) {
                self.change(&mut tree, branch);
            }
            if commit == 0 {
                self.trouble(&mut tree, branch);
            }
            trees.push(tree);
        }
        (*base, trees)
    }

    fn tell(&mut self, name: &str, branch: usize, base: usize, trees: &[Tree]) {
        let mut from = base;
        for (number, pair) in trees.windows(2).enumerate() {
            let person = PEOPLE[(branch + number) % PEOPLE.len()];
            let message = format!("feat: {name}, part {number}\n\nAs it was asked for.");
            let parent = format!(":{from}");
            from = self
                .stream
                .commit(name, &parent, person, &message, (&pair[0], &pair[1]));
        }
    }

    /// One thing that somebody does.
    fn change(&mut self, tree: &mut Tree, branch: usize) {
        let number = HOT + self.dice.roll(FILES - HOT);
        match self.dice.roll(100) {
            0..=57 => self.edit(tree, &format!("branch {branch}")),
            58..=84 => self.add(tree, &format!("added/{branch}-{}.txt", self.files)),
            85..=87 => {
                if let Some(file) = tree.get_mut(&number) {
                    file.path = format!("moved/{branch}/{}", file.path.replace('/', "-"));
                }
            }
            88..=93 => drop(tree.remove(&(FILES + self.dice.roll(DOOMED)))),
            _ => {
                if let Some(file) = tree.get_mut(&number) {
                    file.is_program = !file.is_program;
                }
            }
        }
    }

    /// Writes a line that nobody else writes to.
    fn edit(&mut self, tree: &mut Tree, who: &str) {
        if let Some((file, line)) = self.places.pop()
            && let Some(file) = tree.get_mut(&file)
        {
            file.lines[line] = format!("{} by {who}", file.lines[line]);
        }
    }

    fn add(&mut self, tree: &mut Tree, path: &str) {
        self.files += 1;
        let file = File {
            path: path.to_owned(),
            is_program: false,
            lines: vec![format!("new at {path}")],
        };
        tree.insert(self.files, file);
    }

    /// What makes a branch fail: a line that others write to, a broken test, or a part of what breaks together.
    fn trouble(&mut self, tree: &mut Tree, branch: usize) {
        if self.dice.chance(15) {
            let hot = self.dice.roll(HOT);
            if let Some(file) = tree.get_mut(&hot) {
                file.lines[LINES as usize / 2] = format!("hot, by {branch}");
            }
        }
        if self.dice.chance(6) {
            self.add(tree, &format!("broken/{branch}"));
        }
        match branch % 50 {
            17 => self.add(tree, &format!("left/{branch}")),
            33 => self.add(tree, &format!("right/{branch}")),
            _ => {}
        }
    }
}

fn first_file(number: u64) -> File {
    File {
        path: format!("src/part{}/file{number}.txt", number % 7),
        is_program: number.is_multiple_of(11),
        lines: (0..LINES)
            .map(|line| format!("file {number}, line {line}"))
            .collect(),
    }
}
