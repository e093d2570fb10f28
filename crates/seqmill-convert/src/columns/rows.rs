//! Columns that need whole records: all of them are filled in one walk over the records of a batch.
#![expect(
    clippy::inline_always,
    reason = "the walk is compiled once for each kind of machine, with all that runs for a record in it"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "offsets of a column beyond 2 GiB are an error when the column is made of them"
)]

use super::arrays::{Optional, dictionary, internal, length_offset, list, optional, primitive};
use super::{ColumnPlan, Sums, place, positions};
use crate::bases::append_quality_text;
use crate::schema::{CigarMode, Content, TagMode, cigar_fields};
use crate::tags::{TagValues, write_tags};
use crate::text::write_cigar;
use crate::unit::Batch;
use crate::wide::{Origin, Validity};
use arrow_array::{ArrayRef, StructArray, types};
use arrow_schema::DataType;
use seqmill_base::{Error, Result};
use seqmill_io::bam::{Fault, Record, reference_span};
use std::sync::Arc;

/// Text or bytes of each row.
pub(super) struct Text {
    pub bytes: Vec<u8>,
    pub ends: Vec<i32>,
    pub validity: Validity,
}

impl Text {
    fn new(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(bytes), ends, validity: Validity::new(rows) }
    }

    #[inline(always)]
    fn end(&mut self, valid: bool) {
        self.ends.push(self.bytes.len() as i32);
        self.validity.push(valid);
    }
}

/// CIGARs in the form that the options ask for.
enum Cigars {
    Text(Text),
    Operations { list: Vec<u32>, ends: Vec<i32>, validity: Validity },
}

/// Tags in the form that the options ask for.
enum RowTags {
    None,
    Sam(Text),
    Binary(Text),
    Fields(Box<TagValues>),
}

/// Bytes that columns of unknown length took in the last batch, by its weight.
#[derive(Debug, Default)]
pub(super) struct Hints {
    weight: u64,
    cigar: usize,
    tags: Vec<usize>,
}

impl Hints {
    /// What a column of a batch of `weight` may take if it took `bytes` in the last one.
    fn scaled(&self, bytes: usize, weight: u64) -> usize {
        let share = (bytes as u64).saturating_mul(weight) / self.weight.max(1);
        usize::try_from(share + share / 16).unwrap_or(0)
    }
}

/// The columns while they are filled.
pub(super) struct RowColumns {
    name: Option<Text>,
    cigar: Option<Cigars>,
    seq: Option<Text>,
    qual: Option<Text>,
    end: Option<Optional<i32>>,
    aligned: Option<Vec<i32>>,
    mean_qual: Option<Optional<f32>>,
    tags: RowTags,
}

impl RowColumns {
    /// Empty columns of those that the layout has, with room for the records of a batch.
    pub(super) fn new(plan: &ColumnPlan, rows: usize, sums: &Sums, hints: &Hints) -> Result<Self> {
        let layout = &plan.layout;
        let has = |content| layout.has(content);
        let (bases, weight) = (usize::try_from(sums.bases).unwrap_or(usize::MAX), sums.weight);
        length_offset(if has(Content::Seq) || has(Content::Qual) { bases } else { 0 })?;
        let text = |content, bytes| has(content).then(|| Text::new(rows, bytes));
        // The last base of an odd number is unpacked with one more.
        let seq_bytes = if layout.packed_seq { sums.packed } else { bases + 1 };
        let cigar = has(Content::Cigar).then(|| {
            if layout.cigar == CigarMode::Text {
                return Cigars::Text(Text::new(rows, hints.scaled(hints.cigar, weight)));
            }
            let Text { ends, validity, .. } = Text::new(rows, 0);
            Cigars::Operations { list: Vec::with_capacity(sums.operations), ends, validity }
        });
        let tags = match layout.tags {
            TagMode::Sam => RowTags::Sam(Text::new(rows, sums.tags)),
            TagMode::Binary => RowTags::Binary(Text::new(rows, sums.tags)),
            _ if has(Content::Tags) || has(Content::TagsOther) => {
                let bytes = hints.tags.iter().map(|bytes| hints.scaled(*bytes, weight));
                RowTags::Fields(Box::new(TagValues::new(&plan.tags, rows, bytes)))
            }
            _ => RowTags::None,
        };
        Ok(Self {
            name: text(Content::Qname, sums.names),
            cigar,
            seq: text(Content::Seq, seq_bytes),
            qual: text(Content::Qual, bases),
            end: has(Content::End).then(|| Optional::new(rows)),
            aligned: has(Content::AlignedLen).then(|| Vec::with_capacity(rows)),
            mean_qual: has(Content::MeanQual).then(|| Optional::new(rows)),
            tags,
        })
    }

    /// Whether there is a column to fill.
    pub(super) fn any(&self) -> bool {
        let texts = [&self.name, &self.seq, &self.qual].iter().any(|text| text.is_some());
        let numbers = self.end.is_some() || self.aligned.is_some() || self.mean_qual.is_some();
        texts || numbers || self.cigar.is_some() || !matches!(self.tags, RowTags::None)
    }

    /// Fills all columns.
    pub(super) fn fill(&mut self, plan: &ColumnPlan, batch: &Batch) -> Result<()> {
        #[cfg(target_arch = "x86_64")]
        if plan.kernel == crate::bases::Kernel::Avx2 {
            // SAFETY: this kernel is only chosen where the machine has the instructions.
            return unsafe { self.fill_avx2(plan, batch) };
        }
        self.fill_with(plan, batch, |packed, bases, out| plan.kernel.append(packed, bases, out))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2(&mut self, plan: &ColumnPlan, batch: &Batch) -> Result<()> {
        self.fill_with(plan, batch, |packed, bases, out| {
            crate::bases::append_avx2(packed, bases, out);
        })
    }

    #[inline(always)]
    fn fill_with(
        &mut self,
        plan: &ColumnPlan,
        batch: &Batch,
        append_bases: impl Fn(&[u8], usize, &mut Vec<u8>),
    ) -> Result<()> {
        let mut filled = 0;
        for slice in &batch.slices {
            let origin = Origin(&slice.selected.unit.data);
            for row in slice.rows.clone() {
                let Some(record) = slice.selected.record(row) else {
                    return Err(Error::internal("a selected record vanished"));
                };
                self.push(plan, &record, filled, origin, &append_bases)
                    .map_err(|fault| place(fault, batch, filled))?;
                filled += 1;
            }
        }
        if let RowTags::Fields(values) = &mut self.tags {
            values.finish(&plan.tags, filled);
        }
        Ok(())
    }

    #[inline(always)]
    fn push(
        &mut self,
        plan: &ColumnPlan,
        record: &Record<'_>,
        row: usize,
        origin: Origin<'_>,
        append_bases: &impl Fn(&[u8], usize, &mut Vec<u8>),
    ) -> Result<(), Fault> {
        let parts = record.parts();
        let (cigar, long_cigar) = record.cigar(&parts);
        if let Some(names) = &mut self.name {
            // `*` is how SAM writes a missing name.
            let there = parts.name != b"*" && !parts.name.is_empty();
            if there {
                origin.append(parts.name, &mut names.bytes);
            }
            names.end(there);
        }
        match &mut self.cigar {
            Some(Cigars::Text(text)) => {
                write_cigar(cigar, &mut text.bytes);
                text.end(!cigar.is_empty());
            }
            Some(Cigars::Operations { list, ends, validity }) => {
                list.extend(cigar.as_chunks::<4>().0.iter().map(|op| u32::from_le_bytes(*op)));
                ends.push(list.len() as i32);
                validity.push(!cigar.is_empty());
            }
            None => {}
        }
        if let Some(ends) = &mut self.end {
            // The end is the same number in both coordinate systems: last base, 1-based, or first
            // base behind, 0-based.
            let end = Record::check_end(record.pos(), cigar)?;
            ends.push((record.pos() >= 0).then_some(end));
        }
        if let Some(lengths) = &mut self.aligned {
            lengths.push(Record::check_end(0, cigar).map(|_| reference_span(cigar) as i32)?);
        }
        if let Some(bases) = &mut self.seq {
            if plan.layout.packed_seq {
                origin.append(parts.seq, &mut bases.bytes);
            } else {
                append_bases(parts.seq, parts.qual.len(), &mut bases.bytes);
            }
            bases.end(!parts.qual.is_empty());
        }
        let has_quality = parts.qual.first().is_some_and(|q| *q != 0xff);
        if let Some(qualities) = &mut self.qual {
            if has_quality && plan.layout.raw_qual {
                origin.append(parts.qual, &mut qualities.bytes);
            } else if has_quality && !append_quality_text(parts.qual, &mut qualities.bytes) {
                return Err(Fault::record("qual", "has a value above 93"));
            }
            qualities.end(has_quality);
        }
        if let Some(means) = &mut self.mean_qual {
            means.push(has_quality.then(|| mean_quality(parts.qual)));
        }
        match &mut self.tags {
            RowTags::Fields(values) => {
                values.push_row(&plan.tags, row, parts.tags, long_cigar, origin)
            }
            RowTags::Sam(text) => {
                write_tags(parts.tags, long_cigar, &mut text.bytes)?;
                text.end(true);
                Ok(())
            }
            RowTags::Binary(text) => {
                origin.append(parts.tags, &mut text.bytes);
                text.end(true);
                Ok(())
            }
            RowTags::None => Ok(()),
        }
    }

    /// What the columns took, for the next batch.
    pub(super) fn hints(&self, weight: u64) -> Hints {
        let cigar = match &self.cigar {
            Some(Cigars::Text(text)) => text.bytes.len(),
            _ => 0,
        };
        let tags = match &self.tags {
            RowTags::Fields(values) => values.fields.iter().map(|f| f.bytes.len()).collect(),
            _ => Vec::new(),
        };
        Hints { weight, cigar, tags }
    }

    /// The values of tag fields and of `tags_other`.
    pub(super) fn take_tag_values(&mut self) -> Option<TagValues> {
        match std::mem::replace(&mut self.tags, RowTags::None) {
            RowTags::Fields(values) => Some(*values),
            other => {
                self.tags = other;
                None
            }
        }
    }

    /// A column other than tag fields and `tags_other`.
    pub(super) fn take(
        &mut self,
        plan: &ColumnPlan,
        content: Content,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        let missing = || Error::internal("a column was not filled");
        match content {
            Content::Qname => self.name.take().ok_or_else(missing)?.into_text("qname"),
            Content::Cigar => self.cigar.take().ok_or_else(missing)?.into_array(plan),
            Content::Seq => self.seq.take().ok_or_else(missing)?.into_bases(data_type),
            Content::Qual => self.qual.take().ok_or_else(missing)?.into_bases(data_type),
            Content::End => Ok(positions(data_type, self.end.take().ok_or_else(missing)?)),
            Content::AlignedLen => {
                Ok(primitive::<types::Int32Type>(self.aligned.take().ok_or_else(missing)?))
            }
            Content::MeanQual => {
                Ok(optional::<types::Float32Type>(self.mean_qual.take().ok_or_else(missing)?))
            }
            Content::Tags => match std::mem::replace(&mut self.tags, RowTags::None) {
                RowTags::Sam(text) => text.into_text("tags"),
                RowTags::Binary(text) => text.into_binary(),
                _ => Err(missing()),
            },
            _ => Err(missing()),
        }
    }
}

impl Text {
    /// Text from the file: UTF-8 is checked, because SAM allows ASCII only but BAM holds any byte.
    fn into_text(self, what: &str) -> Result<ArrayRef> {
        length_offset(self.bytes.len())?;
        super::arrays::text(self.ends, self.bytes, self.validity.finish(), what)
    }

    fn into_binary(self) -> Result<ArrayRef> {
        length_offset(self.bytes.len())?;
        Ok(super::arrays::binary(self.ends, self.bytes, self.validity.finish()))
    }

    /// Bases or qualities: text that we have made, or bytes.
    fn into_bases(self, data_type: &DataType) -> Result<ArrayRef> {
        if *data_type == DataType::Binary {
            return self.into_binary();
        }
        length_offset(self.bytes.len())?;
        Ok(super::arrays::ascii(self.ends, self.bytes, self.validity.finish()))
    }
}

impl Cigars {
    fn into_array(self, plan: &ColumnPlan) -> Result<ArrayRef> {
        let (operations, ends, validity) = match self {
            Self::Text(text) => return text.into_bases(&DataType::Utf8),
            Self::Operations { list, ends, validity } => (list, ends, validity),
        };
        length_offset(operations.len())?;
        let items: ArrayRef = if plan.layout.cigar == CigarMode::Ops {
            primitive::<types::UInt32Type>(operations)
        } else {
            let mut codes = Optional::new(operations.len());
            for op in &operations {
                codes.push(Some((op & 15).cast_signed()));
            }
            let lengths = operations.iter().map(|op| op >> 4).collect();
            let columns =
                vec![dictionary(codes, &plan.operations), primitive::<types::UInt32Type>(lengths)];
            Arc::new(StructArray::try_new(cigar_fields(), columns, None).map_err(|e| internal(&e))?)
        };
        list(items, ends, validity.finish())
    }
}

fn mean_quality(qual: &[u8]) -> f32 {
    let sum: u64 = qual.iter().map(|q| u64::from(*q)).sum();
    (sum as f64 / qual.len() as f64) as f32
}
