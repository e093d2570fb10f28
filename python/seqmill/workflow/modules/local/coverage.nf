include { quoted; resourcesOf; versionsOf; stubVersionsOf } from './common'

// One region: the depth of alignments, or the content of the reference.
process COVERAGE {
    tag "${meta.id}"
    label 'process_low'

    input:
    tuple val(meta), val(line), path(source), path(sides)

    output:
    tuple val(meta), path("part_*", type: 'dir'), emit: part
    path 'versions.yml', emit: versions

    script:
    def args = task.ext.args ?: ''
    def strand = params.canonical ? '--canonical' : ''
    def reference = source.name.endsWith('.cram') ? "--reference ${file(params.reference).name}" : ''
    """
    printf '%s\\n' ${quoted(line)} > region.${meta.kind}
    ${params.seqmill} coverage ${source} -R region.${meta.kind} -k ${params.k} ${strand} ${reference} ${args} \\
        ${resourcesOf(task)} -o part_${meta.key} --force
    ${versionsOf(task.process)}
    """

    stub:
    """
    mkdir -p part_${meta.key}
    ${stubVersionsOf(task.process)}
    """
}
