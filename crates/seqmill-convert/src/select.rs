//! Checks and filters on raw records, before anything is decoded.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a unit and the parts of a record are shorter than 4 GiB: offsets in them are u32"
)]

use crate::chunk_index::{Part, UnitSummary};
use crate::expression::Predicate;
use crate::options::Semantic;
use crate::regions::RegionFilter;
use crate::unit::{Note, Selected};
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;
use seqmill_base::prefetch::prefetch;
use seqmill_base::{Error, Lease, Result};
use seqmill_io::bam::{Fault, Record, Tag, TagKind, Tags};
use seqmill_io::records::{Stitched, Unit, record_body};
use std::sync::Arc;

/// A set of byte strings.
pub(crate) type Names = HashSet<Vec<u8>, FxBuildHasher>;

/// What counts for the size of a batch, decided once from the layout.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weights {
    /// Columns of fixed size.
    pub fixed: u32,
    /// The name is there.
    pub name: bool,
    /// The CIGAR is there.
    pub cigar: bool,
    /// Bytes of bases and qualities for one base.
    pub per_base_halves: u32,
    /// Tags are there.
    pub tags: bool,
}

/// Records of which the beginning is asked for before they are looked at.
pub(crate) const PREFETCH_RECORDS: usize = 8;

/// This many raw bytes count as one byte of a batch at least.
const RAW_SHARE: u32 = 4;

impl Weights {
    /// About the Arrow bytes of a record: a function of the record and the columns alone. Raw
    /// bytes count for a part, too: a batch of few columns must not hold hundreds of units.
    #[inline]
    fn of(&self, record: &Record<'_>) -> u32 {
        let mut weight = self.fixed + self.per_base_halves * record.length() / 2;
        if self.name {
            weight += record.name_bytes() as u32;
        }
        if self.cigar {
            // A text operation takes about three characters.
            weight += 3 * record.operations() as u32;
        }
        if self.tags {
            weight += record.tag_bytes() as u32;
        }
        weight.max(record.bytes() as u32 / RAW_SHARE)
    }
}

/// All conditions of `bam.md` §8 that look at one record.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub regions: Option<RegionFilter>,
    pub min_mapq: u8,
    pub require_flags: u16,
    pub exclude_flags: u16,
    pub exclude_all_flags: u16,
    pub read_groups: Option<Names>,
    pub tag_in: Vec<([u8; 2], Names)>,
    pub name_in: Option<Names>,
    pub min_length: u64,
    pub max_length: u64,
    pub expression: Option<Predicate>,
    /// There is a condition.
    pub any: bool,
}

pub(crate) fn names(list: &[String]) -> Names {
    list.iter().map(|s| s.clone().into_bytes()).collect()
}

impl Filter {
    /// The conditions of the options; the regions are resolved by the caller.
    pub(crate) fn new(
        options: &Semantic,
        regions: Option<RegionFilter>,
        expression: Option<Predicate>,
    ) -> Result<Self> {
        let mut tag_in = Vec::new();
        for (name, values) in &options.tag_in {
            let name: [u8; 2] = name
                .as_bytes()
                .try_into()
                .map_err(|_| Error::input(format!("tag {name:?} does not have two characters")))?;
            tag_in.push((name, names(values)));
        }
        let mut filter = Self {
            regions,
            min_mapq: options.min_mapq,
            require_flags: options.require_flags,
            exclude_flags: options.exclude_flags,
            exclude_all_flags: options.exclude_all_flags,
            read_groups: options.read_groups.as_deref().map(names),
            tag_in,
            name_in: options.name_in.as_deref().map(names),
            min_length: options.min_length.unwrap_or(0),
            max_length: options.max_length.unwrap_or(u64::MAX),
            expression,
            any: false,
        };
        filter.any = filter.regions.is_some()
            || filter.min_mapq > 0
            || filter.require_flags | filter.exclude_flags | filter.exclude_all_flags != 0
            || filter.read_groups.is_some()
            || !filter.tag_in.is_empty()
            || filter.name_in.is_some()
            || filter.min_length > 0
            || filter.max_length < u64::MAX
            || filter.expression.is_some();
        Ok(filter)
    }

    /// Why the record does not pass, if it does not.
    fn refusal(&self, record: &Record<'_>) -> Result<Option<Note>, Fault> {
        let flag = record.flag();
        if record.mapq() < self.min_mapq {
            return Ok(Some(Note::Mapq));
        }
        let all = self.exclude_all_flags;
        if flag & self.require_flags != self.require_flags
            || flag & self.exclude_flags != 0
            || (all != 0 && flag & all == all)
        {
            return Ok(Some(Note::Flags));
        }
        let length = u64::from(record.length());
        if length < self.min_length || length > self.max_length {
            return Ok(Some(Note::Length));
        }
        if self.regions.as_ref().is_some_and(|r| !r.holds(record)) {
            return Ok(Some(Note::Region));
        }
        let parts = record.parts();
        if self.name_in.as_ref().is_some_and(|set| !set.contains(parts.name)) {
            return Ok(Some(Note::Name));
        }
        if let Some(groups) = &self.read_groups
            && !tag_is_in(parts.tags, *b"RG", groups)?
        {
            return Ok(Some(Note::ReadGroup));
        }
        for (name, set) in &self.tag_in {
            if !tag_is_in(parts.tags, *name, set)? {
                return Ok(Some(Note::Tag));
            }
        }
        if let Some(expression) = &self.expression
            && !expression.holds(record)?
        {
            return Ok(Some(Note::Expression));
        }
        Ok(None)
    }
}

/// Whether the SAM text of the first tag of that name is in the set.
fn tag_is_in(tags: &[u8], name: [u8; 2], set: &Names) -> Result<bool, Fault> {
    for tag in Tags::new(tags) {
        let tag: Tag<'_> = tag?;
        if tag.name == name {
            let mut text = Vec::new();
            crate::tags::write_sam_value(&tag, &mut text);
            return Ok(set.contains(&text));
        }
    }
    Ok(false)
}

/// Whether all tags of a record are whole.
fn walk_tags(record: &Record<'_>) -> Result<(), Fault> {
    Tags::new(record.parts().tags).try_for_each(|tag| tag.map(|_| ()))
}

/// Whether the name is text that a column can hold.
pub(crate) fn name_is_text(record: &Record<'_>) -> bool {
    std::str::from_utf8(record.parts().name).is_ok()
}

/// Whether the names and the texts of all tags are text that a column can hold.
pub(crate) fn tags_are_text(record: &Record<'_>) -> bool {
    Tags::new(record.parts().tags).map_while(Result::ok).all(|tag| {
        let text = matches!(tag.kind, TagKind::Character | TagKind::Text | TagKind::Hex);
        std::str::from_utf8(&tag.name).is_ok() && (!text || std::str::from_utf8(tag.value).is_ok())
    })
}

/// Is told number, place and fault of a record that was skipped.
pub(crate) type OnBad = Box<dyn Fn(u64, u64, &Fault) + Send + Sync>;

/// Settings of the selection.
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub(crate) struct Selector {
    pub filter: Filter,
    pub weights: Weights,
    /// References of each input.
    pub references: Vec<usize>,
    /// Records with a fault of their own are left out instead of ending the run.
    pub skip_bad: bool,
    /// Text qualities are made, so they must be showable.
    pub check_quality: bool,
    /// Ends become numbers: those behind the last position count as damage.
    pub check_end: bool,
    /// Names become text.
    pub text_name: bool,
    /// Tags become text.
    pub text_tags: bool,
    /// Tags must be walked here because nobody does it later.
    pub walk_tags: bool,
    /// The same for records that are left out: damage in them is damage of the input.
    pub walk_refused: bool,
    /// Records up to this one (input, number) are left out: a resumed run has them.
    pub resume_after: Option<(u32, u64)>,
    /// Only records with these numbers.
    pub part: Option<Part>,
    /// The only input is sorted, as its index says: behind the last region there is nothing to find.
    pub stop_behind: bool,
    /// Make the summaries a chunk index is built from.
    pub summarise: bool,
    /// Told of each record that was skipped.
    pub on_bad: Option<OnBad>,
}

impl Selector {
    fn check(&self, record: &Record<'_>, references: usize) -> Result<(), Fault> {
        record.check(references)?;
        if self.walk_tags || self.skip_bad {
            walk_tags(record)?;
        }
        if !self.skip_bad {
            return Ok(());
        }
        // What would end the run when the columns are filled has to be known here.
        if self.check_quality {
            Record::check_quality(record.parts().qual)?;
        }
        if self.check_end {
            let (cigar, _) = record.cigar(&record.parts());
            Record::check_end(record.pos(), cigar)?;
        }
        if self.text_name && !name_is_text(record) {
            return Err(Fault::record("qname", "is not UTF-8"));
        }
        if self.text_tags && !tags_are_text(record) {
            return Err(Fault::tag("a tag is not UTF-8"));
        }
        Ok(())
    }

    /// Checks one record and says why it is left out, if it is.
    fn look_at<'d>(
        &self,
        data: &'d [u8],
        start: u32,
        references: usize,
    ) -> Result<(Record<'d>, Option<Note>), Fault> {
        let record = Record::new(record_body(data, start as usize))?;
        self.check(&record, references)?;
        let refusal = if self.filter.any { self.filter.refusal(&record)? } else { None };
        if refusal.is_some() && self.walk_refused {
            walk_tags(&record)?;
        }
        Ok((record, refusal))
    }

    /// Whether the last record of a unit stands behind all regions.
    fn is_behind(&self, unit: &Unit, starts: &[u32]) -> bool {
        let (Some(regions), Some(last)) = (&self.filter.regions, starts.last()) else {
            return false;
        };
        let record = Record::new(record_body(&unit.data, *last as usize));
        record.is_ok_and(|record| regions.is_behind(record.ref_id(), record.pos()))
    }

    /// Checks and filters the records of a unit.
    pub(crate) fn select(&self, stitched: Stitched, mut lease: Lease) -> Result<Selected> {
        let summary = if self.summarise { UnitSummary::of(&stitched).map(Box::new) } else { None };
        let Stitched { unit, starts, places, ordinal, file_end, faults } = stitched;
        let references = self.references.get(unit.input as usize).copied().unwrap_or(0);
        let mut rows = Rows::new(starts.len());
        let mut first = match self.resume_after {
            Some((input, number)) if input == unit.input => number + 1,
            _ => 0,
        };
        let mut end = u64::MAX;
        if let Some(part) = self.part {
            first = first.max(part.begin);
            end = part.end;
        }
        let within = |number: u64| {
            usize::try_from(number.saturating_sub(ordinal)).unwrap_or(usize::MAX).min(starts.len())
        };
        let (skipped, mut looked_at) = (within(first), within(end));
        if skipped > 0 || looked_at < starts.len() {
            rows.leave_out(&starts, 0);
        }
        let mut error = None;
        for (number, start) in starts.iter().enumerate().take(looked_at).skip(skipped) {
            if let Some(later) = starts.get(number + PREFETCH_RECORDS) {
                prefetch(&unit.data, *later as usize);
            }
            match self.look_at(&unit.data, *start, references) {
                Ok((record, None)) => {
                    if !record.name_is_terminated() {
                        rows.notes.push((number as u32, Note::UnterminatedName));
                    }
                    rows.keep(number, *start, &record, self.weights.of(&record));
                }
                Ok((_, Some(note))) => {
                    rows.notes.push((number as u32, note));
                    rows.leave_out(&starts, number);
                }
                Err(fault) => {
                    let place = places.as_ref().and_then(|p| p.get(number)).copied();
                    let place = place.unwrap_or_else(|| unit.voffset(*start as usize).0);
                    let place = (ordinal + number as u64, place);
                    // What is wrong with a line is known better than what its stand-in shows.
                    let told = faults.iter().find(|(at, ..)| *at as usize == number);
                    let fault = told.map_or(fault, |(_, fault, _)| *fault);
                    rows.leave_out(&starts, number);
                    if !self.skip_bad {
                        error = Some(match told {
                            Some((_, _, error)) => error.clone(),
                            None => fault.into_error(place.0, place.1),
                        });
                        looked_at = number + 1;
                        break;
                    }
                    rows.notes.push((number as u32, Note::Bad));
                    if let Some(tell) = &self.on_bad {
                        tell(place.0, place.1, &fault);
                    }
                }
            }
        }
        let behind = self.stop_behind && error.is_none() && self.is_behind(&unit, &starts);
        let starts = if rows.numbers.is_some() { std::mem::take(&mut rows.starts) } else { starts };
        let places = match (places, &rows.numbers) {
            (Some(places), Some(numbers)) => {
                let kept = numbers.iter().map(|n| places.get(*n as usize).copied().unwrap_or(0));
                Some(kept.collect())
            }
            (places, _) => places,
        };
        let (unit, starts, voffsets) = compact(unit, starts, places)?;
        lease.resize(rows.bytes() + 4 * starts.capacity() as u64)?;
        Ok(Selected {
            unit,
            starts,
            voffsets,
            weights: rows.weights,
            numbers: rows.numbers,
            ordinal,
            runs: rows.runs,
            descents: rows.descents,
            notes: rows.notes,
            looked_at: looked_at as u32,
            file_end,
            behind,
            summary,
            error,
            reads: None,
            _lease: lease,
        })
    }
}

/// Bytes of a small unit besides its data: what keeps many of them from being free.
const UNIT_OVERHEAD_BYTES: u64 = 1 << 10;

/// Copies the records of a unit together where few are left, so that a batch of rare records does
/// not hold all the units they come from.
#[expect(clippy::type_complexity, reason = "three parts of one result")]
fn compact(
    unit: Arc<Unit>,
    starts: Vec<u32>,
    places: Option<Vec<u64>>,
) -> Result<(Arc<Unit>, Vec<u32>, Option<Vec<u64>>)> {
    let size = |start: u32| 4 + record_body(&unit.data, start as usize).len();
    let bytes: usize = starts.iter().map(|start| size(*start)).sum();
    if 2 * bytes > unit.data.len() {
        return Ok((unit, starts, places));
    }
    let held = (bytes + 12 * starts.len()) as u64 + UNIT_OVERHEAD_BYTES;
    let lease = unit.lease.sibling(held)?;
    let mut data = Vec::with_capacity(bytes);
    let mut new_starts = Vec::with_capacity(starts.len());
    let mut voffsets = Vec::with_capacity(starts.len());
    for (row, start) in starts.iter().enumerate() {
        let at = *start as usize;
        new_starts.push(data.len() as u32);
        let place = places.as_ref().and_then(|p| p.get(row)).copied();
        voffsets.push(place.unwrap_or_else(|| unit.voffset(at).0));
        data.extend_from_slice(unit.data.get(at..at + size(*start)).unwrap_or_default());
    }
    let (input, plain) = (unit.input, unit.plain);
    let unit = Unit { data, marks: Vec::new(), skew: 0, input, plain, lease };
    Ok((Arc::new(unit), new_starts, Some(voffsets)))
}

/// The rows of a unit while they are collected.
struct Rows {
    starts: Vec<u32>,
    /// Present as soon as a record was left out.
    numbers: Option<Vec<u32>>,
    weights: Vec<u32>,
    runs: Vec<(u32, i32)>,
    descents: Vec<u32>,
    notes: Vec<(u32, Note)>,
    last_key: (i64, i64),
}

impl Rows {
    fn new(records: usize) -> Self {
        Self {
            starts: Vec::new(),
            numbers: None,
            weights: Vec::with_capacity(records),
            runs: Vec::new(),
            descents: Vec::new(),
            notes: Vec::new(),
            last_key: (i64::MIN, i64::MIN),
        }
    }

    /// From the first record that is left out on, the kept ones are listed.
    fn leave_out(&mut self, starts: &[u32], number: usize) {
        if self.numbers.is_none() {
            self.numbers = Some((0..number as u32).collect());
            self.starts.extend_from_slice(starts.get(..number).unwrap_or_default());
        }
    }

    #[inline]
    fn keep(&mut self, number: usize, start: u32, record: &Record<'_>, weight: u32) {
        let row = self.weights.len() as u32;
        if let Some(numbers) = &mut self.numbers {
            numbers.push(number as u32);
            self.starts.push(start);
        }
        self.weights.push(weight);
        let reference = record.ref_id();
        if self.runs.last().is_none_or(|(_, last)| *last != reference) {
            self.runs.push((row, reference));
        }
        let key = coordinate_key(reference, record.pos());
        // A reference without a position, or the reverse, has no place in the order of the table.
        if key < self.last_key || (reference < 0) != (record.pos() < 0) {
            self.descents.push(row);
        }
        self.last_key = key;
    }

    fn bytes(&self) -> u64 {
        let words = self.weights.capacity()
            + self.starts.capacity()
            + self.descents.capacity()
            + 2 * (self.runs.capacity() + self.notes.capacity())
            + self.numbers.as_ref().map_or(0, Vec::capacity);
        4 * words as u64
    }
}

/// Order of the coordinates: records without a reference come last (`SAMv1 §1.3`).
pub(crate) fn coordinate_key(reference: i32, pos: i32) -> (i64, i64) {
    if reference < 0 { (i64::MAX, 0) } else { (i64::from(reference), i64::from(pos)) }
}

/// Bytes a selection may hold beside its unit.
pub(crate) fn selection_claim(stitched: &Stitched, filtering: bool) -> u64 {
    // Start, weight and number; runs and descents are rare.
    let lists = 16 * stitched.starts.len() as u64 + 256;
    // What is left of a filtered unit may be copied.
    let copy = if filtering { stitched.unit.data.len() as u64 / 2 } else { 0 };
    lists + copy
}
