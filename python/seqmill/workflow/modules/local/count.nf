include { resourcesOf; versionsOf; stubVersionsOf } from './common'

// One batch of the plan into a partial table.
process COUNT {
    tag "${meta.id}"
    label 'process_medium'
    publishDir "${params.output_dir}/pipeline_info/metrics", mode: 'copy', pattern: 'count_*.json'

    input:
    tuple val(meta), path(plan), path(reference), path(sides)

    output:
    tuple val(meta), path("part_*.skm"), emit: part
    path 'count_*.json' , emit: metrics, optional: true
    path 'versions.yml' , emit: versions

    script:
    def args = task.ext.args ?: ''
    def name = String.format('%05d', meta.batch)
    def strand = params.canonical ? '--canonical' : ''
    """
    ${params.seqmill} kmers chunk ${reference} --plan ${plan} --batch ${meta.batch} -k ${params.k} ${strand} ${args} \\
        ${resourcesOf(task)} --metrics count_${name}.json -o part_${name}.skm --force
    ${versionsOf(task.process)}
    """

    stub:
    """
    touch part_${String.format('%05d', meta.batch)}.skm
    ${stubVersionsOf(task.process)}
    """
}
