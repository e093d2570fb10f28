include { resourcesOf; versionsOf; stubVersionsOf } from './common'

// All partials into the table; every chunk of the plan must be there exactly once.
process MERGE {
    label 'process_high'
    publishDir params.output_dir, mode: 'copy', pattern: 'global_index.*'
    publishDir "${params.output_dir}/pipeline_info/metrics", mode: 'copy', pattern: 'merge.json'

    input:
    path parts, stageAs: 'parts/*'
    path plan

    output:
    path "global_index.${params.format}", emit: table
    path 'merge.json'  , emit: metrics, optional: true
    path 'versions.yml', emit: versions

    script:
    def args = task.ext.args ?: ''
    """
    ${params.seqmill} kmers merge parts/*.skm --plan ${plan} --min-count ${params.min_count} --format ${params.format} ${args} \\
        ${resourcesOf(task)} --metrics merge.json -o global_index.${params.format} --force
    ${versionsOf(task.process)}
    """

    stub:
    """
    touch global_index.${params.format}
    ${stubVersionsOf(task.process)}
    """
}
