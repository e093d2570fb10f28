//! Pages and the batches of pages that travel through the pipeline.

use super::GroupEnd;
use super::compress::{Compressor, Content};
use super::plan::Encoding;
use super::stats::PageStats;
use super::thrift::Writer;
use seqmill_base::{Error, Result};

// Fields of `PageHeader` and of its parts.
const PAGE_TYPE: i16 = 1;
const UNCOMPRESSED_SIZE: i16 = 2;
const COMPRESSED_SIZE: i16 = 3;
const DATA_PAGE_HEADER: i16 = 5;
const DICTIONARY_PAGE_HEADER: i16 = 7;

/// `PageType.DATA_PAGE`.
pub(super) const DATA_PAGE: i32 = 0;
/// `PageType.DICTIONARY_PAGE`.
pub(super) const DICTIONARY_PAGE: i32 = 2;

/// A finished page.
#[derive(Debug)]
pub(super) struct Page {
    /// Header and compressed body.
    pub(super) bytes: Vec<u8>,
    /// Header and body before compression.
    pub(super) uncompressed: u64,
    /// `num_values`: nulls included.
    pub(super) slots: u64,
    pub(super) rows: u64,
    pub(super) encoding: Encoding,
    pub(super) stats: Option<PageStats>,
}

/// What a page holds, apart from its body.
#[derive(Debug)]
pub(super) struct PageFacts {
    pub(super) slots: usize,
    pub(super) rows: usize,
    pub(super) encoding: Encoding,
    pub(super) content: Content,
    pub(super) stats: Option<PageStats>,
}

fn size(bytes: usize) -> Result<i32> {
    i32::try_from(bytes).map_err(|_| {
        Error::input("a page would pass 2 GiB; use smaller batches (--batch-bytes or --batch-rows)")
    })
}

impl Page {
    /// Compresses a body and puts the header of a data page in front.
    pub(super) fn data(body: &[u8], facts: PageFacts, engine: &mut Compressor) -> Result<Self> {
        let slots = size(facts.slots)?;
        Self::build(body, facts, engine, DATA_PAGE, |w, encoding| {
            w.begin(DATA_PAGE_HEADER);
            w.i32(1, slots);
            w.i32(2, encoding as i32);
            w.i32(3, Encoding::Rle as i32);
            w.i32(4, Encoding::Rle as i32);
            w.end();
        })
    }

    /// The same with the header of a dictionary page.
    pub(super) fn dictionary(body: &[u8], values: usize, engine: &mut Compressor) -> Result<Self> {
        let facts = PageFacts {
            slots: values,
            rows: 0,
            encoding: Encoding::Plain,
            content: Content::Other,
            stats: None,
        };
        let values = size(values)?;
        Self::build(body, facts, engine, DICTIONARY_PAGE, |w, encoding| {
            w.begin(DICTIONARY_PAGE_HEADER);
            w.i32(1, values);
            w.i32(2, encoding as i32);
            w.end();
        })
    }

    fn build(
        body: &[u8],
        facts: PageFacts,
        engine: &mut Compressor,
        page_type: i32,
        header: impl FnOnce(&mut Writer, Encoding),
    ) -> Result<Self> {
        let uncompressed = size(body.len())?;
        let compressed = engine.compress(body, facts.content)?;
        let mut writer = Writer::default();
        writer.out.reserve_exact(compressed.len() + 32);
        writer.i32(PAGE_TYPE, page_type);
        writer.i32(UNCOMPRESSED_SIZE, uncompressed);
        writer.i32(COMPRESSED_SIZE, size(compressed.len())?);
        header(&mut writer, facts.encoding);
        writer.end();
        let mut bytes = writer.out;
        let header_len = bytes.len();
        bytes.extend_from_slice(compressed);
        Ok(Self {
            bytes,
            uncompressed: (header_len + body.len()) as u64,
            slots: facts.slots as u64,
            rows: facts.rows as u64,
            encoding: facts.encoding,
            stats: facts.stats,
        })
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.stats.as_ref().map_or(0, PageStats::heap_bytes)
    }
}

/// Distinct values of a page in order of appearance.
#[derive(Debug)]
pub(super) enum LocalValues {
    Four(Vec<i32>),
    Eight(Vec<i64>),
    /// Value `i` ends at `ends[i]` of `data` and has the hash `hashes[i]`.
    Bytes {
        ends: Vec<u32>,
        hashes: Vec<u64>,
        data: Vec<u8>,
    },
}

impl LocalValues {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Four(values) => values.len(),
            Self::Eight(values) => values.len(),
            Self::Bytes { ends, .. } => ends.len(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Four(values) => values.capacity() * 4,
            Self::Eight(values) => values.capacity() * 8,
            Self::Bytes { ends, hashes, data } => {
                ends.capacity() * 4 + hashes.capacity() * 8 + data.capacity()
            }
        }
    }
}

/// Value `at` of strings that end at `ends`.
pub(super) fn bytes_at<'a>(ends: &[u32], data: &'a [u8], at: usize) -> &'a [u8] {
    let start = at.checked_sub(1).map_or(0, |before| ends[before] as usize);
    &data[start..ends[at] as usize]
}

/// A page of a dictionary leaf before its numbers are known.
#[derive(Debug)]
pub(super) struct LocalPage {
    /// Encoded levels.
    pub(super) levels: Vec<u8>,
    /// Local number of each value.
    pub(super) ids: Vec<u16>,
    pub(super) values: LocalValues,
    pub(super) slots: usize,
    pub(super) stats: Option<PageStats>,
}

/// What step 1 makes of a leaf.
#[derive(Debug)]
pub(super) enum Part {
    Page(Page),
    /// A page of a dictionary leaf with too many distinct values: it is encoded by the fallback,
    /// and so must be the rest of the group.
    Overflow(Page),
    Local(Box<LocalPage>),
}

/// How step 3 numbers the values of a local page.
#[derive(Debug)]
pub(super) enum Numbers {
    /// Number in the dictionary of the group for each local number.
    Dictionary(Vec<u16>),
    Fallback,
    /// The page has no values and the group has no dictionary yet, perhaps never.
    Nothing,
}

/// What step 2 makes of a leaf.
#[derive(Debug)]
pub(super) enum AssignedPart {
    Page(Page),
    Local(Box<LocalPage>, Numbers),
}

/// The dictionary of a group and leaf, `PLAIN`.
#[derive(Debug)]
pub(super) struct RawDictionary {
    pub(super) plain: Vec<u8>,
    pub(super) values: usize,
}

fn local_bytes(page: &LocalPage) -> usize {
    size_of::<LocalPage>()
        + page.levels.capacity()
        + page.ids.capacity() * 2
        + page.values.heap_bytes()
        + page.stats.as_ref().map_or(0, PageStats::heap_bytes)
}

/// A batch after step 1.
#[derive(Debug)]
pub struct EncodedBatch {
    pub(super) rows: usize,
    /// Empty if the batch has no rows.
    pub(super) parts: Vec<Part>,
}

impl EncodedBatch {
    /// A batch without rows, for closing a row group after its last batch has been passed on.
    pub fn empty() -> Self {
        Self { rows: 0, parts: Vec::new() }
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes it holds on the heap.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|part| match part {
            Part::Page(page) | Part::Overflow(page) => page.heap_bytes(),
            Part::Local(page) => local_bytes(page),
        });
        (parts.sum::<usize>() + self.parts.capacity() * size_of::<Part>()) as u64
    }
}

/// A batch after step 2.
#[derive(Debug)]
pub struct AssignedBatch {
    pub(super) rows: usize,
    pub(super) parts: Vec<AssignedPart>,
    /// With the end of the group: its dictionaries, one slot per leaf.
    pub(super) end: Option<(GroupEnd, Vec<Option<RawDictionary>>)>,
}

impl AssignedBatch {
    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes it holds on the heap.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|part| match part {
            AssignedPart::Page(page) => page.heap_bytes(),
            AssignedPart::Local(page, Numbers::Fallback | Numbers::Nothing) => local_bytes(page),
            AssignedPart::Local(page, Numbers::Dictionary(map)) => {
                local_bytes(page) + map.capacity() * 2
            }
        });
        let ends = self.end.iter().flat_map(|(_, dictionaries)| dictionaries);
        let dictionaries = ends.flatten().map(|d| d.plain.capacity());
        let own = self.parts.capacity() * size_of::<AssignedPart>();
        (parts.sum::<usize>() + dictionaries.sum::<usize>() + own) as u64
    }
}

/// A batch after step 3: bytes as they go to the file.
#[derive(Debug)]
pub struct FinishedBatch {
    pub(super) rows: usize,
    pub(super) pages: Vec<Page>,
    /// With the end of the group: its dictionary pages, one slot per leaf.
    pub(super) end: Option<(GroupEnd, Vec<Option<Page>>)>,
}

impl FinishedBatch {
    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it closes a row group.
    pub fn ends_group(&self) -> bool {
        self.end.is_some()
    }

    /// Bytes it holds on the heap.
    pub fn bytes(&self) -> u64 {
        let ends = self.end.iter().flat_map(|(_, dictionaries)| dictionaries).flatten();
        let pages = self.pages.iter().chain(ends).map(Page::heap_bytes);
        (pages.sum::<usize>() + self.pages.capacity() * size_of::<Page>()) as u64
    }
}
