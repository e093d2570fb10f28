//! Outputs of a run: Parquet, Arrow IPC, batches for a consumer, or a count.

use crate::options::Semantic;
use crate::run::{BatchFacts, Processed, WRITING};
use crate::setup::Setup;
use crate::unit::{CutState, GroupFacts};
use arrow_array::RecordBatch;
use seqmill_base::budget::AccountId;
use seqmill_base::pipeline::{Item, Pipeline};
use seqmill_base::{Error, Lease, Result};
use seqmill_table::ipc::{IpcCompression, IpcEncoder, IpcMessage};
use seqmill_table::parquet::{
    AssignedBatch, Codec, EncodedBatch, FinishedBatch, GroupDictionaries, GroupEnd, PageEncoder,
    Plan, SortingColumn, claim_bytes,
};
use std::sync::Arc;

/// What travels with encoded data to the writer.
pub(crate) struct Meta {
    pub group_end: Option<GroupFacts>,
    pub after: CutState,
    pub facts: BatchFacts,
    pub lease: Lease,
}

/// Encoded data with what the writer needs to know of them.
pub(crate) struct Parcel<T> {
    pub data: T,
    pub meta: Meta,
}

/// Bytes that data hold.
pub(crate) trait Held: Send + 'static {
    fn held(&self) -> u64;
}

impl Held for EncodedBatch {
    fn held(&self) -> u64 {
        self.bytes()
    }
}

impl Held for AssignedBatch {
    fn held(&self) -> u64 {
        self.bytes()
    }
}

impl Held for FinishedBatch {
    fn held(&self) -> u64 {
        self.bytes()
    }
}

impl Held for IpcMessage {
    fn held(&self) -> u64 {
        self.bytes() as u64
    }
}

impl<T: Held> Item for Parcel<T> {
    fn bytes(&self) -> u64 {
        self.data.held()
    }
}

/// The codec that the options name.
pub(crate) fn codec(name: &str, level: Option<i32>) -> Result<Codec> {
    let range = |low: i32, high: i32, default: i32| match level {
        None => Ok(default),
        Some(level) if (low..=high).contains(&level) => Ok(level),
        Some(level) => Err(Error::input(format!(
            "compression level {level} of {name} is not in {low}..={high}"
        ))),
    };
    Ok(match name {
        "" | "zstd" => Codec::Zstd(range(1, 19, 1)?),
        "gzip" => Codec::Gzip(u32::try_from(range(1, 9, 6)?).unwrap_or(6)),
        "lz4" | "snappy" | "none" if level.is_some() => {
            return Err(Error::input(format!("compression {name} has no levels")));
        }
        "lz4" => Codec::Lz4,
        "snappy" => Codec::Snappy,
        "none" => Codec::None,
        _ => {
            return Err(Error::input(format!(
                "compression {name:?} does not exist; one of zstd, lz4, snappy, gzip, none"
            )));
        }
    })
}

/// The compression of IPC buffers that the options name.
pub(crate) fn ipc_compression(name: &str, level: Option<i32>) -> Result<IpcCompression> {
    if name.is_empty() {
        return match level {
            None => Ok(IpcCompression::None),
            Some(_) => Err(Error::input("a compression level needs --compression zstd")),
        };
    }
    match codec(name, level)? {
        Codec::None => Ok(IpcCompression::None),
        Codec::Lz4 => Ok(IpcCompression::Lz4),
        Codec::Zstd(level) => Ok(IpcCompression::Zstd(level)),
        Codec::Snappy | Codec::Gzip(_) => {
            Err(Error::input(format!("Arrow IPC has no {name}; one of none, lz4, zstd")))
        }
    }
}

/// How batches become bytes.
pub(crate) enum Encoding {
    Parquet(Codec),
    Ipc(IpcCompression),
}

/// The largest page of a batch of usual size, as it is and compressed.
const SCRATCH_BYTES: u64 = 3 << 19;
/// Code and tables of the program that only pages need, and dictionaries. Measured.
const PAGES_BYTES: u64 = 4 << 20;

impl Encoding {
    pub(crate) fn new(semantic: &Semantic) -> Result<Self> {
        let (name, level) = (&semantic.compression, semantic.compression_level);
        if semantic.format == "parquet" {
            return Ok(Self::Parquet(codec(name, level)?));
        }
        Ok(Self::Ipc(ipc_compression(name, level)?))
    }

    /// Bytes of the compressors and the scratch memory of one thread, and what there is once.
    pub(crate) fn state_bytes(&self) -> (u64, u64) {
        match self {
            // Encoding and finishing have one each.
            Self::Parquet(codec) => (2 * codec.state_bytes() + SCRATCH_BYTES, PAGES_BYTES),
            Self::Ipc(compression) => (compression.state_bytes(), 0),
        }
    }
}

/// The order that a row group was found to have, as Parquet declares it.
fn sorting(plan: &Plan, facts: GroupFacts, ids: Option<usize>, pos: Option<usize>) -> GroupEnd {
    debug_assert!(plan.leaf_count() > 0);
    let ascending = |leaf: usize| SortingColumn { leaf, descending: false, nulls_first: false };
    let columns = match (ids, pos) {
        (Some(ids), Some(pos)) if facts.sorted_by_coordinate => Some(vec![ids, pos]),
        (Some(ids), None) if facts.sorted_by_coordinate => Some(vec![ids]),
        (None, Some(pos)) if facts.sorted_by_pos => Some(vec![pos]),
        _ => None,
    };
    GroupEnd { sorting: columns.map(|c| c.into_iter().map(ascending).collect()) }
}

/// Adds the three stages that make finished Parquet pages.
pub(crate) fn parquet_pages<'a>(
    processed: Pipeline<'a, Processed>,
    setup: &'a Setup,
    plan: &Arc<Plan>,
    account: AccountId,
) -> Result<Pipeline<'a, Parcel<FinishedBatch>>> {
    // A first encoder finds out whether one can be made at all.
    let first = std::sync::Mutex::new(Some(PageEncoder::new(Arc::clone(plan))?));
    let encoder = {
        let plan = Arc::clone(plan);
        move || -> Result<PageEncoder> {
            let ready = first.lock().ok().and_then(|mut first| first.take());
            ready.map_or_else(|| PageEncoder::new(Arc::clone(&plan)), Ok)
        }
    };
    let finisher = {
        let plan = Arc::clone(plan);
        move || PageEncoder::new(Arc::clone(&plan))
    };
    let mut dictionaries = GroupDictionaries::new(plan);
    let name_of = |content| {
        let found = setup.columns.layout.columns.iter().find(|c| c.content == content);
        found.and_then(|c| plan.leaf_index(&c.name))
    };
    // Numbers of references that were joined from several headers are in no order.
    let joined = setup.columns.reference_maps.iter().any(Option::is_some);
    let ids = name_of(crate::schema::Content::RefId).filter(|_| !joined);
    let pos = name_of(crate::schema::Content::Pos);
    let plan = Arc::clone(plan);
    Ok(processed
        .parallel(
            "encode",
            WRITING,
            account,
            |processed: &Processed| {
                if processed.prepaid { 0 } else { claim_bytes(&processed.batch) }
            },
            encoder,
            |encoder, processed, mut lease| {
                let encoder = encoder.as_mut().map_err(|e| e.clone())?;
                let Processed { batch, group_end, after, facts, lease: own, prepaid, .. } =
                    processed;
                let data = encoder.encode(&batch)?;
                drop(batch);
                if prepaid {
                    lease = own;
                } else {
                    drop(own);
                }
                lease.resize(data.bytes())?;
                Ok(Parcel { data, meta: Meta { group_end, after, facts, lease } })
            },
        )
        .ordered("assign", WRITING, move |parcel: Option<Parcel<EncodedBatch>>, emit| {
            if let Some(Parcel { data, meta }) = parcel {
                let end = meta.group_end.map(|facts| sorting(&plan, facts, ids, pos));
                let data = dictionaries.assign(data, end);
                emit.push(Parcel { data, meta });
            }
            Ok(())
        })
        .parallel(
            "finish",
            WRITING,
            account,
            |_: &Parcel<AssignedBatch>| 64 << 10,
            finisher,
            |encoder, Parcel { data, mut meta }, lease| {
                drop(lease);
                let encoder = encoder.as_mut().map_err(|e| e.clone())?;
                let data = encoder.finish(data)?;
                meta.lease.resize(data.bytes())?;
                Ok(Parcel { data, meta })
            },
        ))
}

/// Adds the stage that makes Arrow IPC messages.
pub(crate) fn ipc_messages(
    processed: Pipeline<'_, Processed>,
    empty: RecordBatch,
    compression: IpcCompression,
    account: AccountId,
) -> Pipeline<'_, Parcel<IpcMessage>> {
    let compressed = compression != IpcCompression::None;
    processed.parallel(
        "encode",
        WRITING,
        account,
        // Without compression a message refers to the buffers of the batch.
        move |processed: &Processed| if compressed { processed.bytes } else { 64 << 10 },
        move || IpcEncoder::new(&empty, compression),
        move |encoder, processed, mut lease| {
            let encoder = encoder.as_mut().map_err(|e| e.clone())?;
            let Processed { batch, group_end, after, facts, lease: read, .. } = processed;
            let data = encoder.encode(&batch)?;
            if compressed {
                lease.resize(data.bytes() as u64)?;
            } else {
                lease = read;
            }
            Ok(Parcel { data, meta: Meta { group_end, after, facts, lease } })
        },
    )
}
