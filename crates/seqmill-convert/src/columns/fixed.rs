//! Columns of the fields of fixed size and of where records stand.

use super::arrays::{Optional, dictionary, optional, primitive};
use super::{ColumnPlan, each_row, positions};
use crate::schema::Content;
use crate::unit::Batch;
use arrow_array::{ArrayRef, BooleanArray, StringArray, types};
use arrow_buffer::BooleanBuffer;
use arrow_schema::DataType;
use seqmill_io::bam::Head;
use std::sync::Arc;

impl ColumnPlan {
    /// A column that needs nothing but [`Head`]s and the batch; none if it needs more.
    pub(super) fn fixed_column(
        &self,
        content: Content,
        data_type: &DataType,
        heads: &[Head],
        batch: &Batch,
    ) -> Option<ArrayRef> {
        let shift = self.layout.pos_shift;
        Some(match content {
            Content::Flag => wide(data_type, heads.iter().map(Head::flag)),
            Content::Mapq => wide(data_type, heads.iter().map(|h| u16::from(h.mapq()))),
            Content::Rname => self.references(data_type, heads, batch, Head::ref_id),
            Content::Rnext => self.references(data_type, heads, batch, Head::mate_ref_id),
            Content::Pos => positions(data_type, one_based(heads, Head::pos, shift)),
            Content::Pnext => positions(data_type, one_based(heads, Head::mate_pos, shift)),
            Content::Tlen => {
                primitive::<types::Int32Type>(heads.iter().map(Head::template_length).collect())
            }
            Content::RefId => optional::<types::Int32Type>(self.ids(heads, batch, Head::ref_id)),
            Content::MateRefId => {
                optional::<types::Int32Type>(self.ids(heads, batch, Head::mate_ref_id))
            }
            Content::Ordinal => {
                let mut values = Vec::with_capacity(heads.len());
                each_row(batch, |s, row| values.push(s.ordinal_of(row).cast_signed()));
                primitive::<types::Int64Type>(values)
            }
            Content::Voffset => {
                let mut values = Optional::new(heads.len());
                each_row(batch, |s, row| {
                    values.push((!s.unit.plain).then(|| s.voffset_of(row).0));
                });
                optional::<types::UInt64Type>(values)
            }
            Content::Source => {
                let mut keys = Optional::new(heads.len());
                each_row(batch, |s, _| keys.push(Some(s.unit.input.cast_signed())));
                dictionary(keys, &self.sources)
            }
            Content::SeqLen => primitive::<types::Int32Type>(
                heads.iter().map(|h| h.length().cast_signed()).collect(),
            ),
            Content::Bin => primitive::<types::UInt16Type>(heads.iter().map(Head::bin).collect()),
            Content::Strand => {
                let mut keys = Optional::new(heads.len());
                for head in heads {
                    keys.push(Some(i32::from(head.flag() >> 4 & 1)));
                }
                dictionary(keys, &self.strands)
            }
            Content::FlagBit(bit) => Arc::new(BooleanArray::new(
                BooleanBuffer::collect_bool(heads.len(), |i| heads[i].flag() & bit != 0),
                None,
            )),
            _ => return None,
        })
    }

    /// Reference numbers in the numbering of the output.
    fn ids(&self, heads: &[Head], batch: &Batch, which: impl Fn(&Head) -> i32) -> Optional<i32> {
        let mut ids = Optional::new(heads.len());
        let mut rest = heads;
        for slice in &batch.slices {
            let input = slice.selected.unit.input as usize;
            let map = self.reference_maps.get(input).and_then(Option::as_ref);
            let (own, behind) = rest.split_at(slice.rows.len().min(rest.len()));
            rest = behind;
            let Some(map) = map else {
                for head in own {
                    let id = which(head);
                    ids.push((id >= 0).then_some(id));
                }
                continue;
            };
            for head in own {
                let id = usize::try_from(which(head)).ok();
                ids.push(id.and_then(|id| map.get(id).copied()));
            }
        }
        ids
    }

    fn references(
        &self,
        data_type: &DataType,
        heads: &[Head],
        batch: &Batch,
        which: impl Fn(&Head) -> i32,
    ) -> ArrayRef {
        let (ids, names) = (self.ids(heads, batch, which), &self.references);
        if *data_type != DataType::Utf8 {
            return dictionary(ids, names);
        }
        let values = ids.values.iter().enumerate().map(|(row, id)| {
            let id = usize::try_from(*id).ok().filter(|_| ids.validity.is_valid(row));
            id.map(|id| names.value(id))
        });
        Arc::new(values.collect::<StringArray>())
    }
}

/// Small unsigned numbers in the width that the profile wants.
fn wide(data_type: &DataType, values: impl Iterator<Item = u16>) -> ArrayRef {
    match data_type {
        DataType::UInt8 => {
            primitive::<types::UInt8Type>(values.map(|v| v.to_le_bytes()[0]).collect())
        }
        DataType::UInt16 => primitive::<types::UInt16Type>(values.collect()),
        _ => primitive::<types::UInt32Type>(values.map(u32::from).collect()),
    }
}

/// Positions as the output counts them; null where there is none.
fn one_based(heads: &[Head], which: impl Fn(&Head) -> i32, shift: i32) -> Optional<i32> {
    let mut values = Optional::new(heads.len());
    for head in heads {
        let pos = which(head);
        values.push((pos >= 0).then(|| pos.saturating_add(shift)));
    }
    values
}
