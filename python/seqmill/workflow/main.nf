#!/usr/bin/env nextflow
/*
 * seqmill: exact k-mer counts of a reference, and the coverage of regions.
 *
 *     nextflow run main.nf --reference genome.fa.gz --region_list regions.txt
 *
 * Parameters: nextflow_schema.json. Outputs: docs/output.md.
 */

include { CHECK          } from './modules/local/check'
include { INDEX          } from './modules/local/index'
include { PLAN           } from './modules/local/plan'
include { COUNT          } from './modules/local/count'
include { MERGE          } from './modules/local/merge'
include { COVERAGE       } from './modules/local/coverage'
include { MERGE_COVERAGE } from './modules/local/merge_coverage'
include { VERSIONS       } from './modules/local/versions'

/** The parameters as the schema sees them, always in one order: JSON for `seqmill workflow check`. */
def parametersAsJson(given) {
    def plain = given
        .findAll { _name, value -> value != null }
        .collectEntries { name, value ->
            [name, value instanceof Number || value instanceof Boolean ? value : value.toString()]
        }
    return groovy.json.JsonOutput.toJson(plain.sort())
}

/** The batches of a plan: one item each, with the chunks [start, end) that it holds. */
def readBatches(plan) {
    def batches = []
    plan.withReader { reader ->
        reader.readLine()
        reader.eachLine { line ->
            def fields = line.split('\t')
            def chunk = fields[0] as long
            def batch = fields[5] as int
            if (batches && batches[-1].batch == batch) {
                batches[-1].end = chunk + 1
            }
            else {
                batches << [id: "batch_${batch}".toString(), batch: batch, start: chunk, end: chunk + 1]
            }
        }
    }
    // A reference without records still has a table: an empty one.
    return batches ?: [[id: 'batch_0', batch: 0, start: 0, end: 0]]
}

/**
 * The regions of a list: one item each, with its line. Where a line stands in the list does not show,
 * so that a line more or less leaves the finished tasks of the others alone.
 */
def readRegions(list) {
    def bed = list.name ==~ /(?i).*\.bed(\.gz)?/
    def stream = list.name.endsWith('.gz')
        ? new java.util.zip.GZIPInputStream(list.newInputStream())
        : list.newInputStream()
    def seen = [:]
    def regions = []
    stream.withReader('UTF-8') { reader ->
        reader.eachLine { line ->
            def text = line.trim()
            def ignored = !text || text.startsWith('#') || (bed && text ==~ /(track|browser)\b.*/)
            if (!ignored) {
                seen[text] = (seen[text] ?: 0) + 1
                def id = bed ? text.split(/\s+/).take(3).join(' ') : text.split('\t')[0].trim()
                def key = "${seen[text]} ${text}".toString().md5()
                regions << [[id: id, kind: bed ? 'bed' : 'txt', key: key], text]
            }
        }
    }
    // A list without regions has outputs, too: empty ones.
    return regions ?: [[[id: 'none', kind: bed ? 'bed' : 'txt', key: 'none'], '']]
}

/** Indices that lie beside alignments. */
def indicesOf(alignments) {
    def stem = alignments.name.replaceAll(/\.(bam|cram)$/, '')
    return ["${alignments.name}.bai", "${alignments.name}.csi", "${alignments.name}.crai", "${stem}.bai", "${stem}.csi", "${stem}.crai"]
        .unique()
        .collect { name -> alignments.resolveSibling(name) }
        .findAll { index -> index.exists() }
}

workflow {
    if (!params.reference) {
        error("no reference: give --reference FILE, FASTA (plain, gzip or BGZF)")
    }
    if (params.alignments && !params.region_list) {
        error("--alignments without regions: give --region_list FILE, too")
    }
    def reference = file(params.reference, checkIfExists: true, glob: false)

    workflow.onComplete = {
        log.info(workflow.success
            ? "seqmill: done, see ${params.output_dir}"
            : "seqmill: not done; what is finished stays: the same command with -resume goes on")
    }

    // Nothing is done before the parameters are found to be right.
    CHECK(parametersAsJson(params))
    INDEX(CHECK.out.passed.map { _passed -> reference })
    indexed = INDEX.out.sides.map { sides -> [reference, sides] }
    PLAN(indexed)

    batches = PLAN.out.plan.flatMap { plan -> readBatches(plan) }
    COUNT(batches.combine(PLAN.out.plan).combine(indexed))
    MERGE(
        COUNT.out.part.map { _meta, part -> part }.toSortedList { a, b -> a.name <=> b.name },
        PLAN.out.plan,
    )

    versions = CHECK.out.versions.mix(INDEX.out.versions, PLAN.out.versions, COUNT.out.versions, MERGE.out.versions)

    if (params.region_list) {
        def list = file(params.region_list, checkIfExists: true, glob: false)
        def alignments = params.alignments ? file(params.alignments, checkIfExists: true, glob: false) : null
        source = alignments
            ? INDEX.out.sides.map { sides -> [alignments, indicesOf(alignments) + [reference] + sides] }
            : indexed
        COVERAGE(channel.fromList(readRegions(list)).combine(source))
        MERGE_COVERAGE(
            COVERAGE.out.part.map { _meta, part -> part }.toSortedList { a, b -> a.name <=> b.name },
            list,
        )
        versions = versions.mix(COVERAGE.out.versions, MERGE_COVERAGE.out.versions)
    }

    // Texts, not files: where a task ran must not decide whether VERSIONS runs again.
    VERSIONS(versions.map { found -> found.text }.unique().toSortedList().map { texts -> texts.join('') })
}
