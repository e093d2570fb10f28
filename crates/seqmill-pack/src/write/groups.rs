//! Which group a segment belongs to (`agc.md` §8.4).

use super::encode::{Coder, Effort, KEEP_BASES, Token, match_cost};
use super::kmers::{Kmer, NO_KMER};
use super::reference::{Reference, TableRoom};
use super::segments::Piece;
use super::sketch::Sketch;
use crate::archive::RAW_GROUPS;
use crate::symbols::reverse_complement_codes;
use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::sync::Arc;

/// Groups that a segment with one splitter is compared with, at most.
const CANDIDATES_MAX: usize = 32;
/// A group must save so many bytes to be chosen by its cost.
const LEAST_GAIN: usize = 16;
/// Contigs without splitters that are shorter are kept as they are.
const OWN_GROUP_BASES: usize = 1024;
/// A group found by its k-mers must save so large a part of a segment: two bits a base, a
/// quarter, is what a new reference costs.
const SKETCH_GAIN: usize = 8;
/// Bytes a group costs besides its reference.
const GROUP_BYTES: u64 = 256;

/// Splitters of a group, the smaller one first; [`NO_KMER`] for none.
pub(crate) type Key = (u64, u64);

/// Where a segment goes.
pub(crate) enum Target {
    /// It is the reference of a new group.
    New(u32),
    /// It is coded against the reference of a group; it is so already where finding the group took
    /// that.
    Known { group: u32, reference: Arc<Reference>, coded: Option<Vec<u8>> },
    /// It is kept as it is.
    Raw(u32),
}

/// A segment in its stored orientation, and where it goes.
pub(crate) struct Placed {
    pub(crate) codes: Vec<u8>,
    pub(crate) reverse: bool,
    pub(crate) target: Target,
}

/// The codes of a strand.
fn turn(codes: Vec<u8>, other_strand: bool) -> Vec<u8> {
    if !other_strand {
        return codes;
    }
    let mut turned = Vec::with_capacity(codes.len());
    reverse_complement_codes(&codes, &mut turned);
    turned
}

/// All groups there are.
pub(crate) struct Groups {
    by_key: hashbrown::HashMap<Key, u32, FxBuildHasher>,
    references: Vec<Arc<Reference>>,
    /// Splitters that share a group with a splitter, as of the end of the last sample: what a
    /// segment is compared with must not depend on the others of its sample.
    partners: hashbrown::HashMap<u64, Vec<u64>, FxBuildHasher>,
    fresh: Vec<Key>,
    sketch: Sketch,
    raw_next: u32,
    kmer_length: usize,
    effort: Effort,
    room: Arc<TableRoom>,
    coder: Coder,
    other: Vec<u8>,
    lease: Lease,
}

impl Groups {
    pub(crate) fn new(
        kmer_length: u32,
        effort: Effort,
        room: Arc<TableRoom>,
        lease: Lease,
    ) -> Self {
        Self {
            by_key: hashbrown::HashMap::default(),
            references: Vec::new(),
            partners: hashbrown::HashMap::default(),
            fresh: Vec::new(),
            sketch: Sketch::new(kmer_length, effort.is_thorough()),
            raw_next: 0,
            kmer_length: kmer_length as usize,
            effort,
            room,
            coder: Coder::default(),
            other: Vec::new(),
            lease,
        }
    }

    /// Number of groups, those without reference included.
    pub(crate) fn count(&self) -> u32 {
        RAW_GROUPS + u32::try_from(self.references.len()).unwrap_or(u32::MAX)
    }

    /// Keys and groups, sorted.
    pub(crate) fn keys(&self) -> Vec<(u64, u64, u32)> {
        let mut keys: Vec<(u64, u64, u32)> =
            self.by_key.iter().map(|(&(a, b), &group)| (a, b, group)).collect();
        keys.push((NO_KMER, NO_KMER, 0));
        keys.sort_unstable();
        keys
    }

    /// Bases of all references.
    pub(crate) fn reference_bases(&self) -> u64 {
        self.references.iter().map(|r| r.len() as u64).sum()
    }

    /// Continues to deal segments without splitters where an archive has so many.
    pub(crate) fn set_raw_entries(&mut self, entries: u64) {
        self.raw_next = u32::try_from(entries % u64::from(RAW_GROUPS)).unwrap_or(0);
    }

    /// Adds a group; its number follows the last one's.
    pub(crate) fn push(&mut self, codes: &[u8]) -> Result<Arc<Reference>> {
        let reference = Reference::new(codes);
        let before = self.sketch.bytes();
        self.sketch.insert(self.count(), codes);
        let more = reference.bytes() + GROUP_BYTES + self.sketch.bytes() - before;
        self.lease.resize(self.lease.bytes() + more)?;
        let reference = Arc::new(reference);
        self.references.push(Arc::clone(&reference));
        Ok(reference)
    }

    /// Names the group of a key.
    pub(crate) fn insert_key(&mut self, key: Key, group: u32) {
        self.by_key.insert(key, group);
        if key.0 != NO_KMER && key.1 != NO_KMER {
            self.fresh.push(key);
        }
    }

    /// A sample is complete: the next one may be compared with its groups.
    pub(crate) fn end_sample(&mut self) {
        for (a, b) in std::mem::take(&mut self.fresh) {
            for (of, partner) in [(a, b), (b, a)] {
                let list = self.partners.entry(of).or_default();
                if let Err(at) = list.binary_search(&partner) {
                    list.insert(at, partner);
                }
            }
        }
    }

    fn reference(&self, group: u32) -> Result<&Arc<Reference>> {
        let place = group.checked_sub(RAW_GROUPS).and_then(|i| self.references.get(i as usize));
        place.ok_or_else(|| {
            Error::format(FormatKind::Other, format!("the splitters name group {group}, not there"))
        })
    }

    /// Places a segment; one that straddles two groups becomes two.
    pub(crate) fn place(&mut self, piece: Piece, out: &mut Vec<Placed>) -> Result<()> {
        let is_long = piece.codes.len() > KEEP_BASES;
        let placed = self.place_piece(piece, out);
        self.coder.trim();
        if is_long {
            self.other = Vec::new();
        }
        placed
    }

    fn place_piece(&mut self, piece: Piece, out: &mut Vec<Placed>) -> Result<()> {
        match (piece.front, piece.back) {
            (Some(front), Some(back)) => self.place_between(piece.codes, front, back, out),
            (Some(kmer), None) => self.place_at_end(piece.codes, kmer, false, out),
            (None, Some(kmer)) => {
                let turned = Kmer { code: kmer.code, direct: !kmer.direct };
                self.place_at_end(piece.codes, turned, true, out)
            }
            (None, None) if piece.codes.len() < OWN_GROUP_BASES => {
                let group = self.raw_next;
                self.raw_next = (group + 1) % RAW_GROUPS;
                let target = Target::Raw(group);
                out.push(Placed { codes: piece.codes, reverse: false, target });
                Ok(())
            }
            (None, None) => {
                let placed = self.place_by_kmers(piece.codes, None, false)?;
                out.push(placed);
                Ok(())
            }
        }
    }

    /// The entry of the tokens that were found last.
    fn coded(&self, text: &[u8]) -> Vec<u8> {
        let mut entry = Vec::new();
        self.coder.write(text, self.effort, &mut entry);
        entry.shrink_to_fit();
        entry
    }

    /// Puts a segment into the group of a key, which is made if there is none; `coded` is its entry
    /// there, where that is known.
    fn put(
        &mut self,
        codes: Vec<u8>,
        reverse: bool,
        key: Key,
        coded: Option<Vec<u8>>,
        out: &mut Vec<Placed>,
    ) -> Result<()> {
        let placed = if let Some(&group) = self.by_key.get(&key) {
            let reference = Arc::clone(self.reference(group)?);
            let target = Target::Known { group, reference, coded };
            Placed { codes: turn(codes, reverse), reverse, target }
        } else {
            self.place_by_kmers(codes, Some(key), reverse)?
        };
        out.push(placed);
        Ok(())
    }

    /// Puts a segment that has no group where its k-mers are, or makes it a group of its own.
    fn place_by_kmers(
        &mut self,
        codes: Vec<u8>,
        key: Option<Key>,
        reverse: bool,
    ) -> Result<Placed> {
        if let Some((group, other_strand)) = self.sketch.find(&codes) {
            let reference = Arc::clone(self.reference(group)?);
            let text = turn(codes, other_strand);
            if self.resembles(&reference, &text) {
                let coded = Some(self.coded(&text));
                let target = Target::Known { group, reference, coded };
                return Ok(Placed { codes: text, reverse: other_strand, target });
            }
            return self.place_anew(turn(text, other_strand), key, reverse);
        }
        self.place_anew(codes, key, reverse)
    }

    /// Whether a segment is better coded against a reference than kept as one.
    fn resembles(&mut self, reference: &Reference, text: &[u8]) -> bool {
        let (effort, quarter) = (self.effort, text.len() / 4);
        if effort.is_thorough() {
            let found = self.coder.find_tokens(reference, text, effort, &self.room, text.len());
            return found && self.coder.packed_cost(effort) < quarter - quarter / 10;
        }
        let limit = text.len() / SKETCH_GAIN;
        self.coder.find_tokens(reference, text, effort, &self.room, limit)
    }

    fn place_anew(&mut self, codes: Vec<u8>, key: Option<Key>, reverse: bool) -> Result<Placed> {
        let codes = turn(codes, reverse);
        let group = self.count();
        self.push(&codes)?;
        if let Some(key) = key {
            self.insert_key(key, group);
        }
        Ok(Placed { codes, reverse, target: Target::New(group) })
    }

    fn place_between(
        &mut self,
        codes: Vec<u8>,
        front: Kmer,
        back: Kmer,
        out: &mut Vec<Placed>,
    ) -> Result<()> {
        let (a, b) = (front.code, back.code);
        let key = (a.min(b), a.max(b));
        if a != b
            && !self.by_key.contains_key(&key)
            && let Some(middle) = self.common_partner(a, b)
        {
            return self.place_around(codes, a, middle, b, out);
        }
        self.put(codes, a >= b, key, None, out)
    }

    /// The smallest splitter that shares groups with both.
    fn common_partner(&self, a: u64, b: u64) -> Option<u64> {
        let (of_a, of_b) = (self.partners.get(&a)?, self.partners.get(&b)?);
        of_a.iter().copied().find(|m| *m != a && *m != b && of_b.binary_search(m).is_ok())
    }

    /// A splitter in the middle is missing: cuts where coding the two parts costs least.
    fn place_around(
        &mut self,
        codes: Vec<u8>,
        a: u64,
        middle: u64,
        b: u64,
        out: &mut Vec<Placed>,
    ) -> Result<()> {
        let (first, second) = ((a.min(middle), a.max(middle)), (middle.min(b), middle.max(b)));
        let before = self.costs(&codes, first, a > middle, true)?;
        let after = self.costs(&codes, second, middle > b, false)?;
        let mut rest: u64 = after.iter().map(|&c| u64::from(c)).sum();
        let (mut done, mut best, mut at) = (0_u64, u64::MAX, 0);
        for (i, (&one, &other)) in before.iter().zip(&after).enumerate() {
            done += u64::from(one);
            if done + rest < best {
                (best, at) = (done + rest, i);
            }
            rest -= u64::from(other);
        }
        let k = self.kmer_length;
        if at < k + 1 {
            return self.put(codes, middle > b, second, None, out);
        }
        if at + k + 1 > codes.len() {
            return self.put(codes, a > middle, first, None, out);
        }
        let cut = at - k / 2;
        let tail = codes.get(cut..).unwrap_or_default().to_vec();
        let mut head = codes;
        head.truncate(cut + k);
        self.put(head, a > middle, first, None, out)?;
        self.put(tail, middle > b, second, None, out)
    }

    /// What each base of a segment costs against a group; a match is paid for at its first base
    /// or at its last one.
    fn costs(&mut self, codes: &[u8], key: Key, reverse: bool, at_first: bool) -> Result<Vec<u8>> {
        let group = self.by_key.get(&key).copied();
        let group = group.ok_or_else(|| Error::internal("partners without a group"))?;
        let reference = Arc::clone(self.reference(group)?);
        let mut other = std::mem::take(&mut self.other);
        if reverse {
            reverse_complement_codes(codes, &mut other);
        }
        let text = if reverse { other.as_slice() } else { codes };
        self.coder.find_tokens(&reference, text, self.effort, &self.room, usize::MAX);
        // No token costs more than two numbers and three marks.
        let mut costs = vec![0_u8; text.len()];
        let (mut at, mut predicted) = (0_usize, 0_usize);
        let least = self.effort.match_least;
        for token in &self.coder.tokens {
            let (length, cost) = match *token {
                Token::Literals { length } => {
                    let length = length as usize;
                    predicted += length;
                    costs.iter_mut().skip(at).take(length).for_each(|slot| *slot = 1);
                    at += length;
                    continue;
                }
                Token::Run { length } => (length as usize, 3),
                Token::Match { position, length, to_end } => {
                    let (position, length) = (position as usize, length as usize);
                    let cost = match_cost(position, predicted, length, least, to_end);
                    predicted = position + length;
                    (length, cost)
                }
            };
            let payer = if at_first == reverse { at + length - 1 } else { at };
            if let Some(slot) = costs.get_mut(payer) {
                *slot = u8::try_from(cost).unwrap_or(u8::MAX);
            }
            at += length;
        }
        if reverse {
            costs.reverse();
        }
        self.other = other;
        Ok(costs)
    }

    /// A segment with one splitter; `turned` if the splitter is at its back, so that the reverse
    /// complement has it in front.
    fn place_at_end(
        &mut self,
        codes: Vec<u8>,
        kmer: Kmer,
        turned: bool,
        out: &mut Vec<Placed>,
    ) -> Result<()> {
        let best = self.cheapest(&codes, kmer.code, turned)?;
        if let Some((partner, coded)) = best {
            let key = (kmer.code.min(partner), kmer.code.max(partner));
            return self.put(codes, (partner < kmer.code) != turned, key, Some(coded), out);
        }
        let key = if kmer.direct { (kmer.code, NO_KMER) } else { (NO_KMER, kmer.code) };
        self.put(codes, turned == kmer.direct, key, None, out)
    }

    /// The partner of a splitter whose group codes a segment best, and the entry, if one does well
    /// at all.
    fn cheapest(
        &mut self,
        codes: &[u8],
        splitter: u64,
        turned: bool,
    ) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(partners) = self.partners.get(&splitter) else { return Ok(None) };
        let mut candidates = Vec::with_capacity(partners.len());
        for &partner in partners {
            let key = (splitter.min(partner), splitter.max(partner));
            let Some(&group) = self.by_key.get(&key) else { continue };
            let reference = Arc::clone(self.reference(group)?);
            candidates.push((reference.len().abs_diff(codes.len()), partner, reference));
        }
        candidates.sort_by_key(|(difference, partner, reference)| {
            (*difference, reference.len(), *partner)
        });
        candidates.truncate(CANDIDATES_MAX);
        let mut limit = codes.len().checked_sub(LEAST_GAIN).unwrap_or(codes.len());
        let mut best = None;
        let mut other = std::mem::take(&mut self.other);
        reverse_complement_codes(codes, &mut other);
        for (_, partner, reference) in candidates {
            let text = if (partner < splitter) == turned { codes } else { other.as_slice() };
            if limit == 0 {
                break;
            }
            if self.coder.find_tokens(&reference, text, self.effort, &self.room, limit - 1) {
                limit = self.coder.cost(self.effort);
                best = Some((partner, self.coded(text)));
            }
        }
        self.other = other;
        Ok(best)
    }
}
