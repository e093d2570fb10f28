//! Columns of the output: which there are, what they are called, of which Arrow type.

mod tag_fields;

use crate::options::Semantic;
use arrow_schema::{DataType, Field, Fields, Metadata, Schema};
use seqmill_base::{Error, Result};
use std::sync::Arc;
pub(crate) use tag_fields::{TagField, TagType, array_type};

/// What a column holds, whatever a profile calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Read name.
    Qname,
    /// FLAG.
    Flag,
    /// Reference name.
    Rname,
    /// Leftmost base.
    Pos,
    /// Mapping quality.
    Mapq,
    /// CIGAR.
    Cigar,
    /// Reference name of the mate.
    Rnext,
    /// Position of the mate.
    Pnext,
    /// Template length.
    Tlen,
    /// Bases.
    Seq,
    /// Qualities.
    Qual,
    /// Last base covered.
    End,
    /// Index of the reference.
    RefId,
    /// Index of the mate's reference.
    MateRefId,
    /// Number of the record in its input, from 0.
    Ordinal,
    /// Virtual offset of the record.
    Voffset,
    /// The input.
    Source,
    /// Length of the sequence.
    SeqLen,
    /// Bin of the BAI scheme.
    Bin,
    /// Bases of the reference covered.
    AlignedLen,
    /// `+` or `-`.
    Strand,
    /// One bit of FLAG.
    FlagBit(u16),
    /// Mean base quality.
    MeanQual,
    /// What follows the name of a read in FASTA and FASTQ.
    Description,
    /// Bases of the mate in a second file.
    MateSeq,
    /// Qualities of the mate in a second file.
    MateQual,
    /// Tags in the form that [`TagMode`] says; with `columns` this stands for all of them.
    Tags,
    /// Tags that have no place in `tags`.
    TagsOther,
}

/// How tags appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagMode {
    /// One struct with a field per tag.
    Struct,
    /// A column per tag.
    Columns,
    /// SAM text.
    Sam,
    /// Raw bytes.
    Binary,
    /// Not at all.
    None,
}

/// How CIGARs appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CigarMode {
    /// SAM text.
    Text,
    /// `list<uint32>`, packed as in BAM.
    Ops,
    /// `list<struct<op, len>>`.
    Struct,
}

/// One column of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Name in the output.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// Its Arrow type (of [`Content::Tags`]: decided when the tag fields are known).
    pub data_type: DataType,
    /// Whether it may hold nulls.
    pub nullable: bool,
}

/// What the columns of one output are, before the tag fields are known.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Columns in the order of the output.
    pub columns: Vec<Column>,
    /// Form of the tags.
    pub tags: TagMode,
    /// Form of the CIGARs.
    pub cigar: CigarMode,
    /// Bases as BAM nibbles instead of text.
    pub packed_seq: bool,
    /// Raw qualities instead of text.
    pub raw_qual: bool,
    /// Added to 0-based positions: 1 for 1-based columns.
    pub pos_shift: i32,
    /// Integer tags as int32 where the sample allows (profile `bio`).
    pub narrow_tags: bool,
}

/// Names of the twelve flag bits, as columns (`SAMv1 §1.4`).
pub(crate) const FLAG_COLUMNS: [&str; 12] = [
    "is_paired",
    "is_proper_pair",
    "is_unmapped",
    "is_mate_unmapped",
    "is_reverse",
    "is_mate_reverse",
    "is_read1",
    "is_read2",
    "is_secondary",
    "is_qcfail",
    "is_duplicate",
    "is_supplementary",
];

/// `dictionary<int32, utf8>`.
pub(crate) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// `list<item>` whose items are never null.
pub(crate) fn list_type(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// Fields of one operation in a `struct` CIGAR.
pub(crate) fn cigar_fields() -> Fields {
    Fields::from(vec![
        Field::new("op", dictionary_type(), false),
        Field::new("len", DataType::UInt32, false),
    ])
}

/// Fields of one entry of `tags_other`.
pub(crate) fn tags_other_fields() -> Fields {
    Fields::from(vec![
        Field::new("tag", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ])
}

pub(crate) fn column(name: &str, content: Content, data_type: DataType, nullable: bool) -> Column {
    Column { name: name.to_owned(), content, data_type, nullable }
}

/// The default columns of the profile `sam` (`bam.md` §3.1).
fn sam_columns(cigar: &DataType, seq: &DataType, qual: &DataType) -> Vec<Column> {
    use Content as C;
    vec![
        column("qname", C::Qname, DataType::Utf8, true),
        column("flag", C::Flag, DataType::UInt16, false),
        column("rname", C::Rname, dictionary_type(), true),
        column("pos", C::Pos, DataType::Int32, true),
        column("mapq", C::Mapq, DataType::UInt8, false),
        column("cigar", C::Cigar, cigar.clone(), true),
        column("rnext", C::Rnext, dictionary_type(), true),
        column("pnext", C::Pnext, DataType::Int32, true),
        column("tlen", C::Tlen, DataType::Int32, false),
        column("seq", C::Seq, seq.clone(), true),
        column("qual", C::Qual, qual.clone(), true),
        column("end", C::End, DataType::Int32, true),
    ]
}

fn bio_columns(cigar: &DataType, seq: &DataType, qual: &DataType) -> Vec<Column> {
    use Content as C;
    vec![
        column("name", C::Qname, DataType::Utf8, true),
        column("chrom", C::Rname, DataType::Utf8, true),
        column("start", C::Pos, DataType::UInt32, true),
        column("end", C::End, DataType::UInt32, true),
        column("flags", C::Flag, DataType::UInt32, false),
        column("cigar", C::Cigar, cigar.clone(), true),
        column("mapping_quality", C::Mapq, DataType::UInt32, false),
        column("mate_chrom", C::Rnext, DataType::Utf8, true),
        column("mate_start", C::Pnext, DataType::UInt32, true),
        column("sequence", C::Seq, seq.clone(), true),
        column("quality_scores", C::Qual, qual.clone(), true),
        column("template_length", C::Tlen, DataType::Int32, false),
    ]
}

fn basic_columns() -> Vec<Column> {
    use Content as C;
    vec![
        column("name", C::Qname, DataType::Utf8, true),
        column("chrom", C::Rname, DataType::Utf8, true),
        column("start", C::Pos, DataType::UInt32, true),
        column("end", C::End, DataType::UInt32, true),
        column("flags", C::Flag, DataType::UInt32, false),
        column("sequence", C::Seq, DataType::Utf8, true),
        column("quality_scores", C::Qual, DataType::Utf8, true),
    ]
}

fn optional_columns() -> Vec<Column> {
    use Content as C;
    let mut columns = vec![
        column("ref_id", C::RefId, DataType::Int32, true),
        column("mate_ref_id", C::MateRefId, DataType::Int32, true),
        column("ordinal", C::Ordinal, DataType::Int64, false),
        column("voffset", C::Voffset, DataType::UInt64, true),
        column("source", C::Source, dictionary_type(), false),
        column("seq_len", C::SeqLen, DataType::Int32, false),
        column("bin", C::Bin, DataType::UInt16, false),
        column("aligned_len", C::AlignedLen, DataType::Int32, false),
        column("strand", C::Strand, dictionary_type(), false),
        column("mean_qual", C::MeanQual, DataType::Float32, true),
    ];
    for (bit, name) in FLAG_COLUMNS.iter().enumerate() {
        columns.push(column(name, C::FlagBit(1 << bit), DataType::Boolean, false));
    }
    columns
}

fn choice<T>(option: &str, value: &str, allowed: Vec<(&str, T)>) -> Result<T> {
    let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
    let message = format!("{option} {value:?} does not exist; one of {}", names.join(", "));
    let found = allowed.into_iter().find(|(name, _)| *name == value);
    found.map(|(_, v)| v).ok_or_else(|| Error::input(message))
}

impl Layout {
    /// The columns that the options ask for; `several` inputs to one output add `source`.
    pub(crate) fn new(options: &Semantic, several: bool) -> Result<Self> {
        let tags = choice(
            "tags",
            &options.tags,
            vec![
                ("struct", TagMode::Struct),
                ("columns", TagMode::Columns),
                ("sam", TagMode::Sam),
                ("binary", TagMode::Binary),
                ("none", TagMode::None),
            ],
        )?;
        let cigar = choice(
            "cigar",
            &options.cigar,
            vec![("text", CigarMode::Text), ("ops", CigarMode::Ops), ("struct", CigarMode::Struct)],
        )?;
        let profile = options.profile.as_str();
        // `basic` has text whatever the options say.
        let binary = profile != "basic";
        let packed_seq = choice("seq", &options.seq, vec![("text", false), ("packed", binary)])?;
        let raw_qual = choice("qual", &options.qual, vec![("text", false), ("phred", binary)])?;
        let pos_shift = choice("coords", &options.coords, vec![("11", 1), ("01", 0)])?;
        let cigar_type = match cigar {
            CigarMode::Text => DataType::Utf8,
            CigarMode::Ops => list_type(DataType::UInt32),
            CigarMode::Struct => list_type(DataType::Struct(cigar_fields())),
        };
        let seq_type = if packed_seq { DataType::Binary } else { DataType::Utf8 };
        let qual_type = if raw_qual { DataType::Binary } else { DataType::Utf8 };
        let core = choice(
            "profile",
            profile,
            vec![
                ("sam", sam_columns(&cigar_type, &seq_type, &qual_type)),
                ("bio", bio_columns(&cigar_type, &seq_type, &qual_type)),
                ("basic", basic_columns()),
            ],
        )?;
        let tags = if profile == "basic" { TagMode::None } else { tags };
        let tags =
            if profile == "bio" && tags == TagMode::Struct { TagMode::Columns } else { tags };
        let mut defaults = core;
        if packed_seq {
            defaults.push(column("seq_len", Content::SeqLen, DataType::Int32, false));
        }
        if several {
            defaults.push(column("source", Content::Source, dictionary_type(), false));
        }
        let mut known = defaults.clone();
        known.extend(optional_columns());
        let mut tag_columns = Vec::new();
        if tags != TagMode::None {
            let data_type = if tags == TagMode::Binary { DataType::Binary } else { DataType::Utf8 };
            tag_columns.push(column("tags", Content::Tags, data_type, tags == TagMode::Sam));
            if matches!(tags, TagMode::Struct | TagMode::Columns) && options.tags_from == "all" {
                let entry = list_type(DataType::Struct(tags_other_fields()));
                tag_columns.push(column("tags_other", Content::TagsOther, entry, true));
            }
        }
        known.extend(tag_columns.clone());
        defaults.extend(tag_columns);
        let columns = choose(&defaults, &known, options)?;
        let has_tags = columns.iter().any(|c| c.content == Content::Tags);
        let tags = if has_tags { tags } else { TagMode::None };
        let narrow_tags = profile == "bio";
        Ok(Self { columns, tags, cigar, packed_seq, raw_qual, pos_shift, narrow_tags })
    }

    /// Leaves out the struct of the tags where it has no fields: Parquet has no groups without any,
    /// and its readers refuse them.
    pub(crate) fn leave_out_empty_tags(&mut self) -> Result<()> {
        if self.tags == TagMode::Struct {
            self.tags = TagMode::None;
            self.columns.retain(|column| column.content != Content::Tags);
        }
        if self.columns.is_empty() {
            return Err(Error::input("no column is left: the input shows no tags"));
        }
        Ok(())
    }

    /// Whether a column with this content is there.
    pub(crate) fn has(&self, content: Content) -> bool {
        self.columns.iter().any(|c| c.content == content)
    }
}

/// The columns that the options name, of those that are known.
pub(crate) fn choose(
    defaults: &[Column],
    known: &[Column],
    options: &Semantic,
) -> Result<Vec<Column>> {
    let find = |name: &str| -> Result<Column> {
        known.iter().find(|c| c.name == name).cloned().ok_or_else(|| {
            let mut names: Vec<&str> = known.iter().map(|c| c.name.as_str()).collect();
            names.dedup();
            Error::not_found(format!("column {name:?} does not exist; one of {}", names.join(", ")))
        })
    };
    let mut columns: Vec<Column> = Vec::new();
    match &options.columns {
        None => columns.extend_from_slice(defaults),
        Some(names) => {
            if !names.is_empty() && names.iter().all(|name| name.starts_with('+')) {
                columns.extend_from_slice(defaults);
            }
            for name in names {
                let column = find(name.strip_prefix('+').unwrap_or(name))?;
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
    }
    for name in &options.exclude_columns {
        find(name)?;
        columns.retain(|c| &c.name != name);
    }
    if columns.is_empty() {
        return Err(Error::input("no column is left"));
    }
    Ok(columns)
}

/// The Arrow schema of a layout whose tag fields are known.
pub(crate) fn arrow_schema(
    layout: &Layout,
    tag_fields: &[TagField],
    metadata: Vec<(String, String)>,
) -> Schema {
    let mut fields: Vec<Field> = Vec::new();
    for column in &layout.columns {
        match (column.content, layout.tags) {
            (Content::Tags, TagMode::Struct) => {
                let inner: Fields = tag_fields.iter().map(|t| t.field(&[])).collect();
                fields.push(Field::new(&column.name, DataType::Struct(inner), false));
            }
            (Content::Tags, TagMode::Columns) => {
                fields.extend(tag_fields.iter().map(|t| t.field(&layout.columns)));
            }
            _ => fields.push(Field::new(&column.name, column.data_type.clone(), column.nullable)),
        }
    }
    Schema::new_with_metadata(fields, metadata.into_iter().collect::<Metadata>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(semantic: &Semantic) -> Result<Vec<String>> {
        Ok(Layout::new(semantic, false)?.columns.into_iter().map(|c| c.name).collect())
    }

    #[test]
    fn columns_are_chosen_added_and_left_out() {
        let mut options = Semantic::default();
        assert_eq!(names(&options).unwrap().len(), 14);
        options.columns = Some(vec!["pos".into(), "flag".into()]);
        assert_eq!(names(&options).unwrap(), ["pos", "flag"]);
        options.columns = Some(vec!["+ordinal".into()]);
        options.exclude_columns = vec!["tags".into(), "tags_other".into()];
        assert_eq!(names(&options).unwrap().len(), 13);
        options.columns = Some(vec!["nope".into()]);
        assert!(names(&options).unwrap_err().to_string().contains("qname"));
    }
}
