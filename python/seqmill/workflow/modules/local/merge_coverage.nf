include { versionsOf; stubVersionsOf } from './common'

// All regions in the order of the list; each must be there as often as in the list.
process MERGE_COVERAGE {
    label 'process_low'
    publishDir params.output_dir, mode: 'copy', saveAs: { name -> name == 'versions.yml' ? null : name - 'merged/' }

    input:
    path parts, stageAs: 'parts/*'
    path list

    output:
    path 'merged/coverage'             , emit: regions
    path 'merged/merged_coverage.txt'  , emit: merged
    path 'merged/coverage_summary.json', emit: summary
    path 'merged/coverage.tsv'         , emit: table
    path 'versions.yml'                , emit: versions

    script:
    """
    ${params.seqmill} coverage merge parts/* -R ${list} -o merged --force
    ${versionsOf(task.process)}
    """

    stub:
    """
    mkdir -p merged/coverage
    touch merged/merged_coverage.txt merged/coverage_summary.json merged/coverage.tsv
    ${stubVersionsOf(task.process)}
    """
}
