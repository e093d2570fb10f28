// The versions that made the results.
process VERSIONS {
    label 'process_low'
    publishDir "${params.output_dir}/pipeline_info", mode: 'copy'

    input:
    stdin

    output:
    path 'versions.yml', emit: versions

    script:
    """
    cat > versions.yml
    printf '"Workflow":\\n    nextflow: %s\\n' '${workflow.nextflow.version}' >> versions.yml
    """

    stub:
    """
    cat > versions.yml
    printf '"Workflow":\\n    nextflow: %s\\n' '${workflow.nextflow.version}' >> versions.yml
    """
}
