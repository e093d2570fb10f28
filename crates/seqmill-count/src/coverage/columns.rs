//! What the numbers of a result become in the table.

use super::text::push_number;
use std::io::Write;

/// A column of the table, made of the numbers of a result.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    field: Field,
}

/// How a column is made; the numbers are places in the result.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// As it is.
    Whole(usize),
    /// The first as it is; nothing where the second is 0.
    Known(usize, usize),
    /// The first over the second, with six decimals; nothing where the second is 0.
    Ratio(usize, usize),
    /// Half of the first, with one decimal; nothing where the second is 0.
    Half(usize, usize),
}

/// What stands where there is no value.
const NOTHING: &[u8] = b"NA";

impl Column {
    fn new(name: &str, field: Field) -> Self {
        Self { name: name.to_owned(), field }
    }

    /// Appends the value of a row.
    pub(super) fn write(&self, row: &[u64], out: &mut Vec<u8>) {
        let number = |at: usize| row.get(at).copied().unwrap_or(0);
        match self.field {
            Field::Known(_, n) | Field::Ratio(_, n) | Field::Half(_, n) if number(n) == 0 => {
                out.extend_from_slice(NOTHING);
            }
            Field::Whole(at) | Field::Known(at, _) => push_number(out, number(at)),
            Field::Ratio(sum, n) => {
                // Writing to memory does not fail.
                let _ = write!(out, "{:.6}", number(sum) as f64 / number(n) as f64);
            }
            Field::Half(twice, _) => {
                push_number(out, number(twice) / 2);
                out.extend_from_slice(if number(twice) % 2 == 0 { b".0" } else { b".5" });
            }
        }
    }
}

/// Columns of depth (`kmers.md` §6.3); the numbers are those of the tracker.
pub(super) fn depth_columns(thresholds: &[u32]) -> Vec<Column> {
    use super::tracker::FIXED_NUMBERS;
    let mut columns = vec![
        Column::new("length", Field::Whole(0)),
        Column::new("bases", Field::Whole(1)),
        Column::new("mean", Field::Ratio(1, 0)),
        Column::new("median", Field::Half(2, 0)),
        Column::new("min", Field::Whole(3)),
        Column::new("max", Field::Whole(4)),
    ];
    columns.extend(
        thresholds
            .iter()
            .enumerate()
            .map(|(i, n)| Column::new(&format!("cov{n}"), Field::Whole(FIXED_NUMBERS + i))),
    );
    columns.push(Column::new("breadth", Field::Ratio(5, 0)));
    columns
}

/// Columns of sequence (`kmers.md` §6.2), with those of a table of k-mers if it is looked up.
pub(super) fn sequence_columns(looked_up: bool) -> Vec<Column> {
    let whole = ["length", "acgt", "gc", "n", "other", "lower"];
    let mut columns: Vec<Column> =
        whole.iter().enumerate().map(|(i, name)| Column::new(name, Field::Whole(i))).collect();
    columns.extend([
        Column::new("gc_fraction", Field::Ratio(2, 1)),
        Column::new("kmers", Field::Whole(6)),
        Column::new("distinct_kmers", Field::Whole(7)),
        Column::new("coverage", Field::Ratio(6, 8)),
    ]);
    if looked_up {
        columns.extend([
            Column::new("mean_count", Field::Ratio(9, 10)),
            Column::new("median_count", Field::Half(11, 10)),
            Column::new("min_count", Field::Known(12, 10)),
            Column::new("max_count", Field::Known(13, 10)),
        ]);
    }
    columns
}

/// Numbers of a result of sequence.
pub(super) const SEQUENCE_NUMBERS: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_table_shows_them() {
        let show = |columns: &[Column], row: &[u64]| -> Vec<String> {
            let text = |column: &Column| {
                let mut out = Vec::new();
                column.write(row, &mut out);
                String::from_utf8(out).unwrap()
            };
            columns.iter().map(text).collect()
        };
        let columns = depth_columns(&[5]);
        assert_eq!(
            show(&columns, &[3, 10, 7, 0, 6, 2, 1]),
            ["3", "10", "3.333333", "3.5", "0", "6", "1", "0.666667"]
        );
        let columns = sequence_columns(true);
        let counts = |row: &[u64]| show(&columns, row)[10..].to_vec();
        assert_eq!(counts(&[0; 14]), ["NA", "NA", "NA", "NA"]);
        let mut row = [0; 14];
        row[10] = 1;
        assert_eq!(counts(&row), ["0.000000", "0.0", "0", "0"]);
        let columns = depth_columns(&[5]);
        assert_eq!(show(&columns, &[0; 7]), ["0", "0", "NA", "NA", "0", "0", "0", "NA"]);
    }
}
