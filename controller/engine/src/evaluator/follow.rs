//! How windows and folds follow the readings of one server, and fill the slots that use them.

use skynet_model::condition::{Fold, Measure};
use skynet_model::series::Labels;

use super::board::NONE;
use super::derived::{Fed, Folded, Target};
use super::dictionary::Sight;
use super::rule::{Folding, Rules};
use super::server::Server;
use super::window::Key;

impl Server {
    /// A reading of a series that something hangs on.
    pub(super) fn observe(&mut self, taps: u32, value: f64) {
        let time = self.derived.clock.now;
        let mut place = taps;
        while let Some(tap) = self.derived.tap(place) {
            place = tap.next;
            let Target::Window(number) = tap.target else { continue };
            let Some(window) = self.derived.windows.get_mut(number) else { continue };
            window.lookback.push(time, value);
            let value = window.lookback.value();
            if window.fed == Fed::Empty {
                window.fed = Fed::Wanted;
                self.derived.hungry.push(number);
            }
            self.say(number, value);
        }
    }

    /// A series that something hangs on has another value, or none.
    pub(super) fn ripple(&mut self, taps: u32, value: f64) {
        let mut place = taps;
        while let Some(tap) = self.derived.tap(place) {
            place = tap.next;
            match tap.target {
                Target::Fold(fold) => self.derived.soil(fold),
                // What it would say is as unknown as its series, or as gone.
                Target::Window(window) if value.is_nan() => self.say(window, value),
                Target::Window(_) => {}
            }
        }
    }

    /// A window says something.
    pub(super) fn say(&mut self, number: u32, value: f64) {
        let Some(window) = self.derived.windows.get_mut(number) else { return };
        let same = window.value.to_bits() == value.to_bits();
        if same && !value.is_nan() {
            return;
        }
        window.value = value;
        let mut place = window.folds;
        self.board.fill(window.users, value, &mut self.dirty);
        while let Some(tap) = self.derived.tap(place) {
            place = tap.next;
            if let Target::Fold(fold) = tap.target {
                self.derived.soil(fold);
            }
        }
    }

    /// The window over a series, made when there is none. None when there are too many.
    fn window(&mut self, at: u32, key: Key) -> Option<u32> {
        let point = self.dictionary.points.get_mut(at as usize)?;
        if let Some(number) = self.derived.window(point.taps, key) {
            return Some(number);
        }
        let Some(number) = self.derived.open(at, &self.dictionary.series.get(at)?.key, key) else {
            self.derived.capped = true;
            return None;
        };
        self.derived.hang(&mut point.taps, Target::Window(number));
        if let Some(window) = self.derived.windows.get_mut(number).filter(|_| point.sight == Sight::Known) {
            window.value = window.lookback.value();
        }
        Some(number)
    }

    /// Lets a window over a series fill a slot.
    pub(super) fn bind_window(&mut self, i: u32, slot: usize, at: u32, key: Key) {
        let number = self.window(at, key);
        if let Some(window) = number.and_then(|number| self.derived.windows.get_mut(number)) {
            self.board.link(&mut window.users, i, slot);
            self.board.set(i, slot, window.value);
        }
    }

    /// Lets no window over a series fill a slot of this instance any more.
    pub(super) fn unbind_windows(&mut self, i: u32, at: u32) {
        let mut place = self.dictionary.point(at).map_or(NONE, |point| point.taps);
        while let Some(tap) = self.derived.tap(place) {
            place = tap.next;
            if let Target::Window(number) = tap.target
                && let Some(window) = self.derived.windows.get_mut(number)
            {
                self.board.unlink(&mut window.users, i);
            }
        }
    }

    /// Lets a fold fill a slot.
    pub(super) fn bind_fold(&mut self, i: u32, slot: usize, fold: u32, rules: &Rules) {
        self.keep_up(fold, rules);
        let (Some(folding), Some(instance)) = (rules.folds.get(fold as usize), self.instances.get(i)) else { return };
        let group = folding.group(&instance.labels);
        let number = self.group(fold, folding, group);
        if let (Some(folded), Some(instance)) = (self.derived.folds.get_mut(number), self.instances.get_mut(i)) {
            instance.groups.push(number);
            self.board.link(&mut folded.users, i, slot);
        }
        self.derived.soil(number);
    }

    /// Lets a group of a fold fill no slot of an instance any more.
    pub(super) fn unbind_fold(&mut self, i: u32, number: u32) {
        if let Some(folded) = self.derived.folds.get_mut(number) {
            self.board.unlink(&mut folded.users, i);
        }
        self.drop_if_unused(number);
    }

    /// The number of a group, made when there is none.
    fn group(&mut self, fold: u32, folding: &Folding, group: Labels) -> u32 {
        let windowed = matches!(folding.of.of, Measure::Window(_));
        if let Some(number) = self.derived.groups.get(&(fold, group.clone())) {
            return *number;
        }
        let folded = Folded {
            fold,
            windowed,
            group: group.clone(),
            members: Vec::new(),
            value: f64::NAN,
            dirty: false,
            users: NONE,
        };
        let number = self.derived.folds.insert(folded);
        self.derived.groups.insert((fold, group), number);
        number
    }

    /// From now on the groups of a fold are kept up, whoever uses them.
    fn keep_up(&mut self, fold: u32, rules: &Rules) {
        let index = fold as usize;
        if self.derived.active.len() <= index {
            self.derived.active.resize(index + 1, false);
        }
        if std::mem::replace(&mut self.derived.active[index], true) {
            return;
        }
        let Some(folding) = rules.folds.get(index) else { return };
        for at in self.dictionary.named(&folding.series().name).to_vec() {
            self.join_fold(at, fold, folding, rules);
        }
    }

    /// Takes a new series into the folds it is in.
    pub(super) fn join_folds(&mut self, at: u32, name: &str, rules: &Rules) {
        for fold in rules.folds_of(name).iter().copied() {
            let active = self.derived.active.get(fold as usize) == Some(&true);
            if let Some(folding) = rules.folds.get(fold as usize).filter(|_| active) {
                self.join_fold(at, fold, folding, rules);
            }
        }
    }

    fn join_fold(&mut self, at: u32, fold: u32, folding: &Folding, rules: &Rules) {
        let rest = self.dictionary.rest(at, folding.series());
        let Some(group) = rest.and_then(|rest| folding.group_of(&rest)) else { return };
        let number = self.group(fold, folding, group);
        let member = match &folding.of.of {
            Measure::Series(_) => at,
            Measure::Window(window) => match self.window(at, Key::of(window)) {
                Some(window) => window,
                None => return,
            },
        };
        let first = match &folding.of.of {
            Measure::Series(_) => self.dictionary.point_mut(at).map(|point| &mut point.taps),
            Measure::Window(_) => self.derived.windows.get_mut(member).map(|window| &mut window.folds),
        };
        let Some(mut list) = first.copied() else { return };
        self.derived.hang(&mut list, Target::Fold(number));
        match &folding.of.of {
            Measure::Series(_) => self.dictionary.points[at as usize].taps = list,
            Measure::Window(_) => {
                if let Some(window) = self.derived.windows.get_mut(member) {
                    window.folds = list;
                }
            }
        }
        self.derived.soil(number);
        let Some(folded) = self.derived.folds.get_mut(number) else { return };
        folded.members.push(member);
        if folded.members.len() == 1 {
            let mut place = folded.users;
            while let Some(link) = self.board.linked(place) {
                place = link.next;
                let rule = self.instances.get(link.instance).and_then(|instance| rules.get(instance.rule));
                if let Some(rule) = rule {
                    self.tighten(link.instance, rule);
                }
            }
        }
    }

    /// A series ended: its windows with it, and it is in no fold any more.
    pub(super) fn untap(&mut self, mut taps: u32, at: u32) {
        while let Some(tap) = self.derived.tap(taps) {
            self.derived.unhang(&mut taps, tap.target);
            match tap.target {
                Target::Fold(fold) => self.leave(fold, at),
                Target::Window(number) => {
                    let Some(window) = self.derived.windows.remove(number) else { continue };
                    self.unbind_all(window.users, at);
                    let mut folds = window.folds;
                    while let Some(tap) = self.derived.tap(folds) {
                        self.derived.unhang(&mut folds, tap.target);
                        if let Target::Fold(fold) = tap.target {
                            self.leave(fold, number);
                        }
                    }
                }
            }
        }
    }

    fn leave(&mut self, number: u32, member: u32) {
        self.derived.soil(number);
        let Some(folded) = self.derived.folds.get_mut(number) else { return };
        if let Some(place) = folded.members.iter().position(|m| *m == member) {
            folded.members.swap_remove(place);
        }
        if folded.members.is_empty() {
            let mut place = folded.users;
            while let Some(link) = self.board.linked(place) {
                place = link.next;
                self.slacken(link.instance);
            }
            self.drop_if_unused(number);
        }
    }

    fn drop_if_unused(&mut self, number: u32) {
        let unused = |folded: &&Folded| folded.members.is_empty() && folded.users == NONE;
        if self.derived.folds.get(number).filter(unused).is_some()
            && let Some(folded) = self.derived.folds.remove(number)
        {
            self.derived.groups.remove(&(folded.fold, folded.group));
        }
    }

    /// Reckons the folds whose members have changed.
    pub(super) fn reckon(&mut self, rules: &Rules) {
        if self.derived.dirty.is_empty() {
            return;
        }
        let mut list = std::mem::take(&mut self.derived.dirty);
        for number in list.drain(..) {
            let Some(folded) = self.derived.folds.get_mut(number) else { continue };
            if !std::mem::replace(&mut folded.dirty, false) || folded.users == NONE {
                continue;
            }
            let Some(folding) = rules.folds.get(folded.fold as usize) else { continue };
            let value = self.fold(number, folding);
            let Some(folded) = self.derived.folds.get_mut(number) else { continue };
            // What is unknown may be so for another reason than before.
            if value.is_nan() || folded.value.to_bits() != value.to_bits() {
                folded.value = value;
                self.board.fill(folded.users, value, &mut self.dirty);
            }
        }
        self.derived.dirty = list;
    }

    /// What a fold says: members that are gone are left out, one that is unknown makes it unknown. A window of a series that
    /// comes and goes is left out as well while it is too young to answer: some always are.
    fn fold(&self, number: u32, folding: &Folding) -> f64 {
        let series = folding.series();
        let Some(folded) = self.derived.folds.get(number).filter(|_| self.has_said_all(series.sensor)) else {
            return f64::NAN;
        };
        if folded.windowed && self.derived.capped {
            return f64::NAN;
        }
        let mut known: Option<f64> = None;
        let mut young = false;
        for member in &folded.members {
            let (sight, value) = self.member(*member, folded.windowed);
            match sight {
                Sight::Gone => continue,
                Sight::Known if !value.is_nan() => {}
                Sight::Known if folded.windowed && series.ephemeral => {
                    young = true;
                    continue;
                }
                Sight::Known | Sight::Silent => return f64::NAN,
            }
            known = Some(match (known, folding.of.fold) {
                (None, _) => value,
                (Some(so_far), Fold::Total) => so_far + value,
                (Some(so_far), Fold::Highest) => so_far.max(value),
                (Some(so_far), Fold::Lowest) => so_far.min(value),
            });
        }
        match (known, folding.of.fold) {
            (Some(value), _) => value,
            (None, Fold::Total) if !young => 0.0,
            (None, Fold::Total | Fold::Highest | Fold::Lowest) => f64::NAN,
        }
    }

    fn member(&self, member: u32, windowed: bool) -> (Sight, f64) {
        let window = if windowed { self.derived.windows.get(member) } else { None };
        let at = if windowed { window.map_or(u32::MAX, |window| window.of) } else { member };
        let point = self.dictionary.point(at);
        let value = window.map(|window| window.value).or(point.map(|point| point.value));
        (point.map_or(Sight::Silent, |point| point.sight), value.unwrap_or(f64::NAN))
    }

    /// The numbers of a group's series.
    pub(super) fn members<'a>(&'a self, group: u32) -> impl Iterator<Item = u32> + 'a {
        let folded = self.derived.folds.get(group);
        folded.into_iter().flat_map(move |folded| {
            let of = |member: &u32| match folded.windowed {
                true => self.derived.windows.get(*member).map(|window| window.of),
                false => Some(*member),
            };
            folded.members.iter().filter_map(of)
        })
    }

    /// Whether nothing is in a group.
    pub(super) fn is_empty(&self, group: u32) -> bool {
        self.derived.folds.get(group).is_none_or(|folded| folded.members.is_empty())
    }

    /// Whether everything in a group is gone.
    pub(super) fn all_gone(&self, group: u32) -> bool {
        self.members(group).all(|at| self.dictionary.point(at).is_some_and(|point| point.sight == Sight::Gone))
    }
}
