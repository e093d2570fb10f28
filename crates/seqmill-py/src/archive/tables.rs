//! What an archive holds, as Arrow tables.

use crate::arrow::{LastError, schema_capsule, stream_capsule};
use arrow_array::builder::{StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seqmill_base::{Error, Result};
use seqmill_pack::Archive;
use std::sync::Arc;

/// Rows of a batch.
const ROWS: usize = 1 << 16;

/// Which table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    Samples,
    Contigs,
}

/// A table of an archive; made batch by batch when it is asked for.
#[pyclass(frozen, module = "seqmill._native", name = "ArchiveTable")]
pub(crate) struct ArchiveTable {
    archive: Arc<Archive>,
    kind: TableKind,
}

impl ArchiveTable {
    pub(crate) fn new(archive: Arc<Archive>, kind: TableKind) -> Self {
        Self { archive, kind }
    }
}

fn schema(kind: TableKind) -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Arc::new(Schema::new(match kind {
        TableKind::Samples => vec![
            field("sample", DataType::Utf8),
            field("contigs", DataType::UInt32),
            field("bases", DataType::UInt64),
        ],
        TableKind::Contigs => vec![
            field("sample", DataType::Utf8),
            field("contig", DataType::Utf8),
            field("header", DataType::Utf8),
            field("length", DataType::UInt64),
        ],
    }))
}

/// Where the next batch begins.
struct Rows {
    archive: Arc<Archive>,
    kind: TableKind,
    schema: SchemaRef,
    sample: usize,
    contig: usize,
}

impl Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let columns = match self.kind {
            TableKind::Samples => self.samples()?,
            TableKind::Contigs => self.contigs()?,
        };
        let Some(columns) = columns else { return Ok(None) };
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map(Some)
            .map_err(|e| Error::internal(format!("table: {e}")))
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(self.archive.sample_name(self.sample).unwrap_or_default())
            .into_owned()
    }

    fn samples(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let (mut names, mut counts) = (StringBuilder::new(), UInt32Builder::new());
        let mut bases = UInt64Builder::new();
        let mut rows = 0;
        while rows < ROWS && self.sample < self.archive.sample_count() {
            let sample = self.archive.sample(self.sample)?;
            names.append_value(self.name());
            counts.append_value(u32::try_from(sample.contig_count()).unwrap_or(u32::MAX));
            bases.append_value(sample.contigs().map(|c| c.length()).sum());
            self.sample += 1;
            rows += 1;
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(names.finish()), Arc::new(counts.finish()), Arc::new(bases.finish())];
        Ok((rows > 0).then_some(columns))
    }

    fn contigs(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let (mut samples, mut names) = (StringBuilder::new(), StringBuilder::new());
        let (mut headers, mut lengths) = (StringBuilder::new(), UInt64Builder::new());
        let mut rows = 0;
        while rows < ROWS && self.sample < self.archive.sample_count() {
            let sample = self.archive.sample(self.sample)?;
            let of = self.name();
            while let Some(contig) = sample.contig(self.contig).filter(|_| rows < ROWS) {
                samples.append_value(&of);
                names.append_value(String::from_utf8_lossy(contig.name()));
                headers.append_value(String::from_utf8_lossy(contig.header()));
                lengths.append_value(contig.length());
                self.contig += 1;
                rows += 1;
            }
            if self.contig >= sample.contig_count() {
                (self.sample, self.contig) = (self.sample + 1, 0);
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(samples.finish()),
            Arc::new(names.finish()),
            Arc::new(headers.finish()),
            Arc::new(lengths.finish()),
        ];
        Ok((rows > 0).then_some(columns))
    }
}

#[pymethods]
impl ArchiveTable {
    /// The schema as a capsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &schema(self.kind))
    }

    /// The table as a capsule.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A producer may ignore the wish for another schema (Arrow PyCapsule interface).
        drop(requested_schema);
        let schema = schema(self.kind);
        let mut rows = Rows {
            archive: Arc::clone(&self.archive),
            kind: self.kind,
            schema: Arc::clone(&schema),
            sample: 0,
            contig: 0,
        };
        stream_capsule(py, schema, Box::new(move || rows.next_batch()), LastError::default())
    }
}
