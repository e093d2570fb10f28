//! The rows of the tables that a run leads to.

use crate::crew;
use crate::extend::{Context, Scoring};
use crate::find::{Element, Family};
use crate::run::Found;
use crate::text::Text;
use crate::trace::{Tracer, identity};
use seqmill_base::{CancelToken, Result};

/// A family, as its table shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyRow {
    /// Number of the family.
    pub number: usize,
    /// Bases of all of its elements together.
    pub covered_bases: u64,
    /// Mean identity of its elements.
    pub mean_identity: f32,
    /// Share of G and C.
    pub gc: f32,
}

/// Where an element lies in the terms of the user's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the record.
    pub record: usize,
    /// First base, from 0.
    pub start: i64,
    /// The base behind the last one.
    pub end: i64,
}

/// Where an element lies, cut at the ends of its record.
pub fn place(text: &Text, element: &Element) -> Place {
    let record = text.record_of(element.place);
    let whole = &text.records()[record];
    let origin = i64::from(whole.start);
    let length = i64::from(whole.length);
    let start = (element.first() - origin).clamp(0, length);
    Place { record, start, end: (element.behind() - origin).clamp(start, length) }
}

/// The part of the consensus that an element is aligned to.
pub fn consensus_range(family: &Family, element: &Element) -> (u32, u32) {
    let end = family.consensus.len() as u32;
    let anchor = element.anchor.min(end);
    (anchor.saturating_sub(element.columns[0]), (anchor + element.columns[1]).min(end))
}

/// Family by element, in the order of the list of elements.
pub fn owners(families: &[Family]) -> Vec<u32> {
    let mut owners = Vec::new();
    for (number, family) in (0..).zip(families) {
        owners.resize(owners.len() + family.elements as usize, number);
    }
    owners
}

/// Numbers of elements by place in the genome, families in their order where places are equal.
pub fn by_place(text: &Text, elements: &[Element]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..elements.len() as u32).collect();
    order.sort_by_key(|i| {
        let place = place(text, &elements[*i as usize]);
        (place.record, place.start, place.end)
    });
    order
}

/// Identities of all elements.
pub(crate) fn identities(
    found: &Found,
    text: &Text,
    scoring: Scoring,
    threads: usize,
    cancel: &CancelToken,
) -> Result<Vec<f32>> {
    let context = Context { text, scoring, cancel };
    let owners = owners(&found.state.families);
    let elements = &found.state.elements;
    let mut tracers: Vec<Tracer> = (0..threads.max(1)).map(|_| Tracer::default()).collect();
    let chunk = 64;
    let parts = crew::each(&mut tracers, elements.len().div_ceil(chunk), |tracer, task| {
        let range = task * chunk..elements.len().min((task + 1) * chunk);
        let one = |i: usize| {
            if cancel.is_cancelled() {
                return 0.0;
            }
            let family = &found.state.families[owners[i] as usize];
            let context = found.context_of(&elements[i], &context);
            let pairs = tracer.align(&context, family, &elements[i]);
            let (from, to) = consensus_range(family, &elements[i]);
            identity(&family.consensus[from as usize..to as usize], &pairs)
        };
        range.map(one).collect::<Vec<f32>>()
    });
    cancel.check()?;
    Ok(parts.concat())
}

/// The rows of the families.
pub fn family_rows(found: &Found, text: &Text, identities: &[f32]) -> Vec<FamilyRow> {
    let rows = found.state.families.iter().enumerate().map(|(number, family)| {
        let from = family.elements_from as usize;
        let range = from..from + family.elements as usize;
        let mut spans: Vec<(usize, i64, i64)> = found.state.elements[range.clone()]
            .iter()
            .map(|element| place(text, element))
            .map(|p| (p.record, p.start, p.end))
            .collect();
        spans.sort_unstable();
        let (mut covered, mut until) = (0, (usize::MAX, 0));
        for (record, start, end) in spans {
            let from = if until.0 == record { start.max(until.1) } else { start };
            covered += (end - from).max(0).unsigned_abs();
            until = if until.0 == record { (record, until.1.max(end)) } else { (record, end) };
        }
        let own = identities.get(range).unwrap_or_default();
        let sum: f64 = own.iter().map(|i| f64::from(*i)).sum();
        let gc = family.consensus.iter().filter(|c| matches!(c, 1 | 2)).count();
        FamilyRow {
            number,
            covered_bases: covered,
            mean_identity: if own.is_empty() { 0.0 } else { (sum / own.len() as f64) as f32 },
            gc: gc as f32 / family.consensus.len().max(1) as f32,
        }
    });
    rows.collect()
}

/// What elements cover of the first sequence of this name: firsts and ends, from 0, half-open.
pub fn covered_spans(found: &Found, text: &Text, name: &[u8]) -> Option<Vec<[i64; 2]>> {
    let record = text.records().iter().find(|record| record.name() == name)?;
    let covered = &found.state.covered;
    let mut spans: Vec<[i64; 2]> = Vec::new();
    for at in record.start..record.end() {
        if !covered.has(at) {
            continue;
        }
        let place = i64::from(at - record.start);
        match spans.last_mut() {
            Some([_, end]) if *end == place => *end += 1,
            _ => spans.push([place, place + 1]),
        }
    }
    Some(spans)
}

/// Bins along a sequence, and of divergence.
const SEQUENCE_BINS: u32 = 100;
const DIVERGENCE_BINS: usize = 50;
/// Sequences and families that a page shows.
const MOST_SHOWN: usize = 200;

/// Counts for the pictures of a page, as JSON.
pub fn overview(found: &Found, text: &Text, identities: &[f32]) -> serde_json::Value {
    let state = &found.state;
    let mut landscape = vec![0_u64; DIVERGENCE_BINS];
    for (element, identity) in state.elements.iter().zip(identities) {
        let bin = ((1.0 - identity) * 100.0).max(0.0) as usize;
        landscape[bin.min(DIVERGENCE_BINS - 1)] += u64::from(element.length());
    }
    let rows = family_rows(found, text, identities);
    let families: Vec<serde_json::Value> = rows
        .iter()
        .zip(&state.families)
        .take(MOST_SHOWN)
        .map(|(row, family)| {
            serde_json::json!({
                "family": format!("fam{}", row.number),
                "length": family.consensus.len(),
                "elements": family.elements,
                "covered_bases": row.covered_bases,
                "mean_identity": row.mean_identity,
                "gc": row.gc,
            })
        })
        .collect();
    let mut records: Vec<&crate::text::Record> = text.records().iter().collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.length));
    let shares: Vec<serde_json::Value> = records
        .iter()
        .take(MOST_SHOWN)
        .map(|record| {
            let edge = |i: u32| {
                let at = u64::from(record.length) * u64::from(i) / u64::from(SEQUENCE_BINS);
                record.start + at as u32
            };
            let share = |i: u32| {
                let (from, to) = (edge(i), edge(i + 1));
                state.covered.count_in(from, to) as f32 / (to - from).max(1) as f32
            };
            serde_json::json!({
                "name": String::from_utf8_lossy(record.name()),
                "length": record.length,
                "masked": (0..SEQUENCE_BINS).map(share).collect::<Vec<f32>>(),
            })
        })
        .collect();
    serde_json::json!({"landscape": landscape, "families": families, "sequences": shares})
}
