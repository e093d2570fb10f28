include { versionsOf; stubVersionsOf } from './common'

// Chunks of the reference, in batches: a batch is a task, and there are never more than 1,000.
process PLAN {
    tag "${reference.name}"
    label 'process_low'

    input:
    tuple path(reference), path(sides)

    output:
    path 'plan.tsv'    , emit: plan
    path 'versions.yml', emit: versions

    script:
    def args = task.ext.args ?: ''
    """
    ${params.seqmill} kmers plan ${reference} -k ${params.k} --chunk-size ${params.chunk_size} \\
        --batch-bases ${params.batch_bases} --max-batches 1000 ${args} -o plan.tsv --force
    ${versionsOf(task.process)}
    """

    stub:
    """
    printf 'chunk_id\\trecord\\tstart\\tend\\tbases\\tbatch\\n0\\tstub\\t0\\t1\\t1\\t0\\n' > plan.tsv
    ${stubVersionsOf(task.process)}
    """
}
