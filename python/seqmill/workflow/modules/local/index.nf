include { quoted; resourcesOf; versionsOf; stubVersionsOf } from './common'

// Side files of the reference, so that tasks read only their own stretch. A FASTA that cannot have any
// (lines of many lengths, gzip without blocks) is read from its beginning; bad data are PLAN's to report.
process INDEX {
    tag "${reference.name}"
    label 'process_low'

    input:
    path reference

    output:
    // Not with the name of the reference, in which [ and { would be a pattern.
    path '*.{fai,gzi}'  , arity: '0..*', emit: sides
    path 'versions.yml', emit: versions

    script:
    """
    ${params.seqmill} fetch ${reference} --index-only || {
        status=\$?
        [ "\$status" -eq 65 ] || exit "\$status"
        rm -f ${reference}.fai ${reference}.gzi
        echo ${quoted(reference.name)}" has no index: each task reads it from the beginning" >&2
    }
    ${versionsOf(task.process)}
    """

    stub:
    """
    touch ${reference}.fai
    ${stubVersionsOf(task.process)}
    """
}
