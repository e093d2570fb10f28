//! From options and opened inputs to everything a run needs, decided before it begins.

use crate::chunk_index::{Part, shard, stretch_of, stretches_of_regions};
use crate::columns::ColumnPlan;
use crate::cut::Sizes;
use crate::expression::Predicate;
use crate::inputs::{Inputs, check_options, source_name};
use crate::options::Semantic;
use crate::reads::ReadsPlan;
use crate::regions::RegionFilter;
use crate::sample::{Sample, listed_fields};
use crate::schema::{Content, Layout, TagField, TagMode, TagType};
use crate::select::{Filter, Selector, Weights};
use crate::tags::TagPlan;
use arrow_schema::DataType;
use seqmill_base::{Error, Result};
use seqmill_io::bam::chunk_index::ChunkIndex;
use seqmill_io::bgzf::VirtualOffset;
use seqmill_io::records::{Container, Kind};
use seqmill_io::region::{Interval, Region, find_reference, parse_region};
use seqmill_table::parquet::{LeafEncoding, LeafOptions};
use std::sync::Arc;

/// What the report calls an index that only sorted files can have.
const BAI_OR_CSI: &str = "index";

/// Stretches of one input: begin and end (none: the end of the input).
pub(crate) type Stretches = Vec<(u64, Option<u64>)>;

/// A run, decided.
pub(crate) struct Setup {
    pub semantic: Semantic,
    pub columns: Arc<ColumnPlan>,
    pub regions: Option<RegionFilter>,
    pub stretches: Vec<Stretches>,
    pub sizes: Sizes,
    pub weights: Weights,
    pub index_used: Option<&'static str>,
    /// Only records with these numbers.
    pub part: Option<Part>,
    /// Number of the first record read, when it is not the first of the input.
    pub first_ordinal: u64,
    /// Nothing is decoded: records are only counted.
    pub count_only: bool,
    pub tag_fields: Vec<TagField>,
    pub record_sizes: Option<[u64; 3]>,
    /// The inputs are reads without alignments.
    pub reads: Option<Arc<ReadsPlan>>,
}

impl Setup {
    /// Decides a run. `group_bytes` is given where the output has row groups.
    pub(crate) fn new(inputs: &Inputs, semantic: &Semantic, count_only: bool) -> Result<Self> {
        check_options(semantic)?;
        if let Some(kind) = inputs.reads()? {
            return crate::reads::setup(inputs, kind, semantic, count_only);
        }
        let mut layout = Layout::new(semantic, inputs.list.len() > 1)?;
        let keep_others = layout.has(Content::TagsOther);
        let needs_fields = matches!(layout.tags, TagMode::Struct | TagMode::Columns) || keep_others;
        if semantic.tag_types.is_some() && !needs_fields {
            let text = "tag names fields of the tags, and there are none: it goes with tags struct \
                        or columns, and with a column of tags";
            return Err(Error::input(text));
        }
        let (tag_fields, record_sizes) = if needs_fields && !count_only {
            let sample = full_or_sample(inputs, semantic)?;
            let fields = match &semantic.tag_types {
                Some(list) => listed_fields(list, &sample)?,
                None => sample.fields(semantic.max_tags, layout.narrow_tags),
            };
            (fields, sample.record_sizes())
        } else {
            (Vec::new(), None)
        };
        let tags = TagPlan::new(tag_fields.clone(), keep_others);
        let weights = weights(&layout);
        if tag_fields.is_empty() && !count_only && semantic.format == "parquet" {
            layout.leave_out_empty_tags()?;
        }
        let names: Vec<String> = inputs.references.iter().map(|r| r.name.clone()).collect();
        let sources: Vec<String> =
            inputs.list.iter().map(|i| source_name(&i.path, semantic.record_paths)).collect();
        let metadata = metadata(inputs, semantic, &tag_fields)?;
        let columns = ColumnPlan::new(
            layout,
            tags,
            metadata,
            &names,
            inputs.reference_maps.clone(),
            &sources,
        );
        let regions = regions(inputs, semantic)?;
        let (mut stretches, mut index_used) = stretches(inputs, regions.as_ref(), &columns.layout)?;
        let mut first_ordinal = 0;
        let part = part(inputs, semantic)?;
        if let Some((part, index)) = part {
            if regions.is_some() {
                return Err(Error::input("shard and regions cannot be asked for together"));
            }
            index_used = Some("chunk index");
            let found = stretch_of(index, part);
            first_ordinal = found.map_or(0, |(_, _, ordinal)| ordinal);
            stretches = vec![found.map(|(begin, end, _)| (begin, end)).into_iter().collect()];
        }
        let sizes = Sizes {
            // A row group is a run of whole batches.
            batch_bytes: semantic.batch_bytes.min(semantic.row_group_bytes),
            batch_rows: semantic.batch_rows,
            group_bytes: (semantic.format == "parquet").then_some(semantic.row_group_bytes),
            offset: semantic.offset,
            limit: semantic.limit.unwrap_or(u64::MAX),
        };
        Ok(Self {
            semantic: semantic.clone(),
            columns: Arc::new(columns),
            regions,
            stretches,
            sizes,
            weights,
            index_used,
            part: part.map(|(part, _)| part),
            first_ordinal,
            count_only,
            tag_fields,
            record_sizes,
            reads: None,
        })
    }

    /// Adds keys to the metadata of the schema.
    pub(crate) fn add_metadata(&mut self, keys: impl IntoIterator<Item = (String, String)>) {
        if let Some(columns) = Arc::get_mut(&mut self.columns) {
            // Changed in place: a header of a million references is long.
            let schema = Arc::make_mut(&mut columns.schema);
            for (key, value) in keys {
                schema.metadata.insert(key, value);
            }
        }
    }

    /// The selection stage of this run.
    pub(crate) fn selector(&self, inputs: &Inputs) -> Result<Selector> {
        let one_based = self.columns.layout.pos_shift == 1;
        let expression = self.semantic.filter.as_ref();
        let expression =
            expression.map(|e| Predicate::new(e, one_based, &inputs.references)).transpose()?;
        if expression.is_some() && inputs.reference_maps.iter().any(Option::is_some) {
            return Err(Error::input(
                "a filter expression needs inputs with the same references in the same order",
            ));
        }
        let layout = &self.columns.layout;
        let tags_walked = !matches!(layout.tags, TagMode::None | TagMode::Binary)
            || layout.has(Content::TagsOther);
        Ok(Selector {
            filter: Filter::new(&self.semantic, self.regions.clone(), expression)?,
            weights: self.weights,
            references: inputs.list.iter().map(|i| i.header.references.len()).collect(),
            skip_bad: self.semantic.on_bad_record == "skip",
            check_quality: layout.has(Content::Qual) && !layout.raw_qual,
            check_end: layout.has(Content::End) || layout.has(Content::AlignedLen),
            text_name: layout.has(Content::Qname),
            text_tags: tags_walked,
            // Nobody decodes the records before the offset.
            walk_tags: self.semantic.verify
                && (!tags_walked || self.count_only || self.sizes.offset > 0),
            walk_refused: self.semantic.verify,
            resume_after: None,
            part: self.part,
            // A chunk index fits unsorted files, too.
            stop_behind: self.index_used == Some(BAI_OR_CSI) && inputs.list.len() == 1,
            summarise: false,
            on_bad: None,
        })
    }

    /// Encoding and statistics of a Parquet leaf (`bam.md` §4).
    pub(crate) fn leaf_options(&self, path: &str, data_type: &DataType) -> LeafOptions {
        let compat = self.semantic.compat;
        let options = |encoding, statistics| LeafOptions {
            encoding: match encoding {
                LeafEncoding::DeltaBinary | LeafEncoding::DeltaLength if compat => {
                    LeafEncoding::Plain
                }
                other => other,
            },
            statistics,
            plain_fallback: compat,
        };
        let dictionary = LeafEncoding::Dictionary;
        let column = path.split('.').next().unwrap_or(path);
        let found = self.columns.layout.columns.iter().find(|c| c.name == column);
        match found.map(|c| c.content) {
            Some(
                Content::Pos
                | Content::Pnext
                | Content::End
                | Content::Tlen
                | Content::Ordinal
                | Content::Voffset
                | Content::RefId
                | Content::MateRefId
                | Content::SeqLen
                | Content::AlignedLen,
            ) => options(LeafEncoding::DeltaBinary, true),
            Some(
                Content::Rname
                | Content::Rnext
                | Content::Source
                | Content::Strand
                | Content::Flag
                | Content::Mapq
                | Content::Bin,
            ) => options(dictionary, true),
            Some(Content::Cigar | Content::TagsOther) => options(dictionary, false),
            Some(Content::Seq | Content::Qual | Content::Qname) => {
                options(LeafEncoding::DeltaLength, false)
            }
            Some(Content::MeanQual | Content::FlagBit(_)) => options(LeafEncoding::Plain, true),
            _ => self.tag_leaf_options(path, data_type, &options),
        }
    }

    fn tag_leaf_options(
        &self,
        path: &str,
        data_type: &DataType,
        options: &dyn Fn(LeafEncoding, bool) -> LeafOptions,
    ) -> LeafOptions {
        let name = path.strip_prefix("tags.").unwrap_or(path);
        let name = name.split('.').next().unwrap_or(name);
        let name = name.strip_prefix("tag_").unwrap_or(name);
        let field = self.tag_fields.iter().find(|f| f.text() == name);
        let repeats = field.is_some_and(|f| f.repeats);
        match field.map(|f| f.tag_type) {
            Some(TagType::Text(kind)) if repeats || kind == b'A' => {
                options(LeafEncoding::Dictionary, true)
            }
            Some(TagType::Integer | TagType::NarrowInteger) => {
                let encoding =
                    if repeats { LeafEncoding::Dictionary } else { LeafEncoding::DeltaBinary };
                options(encoding, true)
            }
            Some(TagType::Float) => {
                let encoding = if repeats { LeafEncoding::Dictionary } else { LeafEncoding::Plain };
                options(encoding, true)
            }
            _ if *data_type == DataType::Utf8 || *data_type == DataType::Binary => {
                options(LeafEncoding::DeltaLength, false)
            }
            _ => options(LeafEncoding::Plain, false),
        }
    }
}

fn full_or_sample(inputs: &Inputs, semantic: &Semantic) -> Result<Sample> {
    if semantic.discover == "full" {
        return crate::discover::full_sample(inputs);
    }
    inputs.sample().cloned()
}

fn weights(layout: &Layout) -> Weights {
    let mut weights = Weights::default();
    for column in &layout.columns {
        match column.content {
            Content::Qname => {
                weights.name = true;
                weights.fixed += 4;
            }
            Content::Cigar => {
                weights.cigar = true;
                weights.fixed += 4;
            }
            Content::Seq => {
                weights.per_base_halves += if layout.packed_seq { 1 } else { 2 };
                weights.fixed += 4;
            }
            Content::Qual => {
                weights.per_base_halves += 2;
                weights.fixed += 4;
            }
            Content::Tags => {
                weights.tags = true;
                weights.fixed += 8;
            }
            Content::Mapq => weights.fixed += 1,
            Content::Flag | Content::Bin => weights.fixed += 2,
            Content::Ordinal | Content::Voffset => weights.fixed += 8,
            Content::FlagBit(_) => {}
            _ => weights.fixed += 4,
        }
    }
    weights.fixed = weights.fixed.max(1);
    weights
}

fn metadata(
    inputs: &Inputs,
    semantic: &Semantic,
    fields: &[TagField],
) -> Result<Vec<(String, String)>> {
    let json = |value: &serde_json::Value| value.to_string();
    let references: Vec<(&str, u64)> = inputs.references().collect();
    let tags: serde_json::Map<String, serde_json::Value> = fields
        .iter()
        .map(|f| {
            let how =
                if semantic.tag_types.is_some() { "given" } else { semantic.discover.as_str() };
            (f.text(), serde_json::json!({"type": f.tag_type.sam_name(), "found": how}))
        })
        .collect();
    let mut list = vec![
        ("seqmill.schema", "alignments/1".to_owned()),
        ("seqmill.profile", semantic.profile.clone()),
        ("seqmill.coords", semantic.coords.clone()),
        ("sam.header", inputs.header().to_owned()),
        // Not by way of a tree of values, which would take 150 bytes for each reference.
        ("sam.references", serde_json::to_string(&references).unwrap_or_default()),
        ("seqmill.source", json(&inputs.identities(false, semantic.record_paths)?)),
        ("seqmill.filters", json(&filters(semantic))),
        ("seqmill.tags", json(&serde_json::Value::Object(tags))),
    ];
    if inputs.list.len() > 1 {
        let headers: Vec<&str> = inputs.list.iter().map(|i| i.header.text.as_str()).collect();
        list.push(("sam.headers", json(&serde_json::json!(headers))));
    }
    Ok(list.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// The filters that were given, for the metadata.
pub(crate) fn filters(semantic: &Semantic) -> serde_json::Value {
    const NAMES: [&str; 16] = [
        "regions",
        "intervals",
        "whole_reference",
        "min_mapq",
        "require_flags",
        "exclude_flags",
        "exclude_all_flags",
        "read_groups",
        "tag_in",
        "name_in",
        "min_length",
        "max_length",
        "limit",
        "offset",
        "shard",
        "filter",
    ];
    let differing = differing_options(semantic);
    let mut filters = serde_json::Map::new();
    for name in NAMES {
        if let Some(value) = differing.get(name) {
            filters.insert(name.to_owned(), value.clone());
        }
    }
    serde_json::Value::Object(filters)
}

/// Options that differ from their defaults.
pub(crate) fn differing_options(semantic: &Semantic) -> serde_json::Map<String, serde_json::Value> {
    let as_map = |s: &Semantic| match serde_json::to_value(s) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let defaults = as_map(&Semantic::default());
    let mut given = as_map(semantic);
    given.retain(|name, value| defaults.get(name) != Some(value));
    given.values_mut().for_each(shorten);
    given
}

/// Longer lists appear in the metadata as their length and hash.
const LIST_MAX: usize = 64;

/// Replaces long lists, such as 100,000 barcodes.
fn shorten(value: &mut serde_json::Value) {
    if let Some(list) = value.as_array_mut() {
        if list.len() > LIST_MAX {
            let text = serde_json::Value::Array(std::mem::take(list)).to_string();
            let hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
            *value = serde_json::json!({"bytes": text.len(), "xxh3": hash});
        } else {
            list.iter_mut().for_each(shorten);
        }
    }
}

fn regions(inputs: &Inputs, semantic: &Semantic) -> Result<Option<RegionFilter>> {
    let whole = semantic.whole_reference.as_deref();
    if semantic.regions.is_empty() && semantic.intervals.is_empty() && whole.is_none() {
        return Ok(None);
    }
    if inputs.reference_maps.iter().any(Option::is_some) {
        return Err(Error::input("regions need inputs with the same references in the same order"));
    }
    let mut intervals = Vec::new();
    let mut unplaced = false;
    for text in &semantic.regions {
        let parsed = parse_region(text, &inputs.references)?;
        if let Some(warning) = parsed.warning {
            inputs.warn(warning);
        }
        match parsed.region {
            Region::Interval(interval) => intervals.push(interval),
            Region::Unplaced => unplaced = true,
        }
    }
    for (name, begin, end) in &semantic.intervals {
        let reference = find_reference(&inputs.references, name)?;
        intervals.push(Interval { reference, begin: *begin, end: end.unwrap_or(u64::MAX) });
    }
    if let Some(name) = whole {
        return Ok(Some(RegionFilter::of_reference(find_reference(&inputs.references, name)?)));
    }
    Ok(Some(RegionFilter::new(intervals, unplaced)))
}

/// The part of the records that `shard` asks for, and the index that knows where it is.
fn part<'i>(inputs: &'i Inputs, semantic: &Semantic) -> Result<Option<(Part, &'i ChunkIndex)>> {
    let Some((i, n)) = semantic.shard else { return Ok(None) };
    if i >= n {
        return Err(Error::input(format!("shard {i}/{n} does not exist; the first is 0/{n}")));
    }
    match inputs.chunk_indices()? {
        [Some(index)] => Ok(Some((shard(index, i, n), index))),
        [None] => Err(Error::input(
            "shard needs a chunk index beside the input: make one with --index-only",
        )),
        _ => Err(Error::input("shard needs exactly one input")),
    }
}

/// Where the records of a run can stand.
fn stretches(
    inputs: &Inputs,
    regions: Option<&RegionFilter>,
    layout: &Layout,
) -> Result<(Vec<Stretches>, Option<&'static str>)> {
    let whole = || inputs.list.iter().map(|i| vec![(i.first, None)]).collect();
    let Some(regions) = regions else { return Ok((whole(), None)) };
    // Numbers of records are only known when the file is read from its beginning.
    let indexable = inputs.list.len() == 1
        && !layout.has(Content::Ordinal)
        && inputs.list.iter().all(|i| {
            i.kind == Kind::Bam && i.container == Container::Bgzf && i.source.is_seekable()
        });
    let index = if indexable { inputs.index()? } else { None };
    if let (None, true, [Some(index)]) = (index, indexable, inputs.chunk_indices()?) {
        return Ok((vec![stretches_of_regions(index, regions)], Some("chunk index")));
    }
    let Some(index) = index else {
        inputs.warn("no index: the whole input is read to find the regions".to_owned());
        return Ok((whole(), None));
    };
    let first = VirtualOffset(inputs.list.first().map_or(0, |i| i.first));
    if let Some(reference) = regions.whole {
        let (begin, end) = index.reference_stretch(reference)?;
        let stretch = (begin.unwrap_or(first).max(first).0, end.map(|end| end.0));
        return Ok((vec![vec![stretch]], Some(BAI_OR_CSI)));
    }
    let found = index.stretches(&regions.intervals)?;
    let clip = |(begin, end): &(VirtualOffset, VirtualOffset)| ((*begin).max(first).0, Some(end.0));
    let mut list: Stretches = found.iter().map(clip).collect();
    if regions.unplaced {
        let start = index.unplaced_start().unwrap_or(first).max(first);
        list.retain(|(begin, _)| *begin < start.0);
        if let Some((_, end)) = list.last_mut()
            && end.is_some_and(|end| end >= start.0)
        {
            *end = None;
        } else {
            list.push((start.0, None));
        }
    }
    Ok((vec![list], Some(BAI_OR_CSI)))
}
