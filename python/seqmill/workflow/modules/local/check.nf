include { versionsOf; stubVersionsOf } from './common'

// The parameters against nextflow_schema.json: a wrong one ends the run before any work.
process CHECK {
    label 'process_low'

    input:
    stdin

    output:
    val true          , emit: passed
    path 'versions.yml', emit: versions

    script:
    """
    cat > params.json
    ${params.seqmill} workflow check --params-file params.json --no-files
    ${versionsOf(task.process)}
    """

    stub:
    """
    ${stubVersionsOf(task.process)}
    """
}
