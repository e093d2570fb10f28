//! De novo repeat families of a genome, exact and inside one memory budget.
