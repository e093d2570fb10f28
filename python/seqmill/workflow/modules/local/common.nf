/** What seqmill may use: a tenth of the task's memory is left to the shell and to Nextflow's own watcher. */
def budgetOf(memory) {
    return (memory.toBytes() * 9).intdiv(10)
}

/** Options that every job of seqmill takes. */
def resourcesOf(task) {
    return "--threads ${task.cpus} --memory ${budgetOf(task.memory)} --tmpdir . --progress none"
}

/** Writes versions.yml, keyed by the process. */
def versionsOf(process) {
    return """printf '"%s":\\n    seqmill: %s\\n' '${process}' "\$(${params.seqmill} --version | cut -d ' ' -f 2)" > versions.yml"""
}

def stubVersionsOf(process) {
    return """printf '"%s":\\n    seqmill: stub\\n' '${process}' > versions.yml"""
}

/** A word of the shell that is exactly this text. */
def quoted(text) {
    return "'" + text.replace("'", "'\\''") + "'"
}
